//! One side's streams, whatever they are carried in.
//!
//! A channel of WebSocket messages is a stream with the channel's number, open from the beginning.

use bytes::{Bytes, BytesMut};
use weir_wire_kube::channel::{Demux, Event as ChannelEvent, Subprotocol, forward_port};
use weir_wire_kube::spdy::{self, Frame, Headers};
use weir_wire_kube::websocket::{self, Opcode};

use super::Transport;

/// Data that is taken of a stream before its sender is granted as much again.
const GRANT: u32 = 32 << 10;
/// What a channel of a server's begins with: its port.
const PORT: usize = 2;
/// The longest piece of data that is written in one frame.
const PIECE: usize = 32 << 10;

/// What a side says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A stream is opened.
    Open(u32, Headers, bool),
    /// A stream is taken.
    Reply(u32, bool),
    /// Data of a stream, and whether it is its last.
    Data(u32, Bytes, bool),
    /// A stream is over at once.
    Reset(u32),
    /// A ping, which was answered.
    Ping,
    /// All is over.
    Close,
}

/// One side's streams.
pub(super) enum Link {
    Spdy(Box<SpdyLink>),
    Channels(Box<ChannelLink>),
}

pub(super) struct SpdyLink {
    reader: spdy::Reader,
    writer: spdy::Writer,
    tunnel: Option<Tunnel>,
    /// Whether the other end is a server.
    to_server: bool,
}

/// The WebSocket that SPDY is inside of.
struct Tunnel {
    reader: websocket::Reader,
    /// What has come out of it.
    inner: BytesMut,
}

pub(super) struct ChannelLink {
    subprotocol: Subprotocol,
    ports: Vec<u16>,
    reader: websocket::Reader,
    demux: Demux,
    /// Whether the other end is a server.
    to_server: bool,
    /// How much of what each channel of a server's begins with has not come yet.
    unseen: Vec<usize>,
}

fn mask(to_server: bool) -> Option<[u8; 4]> {
    let mut mask = [0; 4];
    to_server.then(|| {
        aws_lc_rs::rand::fill(&mut mask).unwrap_or_default();
        mask
    })
}

impl Link {
    pub(super) fn of_client(transport: &Transport) -> Self {
        Self::new(transport, websocket::Reader::of_client(), false)
    }

    pub(super) fn of_server(transport: &Transport) -> Self {
        Self::new(transport, websocket::Reader::of_server(), true)
    }

    fn new(transport: &Transport, reader: websocket::Reader, to_server: bool) -> Self {
        match transport {
            Transport::Spdy => Self::spdy(None, to_server),
            Transport::Tunnel => Self::spdy(Some(reader), to_server),
            Transport::Channels(subprotocol, ports) => Self::Channels(Box::new(ChannelLink {
                subprotocol: *subprotocol,
                ports: ports.clone(),
                reader,
                demux: Demux::new(*subprotocol),
                to_server,
                unseen: vec![if to_server { PORT } else { 0 }; 2 * ports.len()],
            })),
        }
    }

    fn spdy(tunnel: Option<websocket::Reader>, to_server: bool) -> Self {
        Self::Spdy(Box::new(SpdyLink {
            reader: spdy::Reader::default(),
            writer: spdy::Writer::default(),
            tunnel: tunnel.map(|reader| Tunnel {
                reader,
                inner: BytesMut::new(),
            }),
            to_server,
        }))
    }

    /// The ports of channels, which are there from the beginning.
    pub(super) fn ports(&self) -> &[u16] {
        match self {
            Self::Spdy(_) => &[],
            Self::Channels(link) => &link.ports,
        }
    }

    /// Takes what is said next; what answers it at once is appended to `back`.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub(super) fn hear(
        &mut self,
        input: &mut BytesMut,
        back: &mut BytesMut,
    ) -> Result<Option<Heard>, String> {
        match self {
            Self::Spdy(link) => link.hear(input, back),
            Self::Channels(link) => link.hear(input, back),
        }
    }

    /// Says a frame of SPDY; nothing where there is none.
    pub(super) fn frame(&mut self, frame: &Frame, out: &mut BytesMut) {
        if let Self::Spdy(link) = self {
            link.frame(frame, out);
        }
    }

    /// Sends data on a stream, and whether it is the last.
    pub(super) fn data(&mut self, stream: u32, data: &[u8], last: bool, out: &mut BytesMut) {
        match self {
            Self::Spdy(link) => {
                if data.is_empty() {
                    return link.data(stream, data, last, out);
                }
                let mut pieces = data.chunks(PIECE).peekable();
                while let Some(piece) = pieces.next() {
                    let ends = last && pieces.peek().is_none();
                    link.data(stream, piece, ends, out);
                }
            }
            Self::Channels(link) => {
                let Ok(channel) = u8::try_from(stream) else {
                    return;
                };
                for piece in data.chunks(PIECE) {
                    let mask = mask(link.to_server);
                    link.subprotocol.message(channel, piece, mask, out);
                }
            }
        }
    }

    /// Says what each channel begins with.
    pub(super) fn announce(&mut self, stream: u32, port: u16, out: &mut BytesMut) {
        if let Self::Channels(_) = self {
            self.data(stream, &forward_port(port), false, out);
        }
    }

    /// Pings the other end; nobody waits for its answer.
    pub(super) fn ping(&mut self, id: u32, out: &mut BytesMut) {
        match self {
            Self::Spdy(link) => link.frame(&Frame::Ping(id), out),
            Self::Channels(link) => {
                websocket::frame(Opcode::Ping, mask(link.to_server), b"", b"", out);
            }
        }
    }

    /// Grants what was taken of a stream, where its sender keeps windows.
    pub(super) fn grant(&mut self, stream: u32, owed: &mut u32, taken: usize, out: &mut BytesMut) {
        *owed = owed.saturating_add(u32::try_from(taken).unwrap_or(GRANT));
        if *owed >= GRANT {
            let delta = std::mem::take(owed);
            for stream in [stream, 0] {
                self.frame(&Frame::WindowUpdate { stream, delta }, out);
            }
        }
    }

    /// Says that all is over.
    pub(super) fn close(&mut self, out: &mut BytesMut) {
        let code = websocket::CLOSE_NORMAL;
        match self {
            Self::Spdy(link) => {
                link.frame(&Frame::GoAway { last: 0, status: 0 }, out);
                if link.tunnel.is_some() {
                    websocket::close(code, "", mask(link.to_server), out);
                }
            }
            Self::Channels(link) => websocket::close(code, "", mask(link.to_server), out),
        }
    }
}

impl SpdyLink {
    fn frame(&mut self, frame: &Frame, out: &mut BytesMut) {
        if self.tunnel.is_none() {
            return self.writer.frame(frame, out);
        }
        let mut inner = BytesMut::new();
        self.writer.frame(frame, &mut inner);
        let mask = mask(self.to_server);
        websocket::frame(Opcode::Binary, mask, b"", &inner, out);
    }

    fn data(&mut self, stream: u32, data: &[u8], last: bool, out: &mut BytesMut) {
        let header = spdy::data_header(stream, last, data.len());
        if self.tunnel.is_some() {
            let mask = mask(self.to_server);
            return websocket::frame(Opcode::Binary, mask, &header, data, out);
        }
        out.reserve(header.len() + data.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(data);
    }

    fn hear(&mut self, input: &mut BytesMut, back: &mut BytesMut) -> Result<Option<Heard>, String> {
        loop {
            let source = match &mut self.tunnel {
                Some(tunnel) => &mut tunnel.inner,
                None => &mut *input,
            };
            let frame = self
                .reader
                .feed(source)
                .map_err(|error| error.to_string())?;
            let heard = match frame {
                Some(frame) => self.heard(frame, back),
                None => match self.tunnel.as_mut() {
                    None => return Ok(None),
                    Some(tunnel) => match tunnel.take(input, self.to_server, back)? {
                        Some(heard) => heard,
                        None => return Ok(None),
                    },
                },
            };
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }

    fn heard(&mut self, frame: Frame, back: &mut BytesMut) -> Option<Heard> {
        Some(match frame {
            Frame::SynStream {
                stream,
                fin,
                headers,
                ..
            } => Heard::Open(stream, headers, fin),
            Frame::SynReply { stream, fin, .. } => Heard::Reply(stream, fin),
            Frame::Data { stream, fin, data } => Heard::Data(stream, data, fin),
            Frame::Rst { stream, .. } => Heard::Reset(stream),
            // A server's pings have even numbers, a client's odd ones; what is left are answers.
            Frame::Ping(id) if id.is_multiple_of(2) == self.to_server => {
                self.frame(&Frame::Ping(id), back);
                Heard::Ping
            }
            Frame::GoAway { .. } => Heard::Close,
            Frame::Ping(_)
            | Frame::Settings(_)
            | Frame::Headers { .. }
            | Frame::WindowUpdate { .. } => return None,
        })
    }
}

impl Tunnel {
    /// Takes one thing out of the WebSocket: what is heard of it, if anything. `None`: more bytes are
    /// needed.
    fn take(
        &mut self,
        input: &mut BytesMut,
        to_server: bool,
        back: &mut BytesMut,
    ) -> Result<Option<Option<Heard>>, String> {
        let event = self.reader.feed(input).map_err(|error| error.to_string())?;
        Ok(Some(match event {
            None => return Ok(None),
            Some(websocket::Event::Piece(piece)) => {
                self.inner.extend_from_slice(&piece.data);
                None
            }
            Some(websocket::Event::Ping(payload)) => {
                websocket::frame(Opcode::Pong, mask(to_server), b"", &payload, back);
                Some(Heard::Ping)
            }
            Some(websocket::Event::Pong(_)) => None,
            Some(websocket::Event::Close(_)) => Some(Heard::Close),
        }))
    }
}

impl ChannelLink {
    fn hear(&mut self, input: &mut BytesMut, back: &mut BytesMut) -> Result<Option<Heard>, String> {
        while let Some(event) = self.reader.feed(input).map_err(|error| error.to_string())? {
            match event {
                websocket::Event::Piece(piece) => {
                    let event = self.demux.take(piece).map_err(|error| error.to_string())?;
                    match event {
                        Some(ChannelEvent::Data(channel, mut data)) => {
                            if let Some(unseen) = self.unseen.get_mut(usize::from(channel)) {
                                let port = data.split_to(data.len().min(*unseen));
                                *unseen -= port.len();
                            }
                            if !data.is_empty() {
                                return Ok(Some(Heard::Data(channel.into(), data, false)));
                            }
                        }
                        Some(ChannelEvent::Close(channel)) => {
                            return Ok(Some(Heard::Data(channel.into(), Bytes::new(), true)));
                        }
                        None => {}
                    }
                }
                websocket::Event::Ping(payload) => {
                    let mask = mask(self.to_server);
                    websocket::frame(Opcode::Pong, mask, b"", &payload, back);
                    return Ok(Some(Heard::Ping));
                }
                websocket::Event::Pong(_) => {}
                websocket::Event::Close(_) => return Ok(Some(Heard::Close)),
            }
        }
        Ok(None)
    }
}
