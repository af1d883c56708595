use super::*;

#[test]
fn reads_resolvers_as_resolv_conf_defines_them() {
    let text = "# c\nsearch a.example\nnameserver 127.0.0.53\nnameserver\t::1\nnameserver bad\n\
                nameserver 10.0.0.1\nnameserver 10.0.0.2\n";
    let expected: Vec<SocketAddr> = ["127.0.0.53:53", "[::1]:53", "10.0.0.1:53"]
        .map(|a| a.parse().unwrap())
        .into();
    assert_eq!(resolvers(text), expected);
    assert_eq!(resolvers(""), ["127.0.0.1:53".parse().unwrap()]);
}

#[tokio::test]
async fn asks_the_next_resolver_and_ignores_answers_to_other_questions() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 512];
        let (n, client) = server.recv_from(&mut buf).unwrap();
        server.send_to(&[9; 12], client).unwrap();
        server.send_to(&buf[..n], client).unwrap();
    });
    let front = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let front_addr = front.local_addr().unwrap();
    let sockets = DnsSockets {
        udp: vec![front],
        tcp: vec![],
    };
    let relay = DnsRelay::with_resolvers(sockets, vec![closed, addr]).unwrap();
    let counters = relay.counters();
    let task = tokio::spawn(relay.run());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&[7; 20], front_addr).await.unwrap();
    let mut buf = [0; 512];
    let n = client.recv(&mut buf).await.unwrap();
    assert_eq!(&buf[..n], &[7; 20]);
    task.abort();
    assert_eq!((counters.asked(), counters.refused()), (1, 0));
}
