//! What the client says: streams that it opens, a pair of which is a connection, and their data.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use weir_transport::pair::pair;
use weir_wire_kube::spdy::{CANCEL, Frame, Headers, MAX_STREAM, REFUSED_STREAM};

use super::{Event, Kind, MAX_WAYS, OVERHEAD, Session, Side, add, take};
use crate::kubernetes::port_forward::link::Heard;
use crate::kubernetes::port_forward::{MAX_CONNECTIONS, PortForward, Reason};
use crate::kubernetes::upgraded::Flow;
use crate::pipe::{Pipe, Piped};

impl<C, S, F> Session<'_, C, S, F>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow + 'static,
{
    /// Takes what the client has said.
    pub(super) async fn hear_client(&mut self) -> Result<(), Reason> {
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
    pub(super) async fn open(&mut self, stream: u32, headers: &Headers, fin: bool) {
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

    pub(super) fn is_full(&self) -> bool {
        self.connections.len() >= MAX_CONNECTIONS || Arc::strong_count(&self.ways) > MAX_WAYS
    }

    /// Takes a stream of the client's, where it is one of a pair; the connection's key.
    pub(super) fn taken(&mut self, stream: u32, headers: &Headers, fin: bool) -> Option<u64> {
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
    pub(super) async fn begin(&mut self, key: u64) {
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
    pub(super) fn data_up(&mut self, stream: u32, data: Bytes, last: bool) {
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

    /// Tells the client that nothing more comes on a connection, and what the server said of it.
    pub(super) fn end_connection(&mut self, key: u64) {
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
    pub(super) fn refuse(&mut self, key: u64, text: &str) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.text = text.as_bytes().to_vec();
        }
        self.end_connection(key);
    }

    pub(super) fn forget(&mut self, key: u64) {
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
}
