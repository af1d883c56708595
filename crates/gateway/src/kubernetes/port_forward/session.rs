//! The loop of one port-forward: both sides and all connections in one task, which waits for none of them.

mod client;
mod piped;
mod server;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use weir_wire_kube::channel::ForwardChannel;

use super::link::Link;
use super::{Dial, Ended, MAX_BACKLOG, MAX_CONNECTIONS, Reason, Serve};
use crate::kubernetes::line::Line;
use crate::kubernetes::upgraded::{Flow, Stop};
use crate::pipe::{Pipe, Piped};

/// Bytes that wait for a slow side before connections are not read any more.
const BACKLOG: usize = 64 << 10;
/// The same for what answers a side itself, before that side is not read any more.
const ANSWERS: usize = 256 << 10;
/// Most bytes that wait for a side in all: a piece of each connection, and streams that are taken.
const MAX_OUTPUT: usize = 16 << 20;
/// Most copies of ways that lead through one port-forward: a client that opens and resets connections
/// gets no further ones until those are over.
const MAX_WAYS: usize = 8 * MAX_CONNECTIONS;
/// What a piece costs beside its bytes while it waits.
const OVERHEAD: usize = 64;
/// How long connections may take to end once the server has gone, and a side to close.
const LINGER: Duration = Duration::from_secs(5);
/// The longest text about a connection that is handed on.
const MAX_TEXT: usize = 8 << 10;

/// Where events are put.
pub(super) type Inbox = UnboundedSender<Event>;

/// What happens beside the two sides.
pub(super) enum Event {
    /// A connection dials.
    Dial(Dial),
    /// Something at the pipe with this key.
    Piped(u64, Piped),
    /// What the connection with this key wants to show is not let pass.
    Refused(u64, String),
}

/// Which end of the engine a pipe is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// A pair of streams of the client's, and the connection that they are.
#[derive(Default)]
struct Connection {
    request: Box<str>,
    data: Option<u32>,
    error: Option<u32>,
    port: u16,
    pipe: Option<Pipe<Side>>,
    /// What came before there was a pipe, and whether it was all.
    early: Vec<Bytes>,
    early_end: bool,
    /// What waits to be taken.
    waiting: usize,
    /// What was taken and not granted again.
    owed: u32,
    /// What the server said of it.
    text: Vec<u8>,
    /// The client was told that nothing more comes.
    told: bool,
    /// The engine has taken all, or takes no more.
    done: bool,
}

/// A pair of streams to the server.
struct Dialled {
    connection: u64,
    data: u32,
    error: u32,
    /// Until the server has taken it.
    opening: Option<Opening>,
    pipe: Option<Pipe<Side>>,
    /// What came before the connection dialled; of channels only.
    early: Vec<Bytes>,
    waiting: usize,
    owed: u32,
    /// The server was told that nothing more comes.
    told: bool,
    /// The engine has taken all.
    done: bool,
}

/// Who waits for a pair of streams.
type Opening = (TcpStream, oneshot::Sender<io::Result<()>>);

impl Dialled {
    fn new(connection: u64, data: u32, error: u32, opening: Option<Opening>) -> Self {
        Self {
            connection,
            data,
            error,
            opening,
            pipe: None,
            early: Vec::new(),
            waiting: 0,
            owed: 0,
            told: false,
            done: false,
        }
    }
}

/// One port-forward.
pub(super) struct Session<'a, C, S, F> {
    client: Line<C>,
    client_link: Link,
    server: Line<S>,
    server_link: Link,
    /// What answers each side, whatever else is said to it: pings, windows, streams that are refused.
    client_answers: BytesMut,
    server_answers: BytesMut,
    flow: Arc<F>,
    serve: &'a dyn Serve,
    /// Held by each way that leads through.
    ways: Arc<()>,
    inbox: Inbox,
    events: UnboundedReceiver<Event>,
    connections: HashMap<u64, Connection>,
    dials: HashMap<u64, Dialled>,
    client_streams: HashMap<u32, (u64, Kind)>,
    server_streams: HashMap<u32, (u64, Kind)>,
    /// Pairs of the server's channels that connections have not dialled yet.
    undialled: HashMap<u64, u64>,
    /// Connections of which one stream is there.
    halves: HashMap<Box<str>, u64>,
    /// Pipes that are not read until more has gone, by side.
    thirsty: [Vec<u64>; 2],
    /// Bytes that connections have not taken yet, by the side that said them.
    backlog: [usize; 2],
    last_key: u64,
    next_stream: u32,
    next_ping: u32,
    ended: Ended,
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

impl<'a, C, S, F> Session<'a, C, S, F>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow + 'static,
{
    pub(super) fn new(
        (client, client_link, server, server_link): (C, Link, S, Link),
        flow: Arc<F>,
        serve: &'a dyn Serve,
    ) -> Self {
        let (inbox, events) = unbounded_channel();
        Self {
            client: Line::new(client),
            client_link,
            server: Line::new(server),
            server_link,
            client_answers: BytesMut::new(),
            server_answers: BytesMut::new(),
            flow,
            serve,
            ways: Arc::default(),
            inbox,
            events,
            connections: HashMap::new(),
            dials: HashMap::new(),
            client_streams: HashMap::new(),
            server_streams: HashMap::new(),
            undialled: HashMap::new(),
            halves: HashMap::new(),
            thirsty: Default::default(),
            backlog: [0; 2],
            last_key: 0,
            next_stream: 1,
            next_ping: 1,
            ended: Ended::default(),
        }
    }

    pub(super) async fn run(mut self, mut stop: Stop) -> Ended {
        self.open_channels().await;
        self.ended.reason = self.serve_all(&mut stop).await;
        self.close().await;
        self.ended
    }

    /// Opens what a client has from the beginning.
    async fn open_channels(&mut self) {
        let ports = self.client_link.ports().to_vec();
        for (place, port) in ports.into_iter().enumerate() {
            let number = |channel: ForwardChannel| channel.number().map(u32::from);
            let data = number(ForwardChannel::Data(place));
            let error = number(ForwardChannel::Error(place));
            let (Some(data), Some(error)) = (data, error) else {
                continue;
            };
            let key = self.key();
            self.client_streams.insert(data, (key, Kind::Data));
            self.client_streams.insert(error, (key, Kind::Error));
            let connection = Connection {
                data: Some(data),
                error: Some(error),
                port,
                ..Connection::default()
            };
            self.connections.insert(key, connection);
            for stream in [data, error] {
                let out = &mut self.client.output;
                self.client_link.announce(stream, port, out);
            }
            if !self.server_link.ports().is_empty() {
                let dial = self.key();
                self.server_streams.insert(data, (dial, Kind::Data));
                self.server_streams.insert(error, (dial, Kind::Error));
                self.dials
                    .insert(dial, Dialled::new(key, data, error, None));
                self.undialled.insert(key, dial);
            }
            self.begin(key).await;
        }
    }

    async fn serve_all(&mut self, stop: &mut Stop) -> Reason {
        let has_channels = !self.client_link.ports().is_empty();
        let mut over: Option<Instant> = None;
        loop {
            if let Err(reason) = self.hear_client().await {
                return reason;
            }
            if let Err(reason) = self.hear_server() {
                return reason;
            }
            self.quench();
            if self.client.ended || self.client.broken {
                return Reason::Client;
            }
            if has_channels && self.connections.is_empty() {
                return Reason::Done;
            }
            let server_gone =
                self.server.broken || (self.server.ended && self.may_take(Side::Server));
            if server_gone && over.is_none() {
                over = Some(Instant::now() + LINGER);
                self.end_dials();
            }
            if over.is_some() && self.connections.is_empty() {
                return Reason::Server;
            }
            let client_may = self.may_take(Side::Client);
            let server_may = self.may_take(Side::Server);
            tokio::select! {
                () = self.client.turn(client_may) => {}
                () = self.server.turn(server_may) => {}
                event = self.events.recv() => match event {
                    Some(Event::Dial(dial)) => self.dial(dial, over.is_some()),
                    Some(Event::Piped(key, piped)) => self.piped(key, piped),
                    Some(Event::Refused(key, text)) => {
                        self.refuse(key, &text);
                        return Reason::Refused(text);
                    }
                    None => return Reason::Server,
                },
                () = at(over) => return Reason::Server,
                text = &mut *stop => return Reason::Stopped(text),
            }
        }
    }

    /// Whether more of a side may be taken.
    fn may_take(&self, side: Side) -> bool {
        let [by_client, by_server] = self.backlog;
        let (backlog, answers, output) = match side {
            Side::Client => (by_client, &self.client_answers, &self.client.output),
            Side::Server => (by_server, &self.server_answers, &self.server.output),
        };
        backlog < MAX_BACKLOG && answers.len() < ANSWERS && output.len() < MAX_OUTPUT
    }

    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// Where little waits, answers go out, and pipes whose data has gone are read again.
    fn quench(&mut self) {
        let [of_client, of_server] = &mut self.thirsty;
        if self.client.output.len() < BACKLOG {
            let answers = self.client_answers.split();
            self.client.output.extend_from_slice(&answers);
            for key in of_client.drain(..) {
                let pipe = self.connections.get(&key).and_then(|it| it.pipe.as_ref());
                pipe.inspect(|pipe| pipe.more());
            }
        }
        if self.server.output.len() < BACKLOG {
            let answers = self.server_answers.split();
            self.server.output.extend_from_slice(&answers);
            for key in of_server.drain(..) {
                let pipe = self.dials.get(&key).and_then(|it| it.pipe.as_ref());
                pipe.inspect(|pipe| pipe.more());
            }
        }
    }

    /// Ends both sides, and whatever is left of connections.
    async fn close(&mut self) {
        let keys: Vec<u64> = self.connections.keys().copied().collect();
        for key in keys {
            self.end_connection(key);
        }
        self.connections.clear();
        self.dials.clear();
        self.client_link.close(&mut self.client.output);
        self.server_link.close(&mut self.server.output);
        let client = async {
            self.client.shut().await;
            self.client.drain().await;
        };
        let server = async {
            self.server.shut().await;
            self.server.drain().await;
        };
        let both = async { tokio::join!(client, server) };
        drop(timeout(LINGER, both).await);
    }
}

fn add(backlog: &mut [usize; 2], side: Side, bytes: usize) {
    if let Some(waits) = backlog.get_mut(side as usize) {
        *waits += bytes;
    }
}

fn take(backlog: &mut [usize; 2], side: Side, bytes: usize) {
    if let Some(waits) = backlog.get_mut(side as usize) {
        *waits = waits.saturating_sub(bytes);
    }
}
