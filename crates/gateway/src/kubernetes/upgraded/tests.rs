mod ends;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use weir_audit::Stream;
use weir_detect::mask::TokenKey;
use weir_policy::{LabelId, Mask, ValueMask};
use weir_wire_kube::channel::{self, Demux, ERROR, Event, RESIZE, STDERR, STDIN, STDOUT};
use weir_wire_kube::spdy::{self, Frame, Headers};
use weir_wire_kube::websocket::{self, Opcode};

use super::*;

const STATUS_7: &str = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;

/// Lets `limit` bytes pass; what is beyond waits, or is refused.
#[derive(Default)]
struct Gate {
    limit: AtomicU64,
    passed: AtomicU64,
    refusal: Option<String>,
    raised: Notify,
    chunks: Mutex<Vec<RecordingChunk>>,
    ends: Mutex<Vec<Ended>>,
    /// The end is kept once this is told, where somebody wants to tell it.
    keep: Option<Arc<Notify>>,
}

impl Gate {
    fn open() -> Arc<Self> {
        Self::of(u64::MAX, None)
    }

    fn of(limit: u64, refusal: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.into(),
            refusal: refusal.map(str::to_owned),
            ..Self::default()
        })
    }

    fn raise(&self, limit: u64) {
        self.limit.store(limit, Ordering::SeqCst);
        self.raised.notify_one();
    }

    /// All that was recorded of a stream.
    fn recorded(&self, stream: Stream) -> String {
        let chunks = self.chunks.lock().unwrap();
        let of_stream = chunks.iter().filter(|chunk| chunk.stream == stream);
        let bytes = of_stream.flat_map(|chunk| {
            let moments = chunk.rows.moments().unwrap();
            moments
                .iter()
                .flat_map(|it| it.bytes.to_vec())
                .collect::<Vec<_>>()
        });
        String::from_utf8(bytes.collect()).unwrap()
    }
}

impl Flow for Arc<Gate> {
    async fn pass(&self, bytes: u64) -> Result<(), String> {
        let all = self.passed.fetch_add(bytes, Ordering::SeqCst) + bytes;
        while all > self.limit.load(Ordering::SeqCst) {
            if let Some(refusal) = &self.refusal {
                return Err(refusal.clone());
            }
            self.raised.notified().await;
        }
        Ok(())
    }

    fn record(&self, chunk: RecordingChunk) {
        self.chunks.lock().unwrap().push(chunk);
    }

    async fn ending(&self, ended: &Ended) {
        if let Some(keep) = &self.keep {
            keep.notified().await;
        }
        self.ends.lock().unwrap().push(ended.clone());
    }
}

/// A scripted peer.
struct Peer {
    io: DuplexStream,
    input: BytesMut,
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// Waits until what came is enough.
    async fn until(&mut self, is_enough: impl Fn(BytesMut) -> bool) {
        while !is_enough(self.input.clone()) {
            assert!(self.io.read_buf(&mut self.input).await.unwrap() > 0);
        }
    }

    /// Bytes until the other side says no more.
    async fn rest(&mut self) -> BytesMut {
        while self.io.read_buf(&mut self.input).await.unwrap_or(0) > 0 {}
        std::mem::take(&mut self.input)
    }

    async fn frame(&mut self, reader: &mut spdy::Reader) -> Frame {
        loop {
            if let Some(frame) = reader.feed(&mut self.input).unwrap() {
                return frame;
            }
            assert!(self.io.read_buf(&mut self.input).await.unwrap() > 0);
        }
    }

    async fn event(&mut self, reader: &mut websocket::Reader) -> websocket::Event {
        loop {
            if let Some(event) = reader.feed(&mut self.input).unwrap() {
                return event;
            }
            assert!(self.io.read_buf(&mut self.input).await.unwrap() > 0);
        }
    }
}

struct Setup {
    transport: Transport,
    gate: Arc<Gate>,
    stdin: bool,
    terminal: bool,
    scanner: Option<Arc<Scanner>>,
    buffer: usize,
    stop: Stop,
}

impl Setup {
    fn new(transport: Transport) -> Self {
        Self {
            transport,
            gate: Gate::open(),
            stdin: true,
            terminal: false,
            scanner: None,
            buffer: 1 << 16,
            stop: Box::pin(std::future::pending()),
        }
    }

    fn start(self) -> (Peer, Peer, JoinHandle<Ended>) {
        let (client, near) = duplex(self.buffer);
        let (server, far) = duplex(self.buffer);
        let upgraded = Upgraded {
            client: near,
            server: far,
            transport: self.transport,
            stdin: self.stdin,
            recorder: Some(ChannelRecorder::new(1, 1 << 20, self.terminal)),
            started: Instant::now(),
            scanner: self.scanner,
            stop: self.stop,
        };
        let gate = self.gate;
        let task = tokio::spawn(async move { relay(upgraded, &gate).await });
        let peer = |io| Peer {
            io,
            input: BytesMut::new(),
        };
        (peer(client), peer(server), task)
    }
}

fn version(name: &str) -> channel::Subprotocol {
    channel::Subprotocol::parse(Some(name)).unwrap()
}

fn websocket(name: &str) -> Transport {
    Transport::WebSocket(version(name))
}

fn spdy4() -> Transport {
    Transport::Spdy(version("v4.channel.k8s.io"))
}

const MASK: Option<[u8; 4]> = Some([3, 1, 4, 1]);

/// A message of a client's, or of a server's.
fn message(name: &str, mask: Option<[u8; 4]>, channel: u8, bytes: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    version(name).message(channel, bytes, mask, &mut out);
    out
}

/// What WebSocket bytes say: data of a channel that follows other data of it is joined; a closure of all is
/// one of channel 254.
fn said(name: &str, reader: websocket::Reader, mut bytes: BytesMut) -> Vec<(u8, String)> {
    let all = begun(name, reader, &mut bytes);
    assert!(bytes.is_empty());
    all
}

/// The same of bytes of which the last may not be there yet.
fn begun(name: &str, mut reader: websocket::Reader, bytes: &mut BytesMut) -> Vec<(u8, String)> {
    let mut demux = Demux::new(version(name));
    let mut all: Vec<(u8, String)> = Vec::new();
    while let Some(event) = reader.feed(bytes).unwrap() {
        let (channel, text) = match event {
            websocket::Event::Piece(piece) => match demux.take(piece).unwrap() {
                Some(Event::Data(channel, data)) => {
                    (channel, String::from_utf8(data.to_vec()).unwrap())
                }
                Some(Event::Close(channel)) => (channel, "(closed)".to_owned()),
                None => continue,
            },
            websocket::Event::Close(payload) => {
                (254, format!("{:?}", websocket::close_code(&payload)))
            }
            event => panic!("{event:?}"),
        };
        match all.last_mut() {
            Some((last, before)) if *last == channel && text != "(closed)" => {
                before.push_str(&text)
            }
            _ => all.push((channel, text)),
        }
    }
    all
}

fn pairs(all: &[(u8, &str)]) -> Vec<(u8, String)> {
    all.iter().map(|(a, b)| (*a, (*b).to_owned())).collect()
}

#[tokio::test]
async fn every_version_of_the_channels_goes_through_however_it_is_cut() {
    for name in [
        "channel.k8s.io",
        "base64.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "v5.channel.k8s.io",
    ] {
        for buffer in [1, 7, 1 << 16] {
            let mut setup = Setup::new(websocket(name));
            setup.buffer = buffer;
            let gate = Arc::clone(&setup.gate);
            let (mut client, mut server, task) = setup.start();
            let (to_client, to_server) = (
                [
                    message(name, None, STDOUT, b""),
                    message(name, None, STDOUT, "größer\n".as_bytes()),
                    message(name, None, STDERR, b"oh\n"),
                    message(name, None, STDOUT, b"more\n"),
                    message(name, None, ERROR, STATUS_7.as_bytes()),
                ]
                .concat(),
                [
                    message(name, MASK, STDIN, b"ls\n"),
                    message(name, MASK, RESIZE, b"{\"Width\":80,\"Height\":24}"),
                    message(name, MASK, 9, b"nobody"),
                    message(name, MASK, STDOUT, b"nobody"),
                ]
                .concat(),
            );
            let input = pairs(&[(STDIN, "ls\n"), (RESIZE, "{\"Width\":80,\"Height\":24}")]);
            let serve = async {
                server.send(&to_client).await;
                // A server that ends is not told what the client says afterwards.
                let heard = |mut bytes| begun(name, websocket::Reader::of_client(), &mut bytes);
                server.until(|bytes| heard(bytes) == input).await;
                server.io.shutdown().await.unwrap();
                server.rest().await
            };
            let ask = async {
                client.send(&to_server).await;
                let bytes = client.rest().await;
                client.io.shutdown().await.unwrap();
                bytes
            };
            let (at_server, at_client) = tokio::join!(serve, ask);
            let wanted = pairs(&[
                (STDOUT, "größer\n"),
                (STDERR, "oh\n"),
                (STDOUT, "more\n"),
                (ERROR, STATUS_7),
            ]);
            assert_eq!(
                said(name, websocket::Reader::of_server(), at_client),
                wanted
            );
            assert_eq!(said(name, websocket::Reader::of_client(), at_server), input);
            let ended = task.await.unwrap();
            let exit = version(name).has_status().then_some(7);
            assert_eq!((ended.exit, ended.bytes_out), (exit, 9 + 3 + 5), "{name}");
            assert_eq!(ended.bytes_in, 3 + 24);
            assert_eq!(ended.reason, Reason::Server);
            assert_eq!(gate.recorded(Stream::Stdout), "größer\nmore\n");
            assert_eq!(gate.recorded(Stream::Stderr), "oh\n");
            assert_eq!(gate.recorded(Stream::Stdin), "ls\n");
        }
    }
}

#[tokio::test]
async fn a_message_in_fragments_reaches_the_server_as_frames_of_its_channel_alone() {
    let (mut client, mut server, _task) = Setup::new(websocket("v5.channel.k8s.io")).start();
    // A server that takes each frame for a message would see channel 4 in the second.
    client
        .send(b"\x02\x82\0\0\0\0\0a\x80\x82\0\0\0\0\x04b")
        .await;
    let mut reader = websocket::Reader::of_client();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let websocket::Event::Piece(piece) = server.event(&mut reader).await else {
            panic!()
        };
        assert!(piece.first && piece.last && piece.data[0] == STDIN);
        seen.extend_from_slice(&piece.data[1..]);
    }
    assert_eq!(seen, b"a\x04b");
}

#[tokio::test]
async fn input_that_was_not_asked_for_does_not_reach_the_server() {
    let name = "v5.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.stdin = false;
    let gate = Arc::clone(&setup.gate);
    let (mut client, mut server, task) = setup.start();
    client
        .send(&message(name, MASK, STDIN, b"rm -rf /\n"))
        .await;
    client.send(&message(name, MASK, RESIZE, b"{}")).await;
    drop(client);
    let seen = said(name, websocket::Reader::of_client(), server.rest().await);
    assert_eq!(seen, pairs(&[(RESIZE, "{}")]));
    drop(server);
    assert_eq!(task.await.unwrap().bytes_in, 2);
    assert_eq!(gate.recorded(Stream::Stdin), "");
}

#[tokio::test]
async fn the_fifth_version_closes_standard_input_alone() {
    let name = "v5.channel.k8s.io";
    let (mut client, mut server, task) = Setup::new(websocket(name)).start();
    let mut bytes = message(name, MASK, STDIN, b"tar");
    version(name).close(STDIN, MASK, &mut bytes);
    client.send(&bytes).await;
    let (mut reader, mut demux) = (websocket::Reader::of_client(), Demux::new(version(name)));
    let mut events = Vec::new();
    while events.len() < 2 {
        let websocket::Event::Piece(piece) = server.event(&mut reader).await else {
            panic!()
        };
        events.extend(demux.take(piece).unwrap());
    }
    let data = Event::Data(STDIN, Bytes::from_static(b"tar"));
    assert_eq!(events, [data, Event::Close(STDIN)]);
    server.send(&message(name, None, STDOUT, b"done")).await;
    drop(server);
    let seen = said(name, websocket::Reader::of_server(), client.rest().await);
    assert_eq!(seen, pairs(&[(STDOUT, "done")]));
    drop(client);
    let ended = task.await.unwrap();
    assert_eq!((ended.reason, ended.exit), (Reason::Server, None));
}

/// A client and a server of SPDY that have opened these streams, numbered 1, 3, 5 …
struct Opened {
    client: Peer,
    server: Peer,
    task: JoinHandle<Ended>,
    at_client: spdy::Reader,
    at_server: spdy::Reader,
    by_client: spdy::Writer,
    by_server: spdy::Writer,
}

impl Opened {
    async fn new(setup: Setup, kinds: &[&str]) -> Self {
        let (client, server, task) = setup.start();
        let mut opened = Self {
            client,
            server,
            task,
            at_client: spdy::Reader::default(),
            at_server: spdy::Reader::default(),
            by_client: spdy::Writer::default(),
            by_server: spdy::Writer::default(),
        };
        for (at, kind) in (0..).zip(kinds) {
            let stream = 2 * at + 1;
            opened.ask(open(stream, kind)).await;
            assert_eq!(opened.asked().await, open(stream, kind));
            opened.answer(reply(stream)).await;
            assert_eq!(opened.answered().await, reply(stream));
        }
        opened
    }

    async fn ask(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.by_client.frame(&frame, &mut out);
        self.client.send(&out).await;
    }

    async fn answer(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.by_server.frame(&frame, &mut out);
        self.server.send(&out).await;
    }

    async fn asked(&mut self) -> Frame {
        self.server.frame(&mut self.at_server).await
    }

    async fn answered(&mut self) -> Frame {
        self.client.frame(&mut self.at_client).await
    }
}

fn open(stream: u32, kind: &str) -> Frame {
    Frame::SynStream {
        stream,
        associated: 0,
        priority: 0,
        fin: false,
        unidirectional: false,
        headers: Headers::new(&[("streamtype", kind)]),
    }
}

fn reply(stream: u32) -> Frame {
    Frame::SynReply {
        stream,
        fin: false,
        headers: Headers::default(),
    }
}

fn data(stream: u32, fin: bool, text: &str) -> Frame {
    let data = Bytes::copy_from_slice(text.as_bytes());
    Frame::Data { stream, fin, data }
}

const EXEC: [&str; 5] = ["error", "stdin", "stdout", "stderr", "resize"];

#[tokio::test]
async fn streams_of_spdy_go_through_with_their_ends() {
    for buffer in [1, 1 << 16] {
        let mut setup = Setup::new(spdy4());
        setup.buffer = buffer;
        let gate = Arc::clone(&setup.gate);
        let mut both = Opened::new(setup, &EXEC).await;
        for frame in [data(3, false, "in"), data(3, true, "")] {
            both.ask(frame.clone()).await;
            assert_eq!(both.asked().await, frame);
        }
        for frame in [
            data(5, false, "out"),
            data(7, true, "err"),
            data(5, true, ""),
            data(1, false, STATUS_7),
        ] {
            both.answer(frame.clone()).await;
            assert_eq!(both.answered().await, frame);
        }
        for stream in [1, 3, 5] {
            let reset = Frame::Rst {
                stream,
                status: spdy::CANCEL,
            };
            both.answer(reset.clone()).await;
            assert_eq!(both.answered().await, reset);
        }
        let away = Frame::GoAway { last: 0, status: 0 };
        both.answer(away.clone()).await;
        assert_eq!(both.answered().await, away);
        drop(both.server);
        drop(both.client);
        let ended = both.task.await.unwrap();
        assert_eq!((ended.exit, ended.reason), (Some(7), Reason::Server));
        assert_eq!((ended.bytes_in, ended.bytes_out), (2, 6));
        assert_eq!(gate.recorded(Stream::Stdout), "out");
        assert_eq!(gate.recorded(Stream::Stderr), "err");
        assert_eq!(gate.recorded(Stream::Stdin), "in");
        assert_eq!(gate.ends.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn streams_that_were_not_asked_for_are_refused_and_the_others_go_on() {
    let mut setup = Setup::new(spdy4());
    setup.stdin = false;
    let mut both = Opened::new(setup, &["error", "stdout"]).await;
    for (stream, kind) in [
        (5, "stdin"),
        (7, "stdout"),
        (9, "data"),
        (10, "stderr"),
        (3, "stderr"),
    ] {
        both.ask(open(stream, kind)).await;
        let status = spdy::PROTOCOL_ERROR;
        assert_eq!(both.answered().await, Frame::Rst { stream, status });
    }
    both.ask(data(5, false, "not asked for")).await;
    both.ask(open(11, "stderr")).await;
    assert_eq!(both.asked().await, open(11, "stderr"));
    both.answer(data(3, false, "x")).await;
    assert_eq!(both.answered().await, data(3, false, "x"));
}

#[tokio::test]
async fn a_server_that_opens_streams_is_cut_off_and_the_client_is_told() {
    let mut both = Opened::new(Setup::new(spdy4()), &["error", "stdout"]).await;
    both.answer(open(2, "stdin")).await;
    let Frame::Data { stream, fin, data } = both.answered().await else {
        panic!()
    };
    let text = String::from_utf8(data.to_vec()).unwrap();
    assert!(
        (stream, fin) == (1, true) && text.contains("weir: the server sent"),
        "{text}"
    );
    drop((both.client, both.server));
    let ended = both.task.await.unwrap();
    assert!(matches!(ended.reason, Reason::BadServer(_)), "{ended:?}");
}

#[tokio::test]
async fn what_is_held_back_stops_the_server_and_not_the_client() {
    let name = "v4.channel.k8s.io";
    let mut setup = Setup::new(websocket(name));
    setup.gate = Gate::of(10, None);
    setup.buffer = 1000;
    let gate = Arc::clone(&setup.gate);
    let (mut client, mut server, task) = setup.start();
    let (mut reader, mut at_server) = (
        websocket::Reader::of_server(),
        websocket::Reader::of_client(),
    );
    server
        .send(&message(name, None, STDOUT, b"0123456789"))
        .await;
    let first = client.event(&mut reader).await;
    assert!(matches!(first, websocket::Event::Piece(piece) if piece.data.len() == 11));
    let long = message(name, None, STDOUT, &[b'x'; 1 << 20]);
    let sent = tokio::time::timeout(Duration::from_millis(200), server.io.write_all(&long)).await;
    assert!(sent.is_err(), "a megabyte went into a stream that is held");
    client
        .send(&message(name, MASK, STDIN, b"still there"))
        .await;
    let typed = server.event(&mut at_server).await;
    assert!(matches!(typed, websocket::Event::Piece(piece) if &piece.data[1..] == b"still there"));
    // The client's pings are answered in the meantime.
    let mut ping = BytesMut::new();
    websocket::frame(Opcode::Ping, MASK, b"", b"?", &mut ping);
    client.send(&ping).await;
    let pong = client.event(&mut reader).await;
    assert_eq!(pong, websocket::Event::Pong(Bytes::from_static(b"?")));
    gate.raise(u64::MAX);
    let next = client.event(&mut reader).await;
    assert!(matches!(next, websocket::Event::Piece(piece) if piece.data.len() > 1));
    drop((client, server));
    task.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_ends_the_stream() {
    for says_so in [false, true] {
        let name = "v5.channel.k8s.io";
        let mut setup = Setup::new(websocket(name));
        setup.gate = Gate::of(0, None);
        let (mut client, mut server, task) = setup.start();
        server.send(&message(name, None, STDOUT, b"x")).await;
        if says_so {
            let mut bytes = BytesMut::new();
            websocket::close(websocket::CLOSE_NORMAL, "", MASK, &mut bytes);
            client.send(&bytes).await;
            let mut reader = websocket::Reader::of_client();
            let left = server.event(&mut reader).await;
            assert!(matches!(left, websocket::Event::Close(_)));
            assert!(client.rest().await.is_empty());
        }
        drop(client);
        server.rest().await;
        drop(server);
        assert_eq!(task.await.unwrap().reason, Reason::Client);
    }
}
