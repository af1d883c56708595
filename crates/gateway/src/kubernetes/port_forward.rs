//! Port-forwards: the client's streams end here, and each pair of them is a connection of its own that the
//! engine serves as if it had been dialled directly.
//!
//! What a connection speaks is governed by the Target of the place that it leads to: the pod's address and
//! the port. Where it dials, it dials a pair of streams of Weir's own to the API server. Connections that
//! no Target covers are relayed, unless they speak a protocol that must be governed.
//!
//! A side may speak SPDY, SPDY inside a WebSocket, or the channels of `v4.channel.k8s.io` with a fixed pair
//! for each port. Such a pair is there from the beginning and once only, so that its connection can dial
//! once, and neither side of it can end alone.
//!
//! Invariants: nothing of the engine's reaches the client before `pass` returned for it; one connection that
//! is refused, reset or held leaves the others alone, since kubectl gives all of them up when it reads an
//! error of one: a connection that Weir ends is ended without a text, and what the server says of one is
//! handed on.
//! Bounds: [`MAX_CONNECTIONS`], and [`MAX_BACKLOG`] bytes each way for all connections together, since no
//! peer keeps windows of SPDY: beyond that the side that sends is not read.

mod engine;
mod link;
mod session;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use weir_transport::pair::pair;
use weir_wire_kube::channel::Subprotocol;

use self::link::Link;
use self::session::{Event, Inbox, Session};
use super::upgraded::{Flow, Stop};

pub(super) use engine::Served;

/// Most connections at the same time, and most that are about to be.
const MAX_CONNECTIONS: usize = 256;
/// Most bytes that wait to be taken by connections, each way.
const MAX_BACKLOG: usize = 8 << 20;

/// How a side carries streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    /// SPDY/3.1.
    Spdy,
    /// SPDY/3.1 inside the binary messages of a WebSocket (`SPDY/3.1+portforward.k8s.io`).
    Tunnel,
    /// Two channels for each port of the request, in its order.
    Channels(Subprotocol, Vec<u16>),
}

/// A port-forward that both sides have upgraded.
pub(super) struct Forwarded<C, S> {
    pub(super) client: C,
    pub(super) client_transport: Transport,
    pub(super) server: S,
    /// Channels only where the client has the same.
    pub(super) server_transport: Transport,
    /// What ends it from outside.
    pub(super) stop: Stop,
}

/// What serves the connections.
pub(super) trait Serve: Send + Sync + 'static {
    /// Serves a connection to a port, in a task of its own; where it dials, it dials that way. What cannot
    /// be served is dropped, and recorded.
    fn serve(&self, stream: TcpStream, port: u16, way: PortForward);
}

/// How a port-forward has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Bytes of the client's.
    pub(super) bytes_in: u64,
    /// Bytes that went to it.
    pub(super) bytes_out: u64,
    /// Connections that were made.
    pub(super) connections: u64,
    /// Why it ended.
    pub(super) reason: Reason,
}

/// Why a port-forward ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client closed it, or left.
    #[default]
    Client,
    /// The server closed it.
    Server,
    /// All connections of its channels are over.
    Done,
    /// It was not let pass: why.
    Refused(String),
    /// It was ended from outside: why.
    Stopped(String),
    /// The client's bytes were no frames.
    BadClient(String),
    /// The server's bytes were no frames.
    BadServer(String),
}

/// Relays a port-forward to its end.
pub(super) async fn forward<C, S, F>(
    forwarded: Forwarded<C, S>,
    flow: Arc<F>,
    serve: &dyn Serve,
) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow + 'static,
{
    let client = Link::of_client(&forwarded.client_transport);
    let server = Link::of_server(&forwarded.server_transport);
    let sides = (forwarded.client, client, forwarded.server, server);
    Session::new(sides, flow, serve).run(forwarded.stop).await
}

/// The way through a port-forward: each connection is a pair of streams of Weir's own.
#[derive(Clone)]
pub(crate) struct PortForward {
    inbox: Inbox,
    /// The client's connection that it is for.
    connection: u64,
    port: u16,
    /// Counts the ways that there are.
    _alive: Arc<()>,
}

impl PortForward {
    /// Connects.
    ///
    /// # Errors
    /// The server refuses, or the port-forward has ended. That nobody listens at the port shows only later,
    /// as the end of the connection.
    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        let over = || io::Error::other("the port-forward that leads there has ended");
        let (near, far) = pair().await?;
        let (tell, told) = oneshot::channel();
        let dial = Dial {
            connection: self.connection,
            port: self.port,
            near,
            tell,
        };
        self.inbox.send(Event::Dial(dial)).map_err(|_| over())?;
        told.await.map_err(|_| over())??;
        Ok(far)
    }
}

/// A pair of streams that is to be opened.
struct Dial {
    connection: u64,
    port: u16,
    near: TcpStream,
    tell: oneshot::Sender<io::Result<()>>,
}

#[cfg(test)]
mod tests;
