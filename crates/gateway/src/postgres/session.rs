//! A session after login: two byte streams, what the server owes, and what is known of the session.
//!
//! The loop is one task. Client messages are taken one at a time, in order, and each is judged
//! before a byte of it goes on; server messages are taken as they come. Neither side is read while
//! the other is slow: what is held is bounded by [`BACKLOG`] and by the longest message that has to
//! be whole ([`MAX_WHOLE`]).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Instant;
use weir_policy::Scope;
use weir_sql::LexSettings;

use super::catalog::{Catalog, Rows};
use super::encoding::Encodings;
use super::hold::Crossing;
use super::pending::Pending;
use super::prepared::Named;
use super::refusal::Refusal;
use super::statement::Evidence;
use crate::buffer::{Inbox, Outbox};
use crate::engine::Shared;
use crate::moment::Moment;

/// Bytes that may wait for a slow reader before the other side is no longer read.
pub(super) const BACKLOG: usize = 256 * 1024;

/// What waits in two places leaves in one write where each is at most so many bytes.
const JOINED: usize = 4 * 1024;

/// The longest message that is held whole because it is judged, masked or recorded: 64 MiB.
pub(super) const MAX_WHOLE: usize = 64 * 1024 * 1024;

/// How long the server is heard for what became of the statements of a client whose connection broke.
const HEARD: std::time::Duration = std::time::Duration::from_secs(2);

/// What the client's side is called.
pub(super) const CLIENT: &str = "client";

/// A connected stream, plain or TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for T {}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    /// One side's connection broke.
    #[error("{side}: {source}")]
    Io {
        /// Which side.
        side: &'static str,
        /// The failure.
        source: io::Error,
    },
    /// The client sent what is not the protocol.
    #[error("client: {0}")]
    Client(weir_wire_postgres::ProtocolError),
    /// The server sent what is not the protocol.
    #[error("server: {0}")]
    Server(weir_wire_postgres::ProtocolError),
    /// Weir ends the session; the client was told why.
    #[error("{0}")]
    Ended(String),
}

/// One side: its stream, what it sent, and what waits to be sent to it.
pub(super) struct Side {
    pub(super) stream: Box<dyn Duplex>,
    pub(super) inbox: Inbox,
    /// Bytes for this side that were not forwarded as they came.
    pub(super) out: Outbox,
    pub(super) eof: bool,
    shut: bool,
    /// Bytes were written that may still be in the stream: TLS takes more than the socket does.
    unflushed: bool,
    /// Bytes of the message at the front that are still to come, and what happens to them.
    pub(super) rest: Rest,
    name: &'static str,
}

/// What happens to the rest of a message that did not arrive whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing is left.
    #[default]
    None,
    /// So many bytes go on.
    Forward(usize),
    /// So many bytes are dropped.
    Drop(usize),
}

impl Side {
    pub(super) fn new(stream: Box<dyn Duplex>, leftover: &[u8], name: &'static str) -> Self {
        let mut inbox = Inbox::default();
        inbox.preload(leftover);
        Self {
            stream,
            inbox,
            out: Outbox::default(),
            eof: false,
            shut: false,
            unflushed: false,
            rest: Rest::None,
            name,
        }
    }

    /// Deals with the rest of a message; true when the next unjudged byte starts a message.
    pub(super) fn settle_rest(&mut self, other_out: &mut Outbox) -> bool {
        let have = self.inbox.unjudged().len();
        match self.rest {
            Rest::None => true,
            Rest::Forward(left) => {
                let now = left.min(have);
                self.inbox.approve(now);
                self.rest = if now == left {
                    Rest::None
                } else {
                    Rest::Forward(left - now)
                };
                now == left
            }
            Rest::Drop(left) => {
                let now = left.min(have);
                self.inbox.discard(now, other_out);
                self.rest = if now == left {
                    Rest::None
                } else {
                    Rest::Drop(left - now)
                };
                now == left
            }
        }
    }

    fn error(&self, source: io::Error) -> SessionEnd {
        SessionEnd::Io {
            side: self.name,
            source,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, need: usize) -> Poll<Result<(), SessionEnd>> {
        let buffer = self.inbox.room(need);
        let read = pin!(self.stream.read_buf(buffer)).poll(cx);
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(count)) => {
                self.inbox.arrived(count);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(source)) => Poll::Ready(Err(self.error(source))),
        }
    }
}

/// Writes to `to` what waits for it: its own queue first, then what `from` sent and was approved.
fn poll_write(
    to: &mut Side,
    from: &mut Inbox,
    cx: &mut Context<'_>,
) -> Poll<Result<(), SessionEnd>> {
    let mut wrote = false;
    let is_small = |bytes: usize| bytes <= JOINED;
    let waits = to.out.unsent().len();
    if waits > 0 && is_small(waits) && is_small(from.approved().len()) {
        from.spill(&mut to.out);
    }
    loop {
        let own = !to.out.unsent().is_empty();
        let bytes = if own {
            to.out.unsent()
        } else {
            from.approved()
        };
        if bytes.is_empty() {
            break;
        }
        match Pin::new(&mut to.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(0)) => {
                return Poll::Ready(Err(to.error(io::ErrorKind::WriteZero.into())));
            }
            Poll::Ready(Ok(count)) if own => to.out.written(count),
            Poll::Ready(Ok(count)) => from.written(count),
            Poll::Ready(Err(source)) => return Poll::Ready(Err(to.error(source))),
            Poll::Pending if wrote => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        }
        (wrote, to.unflushed) = (true, true);
    }
    if to.unflushed {
        match Pin::new(&mut to.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => (wrote, to.unflushed) = (true, false),
            Poll::Ready(Err(source)) => return Poll::Ready(Err(to.error(source))),
            Poll::Pending => {}
        }
    }
    if wrote {
        Poll::Ready(Ok(()))
    } else {
        Poll::Pending
    }
}

/// A session after login.
pub(super) struct Session {
    pub(super) client: Side,
    pub(super) server: Side,
    pub(super) pending: Pending,
    pub(super) named: Named,
    pub(super) shared: Arc<Shared>,
    pub(super) scope: Arc<Scope>,
    pub(super) evidence: Evidence,
    pub(super) connection: super::Connection,
    pub(super) catalog: super::exchange::CatalogState,
    pub(super) seat: super::definitions::Seat,
    /// The turn of definitions when the message that is judged was taken.
    pub(super) judged_at: u64,
    /// The same of the message that the open transaction began with, or an earlier one.
    pub(super) begun_at: u64,
    /// Up to which turn what is under way was compared with them.
    pub(super) compared_at: u64,
    /// What answers to Weir's own queries bring.
    pub(super) capture: Capture,
    /// `I`, `T` or `E`, as the server last said.
    pub(super) status: u8,
    /// The transaction has touched labelled data: what is checked at its end may show it.
    pub(super) touched: bool,
    pub(super) lex: LexSettings,
    pub(super) encodings: Encodings,
    /// Something has run that may have changed either; the server says so when it is ready.
    pub(super) reading_unsure: bool,
    /// Code of the database has run, or may have, since the server was ready.
    pub(super) code_ran: bool,
    /// Client messages of the extended protocol have gone since the last Sync.
    pub(super) batch_open: bool,
    pub(super) terminated: bool,
    pub(super) statements: u64,
    pub(super) totals: Totals,
    /// A limit that was crossed while reading rows.
    pub(super) crossing: Option<Crossing>,
    /// Ends of statements that must be durable before the client sees them.
    pub(super) durable: Vec<weir_audit::Record>,
    pub(super) revision: u64,
    /// What the last command tag said was done; the next one often says the same.
    pub(super) keyword: Arc<str>,
    /// When the message that is judged was taken.
    pub(super) taken: Moment,
    /// When the identity was last proven.
    pub(super) identified: Instant,
    /// The server brought the last bytes, so that the client is asked first: the side that is not asked
    /// because the other had bytes is never asked second again.
    pub(super) server_was_last: bool,
}

/// What a session has moved.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    pub(super) rows: u64,
    pub(super) to_server: u64,
    pub(super) to_client: u64,
}

/// What a poll of both sides has done.
#[derive(Debug, Default, Clone, Copy)]
struct Moved {
    /// Bytes left, to either side.
    written: bool,
    /// Bytes came in, or a side was found or made closed.
    arrived: bool,
}

/// What the server answered to Weir's own messages.
#[derive(Default)]
pub(super) struct Capture {
    pub(super) rows: Rows,
    pub(super) error: Option<Vec<u8>>,
}

impl Session {
    /// Runs the session to its end.
    pub(super) async fn run(&mut self) -> Result<(), SessionEnd> {
        loop {
            self.take_server()?;
            self.settle().await?;
            self.take_client().await?;
            self.keep_recordings();
            self.settle().await?;
            if self.is_over() {
                self.shut_down().await;
                return Ok(());
            }
            poll_fn(|cx| self.poll_turn(cx)).await?;
        }
    }

    /// Relays a replication connection, which a policy permits by name, as it is.
    pub(super) async fn relay_replication(&mut self) -> Result<(), SessionEnd> {
        loop {
            let (up, down) = (
                self.client.inbox.unjudged().len(),
                self.server.inbox.unjudged().len(),
            );
            self.client.inbox.approve(up);
            self.server.inbox.approve(down);
            self.totals.to_server += up as u64;
            self.totals.to_client += down as u64;
            if self.is_over() {
                self.shut_down().await;
                return Ok(());
            }
            self.pump(true).await?;
        }
    }

    fn is_over(&self) -> bool {
        let to_client =
            self.client.out.unsent().is_empty() && self.server.inbox.approved().is_empty();
        self.server.eof && to_client && !self.client.unflushed
    }

    async fn shut_down(&mut self) {
        let close = tokio::io::AsyncWriteExt::shutdown(&mut self.client.stream);
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), close).await);
    }

    /// Deals with what reading rows has led to: ends to be made durable, a limit that was crossed.
    pub(super) async fn settle(&mut self) -> Result<(), SessionEnd> {
        if self.durable.is_empty() && self.crossing.is_none() {
            return Ok(());
        }
        self.write_durable_now().await?;
        while let Some(crossing) = self.crossing.take() {
            self.hold_result(crossing).await?;
            self.take_server()?;
            self.write_durable_now().await?;
        }
        Ok(())
    }

    /// Keeps the ends of statements before the client learns of them. Where that fails, it never
    /// does: the session ends.
    pub(super) async fn write_durable_now(&mut self) -> Result<(), SessionEnd> {
        if self.durable.is_empty() {
            return Ok(());
        }
        let strict = self.scope.delivery() == weir_policy::Delivery::BlockingStrict;
        for record in std::mem::take(&mut self.durable) {
            let sink = Arc::clone(&self.evidence.sink);
            if let Err(reason) = sink.record_durable(record, strict).await {
                tracing::warn!(%reason, "the end of a statement could not be made durable");
                self.client.out.clear();
                let unsent = self.server.inbox.approved().len();
                self.server.inbox.written(unsent);
                self.server_is_gone();
                return Err(self.end(Refusal::unrecorded(&reason)).await);
            }
        }
        Ok(())
    }

    /// Waits until something moves: bytes written to either side, or read from one that is wanted.
    pub(super) async fn pump(&mut self, read_client: bool) -> Result<(), SessionEnd> {
        poll_fn(|cx| self.poll_io(cx, read_client, true)).await
    }

    /// The same, as a poll; `read_server` is false while a result is held.
    pub(super) fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        read_client: bool,
        read_server: bool,
    ) -> Poll<Result<(), SessionEnd>> {
        let moved = self.poll_sides(cx, read_client, read_server)?;
        if moved.written || moved.arrived {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// The same, for the loop, which has nothing to do where bytes only left: it wakes when there
    /// is something to judge, or when it is over.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SessionEnd>> {
        let moved = self.poll_sides(cx, true, true)?;
        let unjudged = |side: &Side| !side.inbox.unjudged().is_empty();
        let waiting = || unjudged(&self.client) || unjudged(&self.server) || self.is_over();
        if moved.arrived || (moved.written && waiting()) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_sides(
        &mut self,
        cx: &mut Context<'_>,
        read_client: bool,
        read_server: bool,
    ) -> Result<Moved, SessionEnd> {
        let mut moved = Moved::default();
        let wrote = poll_write(&mut self.server, &mut self.client.inbox, cx);
        match wrote {
            Poll::Ready(Ok(())) => moved.written = true,
            Poll::Ready(Err(_)) => self.server_is_gone(),
            Poll::Pending => {}
        }
        match poll_write(&mut self.client, &mut self.server.inbox, cx) {
            Poll::Ready(Ok(())) => moved.written = true,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => {}
        }
        let server_first = !self.server_was_last;
        moved.arrived = server_first && read_server && self.poll_server(cx)
            || read_client && self.poll_client(cx)?
            || !server_first && read_server && self.poll_server(cx);
        let to_server = self.server.out.unsent().len() + self.client.inbox.approved().len();
        if self.client.eof && !self.server.shut && to_server == 0 && !self.server.eof {
            match Pin::new(&mut self.server.stream).poll_shutdown(cx) {
                Poll::Ready(_) => {
                    self.server.shut = true;
                    moved.arrived = true;
                }
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }

    /// Reads from the server where there is room; whether bytes came, or it was found closed.
    fn poll_server(&mut self, cx: &mut Context<'_>) -> bool {
        let to_client = self.client.out.unsent().len() + self.server.inbox.approved().len();
        if self.server.eof || to_client >= BACKLOG {
            return false;
        }
        let need = self.missing(&self.server);
        let Poll::Ready(read) = self.server.poll_read(cx, need) else {
            return false;
        };
        self.server.eof |= read.is_err();
        self.server_was_last = true;
        true
    }

    /// Reads from the client where there is room; whether bytes came, or it was found closed.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let to_server = self.server.out.unsent().len() + self.client.inbox.approved().len();
        let is_full = self.client.inbox.unjudged().len() >= MAX_WHOLE + BACKLOG;
        if self.client.eof || is_full || to_server >= BACKLOG {
            return Ok(false);
        }
        let need = self.missing(&self.client);
        let Poll::Ready(read) = self.client.poll_read(cx, need) else {
            return Ok(false);
        };
        self.server_was_last = false;
        read.map(|()| true)
    }

    /// The server no longer takes bytes; what it has sent may still be read.
    fn server_is_gone(&mut self) {
        self.server.out.clear();
        let lost = self.client.inbox.approved().len();
        self.client.inbox.written(lost);
        self.server.shut = true;
    }

    fn missing(&self, side: &Side) -> usize {
        let unjudged = side.inbox.unjudged();
        match (side.rest, weir_wire_postgres::frame::Header::peek(unjudged)) {
            (Rest::None, Ok(Some(header))) => header.total.saturating_sub(unjudged.len()),
            _ => 0,
        }
    }

    /// Replaces the client's next message, `total` bytes long, by what `write` appends.
    pub(super) fn replace(&mut self, total: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.client.inbox.discard(total, &mut self.server.out);
        self.tell_server(write);
    }

    /// Sends bytes of Weir's own to the server, behind what is on its way already.
    pub(super) fn tell_server(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.client.inbox.spill(&mut self.server.out);
        write(self.server.out.end());
    }

    /// Sends bytes of Weir's own to the client, behind what is on its way already.
    pub(super) fn tell_client(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.server.inbox.spill(&mut self.client.out);
        write(self.client.out.end());
    }

    /// Ends the session with a FATAL that the client gets to read.
    pub(super) async fn end(&mut self, refusal: Refusal) -> SessionEnd {
        let refusal = refusal.with_audit_id(&self.evidence.session.id.to_string(), self.statements);
        self.tell_client(|out| refusal.write_fatal(out));
        self.close_client().await;
        SessionEnd::Ended(refusal.message)
    }

    /// Hears what became of the statements that the server has, although nobody is there who could be told: they
    /// run all the same.
    pub(super) async fn hear_out(&mut self) {
        let hear = async {
            while self.pending.active().next().is_some() && !self.server.eof {
                poll_fn(|cx| match self.poll_server(cx) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
                let taken = self.take_server();
                self.client.out.clear();
                let unsent = self.server.inbox.approved().len();
                self.server.inbox.written(unsent);
                if taken.is_err()
                    || self.crossing.is_some()
                    || self.write_durable_now().await.is_err()
                {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(HEARD, hear).await);
    }

    /// Closes the client's side once what waits for it was written, or two seconds have passed.
    pub(super) async fn close_client(&mut self) {
        let flush = poll_fn(|cx| poll_write(&mut self.client, &mut self.server.inbox, cx));
        drop(tokio::time::timeout(std::time::Duration::from_secs(2), flush).await);
        self.shut_down().await;
    }

    /// The catalog that statements are judged with, where the policy needs one.
    pub(super) fn catalog_in_use(&self) -> Option<Arc<Catalog>> {
        self.catalog
            .current()
            .filter(|_| self.scope.needs_catalog())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::ReadBuf;

    use super::*;

    /// A stream that keeps what is written until the second flush, as TLS does over a full socket.
    #[derive(Default)]
    struct Keeps {
        kept: Vec<u8>,
        flushes: usize,
        sent: Arc<Mutex<Vec<u8>>>,
    }

    impl AsyncRead for Keeps {
        fn poll_read(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Keeps {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            if self.flushes == 1 {
                return Poll::Pending;
            }
            let kept = std::mem::take(&mut self.kept);
            self.sent.lock().unwrap().extend_from_slice(&kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_the_stream_could_not_flush_is_flushed_when_there_is_nothing_more_to_write() {
        let stream = Keeps::default();
        let sent = Arc::clone(&stream.sent);
        let mut to = Side::new(Box::new(stream), b"", "client");
        let mut from = Inbox::default();
        from.preload(b"last row");
        from.approve(8);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(poll_write(&mut to, &mut from, cx).is_ready());
        assert!(sent.lock().unwrap().is_empty());
        assert!(poll_write(&mut to, &mut from, cx).is_ready());
        assert_eq!(*sent.lock().unwrap(), b"last row");
    }
}
