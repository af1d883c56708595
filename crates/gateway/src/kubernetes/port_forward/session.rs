//! The loop of one port-forward: both sides and all connections in one task, which waits for none of them.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use weir_transport::pair::pair;
use weir_wire_kube::channel::ForwardChannel;
use weir_wire_kube::spdy::{CANCEL, Frame, Headers, MAX_STREAM, REFUSED_STREAM};

use super::link::{Heard, Link};
use super::{Dial, Ended, MAX_BACKLOG, MAX_CONNECTIONS, PortForward, Reason, Serve};
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

    /// Takes what the client has said.
    async fn hear_client(&mut self) -> Result<(), Reason> {
        while self.may_take(Side::Client) {
            let (input, back) = (&mut self.client.input, &mut self.client_answers);
            let heard = self.client_link.hear(input, back);
            match heard.map_err(Reason::BadClient)? {
                None => return Ok(()),
                Some(Heard::Open(stream, headers, fin)) => self.open(stream, &headers, fin).await,
                Some(Heard::Data(stream, data, last)) => self.data_up(stream, data, last),
                Some(Heard::Reset(stream)) => {
                    if let Some((key, Kind::Data)) = self.client_streams.get(&stream).copied() {
                        self.forget(key);
                    }
                }
                Some(Heard::Ping) => {
                    // What keeps the client's connection alive keeps the server's alive as well.
                    let out = &mut self.server_answers;
                    self.server_link.ping(self.next_ping, out);
                    self.next_ping = (self.next_ping + 2) & MAX_STREAM;
                }
                Some(Heard::Close) => return Err(Reason::Client),
                Some(Heard::Reply(..)) => {}
            }
        }
        Ok(())
    }

    /// The client opens a stream.
    async fn open(&mut self, stream: u32, headers: &Headers, fin: bool) {
        let Some(key) = self.taken(stream, headers, fin) else {
            let full = self.is_full();
            let status = if full { REFUSED_STREAM } else { CANCEL };
            let frame = Frame::Rst { stream, status };
            return self.client_link.frame(&frame, &mut self.client_answers);
        };
        let frame = Frame::SynReply {
            stream,
            fin: false,
            headers: Headers::default(),
        };
        self.client_link.frame(&frame, &mut self.client.output);
        let connection = self.connections.get(&key);
        if connection.is_some_and(|it| it.data.is_some() && it.error.is_some()) {
            self.begin(key).await;
        }
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= MAX_CONNECTIONS || Arc::strong_count(&self.ways) > MAX_WAYS
    }

    /// Takes a stream of the client's, where it is one of a pair; the connection's key.
    fn taken(&mut self, stream: u32, headers: &Headers, fin: bool) -> Option<u64> {
        let kind = match headers.first("streamtype")? {
            "data" => Kind::Data,
            "error" => Kind::Error,
            _ => return None,
        };
        let port = headers.first("port")?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && is_number)?;
        if stream.is_multiple_of(2) || self.client_streams.contains_key(&stream) {
            return None;
        }
        let request: Box<str> = match headers.first("requestid").filter(|id| !id.is_empty()) {
            Some(request) => request.into(),
            // As the kubelet does for clients that know no numbers of requests.
            None if kind == Kind::Error => stream.to_string().into(),
            None => stream.saturating_sub(2).to_string().into(),
        };
        let known = self.halves.get(&request).copied();
        let key = match known {
            Some(key) => key,
            None if self.is_full() => return None,
            None => self.key(),
        };
        let connection = self.connections.entry(key).or_default();
        let place = match kind {
            Kind::Data => &mut connection.data,
            Kind::Error => &mut connection.error,
        };
        if place.is_some() {
            return None;
        }
        *place = Some(stream);
        if kind == Kind::Data {
            connection.port = port;
            connection.early_end = fin;
        }
        connection.request.clone_from(&request);
        if known.is_some() {
            self.halves.remove(&request);
        } else {
            self.halves.insert(request, key);
        }
        self.client_streams.insert(stream, (key, kind));
        Some(key)
    }

    /// Both streams of a connection are there: the engine serves it.
    async fn begin(&mut self, key: u64) {
        self.ended.connections += 1;
        let pair = pair().await;
        let (inbox, flow) = (self.inbox.clone(), Arc::clone(&self.flow));
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let (near, far) = match pair {
            Ok(pair) => pair,
            Err(error) => {
                connection.text = error.to_string().into_bytes();
                self.end_connection(key);
                return self.forget(key);
            }
        };
        let put = move |piped: Piped| {
            let (inbox, flow) = (inbox.clone(), Arc::clone(&flow));
            let passing: Pin<Box<dyn Future<Output = bool> + Send>> = Box::pin(async move {
                let length = match &piped {
                    Piped::Data(data) => data.len() as u64,
                    _ => 0,
                };
                let event = match length {
                    0 => Event::Piped(key, piped),
                    _ => match flow.pass(length).await {
                        Ok(()) => Event::Piped(key, piped),
                        Err(text) => Event::Refused(key, text),
                    },
                };
                inbox.send(event).is_ok()
            });
            passing
        };
        let mut pipe = Pipe::new(Side::Client, near, put);
        for data in std::mem::take(&mut connection.early) {
            pipe.give(&data);
        }
        if connection.early_end {
            pipe.end();
        }
        connection.pipe = Some(pipe);
        let way = PortForward {
            inbox: self.inbox.clone(),
            connection: key,
            port: connection.port,
            _alive: Arc::clone(&self.ways),
        };
        self.serve.serve(far, connection.port, way);
    }

    /// The client says something on a stream.
    fn data_up(&mut self, stream: u32, data: Bytes, last: bool) {
        let Some((key, Kind::Data)) = self.client_streams.get(&stream).copied() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        self.ended.bytes_in += data.len() as u64;
        let cost = data.len() + OVERHEAD;
        let is_kept = match &connection.pipe {
            _ if data.is_empty() => false,
            Some(pipe) => pipe.give(&data),
            None => {
                connection.early.push(data);
                true
            }
        };
        if is_kept {
            connection.waiting += cost;
            add(&mut self.backlog, Side::Client, cost);
        }
        if last {
            connection.early_end = true;
            if let Some(pipe) = connection.pipe.as_mut() {
                pipe.end();
            }
        }
    }

    /// Takes what the server has said.
    fn hear_server(&mut self) -> Result<(), Reason> {
        while self.may_take(Side::Server) {
            let (input, back) = (&mut self.server.input, &mut self.server_answers);
            let heard = self.server_link.hear(input, back);
            match heard.map_err(Reason::BadServer)? {
                None => return Ok(()),
                Some(Heard::Open(..)) => {
                    let text = "a stream that the server opens".to_owned();
                    return Err(Reason::BadServer(text));
                }
                Some(Heard::Reply(stream, fin)) => {
                    self.replied(stream);
                    if fin {
                        self.data_down(stream, &[], true);
                    }
                }
                Some(Heard::Data(stream, data, last)) => self.data_down(stream, &data, last),
                Some(Heard::Reset(stream)) => self.reset(stream),
                Some(Heard::Ping) => {}
                // What it has said of connections before is still to be handed on.
                Some(Heard::Close) => self.server.ended = true,
            }
        }
        Ok(())
    }

    /// The server has taken a stream.
    fn replied(&mut self, stream: u32) {
        let Some((key, Kind::Data)) = self.server_streams.get(&stream).copied() else {
            return;
        };
        let opening = self.dials.get_mut(&key).and_then(|it| it.opening.take());
        if let Some(opening) = opening {
            self.dialled(key, opening);
        }
    }

    /// A pair of streams to the server is there.
    fn dialled(&mut self, key: u64, (near, tell): Opening) {
        let inbox = self.inbox.clone();
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        let put = move |piped| std::future::ready(inbox.send(Event::Piped(key, piped)).is_ok());
        let pipe = Pipe::new(Side::Server, near, put);
        for data in std::mem::take(&mut dialled.early) {
            pipe.give(&data);
        }
        dialled.pipe = Some(pipe);
        if tell.send(Ok(())).is_err() {
            self.hang_up(key);
        }
    }

    /// The server says something on a stream.
    fn data_down(&mut self, stream: u32, data: &[u8], last: bool) {
        let Some((key, kind)) = self.server_streams.get(&stream).copied() else {
            return;
        };
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        if kind == Kind::Error {
            let connection = self.connections.get_mut(&dialled.connection);
            if let Some(connection) = connection {
                let room = MAX_TEXT.saturating_sub(connection.text.len());
                connection
                    .text
                    .extend_from_slice(data.get(..room).unwrap_or(data));
            }
            return;
        }
        let is_kept = match dialled.pipe.as_ref() {
            _ if data.is_empty() => false,
            Some(pipe) => pipe.give(data),
            // Only channels say something before they were dialled.
            None if dialled.opening.is_some() => false,
            None => {
                dialled.early.push(Bytes::copy_from_slice(data));
                true
            }
        };
        if is_kept {
            dialled.waiting += data.len() + OVERHEAD;
            add(&mut self.backlog, Side::Server, data.len() + OVERHEAD);
        }
        if let Some(pipe) = dialled.pipe.as_mut().filter(|_| last) {
            pipe.end();
        }
    }

    /// The server gives a stream up. What it said before still goes on.
    fn reset(&mut self, stream: u32) {
        let Some((key, Kind::Data)) = self.server_streams.get(&stream).copied() else {
            return;
        };
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        match dialled.pipe.as_mut() {
            Some(pipe) => {
                pipe.end();
                dialled.told = true;
            }
            None => {
                let text = "the server does not take the connection";
                self.not_dialled(key, text);
            }
        }
    }

    fn not_dialled(&mut self, key: u64, text: &str) {
        if let Some((_, tell)) = self.dials.get_mut(&key).and_then(|it| it.opening.take()) {
            drop(tell.send(Err(io::Error::other(text))));
        }
        self.drop_dial(key);
    }

    /// Opens a pair of streams to the server.
    fn dial(&mut self, dial: Dial, is_over: bool) {
        let refused = if is_over {
            Some("the server has closed the port-forward")
        } else if self.dials.len() >= MAX_CONNECTIONS || self.next_stream > MAX_STREAM - 4 {
            Some("too many connections are open")
        } else {
            None
        };
        if let Some(text) = refused {
            drop(dial.tell.send(Err(io::Error::other(text))));
            return;
        }
        if !self.server_link.ports().is_empty() {
            let opening = (dial.near, dial.tell);
            return match self.undialled.remove(&dial.connection) {
                Some(key) => self.dialled(key, opening),
                None => {
                    let error = io::Error::other("a channel can be dialled once only");
                    drop(opening.1.send(Err(error)));
                }
            };
        }
        let key = self.key();
        let (error, data) = (self.next_stream, self.next_stream + 2);
        self.next_stream += 4;
        let (port, request) = (dial.port.to_string(), key.to_string());
        for (stream, kind) in [(error, Kind::Error), (data, Kind::Data)] {
            let is_error = kind == Kind::Error;
            let frame = Frame::SynStream {
                stream,
                associated: 0,
                priority: 0,
                // Nothing is ever said on the stream for errors.
                fin: is_error,
                unidirectional: false,
                headers: Headers::new(&[
                    ("streamtype", if is_error { "error" } else { "data" }),
                    ("port", &port),
                    ("requestid", &request),
                ]),
            };
            self.server_link.frame(&frame, &mut self.server.output);
            self.server_streams.insert(stream, (key, kind));
        }
        let opening = Some((dial.near, dial.tell));
        let dialled = Dialled::new(dial.connection, data, error, opening);
        self.dials.insert(key, dialled);
    }

    /// Something happens at a pipe.
    fn piped(&mut self, key: u64, piped: Piped) {
        if self.connections.contains_key(&key) {
            self.of_connection(key, piped);
        } else if self.dials.contains_key(&key) {
            self.of_dial(key, piped);
        }
    }

    fn of_connection(&mut self, key: u64, piped: Piped) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let out = &mut self.client.output;
        match piped {
            Piped::Data(data) => {
                self.ended.bytes_out += data.len() as u64;
                if let Some(stream) = connection.data {
                    self.client_link.data(stream, &data, false, out);
                }
                let [thirsty, _] = &mut self.thirsty;
                thirsty.push(key);
            }
            Piped::Taken(count) => {
                connection.waiting = connection.waiting.saturating_sub(count + OVERHEAD);
                take(&mut self.backlog, Side::Client, count + OVERHEAD);
                if let Some(stream) = connection.data {
                    let owed = &mut connection.owed;
                    let out = &mut self.client_answers;
                    self.client_link.grant(stream, owed, count, out);
                }
            }
            Piped::End => {
                let is_over = connection.done || !self.client_link.ports().is_empty();
                self.end_connection(key);
                if is_over {
                    self.forget(key);
                }
            }
            Piped::Done => {
                connection.done = true;
                if connection.told {
                    self.forget(key);
                }
            }
            Piped::Broken => {
                connection.done = true;
                let waiting = std::mem::take(&mut connection.waiting);
                take(&mut self.backlog, Side::Client, waiting);
                if connection.told {
                    if let Some(stream) = connection.data {
                        let frame = Frame::Rst {
                            stream,
                            status: CANCEL,
                        };
                        self.client_link.frame(&frame, out);
                    }
                    self.forget(key);
                }
            }
        }
    }

    fn of_dial(&mut self, key: u64, piped: Piped) {
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        let out = &mut self.server.output;
        match piped {
            Piped::Data(data) => {
                if !dialled.told {
                    self.server_link.data(dialled.data, &data, false, out);
                }
                let [_, thirsty] = &mut self.thirsty;
                thirsty.push(key);
            }
            Piped::Taken(count) => {
                dialled.waiting = dialled.waiting.saturating_sub(count + OVERHEAD);
                take(&mut self.backlog, Side::Server, count + OVERHEAD);
                let owed = &mut dialled.owed;
                let out = &mut self.server_answers;
                self.server_link.grant(dialled.data, owed, count, out);
            }
            Piped::End => {
                if !std::mem::replace(&mut dialled.told, true) {
                    self.server_link.data(dialled.data, &[], true, out);
                }
                if dialled.done {
                    self.drop_dial(key);
                }
            }
            Piped::Done => {
                dialled.done = true;
                if dialled.told {
                    self.drop_dial(key);
                }
            }
            Piped::Broken => self.hang_up(key),
        }
    }

    /// Tells the client that nothing more comes on a connection, and what the server said of it.
    fn end_connection(&mut self, key: u64) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut connection.told, true) {
            return;
        }
        let out = &mut self.client.output;
        if let Some(stream) = connection.error {
            let text = std::mem::take(&mut connection.text);
            self.client_link.data(stream, &text, true, out);
        }
        if let Some(stream) = connection.data {
            self.client_link.data(stream, &[], true, out);
        }
    }

    /// What a connection wanted to show is not let pass: the client is told why.
    fn refuse(&mut self, key: u64, text: &str) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.text = text.as_bytes().to_vec();
        }
        self.end_connection(key);
    }

    fn forget(&mut self, key: u64) {
        let Some(connection) = self.connections.remove(&key) else {
            return;
        };
        for stream in [connection.data, connection.error].into_iter().flatten() {
            self.client_streams.remove(&stream);
        }
        if self.halves.get(&connection.request) == Some(&key) {
            self.halves.remove(&connection.request);
        }
        take(&mut self.backlog, Side::Client, connection.waiting);
        if let Some(dial) = self.undialled.remove(&key) {
            self.drop_dial(dial);
        }
    }

    /// Gives up a pair of streams to the server.
    fn hang_up(&mut self, key: u64) {
        if let Some(dialled) = self.dials.get(&key) {
            let frame = Frame::Rst {
                stream: dialled.data,
                status: CANCEL,
            };
            self.server_link.frame(&frame, &mut self.server.output);
        }
        self.drop_dial(key);
    }

    fn drop_dial(&mut self, key: u64) {
        if let Some(dialled) = self.dials.remove(&key) {
            self.server_streams.remove(&dialled.data);
            self.server_streams.remove(&dialled.error);
            take(&mut self.backlog, Side::Server, dialled.waiting);
        }
    }

    /// The server has gone.
    fn end_dials(&mut self) {
        let keys: Vec<u64> = self.dials.keys().copied().collect();
        for key in keys {
            self.not_taken(key);
        }
    }

    fn not_taken(&mut self, key: u64) {
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        match dialled.pipe.as_mut() {
            Some(pipe) => {
                pipe.end();
                dialled.told = true;
            }
            None => self.not_dialled(key, "the server has closed the port-forward"),
        }
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
