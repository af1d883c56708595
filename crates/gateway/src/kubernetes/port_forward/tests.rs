mod bounds;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use weir_audit::RecordingChunk;
use weir_wire_kube::channel::{Demux, Event as ChannelEvent};
use weir_wire_kube::spdy::{CANCEL, Frame, Headers};
use weir_wire_kube::websocket;

use super::link::Heard;
use super::*;
use crate::kubernetes::upgraded;

/// Echoes what it gets in upper case, and ends when its peer does.
const ECHO: u16 = 7;
/// Says something at once and ends.
const DAYTIME: u16 = 13;
/// Nobody listens: the server says so.
const CLOSED: u16 = 81;
/// The engine does not serve it.
const DENIED: u16 = 82;
/// The engine serves it and reads nothing.
const DEAF: u16 = 83;
/// What it says is not let pass for now.
const HELD: u16 = 84;

const TIME: &str = "Fri Nov 27";

/// Lets all pass, but pieces of these lengths.
#[derive(Default)]
struct Gate {
    held: Option<u64>,
    refused: Option<u64>,
    release: Notify,
}

impl Flow for Gate {
    async fn pass(&self, bytes: u64) -> Result<(), String> {
        if self.held == Some(bytes) {
            self.release.notified().await;
        }
        match self.refused == Some(bytes) {
            true => Err("denied by rule \"bulk\"".to_owned()),
            false => Ok(()),
        }
    }

    fn record(&self, _chunk: RecordingChunk) {}

    async fn ending(&self, _ended: &upgraded::Ended) {}
}

/// An engine that relays.
#[derive(Default)]
struct Engine {
    open: Arc<AtomicUsize>,
    served: Mutex<Vec<u16>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Serve for Arc<Engine> {
    fn serve(&self, mut stream: TcpStream, port: u16, way: PortForward) {
        self.served.lock().unwrap().push(port);
        if port == DENIED {
            return;
        }
        let (open, failures) = (Arc::clone(&self.open), Arc::clone(&self.failures));
        open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            match way.dial().await {
                Ok(_dialled) if port == DEAF => {
                    let mut never = [0; 1];
                    while stream.peek(&mut never).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
                Ok(mut dialled) => {
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut dialled).await);
                }
                Err(error) => failures.lock().unwrap().push(error.to_string()),
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// A side that a test speaks for.
struct Peer {
    io: DuplexStream,
    input: BytesMut,
    link: Link,
}

impl Peer {
    async fn hear(&mut self) -> Option<Heard> {
        loop {
            let mut back = BytesMut::new();
            let heard = self.link.hear(&mut self.input, &mut back).unwrap();
            self.io.write_all(&back).await.unwrap_or_default();
            if heard.is_some() {
                return heard;
            }
            if self.io.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn frame(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.link.frame(&frame, &mut out);
        self.io.write_all(&out).await.unwrap();
    }

    async fn data(&mut self, stream: u32, data: &[u8], last: bool) {
        let mut out = BytesMut::new();
        self.link.data(stream, data, last, &mut out);
        self.io.write_all(&out).await.unwrap();
    }

    /// Opens a pair of streams, and hears that they were taken.
    async fn connect(&mut self, port: u16, request: u32) -> (u32, u32) {
        let (error, data) = (4 * request + 1, 4 * request + 3);
        for (stream, kind) in [(error, "error"), (data, "data")] {
            self.frame(open(stream, kind, port, request)).await;
        }
        for stream in [error, data] {
            let taken = self.hear().await;
            assert_eq!(taken, Some(Heard::Reply(stream, false)));
        }
        (error, data)
    }

    /// What comes until this stream ends, by stream; resets are ends too.
    async fn until_end(&mut self, stream: u32) -> HashMap<u32, String> {
        let mut all = HashMap::<u32, String>::new();
        loop {
            match self.hear().await {
                Some(Heard::Data(from, data, last)) => {
                    let text = std::str::from_utf8(&data).unwrap();
                    all.entry(from).or_default().push_str(text);
                    if last && from == stream {
                        return all;
                    }
                }
                Some(Heard::Reset(from)) if from == stream => return all,
                Some(Heard::Reset(_) | Heard::Ping | Heard::Reply(..)) => {}
                other => panic!("{other:?} before the end of {stream}: {all:?}"),
            }
        }
    }
}

fn open(stream: u32, kind: &str, port: u16, request: u32) -> Frame {
    let (port, request) = (port.to_string(), request.to_string());
    syn(
        stream,
        &[
            ("streamtype", kind),
            ("port", &port),
            ("requestid", &request),
        ],
    )
}

fn syn(stream: u32, headers: &[(&str, &str)]) -> Frame {
    Frame::SynStream {
        stream,
        associated: 0,
        priority: 0,
        fin: false,
        unidirectional: false,
        headers: Headers::new(headers),
    }
}

/// The API server, the kubelet and the pod behind them.
async fn pod(mut peer: Peer) {
    let mut streams = HashMap::<u32, (String, u16, String)>::new();
    let mut errors = HashMap::<String, u32>::new();
    while let Some(heard) = peer.hear().await {
        match heard {
            Heard::Open(stream, headers, fin) => {
                let kind = headers.first("streamtype").unwrap().to_owned();
                let port: u16 = headers.first("port").unwrap().parse().unwrap();
                let request = headers.first("requestid").unwrap().to_owned();
                assert_eq!(fin, kind == "error", "errors are only listened to");
                let reply = Frame::SynReply {
                    stream,
                    fin: false,
                    headers: Headers::default(),
                };
                peer.frame(reply).await;
                if kind == "error" {
                    errors.insert(request, stream);
                    continue;
                }
                let error = errors[&request];
                streams.insert(stream, (kind, port, request));
                match port {
                    CLOSED => {
                        let text = b"connect: connection refused";
                        peer.data(error, text, true).await;
                        peer.data(stream, b"", true).await;
                    }
                    DAYTIME => {
                        peer.data(stream, TIME.as_bytes(), false).await;
                        peer.data(error, b"", true).await;
                        peer.data(stream, b"", true).await;
                    }
                    _ => {}
                }
            }
            Heard::Data(stream, data, last) => {
                if matches!(streams[&stream].1, ECHO | HELD) {
                    peer.data(stream, &data.to_ascii_uppercase(), last).await;
                }
            }
            Heard::Reset(_) | Heard::Ping | Heard::Reply(..) => {}
            Heard::Close => return,
        }
    }
}

struct Setup {
    transport: Transport,
    server: Transport,
    gate: Arc<Gate>,
    buffer: usize,
}

impl Setup {
    fn new(transport: Transport) -> Self {
        Self {
            transport,
            server: Transport::Spdy,
            gate: Arc::default(),
            buffer: 1 << 16,
        }
    }

    /// The client's end, the server's, and the engine.
    fn start(self) -> (Peer, Peer, Arc<Engine>, JoinHandle<Ended>) {
        let (client, near) = duplex(self.buffer);
        let (server, far) = duplex(self.buffer);
        let engine = Arc::<Engine>::default();
        // A client reads what a server says, and the other way round.
        let as_client = Link::of_server(&self.transport);
        let as_server = Link::of_client(&self.server);
        let forwarded = Forwarded {
            client: near,
            client_transport: self.transport,
            server: far,
            server_transport: self.server,
            stop: Box::pin(std::future::pending()),
        };
        let serve = Arc::clone(&engine);
        let gate = self.gate;
        let task = tokio::spawn(async move { forward(forwarded, gate, &serve).await });
        let peer = |io, link| Peer {
            io,
            input: BytesMut::new(),
            link,
        };
        (
            peer(client, as_client),
            peer(server, as_server),
            engine,
            task,
        )
    }

    /// The same with a pod behind it.
    fn with_pod(self) -> (Peer, Arc<Engine>, JoinHandle<Ended>) {
        let (client, server, engine, task) = self.start();
        tokio::spawn(pod(server));
        (client, engine, task)
    }
}

async fn nothing_is_open(engine: &Engine) {
    for _ in 0..500 {
        if engine.open.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "{} connections are left",
        engine.open.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn connections_go_through_in_every_transport_however_it_is_cut() {
    for transport in [Transport::Spdy, Transport::Tunnel] {
        for server in [Transport::Spdy, Transport::Tunnel] {
            for buffer in [1, 1 << 16] {
                let mut setup = Setup::new(transport.clone());
                (setup.server, setup.buffer) = (server.clone(), buffer);
                let (mut client, engine, task) = setup.with_pod();
                let (error, data) = client.connect(ECHO, 0).await;
                client.data(error, b"", true).await;
                client.data(data, b"hello ", false).await;
                client.data(data, b"there", true).await;
                let all = client.until_end(data).await;
                assert_eq!(all[&data], "HELLO THERE");
                assert_eq!(all[&error], "");
                let (_, data) = client.connect(DAYTIME, 1).await;
                assert_eq!(client.until_end(data).await[&data], TIME);
                client.data(data, b"", true).await;
                nothing_is_open(&engine).await;
                drop(client);
                let ended = task.await.unwrap();
                let wanted = Ended {
                    bytes_in: 11,
                    bytes_out: 11 + 10,
                    connections: 2,
                    reason: Reason::Client,
                };
                assert_eq!(ended, wanted);
                assert_eq!(*engine.served.lock().unwrap(), [ECHO, DAYTIME]);
            }
        }
    }
}

#[tokio::test]
async fn channels_are_connections_that_begin_with_their_ports() {
    for name in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let version = Subprotocol::parse(Some(name)).unwrap();
        let ports = vec![ECHO, DAYTIME, CLOSED];
        let (mut client, engine, task) = Setup::new(Transport::Channels(version, ports)).with_pod();
        let mut out = BytesMut::new();
        version.message(0, b"hello", Some([1, 2, 3, 4]), &mut out);
        version.message(1, b"to nobody", Some([1, 2, 3, 4]), &mut out);
        version.message(9, b"to nobody", Some([1, 2, 3, 4]), &mut out);
        client.io.write_all(&out).await.unwrap();
        let (mut reader, mut demux) = (websocket::Reader::of_server(), Demux::new(version));
        let mut all = vec![Vec::new(); 6];
        let wanted = [
            &b"\x07\0HELLO"[..],
            b"\x07\0",
            b"\x0d\0Fri Nov 27",
            b"\x0d\0",
            b"\x51\0",
            b"\x51\0connect: connection refused",
        ];
        while all != wanted {
            while let Some(event) = reader.feed(&mut client.input).unwrap() {
                let websocket::Event::Piece(piece) = event else {
                    panic!("{event:?}")
                };
                let Some(ChannelEvent::Data(channel, data)) = demux.take(piece).unwrap() else {
                    panic!()
                };
                all[usize::from(channel)].extend_from_slice(&data);
            }
            if all != wanted {
                let read = client.io.read_buf(&mut client.input).await.unwrap();
                assert!(read > 0, "{all:?}");
            }
        }
        drop(client);
        assert_eq!(task.await.unwrap().reason, Reason::Client);
        nothing_is_open(&engine).await;
    }
}

#[tokio::test]
async fn channels_of_a_server_are_dialled_once_and_what_they_said_before_is_kept() {
    for name in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let version = Subprotocol::parse(Some(name)).unwrap();
        let transport = Transport::Channels(version, vec![ECHO, DENIED]);
        let mut setup = Setup::new(transport.clone());
        setup.server = transport;
        let (mut client, mut server, engine, task) = setup.start();
        let mut out = BytesMut::new();
        for (channel, port) in [(0, ECHO), (1, ECHO), (2, DENIED), (3, DENIED)] {
            server.link.announce(channel, port, &mut out);
        }
        server.link.data(0, b"greeting;", false, &mut out);
        server.link.data(2, b"to nobody", false, &mut out);
        server.io.write_all(&out).await.unwrap();
        client.data(0, b"question", false).await;
        let mut got = Vec::new();
        while got != b"greeting;" {
            match client.hear().await {
                Some(Heard::Data(0, data, false)) => got.extend_from_slice(&data),
                other => panic!("{other:?}"),
            }
        }
        let mut asked = Vec::new();
        while asked != b"question" {
            match server.hear().await {
                Some(Heard::Data(0, data, false)) => asked.extend_from_slice(&data),
                other => panic!("{other:?}"),
            }
        }
        server.data(1, b"it broke", false).await;
        server.io.shutdown().await.unwrap();
        assert_eq!(
            client.hear().await,
            Some(Heard::Data(1, Bytes::from_static(b"it broke"), false))
        );
        assert_eq!(client.hear().await, Some(Heard::Close));
        drop(client);
        let ended = task.await.unwrap();
        assert!(
            matches!(ended.reason, Reason::Done | Reason::Server),
            "{ended:?}"
        );
        nothing_is_open(&engine).await;
        assert!(engine.failures.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn channels_end_when_all_their_connections_have() {
    let version = Subprotocol::parse(Some("v4.channel.k8s.io")).unwrap();
    let (mut client, _engine, task) =
        Setup::new(Transport::Channels(version, vec![DAYTIME, CLOSED])).with_pod();
    while client.io.read_buf(&mut client.input).await.unwrap() > 0 {}
    assert!(client.input.ends_with(b"\x88\x02\x03\xe8"));
    drop(client);
    assert_eq!(task.await.unwrap().reason, Reason::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_connections_at_once_keep_their_bytes_apart() {
    let mut setup = Setup::new(Transport::Tunnel);
    setup.server = Transport::Tunnel;
    let (mut client, engine, task) = setup.with_pod();
    let text = |request: u32| format!("connection {request}; ").repeat(10_000);
    let mut streams = HashMap::new();
    for request in 0..50 {
        let (_, data) = client.connect(ECHO, request).await;
        streams.insert(data, text(request));
    }
    let (read, mut write) = tokio::io::split(client.io);
    let mut sender = Link::of_server(&Transport::Tunnel);
    let sending: Vec<_> = streams
        .iter()
        .map(|(data, text)| (*data, text.clone()))
        .collect();
    tokio::spawn(async move {
        for (stream, text) in sending {
            let mut out = BytesMut::new();
            sender.data(stream, text.as_bytes(), true, &mut out);
            write.write_all(&out).await.unwrap();
        }
        // The connection stays open.
        std::future::pending::<()>().await;
    });
    let (mut read, mut input, mut back) = (read, client.input, BytesMut::new());
    let (mut got, mut left) = (HashMap::<u32, String>::new(), 50);
    while left > 0 {
        match client.link.hear(&mut input, &mut back).unwrap() {
            Some(Heard::Data(stream, data, last)) => {
                let text = std::str::from_utf8(&data).unwrap();
                got.entry(stream).or_default().push_str(text);
                left -= usize::from(last && streams.contains_key(&stream));
            }
            Some(_) => {}
            None => assert!(read.read_buf(&mut input).await.unwrap() > 0),
        }
    }
    for (stream, text) in &streams {
        assert!(got[stream] == text.to_uppercase(), "stream {stream}");
    }
    nothing_is_open(&engine).await;
    task.abort();
}

#[tokio::test]
async fn one_that_fails_is_told_and_leaves_the_others_alone() {
    let (mut client, engine, _task) = Setup::new(Transport::Spdy).with_pod();
    let (_, echo) = client.connect(ECHO, 0).await;
    let (error, data) = client.connect(CLOSED, 1).await;
    let all = client.until_end(data).await;
    assert_eq!(all[&error], "connect: connection refused");
    let (error, data) = client.connect(DENIED, 2).await;
    let all = client.until_end(data).await;
    // kubectl gives up all connections when it reads an error of one.
    assert_eq!(all[&error], "");
    client.data(echo, b"still there", true).await;
    assert_eq!(client.until_end(echo).await[&echo], "STILL THERE");
    assert!(engine.failures.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_that_is_held_leaves_the_others_alone() {
    let mut setup = Setup::new(Transport::Spdy);
    setup.gate = Arc::new(Gate {
        held: Some(4),
        ..Gate::default()
    });
    let gate = Arc::clone(&setup.gate);
    let (mut client, _engine, _task) = setup.with_pod();
    let (_, held) = client.connect(HELD, 0).await;
    client.data(held, b"four", false).await;
    let (_, echo) = client.connect(ECHO, 1).await;
    client.data(echo, b"others", true).await;
    let all = client.until_end(echo).await;
    assert_eq!((all[&echo].as_str(), all.get(&held)), ("OTHERS", None));
    gate.release.notify_one();
    client.data(held, b"", true).await;
    assert_eq!(client.until_end(held).await[&held], "FOUR");
}

#[tokio::test]
async fn what_is_not_let_pass_ends_all_with_its_reason() {
    let mut setup = Setup::new(Transport::Spdy);
    setup.gate = Arc::new(Gate {
        refused: Some(6),
        ..Gate::default()
    });
    let (mut client, engine, task) = setup.with_pod();
    let (error, data) = client.connect(ECHO, 0).await;
    client.data(data, b"secret", false).await;
    let all = client.until_end(data).await;
    assert_eq!(
        (all[&error].as_str(), all[&data].as_str()),
        ("denied by rule \"bulk\"", "")
    );
    assert_eq!(client.hear().await, Some(Heard::Close));
    drop(client);
    let ended = task.await.unwrap();
    assert_eq!(
        ended.reason,
        Reason::Refused("denied by rule \"bulk\"".to_owned())
    );
    assert_eq!(ended.bytes_out, 0);
    nothing_is_open(&engine).await;
}
