use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

#[tokio::test]
async fn closes_connections_over_the_cap_and_counts_them() {
    let (_drain, drained) = drain();
    let mut acceptor =
        Acceptor::new(listener(), Mode::Named, Limits { connections: 1 }, drained).unwrap();
    let (addr, counters) = (acceptor.local_addr(), acceptor.counters());
    let mut first = TcpStream::connect(addr).await.unwrap();
    let mut held = acceptor.accept().await.unwrap();
    let mut second = TcpStream::connect(addr).await.unwrap();
    let task = tokio::spawn(async move { acceptor.accept().await.map(|a| a.client) });
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(counters.over_cap(), 1);
    first.write_all(b"x").await.unwrap();
    assert_eq!(held.stream.read(&mut [0; 1]).await.unwrap(), 1);
    drop(held);
    let third = TcpStream::connect(addr).await.unwrap();
    assert_eq!(
        task.await.unwrap().unwrap().addr(),
        third.local_addr().unwrap()
    );
}

#[tokio::test]
async fn refuses_a_direct_connection_to_the_redirect_listener() {
    let (_drain, drained) = drain();
    let mut acceptor = Acceptor::new(
        listener(),
        Mode::Redirect,
        Limits { connections: 9 },
        drained,
    )
    .unwrap();
    let (addr, counters) = (acceptor.local_addr(), acceptor.counters());
    tokio::spawn(async move { acceptor.accept().await.map(|a| a.client) });
    let mut client = TcpStream::connect(addr).await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!((counters.loops(), counters.accepted()), (1, 0));
}

#[tokio::test]
async fn refuses_an_explicit_listener_that_names_itself() {
    let (_drain, drained) = drain();
    let socket = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let mode = Mode::Explicit(OrigDstAddr::configured(([127, 0, 0, 1], port).into()));
    let mut acceptor = Acceptor::new(socket, mode, Limits { connections: 9 }, drained).unwrap();
    let counters = acceptor.counters();
    tokio::spawn(async move { acceptor.accept().await.map(|a| a.client) });
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(counters.loops(), 1);
}

#[tokio::test]
async fn drain_stops_accepting_waits_and_then_cancels() {
    let (drain, drained) = drain();
    let mut acceptor =
        Acceptor::new(listener(), Mode::Named, Limits { connections: 9 }, drained).unwrap();
    let addr = acceptor.local_addr();
    let _quick = TcpStream::connect(addr).await.unwrap();
    let quick = acceptor.accept().await.unwrap();
    let _slow = TcpStream::connect(addr).await.unwrap();
    let slow = acceptor.accept().await.unwrap();
    let slow = tokio::spawn(async move { slow.tracked.cancelled().await });
    let quick = tokio::spawn(async move { quick.tracked.draining().await });
    let left = drain.run(Duration::from_millis(50)).await;
    assert_eq!(left, 1);
    quick.await.unwrap();
    slow.await.unwrap();
    assert!(acceptor.accept().await.is_none());
}

#[tokio::test]
async fn drain_without_connections_ends_at_once() {
    let (drain, _drained) = drain();
    assert_eq!(drain.run(Duration::from_secs(3600)).await, 0);
}

#[test]
fn a_closed_listener_refuses_and_keeps_its_port_until_it_opens_again() {
    // A port that was asked for by number, as the redirect's is: the kernel takes others back.
    let address = listener().local_addr().unwrap();
    let listener = std::net::TcpListener::bind(address).unwrap();
    drop(std::net::TcpStream::connect(address).unwrap());
    close(&listener).unwrap();
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(
        std::net::TcpListener::bind(address).is_err(),
        "the port is kept"
    );
    open(&listener).unwrap();
    let client = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
}
