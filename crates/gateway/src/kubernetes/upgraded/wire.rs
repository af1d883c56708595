//! The two transports as one: what a side says on which channel.
//!
//! A SPDY stream keeps its number from one side to the other. Streams that the client opens without having
//! asked for them, twice, or with a number of the server's are refused; the server opens none.

use bytes::{Bytes, BytesMut};
use weir_wire_kube::channel::{self, Demux, Event, refusal};
use weir_wire_kube::spdy::{self, Frame};
use weir_wire_kube::websocket::{self, Opcode};

use super::Transport;

/// A channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

const CHANNELS: [Channel; 5] = [
    Channel::Stdin,
    Channel::Stdout,
    Channel::Stderr,
    Channel::Error,
    Channel::Resize,
];

impl Channel {
    fn numbered(number: u8) -> Option<Self> {
        CHANNELS.get(usize::from(number)).copied()
    }

    /// As the header `streamType` names it.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "stdin" => Self::Stdin,
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            "error" => Self::Error,
            "resize" => Self::Resize,
            _ => return None,
        })
    }
}

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What a side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Bytes of a channel, and whether they are its last.
    Data(Channel, Bytes, bool),
    /// A channel is over in both directions.
    Reset(Channel, u32),
    /// A channel is opened, or taken: the frame goes on as it is.
    Stream(Frame),
    /// A stream that is not taken.
    Unwanted(u32),
    /// A ping, which is answered and goes on.
    Ping(Bytes),
    /// All is over.
    Close(Bytes),
}

/// What reads and writes both sides.
pub(super) enum Wire {
    WebSocket(Box<WebSocket>),
    Spdy(Box<Spdy>),
}

pub(super) struct WebSocket {
    transport: channel::Subprotocol,
    client: (websocket::Reader, Demux),
    server: (websocket::Reader, Demux),
}

#[derive(Default)]
pub(super) struct Spdy {
    client: spdy::Reader,
    server: spdy::Reader,
    to_client: spdy::Writer,
    to_server: spdy::Writer,
    /// The stream of each channel.
    streams: [Option<u32>; 5],
    /// Bytes that were taken from each side and not granted again, by channel and in all.
    owed: [[u32; 6]; 2],
    /// Whether standard input was asked for.
    stdin: bool,
}

/// Data that is taken before its sender is granted as much again; no peer is known to wait for it.
const GRANT: u32 = 32 << 10;

impl Wire {
    pub(super) fn new(transport: Transport, stdin: bool) -> Self {
        match transport {
            Transport::WebSocket(version) => Self::WebSocket(Box::new(WebSocket {
                transport: version,
                client: (websocket::Reader::of_client(), Demux::new(version)),
                server: (websocket::Reader::of_server(), Demux::new(version)),
            })),
            Transport::Spdy(_) => Self::Spdy(Box::new(Spdy {
                stdin,
                ..Spdy::default()
            })),
        }
    }

    /// Takes what a side says next from its bytes; what answers it at once is appended to `back`.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub(super) fn hear(
        &mut self,
        from: Side,
        input: &mut BytesMut,
        back: &mut BytesMut,
    ) -> Result<Option<Said>, String> {
        match self {
            Self::WebSocket(wire) => wire.hear(from, input, back),
            Self::Spdy(wire) => wire.hear(from, input, back),
        }
    }

    /// Says something to a side.
    pub(super) fn say(&mut self, to: Side, said: &Said, out: &mut BytesMut) {
        match self {
            Self::WebSocket(wire) => wire.say(to, said, out),
            Self::Spdy(wire) => wire.say(to, said, out),
        }
    }

    /// Tells the client that the stream is over, and why, in a way that it shows.
    pub(super) fn refuse(&mut self, version: channel::Subprotocol, text: &str, out: &mut BytesMut) {
        let text: Bytes = refusal(version, text).into();
        let streams = matches!(self, Self::Spdy(_));
        let said = Said::Data(Channel::Error, text, streams);
        self.say(Side::Client, &said, out);
        if !streams {
            // Any other code would hide the status from kubectl.
            return websocket::close(websocket::CLOSE_NORMAL, "", None, out);
        }
        for channel in [Channel::Stdout, Channel::Stderr, Channel::Stdin] {
            let end = Said::Data(channel, Bytes::new(), true);
            self.say(Side::Client, &end, out);
        }
    }

    /// Tells a side that the stream is over.
    pub(super) fn hang_up(&mut self, to: Side, out: &mut BytesMut) {
        match self {
            Self::WebSocket(_) => websocket::close(websocket::CLOSE_NORMAL, "", mask(to), out),
            Self::Spdy(wire) => {
                for stream in wire.streams.into_iter().flatten() {
                    let status = spdy::CANCEL;
                    wire.writer(to).frame(&Frame::Rst { stream, status }, out);
                }
                let frame = Frame::GoAway { last: 0, status: 0 };
                wire.writer(to).frame(&frame, out);
            }
        }
    }
}

/// What frames to that side are masked with: something that nobody can foresee.
fn mask(to: Side) -> Option<[u8; 4]> {
    let mut mask = [0; 4];
    // A mask protects what lies between from its own client; where none can be had, zeros are one too.
    (to == Side::Server).then(|| {
        aws_lc_rs::rand::fill(&mut mask).unwrap_or_default();
        mask
    })
}

impl WebSocket {
    fn hear(
        &mut self,
        from: Side,
        input: &mut BytesMut,
        back: &mut BytesMut,
    ) -> Result<Option<Said>, String> {
        let (reader, demux) = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        while let Some(event) = reader.feed(input).map_err(|error| error.to_string())? {
            match event {
                websocket::Event::Piece(piece) => {
                    let event = demux.take(piece).map_err(|error| error.to_string())?;
                    // A server passes over channels that it does not know.
                    let said = match event {
                        Some(Event::Data(number, data)) => {
                            Channel::numbered(number).map(|it| Said::Data(it, data, false))
                        }
                        Some(Event::Close(number)) => {
                            let channel = Channel::numbered(number);
                            channel.map(|it| Said::Data(it, Bytes::new(), true))
                        }
                        None => None,
                    };
                    if said.is_some() {
                        return Ok(said);
                    }
                }
                websocket::Event::Ping(payload) => {
                    websocket::frame(Opcode::Pong, mask(from), b"", &payload, back);
                    return Ok(Some(Said::Ping(payload)));
                }
                websocket::Event::Pong(_) => {}
                websocket::Event::Close(payload) => return Ok(Some(Said::Close(payload))),
            }
        }
        Ok(None)
    }

    fn say(&self, to: Side, said: &Said, out: &mut BytesMut) {
        let mask = mask(to);
        match said {
            Said::Data(channel, data, last) => {
                if !data.is_empty() || !last {
                    self.transport.message(*channel as u8, data, mask, out);
                }
                if *last {
                    self.transport.close(*channel as u8, mask, out);
                }
            }
            Said::Ping(payload) => websocket::frame(Opcode::Ping, mask, b"", payload, out),
            Said::Close(payload) => websocket::frame(Opcode::Close, mask, b"", payload, out),
            Said::Reset(..) | Said::Stream(_) | Said::Unwanted(_) => {}
        }
    }
}

impl Spdy {
    fn writer(&mut self, to: Side) -> &mut spdy::Writer {
        match to {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }

    fn channel(&self, stream: u32) -> Option<Channel> {
        let mut channels = CHANNELS.into_iter().zip(self.streams);
        channels.find_map(|(channel, known)| (known == Some(stream)).then_some(channel))
    }

    fn hear(
        &mut self,
        from: Side,
        input: &mut BytesMut,
        back: &mut BytesMut,
    ) -> Result<Option<Said>, String> {
        loop {
            let reader = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let Some(frame) = reader.feed(input).map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let said = match frame {
                Frame::SynStream { .. } if from == Side::Server => {
                    return Err("a stream that the server opens".to_owned());
                }
                Frame::SynStream { stream, .. } => match self.open(&frame) {
                    true => Some(Said::Stream(frame)),
                    false => Some(Said::Unwanted(stream)),
                },
                Frame::SynReply { stream, .. } => {
                    let is_known = from == Side::Server && self.channel(stream).is_some();
                    is_known.then_some(Said::Stream(frame))
                }
                Frame::Data { stream, fin, data } => {
                    let channel = self.channel(stream);
                    if let Some(channel) = channel {
                        self.grant(from, channel, data.len(), back);
                    }
                    channel.map(|channel| Said::Data(channel, data, fin))
                }
                Frame::Rst { stream, status } => {
                    let channel = self.channel(stream);
                    channel.map(|channel| Said::Reset(channel, status))
                }
                Frame::Ping(id) => {
                    let is_own = (id % 2 == 1) == (from == Side::Client);
                    is_own.then(|| {
                        self.writer(from).frame(&Frame::Ping(id), back);
                        Said::Ping(Bytes::copy_from_slice(&id.to_be_bytes()))
                    })
                }
                Frame::GoAway { .. } => Some(Said::Close(Bytes::new())),
                Frame::Settings(_) | Frame::Headers { .. } | Frame::WindowUpdate { .. } => None,
            };
            if said.is_some() {
                return Ok(said);
            }
        }
    }

    /// Takes a stream of the client's. Whether it was asked for.
    fn open(&mut self, frame: &Frame) -> bool {
        let Frame::SynStream {
            stream, headers, ..
        } = frame
        else {
            return false;
        };
        let Some(channel) = headers.first("streamtype").and_then(Channel::named) else {
            return false;
        };
        let is_new = self.channel(*stream).is_none() && stream % 2 == 1;
        let is_asked = channel != Channel::Stdin || self.stdin;
        match self.streams.get_mut(channel as usize) {
            Some(place @ None) if is_new && is_asked => {
                *place = Some(*stream);
                true
            }
            _ => false,
        }
    }

    fn grant(&mut self, to: Side, channel: Channel, taken: usize, back: &mut BytesMut) {
        let stream = self.streams.get(channel as usize).copied().flatten();
        for (place, stream) in [(channel as usize, stream.unwrap_or(0)), (5, 0)] {
            let owed = self.owed.get_mut(to as usize);
            let Some(owed) = owed.and_then(|owed| owed.get_mut(place)) else {
                continue;
            };
            *owed = owed.saturating_add(u32::try_from(taken).unwrap_or(GRANT));
            if *owed >= GRANT {
                let delta = std::mem::take(owed);
                let frame = Frame::WindowUpdate { stream, delta };
                self.writer(to).frame(&frame, back);
            }
        }
    }

    fn say(&mut self, to: Side, said: &Said, out: &mut BytesMut) {
        let stream_of = |channel: &Channel| self.streams.get(*channel as usize).copied().flatten();
        let frame = match said {
            Said::Data(channel, data, fin) => {
                if let Some(stream) = stream_of(channel) {
                    spdy::Writer::data(stream, *fin, data, out);
                }
                return;
            }
            Said::Reset(channel, status) => {
                let Some(stream) = stream_of(channel) else {
                    return;
                };
                let status = *status;
                Frame::Rst { stream, status }
            }
            Said::Stream(frame) => return self.writer(to).frame(frame, out),
            Said::Unwanted(stream) => Frame::Rst {
                stream: *stream,
                status: spdy::PROTOCOL_ERROR,
            },
            Said::Ping(id) => match id.first_chunk::<4>() {
                Some(id) => Frame::Ping(u32::from_be_bytes(*id)),
                None => return,
            },
            Said::Close(_) => Frame::GoAway { last: 0, status: 0 },
        };
        self.writer(to).frame(&frame, out);
    }
}
