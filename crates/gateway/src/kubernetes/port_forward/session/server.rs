//! What the server says, and the pairs of streams that connections dial to it.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_wire_kube::spdy::{CANCEL, Frame, Headers, MAX_STREAM};

use super::{Dialled, Event, Kind, MAX_TEXT, OVERHEAD, Opening, Session, Side, add, take};
use crate::kubernetes::port_forward::link::Heard;
use crate::kubernetes::port_forward::{Dial, MAX_CONNECTIONS, Reason};
use crate::kubernetes::upgraded::Flow;
use crate::pipe::Pipe;

impl<C, S, F> Session<'_, C, S, F>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow + 'static,
{
    /// Takes what the server has said.
    pub(super) fn hear_server(&mut self) -> Result<(), Reason> {
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
    pub(super) fn replied(&mut self, stream: u32) {
        let Some((key, Kind::Data)) = self.server_streams.get(&stream).copied() else {
            return;
        };
        let opening = self.dials.get_mut(&key).and_then(|it| it.opening.take());
        if let Some(opening) = opening {
            self.dialled(key, opening);
        }
    }

    /// A pair of streams to the server is there.
    pub(super) fn dialled(&mut self, key: u64, (near, tell): Opening) {
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
    pub(super) fn data_down(&mut self, stream: u32, data: &[u8], last: bool) {
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
    pub(super) fn reset(&mut self, stream: u32) {
        let Some((key, Kind::Data)) = self.server_streams.get(&stream).copied() else {
            return;
        };
        self.not_taken(key, "the server does not take the connection");
    }

    pub(super) fn not_dialled(&mut self, key: u64, text: &str) {
        if let Some((_, tell)) = self.dials.get_mut(&key).and_then(|it| it.opening.take()) {
            drop(tell.send(Err(io::Error::other(text))));
        }
        self.drop_dial(key);
    }

    /// Opens a pair of streams to the server.
    pub(super) fn dial(&mut self, dial: Dial, is_over: bool) {
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

    /// Gives up a pair of streams to the server.
    pub(super) fn hang_up(&mut self, key: u64) {
        if let Some(dialled) = self.dials.get(&key) {
            let frame = Frame::Rst {
                stream: dialled.data,
                status: CANCEL,
            };
            self.server_link.frame(&frame, &mut self.server.output);
        }
        self.drop_dial(key);
    }

    pub(super) fn drop_dial(&mut self, key: u64) {
        if let Some(dialled) = self.dials.remove(&key) {
            self.server_streams.remove(&dialled.data);
            self.server_streams.remove(&dialled.error);
            take(&mut self.backlog, Side::Server, dialled.waiting);
        }
    }

    /// The server has gone.
    pub(super) fn end_dials(&mut self) {
        let keys: Vec<u64> = self.dials.keys().copied().collect();
        for key in keys {
            self.not_taken(key, "the server has closed the port-forward");
        }
    }

    /// The server takes a connection no more: what it said goes on, or the client is told `why`.
    pub(super) fn not_taken(&mut self, key: u64, why: &str) {
        let Some(dialled) = self.dials.get_mut(&key) else {
            return;
        };
        match dialled.pipe.as_mut() {
            Some(pipe) => {
                pipe.end();
                dialled.told = true;
            }
            None => self.not_dialled(key, why),
        }
    }
}
