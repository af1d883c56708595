//! Connections inside a forward, governed as if they had been made directly.
//!
//! A forward that the policy permits does not join the client with the server. The client's channel
//! ends here, in a connection of the engine's own; where that connection dials, it dials through a
//! channel of Weir's own to the server. A database, another host behind this one: their protocol is
//! parsed, judged and recorded under the Target of the place that the forward names. What no Target
//! covers is relayed, unless it speaks a protocol that must be governed.
//!
//! Invariants: the client learns that its channel is open when the server has opened one; what waits
//! in a channel's connection is not granted again to its sender.
//! Refuses: more than [`MAX_DEPTH`] sessions inside one another.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use weir_audit::Outcome;
use weir_policy::ForwardKind;
use weir_transport::pair::pair;

use super::asked::Asked;
use super::channel::{Arrival, Channel, Closing, Side};
use super::data::Counted;
use super::flow::Flow;
use super::packet::{self, Build, Fields, Message};
use super::relay::{Event, Inbox, MAX_CHANNELS, Relay};
use crate::incoming::{Incoming, MAX_DEPTH, Peer};
use crate::pipe::{Pipe, Piped};
use crate::place::{Place, Way};

/// Numbers of Weir's own channels begin here, far from those that peers choose.
const OWN_NUMBERS: u32 = 1 << 31;
/// The longest data in one message that Weir asks for.
const MAX_PACKET: u32 = 32 << 10;

/// The way through an SSH session: each connection is a channel of Weir's own to the server.
#[derive(Clone)]
pub(crate) struct Tunnel {
    inbox: Inbox,
    opening: Arc<Opening>,
    /// Dialled before the client was told that its channel is open.
    first: Arc<Mutex<Option<TcpStream>>>,
}

/// What a channel is opened with: its type, and what it says of where it leads.
#[derive(Debug)]
pub(super) struct Opening {
    kind: Vec<u8>,
    rest: Vec<u8>,
}

/// A channel of Weir's own that is to be opened.
pub(super) struct Dial {
    opening: Arc<Opening>,
    near: TcpStream,
    tell: oneshot::Sender<io::Result<()>>,
}

/// What a permitted forward has become.
pub(super) struct Led {
    /// The connection's end for the client's channel.
    near: TcpStream,
    /// Its end for the engine.
    far: TcpStream,
    tunnel: Tunnel,
    place: Place,
}

impl Tunnel {
    /// Connects.
    ///
    /// # Errors
    /// The server refuses, or the SSH session has ended.
    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(first) = first {
            return Ok(first);
        }
        let over = || io::Error::other("the SSH session that leads there has ended");
        let (near, far) = pair().await?;
        let (tell, told) = oneshot::channel();
        let dial = Dial {
            opening: Arc::clone(&self.opening),
            near,
            tell,
        };
        self.inbox.put(Event::Dial(dial)).map_err(|_| over())?;
        told.await.map_err(|_| over())??;
        Ok(far)
    }
}

impl Relay {
    /// Leads what a permitted request opens through the engine; none where it is not for that.
    pub(super) fn lead(&mut self, key: u64, asked: &Asked, packet: &[u8]) -> Option<()> {
        let Asked::Forward(ForwardKind::DirectTcpip | ForwardKind::DirectStreamlocal, _) = asked
        else {
            return None;
        };
        let Ok(Message::Open { kind, rest, .. }) = Message::parse(packet) else {
            return None;
        };
        let Some(place) = place(kind, rest) else {
            self.not_led(key, "no such place");
            return Some(());
        };
        if self.peer.depth() >= MAX_DEPTH {
            self.not_led(key, "weir: too many connections inside one another");
            return Some(());
        }
        let tunnel = Tunnel {
            inbox: self.inbox.clone(),
            opening: Arc::new(Opening {
                kind: kind.to_vec(),
                rest: rest.to_vec(),
            }),
            first: Arc::default(),
        };
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let led = async {
                let upstream = tunnel.dial().await?;
                let (near, far) = pair().await?;
                *tunnel.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(upstream);
                Ok(Led {
                    near,
                    far,
                    tunnel,
                    place,
                })
            };
            let led: io::Result<Led> = led.await;
            drop(inbox.put(Event::Led(key, led.map(Box::new))));
        });
        Some(())
    }

    /// The server has opened a channel for a forward, or has not.
    pub(super) fn led(&mut self, key: u64, led: io::Result<Box<Led>>) {
        let led = match led {
            Ok(led) => led,
            Err(error) => return self.not_led(key, &error.to_string()),
        };
        let number = self.own_number();
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let Some(client) = channel.client else {
            return;
        };
        self.by_server.insert(number, key);
        let window = channel.window;
        channel.confirm(number, u32::MAX, MAX_PACKET);
        channel.closing.by_server = true;
        channel.closing.to_server = true;
        channel.pipe = Some(Pipe::new(Side::Client, led.near, self.inbox.of_pipe(key)));
        let message = Build::new(packet::OPEN_CONFIRMATION)
            .u32(client)
            .u32(number)
            .u32(window)
            .u32(MAX_PACKET);
        self.to_client(message.done());
        let incoming = Incoming {
            stream: led.far,
            peer: Peer::Forwarded {
                client: self.peer.client(),
                through: self.evidence.session.id,
                depth: self.peer.depth() + 1,
            },
            place: Some(led.place),
            identity: Arc::clone(&self.evidence.session.identity),
            leash: self.leash.inside(),
        };
        let shared = Arc::clone(&self.judge.shared);
        tokio::spawn(shared.serve_through(incoming, Way::Through(led.tunnel)));
    }

    fn not_led(&mut self, key: u64, reason: &str) {
        let client = self.channels.get(&key).and_then(|channel| channel.client);
        self.forget(key);
        if let Some(client) = client {
            self.to_client(packet::open_failure(client, packet::CONNECT_FAILED, reason));
        }
    }

    /// Opens a channel of Weir's own to the server.
    pub(super) fn dial(&mut self, dial: Dial) {
        if self.channels.len() >= MAX_CHANNELS {
            let error = io::Error::other("too many channels are open");
            drop(dial.tell.send(Err(error)));
            return;
        }
        let number = self.own_number();
        let key = self.next_key();
        let mut channel = Channel::new(
            Side::Client,
            number,
            (u32::MAX, MAX_PACKET),
            false,
            self.channels.len(),
        );
        let open = Build::new(packet::OPEN)
            .string(&dial.opening.kind)
            .u32(number)
            .u32(channel.offer())
            .u32(MAX_PACKET)
            .raw(&dial.opening.rest);
        channel.dial = Some(dial);
        channel.asked = true;
        self.channels.insert(key, channel);
        self.by_client.insert(number, key);
        self.to_server(open.done());
    }

    /// The server has opened a channel of Weir's own.
    pub(super) fn dialled(&mut self, key: u64, number: u32, window: u32, max_packet: u32) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let Some(dial) = channel.dial.take() else {
            return;
        };
        channel.confirm(number, window, max_packet);
        channel.closing.by_client = true;
        channel.closing.to_client = true;
        channel.pipe = Some(Pipe::new(Side::Server, dial.near, self.inbox.of_pipe(key)));
        if dial.tell.send(Ok(())).is_err() {
            self.hang_up(key);
            self.flush(key);
        }
    }

    /// The server has not.
    pub(super) fn not_dialled(&mut self, key: u64, message: &[u8]) {
        let channel = self.channels.get_mut(&key);
        if let Some(dial) = channel.and_then(|channel| channel.dial.take()) {
            let reason = packet::failure_text(message);
            drop(dial.tell.send(Err(io::Error::other(reason))));
        }
        self.forget(key);
    }

    fn own_number(&self) -> u32 {
        let is_free = |number: &u32| {
            !self.by_client.contains_key(number) && !self.by_server.contains_key(number)
        };
        // There are far more numbers than channels.
        (OWN_NUMBERS..u32::MAX).find(is_free).unwrap_or(OWN_NUMBERS)
    }

    /// A peer's message about a channel that has a connection.
    pub(super) fn of_peer(&mut self, key: u64, message: &[u8]) -> Result<(), String> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        let Some(pipe) = channel.pipe.as_mut() else {
            return Ok(());
        };
        let (flow, number) = match pipe.side() {
            Side::Client => (&mut channel.up, channel.client),
            Side::Server => (&mut channel.down, channel.server),
        };
        let side = pipe.side();
        match Message::parse(message).map_err(|error| error.to_string())? {
            Message::Data { data, .. } => {
                flow.take(data.len()).map_err(|error| error.to_string())?;
                if !pipe.give(data) {
                    flow.release(data.len());
                }
                if side == Side::Client {
                    self.totals.bytes_in += data.len() as u64;
                }
            }
            Message::ExtendedData { data, .. } => {
                flow.take(data.len()).map_err(|error| error.to_string())?;
                flow.release(data.len());
            }
            Message::Eof { .. } => {
                let over = pipe.ended;
                pipe.end();
                if over {
                    self.hang_up(key);
                }
            }
            Message::Close { .. } => self.hung_up(key),
            Message::Request { want_reply, .. } => {
                if want_reply {
                    let failure = Build::channel(packet::CHANNEL_FAILURE, number.unwrap_or(0));
                    self.to_peer(side, failure);
                }
            }
            _ => return Err("an answer that nobody asked for".to_owned()),
        }
        self.flush(key);
        Ok(())
    }

    /// What happens at a channel's connection.
    pub(super) fn piped(&mut self, key: u64, event: Piped) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let Some(pipe) = channel.pipe.as_mut() else {
            return;
        };
        match (event, pipe.side()) {
            (Piped::Data(data), Side::Client) => self.data_of_engine(key, data),
            (Piped::Data(data), Side::Server) => channel.up.send(None, data),
            (Piped::Taken(count), Side::Client) => channel.up.release(count),
            (Piped::Taken(count), Side::Server) => channel.down.release(count),
            (Piped::Done, _) => {
                if pipe.hung_up {
                    self.channels.remove(&key);
                }
            }
            (Piped::Broken, _) => {
                if pipe.hung_up {
                    self.channels.remove(&key);
                } else {
                    self.hang_up(key);
                }
            }
            (Piped::End, side) => {
                pipe.ended = true;
                let over = pipe.peer_ended;
                self.say_last(key, side, packet::EOF);
                if over {
                    self.hang_up(key);
                }
            }
        }
        self.flush(key);
    }

    /// What the engine says to the client: counted as any result is.
    fn data_of_engine(&mut self, key: u64, data: Vec<u8>) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if channel.closing.to_client {
            return;
        }
        if channel.holds_results() {
            channel.arrivals.push_back(Arrival::Data(None, data));
            return;
        }
        let counted = self.count(key, None, &data);
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        match counted {
            Counted::Gone => {
                self.totals.bytes_out += data.len() as u64;
                channel.down.send(None, data);
            }
            Counted::Waits => channel.arrivals.push_back(Arrival::Data(None, data)),
            Counted::Ended(_) => {}
        }
    }

    /// A channel's end, or the end of its data, behind all that was said before.
    fn say_last(&mut self, key: u64, side: Side, kind: u8) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        match side {
            Side::Client if channel.closing.to_client => {}
            Side::Client => {
                let message = Build::channel(kind, channel.client.unwrap_or(0));
                if channel.holds_results() {
                    channel.arrivals.push_back(Arrival::Message(message));
                } else {
                    channel.closing.to_client = kind == packet::CLOSE;
                    channel.down.message(message);
                }
            }
            Side::Server if channel.closing.to_server => {}
            Side::Server => {
                channel.closing.to_server = kind == packet::CLOSE;
                let message = Build::channel(kind, channel.server.unwrap_or(0));
                channel.up.message(message);
            }
        }
    }

    /// Closes a channel that has a connection.
    fn hang_up(&mut self, key: u64) {
        let pipe = self.channels.get(&key).and_then(|it| it.pipe.as_ref());
        if let Some(side) = pipe.map(Pipe::side) {
            self.say_last(key, side, packet::CLOSE);
        }
    }

    /// Its peer has closed it. What the peer said before still goes into the connection.
    fn hung_up(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let Some(pipe) = channel.pipe.as_mut() else {
            return;
        };
        let side = pipe.side();
        pipe.end();
        pipe.hung_up = true;
        pipe.more();
        let (told, number) = match side {
            Side::Client => (channel.closing.to_client, channel.client.take()),
            Side::Server => (channel.closing.to_server, channel.server.take()),
        };
        channel.closing = Closing {
            by_client: true,
            by_server: true,
            to_client: true,
            to_server: true,
        };
        let is_cut = channel.stopped.take().is_some() || !channel.arrivals.is_empty();
        channel.arrivals.clear();
        (channel.client, channel.server) = (None, None);
        (channel.up, channel.down) = (Flow::new(0, 0, 1, 0), Flow::new(0, 0, 1, 0));
        if let Some(active) = channel.active.take() {
            active.finish(if is_cut {
                Outcome::Cancelled
            } else {
                Outcome::Completed
            });
        }
        self.by_client.retain(|_, known| *known != key);
        self.by_server.retain(|_, known| *known != key);
        if !told {
            self.to_peer(side, Build::channel(packet::CLOSE, number.unwrap_or(0)));
        }
    }

    fn to_peer(&self, side: Side, message: Vec<u8>) {
        match side {
            Side::Client => self.to_client(message),
            Side::Server => self.to_server(message),
        }
    }
}

/// Where a forward leads.
fn place(kind: &[u8], rest: &[u8]) -> Option<Place> {
    let mut fields = Fields(rest);
    let host = std::str::from_utf8(fields.string()?).ok()?;
    match kind {
        b"direct-tcpip" => Some(Place::host(host, u16::try_from(fields.u32()?).ok()?)),
        _ => Some(Place::Socket(host.into())),
    }
}
