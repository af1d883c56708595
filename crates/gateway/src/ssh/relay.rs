//! One session's messages, from one side to the other.
//!
//! A single task sees every message of both sides in order and never waits in the middle: what takes
//! time (people, budgets, evidence) runs beside it and comes back as an event, and holds back only
//! the channel that it is about. Channel numbers are those of the two ends, unchanged; windows are
//! handed on as [`super::flow`] says. Memory is bounded by the windows that were granted, by the
//! number of channels, and by how much may wait to be looked at.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::client::RawSender;
use russh::server;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::agent::Early;
use super::asked::Asked;
use super::backlog::Backlog;
use super::channel::{Channel, Lane, Reply, Request, Side};
use super::judge::Judge;
use super::packet::{self, Build, Message};
use super::requests::Answer;
use super::statement::Active;
use super::through::{Dial, Led};
use crate::evidence::Evidence;
use crate::incoming::Peer;
use crate::leash::Leash;
use crate::pipe::Piped;

/// Most bytes of messages that wait to be looked at.
const MAX_INBOX: usize = 64 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 64;
/// Most channels at the same time.
pub(super) const MAX_CHANNELS: usize = 256;
/// What was recorded of something that goes on leaves after this at the latest.
const CHUNK: Duration = Duration::from_secs(1);
/// Messages that are looked at before budgets are charged.
const BATCH: usize = 64;

/// What happens to a session.
pub(super) enum Event {
    /// A message of the client's.
    Client(Vec<u8>),
    /// A message of the server's.
    Server(Vec<u8>),
    /// The client is let in.
    Ready {
        user: String,
        handle: server::Handle,
    },
    /// The server has gone.
    ServerEnded(String),
    /// What was waited for has come.
    Answer(Subject, u64, Answer),
    /// A channel of Weir's own is to be opened to the server.
    Dial(Dial),
    /// What has become of a forward.
    Led(u64, io::Result<Box<Led>>),
    /// Something at the connection of a channel.
    Piped(u64, Piped),
    /// Text of a channel has waited long enough for the rest of its line.
    Settle(u64),
    /// What the client sends over scp has been answered as far as it was read.
    GoOn(u64),
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The connection.
    Connection,
    /// A channel.
    Channel(u64),
    /// A request inside the SFTP subsystem of a channel.
    File(u64),
    /// A file that scp begins on a channel.
    Copy(u64),
}

/// Where events are put.
#[derive(Clone)]
pub(super) struct Inbox {
    sender: UnboundedSender<Event>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    pub(super) fn new() -> (Self, UnboundedReceiver<Event>) {
        let (sender, receiver) = unbounded_channel();
        let waiting = Arc::default();
        (Self { sender, waiting }, receiver)
    }

    /// Puts an event.
    ///
    /// # Errors
    /// Too much waits, or nobody looks any more: the session must end.
    pub(super) fn put(&self, event: Event) -> Result<(), russh::Error> {
        let cost = cost(&event);
        if self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > MAX_INBOX {
            let error = io::Error::other("more than can be looked at");
            return Err(russh::Error::IO(error));
        }
        self.sender
            .send(event)
            .map_err(|_| russh::Error::Disconnect)
    }

    /// What happens at the connection of a channel is put here.
    pub(super) fn of_pipe(
        &self,
        key: u64,
    ) -> impl Fn(Piped) -> Ready<bool> + Clone + Send + Sync + 'static {
        let inbox = self.clone();
        move |piped| ready(inbox.put(Event::Piped(key, piped)).is_ok())
    }

    /// Says that the server has gone.
    pub(super) fn end(&self, reason: &str) {
        drop(self.sender.send(Event::ServerEnded(reason.to_owned())));
    }

    /// Gives an answer.
    pub(super) fn answer(&self, subject: Subject, ticket: u64, answer: Answer) {
        drop(self.sender.send(Event::Answer(subject, ticket, answer)));
    }

    /// These have been looked at.
    pub(super) fn taken(&self, event: &Event) {
        self.waiting.fetch_sub(cost(event), Ordering::Relaxed);
    }
}

fn cost(event: &Event) -> usize {
    match event {
        Event::Client(message) | Event::Server(message) => message.len() + OVERHEAD,
        Event::Piped(_, piped) => piped.len() + OVERHEAD,
        Event::Ready { .. }
        | Event::ServerEnded(_)
        | Event::Answer(..)
        | Event::Dial(_)
        | Event::Led(..)
        | Event::Settle(_)
        | Event::GoOn(_) => 0,
    }
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client has broken the protocol.
    #[error("client: {0}")]
    Client(String),
    /// The server has broken the protocol.
    #[error("server: {0}")]
    Server(String),
    /// One of them has gone.
    #[error("{0}")]
    Gone(String),
    /// Nothing that the client could still do is permitted.
    #[error("{0}")]
    Refused(String),
}

impl End {
    /// Who has broken the protocol, and how.
    fn by(side: Side, text: String) -> Self {
        match side {
            Side::Client => Self::Client(text),
            Side::Server => Self::Server(text),
        }
    }
}

/// What went through.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) statements: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// One session.
pub(super) struct Relay {
    pub(super) client: server::Handle,
    pub(super) server: RawSender,
    pub(super) client_backlog: Arc<Backlog>,
    pub(super) server_backlog: Arc<Backlog>,
    pub(super) judge: Judge,
    pub(super) evidence: Evidence,
    pub(super) inbox: Inbox,
    pub(super) channels: HashMap<u64, Channel>,
    pub(super) by_client: HashMap<u32, u64>,
    pub(super) by_server: HashMap<u32, u64>,
    /// Who is at the client's end.
    pub(super) peer: Peer,
    /// What a drain waits for.
    pub(super) leash: Arc<Leash>,
    last_channel: u64,
    /// Requests about the connection.
    pub(super) lane: Lane,
    pub(super) last_ticket: u64,
    pub(super) totals: Totals,
    /// What came before the two sides were joined.
    early: Vec<Event>,
}

impl Relay {
    pub(super) fn new(
        client: (server::Handle, Arc<Backlog>),
        server: (RawSender, Arc<Backlog>),
        (peer, leash): (Peer, Arc<Leash>),
        judge: Judge,
        evidence: Evidence,
        inbox: Inbox,
    ) -> Self {
        Self {
            client: client.0,
            server: server.0,
            client_backlog: client.1,
            server_backlog: server.1,
            judge,
            evidence,
            inbox,
            channels: HashMap::new(),
            by_client: HashMap::new(),
            by_server: HashMap::new(),
            peer,
            leash,
            last_channel: 0,
            lane: Lane::default(),
            last_ticket: 0,
            totals: Totals::default(),
            early: Vec::new(),
        }
    }

    /// Takes over a session that both sides have opened, and what came after it. The client believes
    /// that it may send nothing yet. The session is judged here: it is open, and nothing ran in it.
    ///
    /// # Errors
    /// The session must end.
    pub(super) fn adopt(&mut self, early: Early) -> Result<(), End> {
        let key = self.next_key();
        let grant = early.channel.up_window();
        self.by_client.insert(early.client, key);
        self.by_server.insert(early.server, key);
        self.channels.insert(key, early.channel);
        self.early = early.rest;
        if grant > 0 {
            let adjust = Build::new(packet::WINDOW_ADJUST).u32(early.client);
            self.to_client(adjust.u32(grant).done());
        }
        let request = Request {
            asked: Asked::Session,
            packet: Vec::new(),
            want_reply: false,
            number: 0,
            opens: None,
            id: 0,
        };
        self.submit(Subject::Channel(key), request)
    }

    /// Relays until one side has gone.
    pub(super) async fn run(&mut self, events: &mut UnboundedReceiver<Event>) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        for event in std::mem::take(&mut self.early) {
            self.inbox.taken(&event);
            if let Err(end) = self.event(event) {
                return end;
            }
        }
        let mut chunks = tokio::time::interval(CHUNK);
        chunks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (to_client, to_server) = (
            Arc::clone(&self.client_backlog),
            Arc::clone(&self.server_backlog),
        );
        loop {
            let count = tokio::select! {
                biased;
                _ = chunks.tick(), if self.is_recording() => { self.flush_recordings(); continue }
                count = events.recv_many(&mut batch, BATCH) => count,
                () = to_client.short.notified() => { self.grant_all(); continue }
                () = to_server.short.notified() => { self.grant_all(); continue }
            };
            if count == 0 {
                return End::Gone("closed".to_owned());
            }
            for event in batch.drain(..) {
                self.inbox.taken(&event);
                if let Err(end) = self.event(event) {
                    return end;
                }
            }
            self.charge_all();
        }
    }

    fn event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Client(message) => self.take(Side::Client, message),
            Event::Server(message) => self.take(Side::Server, message),
            Event::Ready { .. } => Ok(()),
            Event::ServerEnded(reason) => Err(End::Gone(reason)),
            Event::Answer(subject, ticket, answer) => self.answered(subject, ticket, answer),
            Event::Dial(dial) => {
                self.dial(dial);
                Ok(())
            }
            Event::Led(key, led) => {
                self.led(key, led);
                Ok(())
            }
            Event::Piped(key, piped) => {
                self.piped(key, piped);
                Ok(())
            }
            Event::Settle(key) => {
                self.settle(key);
                Ok(())
            }
            Event::GoOn(key) => {
                self.sftp_moved(key)?;
                self.scp_answered(key)
            }
        }
    }

    /// Sends a message to the client.
    pub(super) fn to_client(&self, message: Vec<u8>) {
        drop(self.client.raw(message));
    }

    /// Sends a message to the server.
    pub(super) fn to_server(&self, message: Vec<u8>) {
        drop(self.server.raw(message));
    }

    /// The channel that one side means by the other side's number.
    fn key_of(&self, from: Side, number: u32) -> Result<u64, End> {
        let key = match from {
            Side::Client => self.by_server.get(&number).copied(),
            Side::Server => {
                let key = self.by_client.get(&number).copied();
                key.or_else(|| self.left_open(number))
            }
        };
        let ends_at = |key: &u64| self.channels.get(key).is_none_or(|it| it.ends_at(from));
        key.filter(ends_at)
            .ok_or_else(|| End::by(from, format!("no channel {number}")))
    }

    /// The channel of that number that the client has done with, and the server not yet.
    fn left_open(&self, number: u32) -> Option<u64> {
        let mut channels = self.channels.iter();
        let left = |channel: &Channel| channel.client == Some(number) && channel.closing.by_client;
        channels
            .find(|(_, channel)| left(channel))
            .map(|(key, _)| *key)
    }

    /// A message of one side's.
    fn take(&mut self, from: Side, message: Vec<u8>) -> Result<(), End> {
        let parsed = Message::parse(&message).map_err(|error| End::by(from, error.to_string()))?;
        match parsed {
            Message::Global { name, .. } => match from {
                Side::Client => return self.global_of_client(message),
                // The real host's keys are not what this client may trust.
                Side::Server if name == b"hostkeys-00@openssh.com" => {}
                Side::Server => self.to_client(message),
            },
            Message::GlobalSuccess | Message::GlobalFailure => {
                if from == Side::Server {
                    if self.lane.replies.pop_front() != Some(Reply::Server) {
                        return Err(End::by(from, "an answer that nobody asked for".to_owned()));
                    }
                    self.to_client(message);
                    self.answer_globals();
                } else {
                    self.to_server(message);
                }
            }
            Message::Open {
                kind,
                sender,
                window,
                max_packet,
                rest,
            } => {
                let asked = match (from, Asked::open(kind, rest)) {
                    (Side::Server, Asked::Session) => {
                        Asked::Unknown("session from the server".into())
                    }
                    (_, asked) => asked,
                };
                return self.open(from, asked, sender, (window, max_packet), message);
            }
            Message::Confirmation {
                recipient,
                sender,
                window,
                max_packet,
            } => {
                let key = self.key_of(from, recipient)?;
                let numbers = match from {
                    Side::Client => &mut self.by_client,
                    Side::Server => &mut self.by_server,
                };
                if numbers.insert(sender, key).is_some() {
                    let text = format!("channel {sender} is open already");
                    return Err(End::by(from, text));
                }
                let confirmed = self.confirm(key, from.other(), sender, window, max_packet);
                return confirmed.map_err(|text| End::by(from, text));
            }
            Message::OpenFailure { recipient } => {
                let key = self.key_of(from, recipient)?;
                let failed = self.fail_open(key, from.other(), message);
                return failed.map_err(|text| End::by(from, text));
            }
            Message::WindowAdjust { recipient, bytes } => {
                let key = self.key_of(from, recipient)?;
                self.adjust(key, from, bytes);
            }
            Message::Data { recipient, .. }
            | Message::ExtendedData { recipient, .. }
            | Message::Eof { recipient }
            | Message::Close { recipient }
            | Message::Request { recipient, .. }
            | Message::Success { recipient }
            | Message::Failure { recipient } => {
                let key = self.key_of(from, recipient)?;
                if self.channels.get(&key).is_some_and(|it| !it.confirmed) {
                    return Err(End::by(from, format!("channel {recipient} is not open")));
                }
                return match from {
                    Side::Client => self.channel_of_client(key, message),
                    Side::Server => self.channel_of_server(key, message),
                };
            }
            Message::Unknown(number) => {
                // RFC 4253, 11.4, with no sequence number to tell: it is not acted on.
                tracing::debug!(number, ?from, "a message that nobody knows is dropped");
            }
        }
        Ok(())
    }

    /// A channel is asked for.
    fn open(
        &mut self,
        opener: Side,
        asked: Asked,
        sender: u32,
        offered: (u32, u32),
        message: Vec<u8>,
    ) -> Result<(), End> {
        // What the server still says of a number must not reach another channel.
        let busy = opener == Side::Client && self.left_open(sender).is_some();
        if busy || self.channels.len() >= MAX_CHANNELS {
            let why = match busy {
                true => "weir: the server has not closed the channel of this number yet",
                false => "weir: too many channels are open",
            };
            let refusal = packet::open_failure(sender, packet::SHORTAGE, why);
            match opener {
                Side::Client => self.to_client(refusal),
                Side::Server => self.to_server(refusal),
            }
            return Ok(());
        }
        let key = self.next_key();
        let (numbers, end): (_, fn(String) -> End) = match opener {
            Side::Client => (&mut self.by_client, End::Client),
            Side::Server => (&mut self.by_server, End::Server),
        };
        if numbers.insert(sender, key).is_some() {
            return Err(end(format!("channel {sender} is open already")));
        }
        let others = self.channels.len();
        let is_session = matches!(asked, Asked::Session);
        let channel = Channel::new(opener, sender, offered, is_session, others);
        let packet = packet::with_window(&message, channel.offer());
        self.channels.insert(key, channel);
        let request = Request {
            asked,
            packet,
            want_reply: true,
            number: 0,
            opens: Some(opener),
            id: 0,
        };
        self.submit(Subject::Channel(key), request)
    }

    /// A key that no channel had.
    pub(super) fn next_key(&mut self) -> u64 {
        self.last_channel += 1;
        self.last_channel
    }

    /// The other side has opened a channel too.
    fn confirm(
        &mut self,
        key: u64,
        opener: Side,
        number: u32,
        window: u32,
        max_packet: u32,
    ) -> Result<(), String> {
        let channel = self.channels.get_mut(&key).ok_or("no such channel")?;
        if !channel.may_be_answered(opener) {
            return Err("a confirmation that nobody waits for".to_owned());
        }
        if channel.dial.is_some() {
            self.dialled(key, number, window, max_packet);
            return Ok(());
        }
        channel.confirm(number, window, max_packet);
        let most = channel.window;
        let recipient = match opener {
            Side::Client => channel.client,
            Side::Server => channel.server,
        };
        let message = Build::new(packet::OPEN_CONFIRMATION)
            .u32(recipient.unwrap_or(0))
            .u32(number)
            .u32(window.min(most))
            .u32(max_packet)
            .done();
        match opener {
            Side::Client => self.to_client(message),
            Side::Server => self.to_server(message),
        }
        Ok(())
    }

    fn fail_open(&mut self, key: u64, opener: Side, message: Vec<u8>) -> Result<(), String> {
        let channel = self.channels.get(&key);
        if channel.is_none_or(|channel| !channel.may_be_answered(opener)) {
            return Err("a failure that nobody waits for".to_owned());
        }
        if channel.is_some_and(|channel| channel.dial.is_some()) {
            self.not_dialled(key, &message);
            return Ok(());
        }
        self.forget(key);
        match opener {
            Side::Client => self.to_client(message),
            Side::Server => self.to_server(message),
        }
        Ok(())
    }

    /// Forgets a channel that never came to be, or is closed on both sides.
    pub(super) fn forget(&mut self, key: u64) {
        if let Some(mut channel) = self.channels.remove(&key) {
            if let Some(number) = channel.client
                && self.by_client.get(&number) == Some(&key)
            {
                self.by_client.remove(&number);
            }
            if let Some(number) = channel.server
                && self.by_server.get(&number) == Some(&key)
            {
                self.by_server.remove(&number);
            }
            if let Some(active) = channel.active.as_mut()
                && active.outcome.is_none()
                && !channel.confirmed
            {
                let code = "channel refused".into();
                active.outcome = Some(weir_audit::Outcome::Failed { code });
            }
        }
    }

    /// Frees the numbers of a channel on the sides where both have closed it.
    pub(super) fn free(&mut self, key: u64) {
        let Some(channel) = self.channels.get(&key).filter(|it| it.pipe.is_none()) else {
            return;
        };
        let closing = channel.closing;
        let at_client = closing.by_client && closing.to_client;
        let at_server = closing.by_server && closing.to_server;
        if at_client && let Some(number) = channel.client {
            self.by_client.remove(&number);
        }
        if at_server && let Some(number) = channel.server {
            self.by_server.remove(&number);
        }
        if at_client && at_server {
            self.channels.remove(&key);
        }
    }

    /// One side takes more.
    fn adjust(&mut self, key: u64, by: Side, bytes: u32) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        match by {
            Side::Client => channel.down.adjust(bytes),
            Side::Server => channel.up.adjust(bytes),
        }
        self.flush(key);
    }

    /// Sends what can go on, and grants what can be granted.
    pub(super) fn flush(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        while let Some(message) = channel.down.next() {
            drop(self.client.raw(message));
        }
        while let Some(message) = channel.up.next() {
            drop(self.server.raw(message));
        }
        if let Some(pipe) = &channel.pipe {
            let (flow, waits) = match pipe.side() {
                Side::Client => (&channel.down, !channel.arrivals.is_empty()),
                Side::Server => (&channel.up, false),
            };
            if flow.is_empty() && !waits {
                pipe.more();
            }
        }
        let Some((client, server)) = channel.client.zip(channel.server) else {
            return;
        };
        let closing = channel.closing;
        if !self.client_backlog.is_long()
            && !closing.to_server
            && let Some(bytes) = channel.down.grant()
        {
            let grant = Build::new(packet::WINDOW_ADJUST).u32(server).u32(bytes);
            drop(self.server.raw(grant.done()));
        }
        if !self.server_backlog.is_long()
            && !channel.down.is_long()
            && !closing.to_client
            && let Some(bytes) = channel.up.grant()
        {
            let grant = Build::new(packet::WINDOW_ADJUST).u32(client).u32(bytes);
            drop(self.client.raw(grant.done()));
        }
    }

    fn grant_all(&mut self) {
        let keys: Vec<u64> = self.channels.keys().copied().collect();
        for key in keys {
            self.flush(key);
        }
    }

    fn is_recording(&self) -> bool {
        let active = |channel: &Channel| channel.active.as_ref().is_some_and(Active::is_recorded);
        self.channels.values().any(active)
    }

    fn flush_recordings(&mut self) {
        for channel in self.channels.values_mut() {
            if let Some(active) = channel.active.as_mut() {
                active.flush();
            }
        }
    }

    fn charge_all(&mut self) {
        for channel in self.channels.values_mut() {
            if let Some(meter) = channel.active.as_mut().and_then(|it| it.meter.as_mut()) {
                self.judge.charge(meter);
            }
            if let Some(sftp) = channel.sftp.as_mut() {
                sftp.meters().for_each(|meter| self.judge.charge(meter));
            }
            if let Some(meter) = channel.scp.as_mut().and_then(|scp| scp.meter()) {
                self.judge.charge(meter);
            }
        }
    }
}
