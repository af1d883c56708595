//! How streams end, what is kept of them, and what floods and hostile bytes do.

use super::*;

#[tokio::test]
async fn a_denial_in_the_middle_is_a_status_that_kubectl_prints() {
    for name in ["v4.channel.k8s.io", "v5.channel.k8s.io", "channel.k8s.io"] {
        let mut setup = Setup::new(websocket(name));
        setup.gate = Gate::of(4, Some("denied by rule \"bulk\""));
        let gate = Arc::clone(&setup.gate);
        let (mut client, mut server, task) = setup.start();
        server.send(&message(name, None, STDOUT, b"1234")).await;
        server.send(&message(name, None, STDOUT, b"secret")).await;
        let seen = said(name, websocket::Reader::of_server(), client.rest().await);
        let [(STDOUT, shown), (ERROR, status), (254, code)] = &seen[..] else {
            panic!("{seen:?}")
        };
        assert_eq!((shown.as_str(), code.as_str()), ("1234", "Some(1000)"));
        let exit = channel::exit(version(name), status.as_bytes());
        assert_eq!(
            exit,
            channel::Exit::Failed("denied by rule \"bulk\"".to_owned())
        );
        let at_server = said(name, websocket::Reader::of_client(), server.rest().await);
        assert_eq!(at_server, pairs(&[(254, "Some(1000)")]));
        drop((client, server));
        let ended = task.await.unwrap();
        assert_eq!(
            ended.reason,
            Reason::Refused("denied by rule \"bulk\"".to_owned())
        );
        assert_eq!(gate.recorded(Stream::Stdout), "1234");
        assert!(gate.ends.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_denial_over_spdy_ends_every_stream_and_resets_the_servers() {
    let mut setup = Setup::new(spdy4());
    setup.gate = Gate::of(0, Some("no"));
    let mut both = Opened::new(setup, &["error", "stdin", "stdout"]).await;
    both.answer(data(5, false, "secret")).await;
    let Frame::Data {
        stream,
        fin,
        data: status,
    } = both.answered().await
    else {
        panic!()
    };
    assert_eq!((stream, fin), (1, true));
    let exit = channel::exit(version("v4.channel.k8s.io"), &status);
    assert_eq!(exit, channel::Exit::Failed("no".to_owned()));
    assert_eq!(both.answered().await, data(5, true, ""));
    assert_eq!(both.answered().await, data(3, true, ""));
    for stream in [3, 5, 1] {
        let status = spdy::CANCEL;
        assert_eq!(both.asked().await, Frame::Rst { stream, status });
    }
    assert!(matches!(both.asked().await, Frame::GoAway { .. }));
    assert!(both.client.rest().await.is_empty());
}

#[tokio::test]
async fn the_client_learns_of_the_end_once_it_is_kept() {
    let name = "v5.channel.k8s.io";
    let keep = Arc::<Notify>::default();
    let mut setup = Setup::new(websocket(name));
    setup.gate = Arc::new(Gate {
        limit: u64::MAX.into(),
        keep: Some(Arc::clone(&keep)),
        ..Gate::default()
    });
    let gate = Arc::clone(&setup.gate);
    let (mut client, mut server, task) = setup.start();
    server.send(&message(name, None, STDOUT, b"last")).await;
    server
        .send(&message(name, None, ERROR, STATUS_7.as_bytes()))
        .await;
    let mut reader = websocket::Reader::of_server();
    client.event(&mut reader).await;
    let early = tokio::time::timeout(Duration::from_millis(100), client.event(&mut reader)).await;
    assert!(early.is_err(), "{early:?}");
    keep.notify_one();
    let websocket::Event::Piece(piece) = client.event(&mut reader).await else {
        panic!()
    };
    assert_eq!(piece.data[0], ERROR);
    let ends: Vec<_> = gate
        .ends
        .lock()
        .unwrap()
        .iter()
        .map(|end| (end.exit, end.bytes_out))
        .collect();
    assert_eq!(ends, [(Some(7), 4)]);
    drop((client, server));
    assert_eq!(task.await.unwrap().exit, Some(7));
    assert_eq!(gate.ends.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_terminal_is_recorded_with_its_sizes_even_when_the_relay_is_dropped() {
    let name = "v4.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.terminal = true;
    let gate = Arc::clone(&setup.gate);
    let (mut client, mut server, task) = setup.start();
    client
        .send(&message(
            name,
            MASK,
            RESIZE,
            b"{\"Width\":120,\"Height\":40}\n",
        ))
        .await;
    let mut reader = websocket::Reader::of_client();
    server.event(&mut reader).await;
    server.send(&message(name, None, STDOUT, b"$ ")).await;
    client.event(&mut websocket::Reader::of_server()).await;
    client.send(&message(name, MASK, STDIN, b"id\r")).await;
    server.event(&mut reader).await;
    server
        .send(&message(name, None, STDOUT, b"id\r\nuid=0\r\n"))
        .await;
    let mut reader = websocket::Reader::of_server();
    client.event(&mut reader).await;
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(gate.recorded(Stream::TerminalResize), "120x40");
    assert_eq!(gate.recorded(Stream::TerminalOutput), "$ id\r\nuid=0\r\n");
    assert_eq!(gate.recorded(Stream::TerminalInput), "id\r");
}

fn scanner() -> Option<Arc<Scanner>> {
    let value = ValueMask {
        label: LabelId(0),
        detectors: ["email".to_owned()].into(),
        mask: Mask::Constant("[mail]".into()),
    };
    let name = |_| Some(Arc::from("pii.email"));
    Scanner::new(&[value], name, &Arc::new(TokenKey::new(b"key")))
}

#[tokio::test(start_paused = true)]
async fn values_are_masked_in_what_is_shown_and_in_what_is_recorded() {
    let name = "v5.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.scanner = scanner();
    let gate = Arc::clone(&setup.gate);
    let (mut client, mut server, task) = setup.start();
    for (channel, part) in [
        (STDOUT, "a zora@exa"),
        (STDERR, "b zora@example.test"),
        (STDOUT, "mple.test c\nno "),
        (STDOUT, "end"),
        (ERROR, "{\"status\":\"Success\"}"),
    ] {
        server
            .send(&message(name, None, channel, part.as_bytes()))
            .await;
    }
    drop(server);
    let seen = said(name, websocket::Reader::of_server(), client.rest().await);
    let of = |channel| {
        seen.iter()
            .filter(|it| it.0 == channel)
            .map(|it| it.1.as_str())
            .collect::<String>()
    };
    assert_eq!(of(STDOUT), "a [mail] c\nno end");
    assert_eq!(of(STDERR), "b [mail]");
    assert_eq!(
        seen.last(),
        pairs(&[(ERROR, "{\"status\":\"Success\"}")]).last()
    );
    drop(client);
    let ended = task.await.unwrap();
    assert_eq!(
        ended
            .masked
            .iter()
            .map(|it| it.to_string())
            .collect::<Vec<_>>(),
        ["pii.email"]
    );
    assert_eq!(ended.bytes_out, 10 + 19 + 15 + 3);
    assert_eq!(gate.recorded(Stream::Stdout), "a [mail] c\nno end");
}

#[tokio::test]
async fn text_without_an_end_of_line_is_shown_after_a_moment() {
    let name = "v5.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.scanner = scanner();
    let (mut client, mut server, _task) = setup.start();
    server.send(&message(name, None, STDOUT, b"$ ")).await;
    let mut reader = websocket::Reader::of_server();
    let shown = tokio::time::timeout(Duration::from_secs(5), client.event(&mut reader)).await;
    assert!(matches!(shown, Ok(websocket::Event::Piece(piece)) if &piece.data[..] == b"\x01$ "));
}

#[tokio::test]
async fn hostile_bytes_of_a_client_end_the_stream_and_it_is_told() {
    let name = "v5.channel.k8s.io";
    for hostile in [
        &b"\x82\x02\0x"[..],
        b"\xc2\x81\0\0\0\0x",
        b"\x82\x81\0\0\0\0\xff",
    ] {
        let (mut client, mut server, task) = Setup::new(websocket(name)).start();
        client.send(hostile).await;
        let seen = said(name, websocket::Reader::of_server(), client.rest().await);
        assert!(
            seen[0].0 == ERROR && seen[0].1.contains("weir: the client sent"),
            "{seen:?}"
        );
        let seen = said(name, websocket::Reader::of_client(), server.rest().await);
        assert_eq!(seen, pairs(&[(254, "Some(1000)")]));
        drop((client, server));
        let ended = task.await.unwrap();
        assert!(matches!(ended.reason, Reason::BadClient(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_sender_that_keeps_windows_is_granted_what_was_taken() {
    let mut both = Opened::new(Setup::new(spdy4()), &["error", "stdin", "stdout"]).await;
    let long = "x".repeat(40_000);
    both.ask(data(3, false, &long)).await;
    let mut granted = 0;
    while granted < 32_768 {
        if let Frame::WindowUpdate { stream: 3, delta } = both.answered().await {
            granted += delta;
        }
    }
    let mut taken = 0;
    while taken < 40_000 {
        if let Frame::Data { data, .. } = both.asked().await {
            taken += data.len();
        }
    }
}

#[tokio::test]
async fn pings_of_spdy_are_answered_and_handed_on() {
    let mut both = Opened::new(Setup::new(spdy4()), &["error"]).await;
    both.ask(Frame::Ping(5)).await;
    assert_eq!(both.answered().await, Frame::Ping(5));
    assert_eq!(both.asked().await, Frame::Ping(5));
    // The server's answer has nobody to go to.
    both.answer(Frame::Ping(5)).await;
    both.answer(Frame::Ping(2)).await;
    assert_eq!(both.asked().await, Frame::Ping(2));
    assert_eq!(both.answered().await, Frame::Ping(2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all_of_what_a_server_said_before_it_closed() {
    let name = "v4.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.buffer = 64;
    let (mut client, mut server, task) = setup.start();
    let long = "y".repeat(20_000);
    let all = message(name, None, STDOUT, long.as_bytes());
    server.send(&all).await;
    drop(server);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let seen = said(name, websocket::Reader::of_server(), client.rest().await);
    assert_eq!(seen, pairs(&[(STDOUT, &long)]));
    drop(client);
    assert_eq!(task.await.unwrap().reason, Reason::Server);
}

#[tokio::test]
async fn a_stream_is_stopped_from_outside_with_a_reason() {
    let name = "v5.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    let stop = Arc::<Notify>::default();
    let told = Arc::clone(&stop);
    setup.stop = Box::pin(async move {
        told.notified().await;
        "the policy has changed".to_owned()
    });
    let (mut client, server, task) = setup.start();
    stop.notify_one();
    let seen = said(name, websocket::Reader::of_server(), client.rest().await);
    assert!(
        seen[0].0 == ERROR && seen[0].1.contains("the policy has changed"),
        "{seen:?}"
    );
    drop((client, server));
    let reason = Reason::Stopped("the policy has changed".to_owned());
    assert_eq!(task.await.unwrap().reason, reason);
}

#[tokio::test]
async fn floods_of_pings_and_streams_stop_being_read_when_nobody_takes_the_answers() {
    for flood in ["ping", "stream"] {
        let mut setup = Setup::new(match flood {
            "ping" => websocket("v5.channel.k8s.io"),
            _ => spdy4(),
        });
        setup.buffer = 1000;
        let (mut client, _server, _task) = setup.start();
        let mut bytes = BytesMut::new();
        let mut writer = spdy::Writer::default();
        for at in 0..50_000 {
            match flood {
                "ping" => websocket::frame(Opcode::Ping, MASK, b"", &[7; 100], &mut bytes),
                _ => writer.frame(&open(2 * at + 1, "nothing"), &mut bytes),
            }
        }
        let all =
            tokio::time::timeout(Duration::from_millis(300), client.io.write_all(&bytes)).await;
        assert!(all.is_err(), "{flood}: everything was taken");
    }
}
