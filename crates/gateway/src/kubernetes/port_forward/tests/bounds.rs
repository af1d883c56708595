//! Peers that take nothing, open too much, talk nonsense or leave.

use super::*;

#[tokio::test]
async fn a_connection_that_nobody_reads_is_held_back_within_the_bound() {
    let (mut client, _engine, _task) = Setup::new(Transport::Spdy).with_pod();
    let (_, data) = client.connect(DEAF, 0).await;
    let mut out = BytesMut::new();
    client.link.data(data, &[b'x'; 1 << 20], false, &mut out);
    let mut sent = 0;
    loop {
        let writing = client.io.write_all(&out);
        match tokio::time::timeout(Duration::from_millis(500), writing).await {
            Ok(written) => written.unwrap(),
            Err(_) => break,
        }
        sent += 1;
        // What sockets hold comes on top.
        assert!(
            sent < 30,
            "{sent} MiB were taken of a connection that nobody reads"
        );
    }
    assert!(sent >= MAX_BACKLOG >> 20, "only {sent} MiB");
}

#[tokio::test]
async fn streams_that_are_none_are_refused_and_the_others_go_on() {
    let (mut client, _engine, _task) = Setup::new(Transport::Spdy).with_pod();
    let kind = |kind| [("streamtype", kind), ("port", "7"), ("requestid", "0")];
    for (stream, headers) in [
        (1, &[("streamtype", "data")][..]),
        (1, &[("port", "7")]),
        (1, &[("streamtype", "data"), ("port", "0")]),
        (1, &[("streamtype", "data"), ("port", "+7")]),
        (1, &[("streamtype", "data"), ("port", "65536")]),
        (1, &kind("stdin")),
        (2, &kind("data")),
    ] {
        client.frame(syn(stream, headers)).await;
        assert_eq!(
            client.hear().await,
            Some(Heard::Reset(stream)),
            "{headers:?}"
        );
    }
    client.frame(syn(5, &kind("error"))).await;
    assert_eq!(client.hear().await, Some(Heard::Reply(5, false)));
    client.frame(syn(7, &kind("error"))).await;
    assert_eq!(client.hear().await, Some(Heard::Reset(7)));
    client.frame(syn(9, &kind("data"))).await;
    assert_eq!(client.hear().await, Some(Heard::Reply(9, false)));
    client.data(9, b"fine", true).await;
    assert_eq!(client.until_end(9).await[&9], "FINE");
}

#[tokio::test]
async fn clients_without_numbers_of_requests_are_paired_as_the_kubelet_does() {
    let (mut client, _engine, _task) = Setup::new(Transport::Spdy).with_pod();
    for first in [1, 5] {
        client
            .frame(syn(first, &[("streamtype", "error"), ("port", "7")]))
            .await;
        client
            .frame(syn(first + 2, &[("streamtype", "data"), ("port", "7")]))
            .await;
        client.data(first + 2, b"early", true).await;
        let all = client.until_end(first + 2).await;
        assert_eq!(all[&(first + 2)], "EARLY");
    }
}

#[tokio::test]
async fn too_many_connections_are_refused() {
    let (mut client, _engine, _task) = Setup::new(Transport::Spdy).with_pod();
    let count = u32::try_from(MAX_CONNECTIONS).unwrap();
    for request in 0..count {
        client
            .frame(open(4 * request + 1, "error", ECHO, request))
            .await;
        assert!(matches!(client.hear().await, Some(Heard::Reply(..))));
    }
    client
        .frame(open(4 * count + 1, "error", ECHO, count))
        .await;
    assert_eq!(client.hear().await, Some(Heard::Reset(4 * count + 1)));
    client.frame(open(3, "data", ECHO, 0)).await;
    assert_eq!(client.hear().await, Some(Heard::Reply(3, false)));
    client.data(3, b"x", true).await;
    assert_eq!(client.until_end(3).await[&3], "X");
}

#[tokio::test]
async fn hostile_bytes_end_the_session() {
    for (transport, bytes) in [
        (Transport::Spdy, &b"\x80\x02\0\x01\0\0\0\0"[..]),
        (Transport::Spdy, b"\0\0\0\0\0\0\0\0"),
        (Transport::Tunnel, b"\x82\x08unmasked"),
        (Transport::Tunnel, b"\x82\x88\0\0\0\0\x80\x02\0\x01\0\0\0\0"),
    ] {
        let (mut client, mut server, _engine, task) = Setup::new(transport).start();
        client.io.write_all(bytes).await.unwrap();
        assert_eq!(server.hear().await, Some(Heard::Close));
        drop((client, server));
        let ended = task.await.unwrap();
        assert!(matches!(ended.reason, Reason::BadClient(_)), "{ended:?}");
    }
    let (mut client, mut server, _engine, task) = Setup::new(Transport::Spdy).start();
    server
        .frame(syn(2, &[("streamtype", "data"), ("port", "7")]))
        .await;
    assert_eq!(client.hear().await, Some(Heard::Close));
    drop((client, server));
    let ended = task.await.unwrap();
    assert!(matches!(ended.reason, Reason::BadServer(_)), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_leaves_ends_connections_after_what_it_said() {
    let (mut client, mut server, engine, task) = Setup::new(Transport::Spdy).start();
    let (_, data) = client.connect(ECHO, 0).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let Some(Heard::Open(stream, ..)) = server.hear().await else {
            panic!()
        };
        streams.push(stream);
        let reply = Frame::SynReply {
            stream,
            fin: false,
            headers: Headers::default(),
        };
        server.frame(reply).await;
    }
    server.data(streams[1], b"last words", false).await;
    drop(server);
    assert_eq!(client.until_end(data).await[&data], "last words");
    client.data(data, b"", true).await;
    assert_eq!(client.hear().await, Some(Heard::Close));
    drop(client);
    assert_eq!(task.await.unwrap().reason, Reason::Server);
    nothing_is_open(&engine).await;
}

#[tokio::test]
async fn a_dial_that_the_server_resets_fails() {
    let (mut client, mut server, engine, _task) = Setup::new(Transport::Spdy).start();
    let (_, data) = client.connect(ECHO, 0).await;
    let Some(Heard::Open(..)) = server.hear().await else {
        panic!()
    };
    let Some(Heard::Open(stream, ..)) = server.hear().await else {
        panic!()
    };
    let status = CANCEL;
    server.frame(Frame::Rst { stream, status }).await;
    assert_eq!(client.until_end(data).await[&data], "");
    let failures = engine.failures.lock().unwrap().clone();
    assert_eq!(failures, ["the server does not take the connection"]);
}

#[tokio::test]
async fn a_client_that_resets_a_connection_ends_it_at_the_server() {
    let (mut client, mut server, engine, _task) = Setup::new(Transport::Spdy).start();
    let (_, data) = client.connect(ECHO, 0).await;
    let mut last = 0;
    for _ in 0..2 {
        let Some(Heard::Open(stream, ..)) = server.hear().await else {
            panic!()
        };
        last = stream;
        let reply = Frame::SynReply {
            stream,
            fin: false,
            headers: Headers::default(),
        };
        server.frame(reply).await;
    }
    let status = CANCEL;
    client
        .frame(Frame::Rst {
            stream: data,
            status,
        })
        .await;
    let end = server.hear().await;
    assert_eq!(end, Some(Heard::Data(last, Bytes::new(), true)));
    server.data(last, b"", true).await;
    nothing_is_open(&engine).await;
}

#[tokio::test]
async fn a_ping_is_answered_and_keeps_the_server_awake_too() {
    let (mut client, mut server, _engine, _task) = Setup::new(Transport::Spdy).start();
    client.frame(Frame::Ping(1)).await;
    let mut answer = [0; 12];
    client.io.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01");
    assert_eq!(server.hear().await, Some(Heard::Ping));
}

#[tokio::test]
async fn a_client_that_leaves_ends_everything() {
    let (mut client, engine, task) = Setup::new(Transport::Tunnel).with_pod();
    for request in 0..5 {
        client.connect(ECHO, request).await;
    }
    drop(client);
    let ended = task.await.unwrap();
    assert_eq!((ended.connections, ended.reason), (5, Reason::Client));
    nothing_is_open(&engine).await;
}
