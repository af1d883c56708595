//! A socket whose writes never wait, so that what reads from the same peer never stops for it.
//!
//! What the kernel does not take at once is kept here and written by a task of its own. How much is
//! kept is bounded by who calls: the relay grants nobody a window while [`Backlog::is_long`], and a
//! peer that lets [`LIMIT`] bytes pile up all the same has broken the protocol and is cut.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// More than this waiting: nobody is granted more.
const LONG: usize = 1 << 20;
/// Most that may wait for one peer.
const LIMIT: usize = 96 << 20;
/// How long the rest may take to leave once the session is over.
const LINGER: Duration = Duration::from_secs(5);
/// Most that is read ahead of what is asked for.
const AHEAD: usize = 4 << 10;
/// After so many bytes in a row others have their turn: what was read is looked at, sealed and written
/// while it is still in the processor's caches.
const BURST: usize = 192 << 10;
/// An empty buffer larger than this is given back.
const KEEP: usize = 256 << 10;

/// What waits for one peer.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: AtomicUsize,
    buffer: Mutex<Vec<u8>>,
    state: Mutex<State>,
    more: Notify,
    /// Told each time that what waits has become short.
    pub(super) short: Notify,
    cut: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    closing: bool,
    failed: Option<io::ErrorKind>,
}

impl Backlog {
    /// Whether so much waits that nothing more should be asked for.
    pub(super) fn is_long(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > LONG
    }

    /// Ends the session: its next read finds the end.
    pub(super) fn cut(&self) {
        self.close();
        self.cut.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().closing = true;
        self.more.notify_one();
    }

    fn failure(&self) -> Option<io::Error> {
        self.state().failed.map(io::Error::from)
    }
}

/// The socket.
pub(super) struct Buffered {
    read: OwnedReadHalf,
    ahead: Ahead,
    /// Bytes read since others had their turn.
    burst: usize,
    write: Arc<OwnedWriteHalf>,
    backlog: Arc<Backlog>,
    cut: Pin<Box<OwnedNotified>>,
}

/// Bytes that are read beyond what is asked for. Packets are asked for in two parts, the length and
/// the rest; with the next one's beginning here each costs one call of the system. No more than that,
/// so that content still goes straight to where it is wanted.
struct Ahead {
    buffer: Box<[u8; AHEAD]>,
    start: usize,
    end: usize,
}

impl Ahead {
    /// Gives what is there.
    fn take(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let there = self.buffer.get(self.start..self.end).unwrap_or_default();
        let length = there.len().min(into.remaining());
        into.put_slice(there.get(..length).unwrap_or_default());
        self.start += length;
        length > 0
    }

    /// Reads what is asked for, and what lies behind it. The end of the stream reads nothing.
    fn read(&mut self, socket: &TcpStream, into: &mut ReadBuf<'_>) -> io::Result<()> {
        let wanted = into.initialize_unfilled();
        let asked = wanted.len();
        let mut parts = [
            IoSliceMut::new(wanted),
            IoSliceMut::new(self.buffer.as_mut_slice()),
        ];
        let count = socket.try_read_vectored(&mut parts)?;
        into.advance(count.min(asked));
        (self.start, self.end) = (0, count.saturating_sub(asked));
        Ok(())
    }
}

impl Buffered {
    /// Takes a socket over.
    pub(super) fn new(socket: TcpStream) -> (Self, Arc<Backlog>) {
        let (read, write) = socket.into_split();
        let (write, backlog) = (Arc::new(write), Arc::new(Backlog::default()));
        tokio::spawn(pump(Arc::clone(&write), Arc::clone(&backlog)));
        let buffered = Self {
            read,
            burst: 0,
            ahead: Ahead {
                buffer: Box::new([0; AHEAD]),
                start: 0,
                end: 0,
            },
            write,
            cut: Box::pin(Arc::clone(&backlog.cut).notified_owned()),
            backlog: Arc::clone(&backlog),
        };
        (buffered, backlog)
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.backlog.close();
    }
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if into.remaining() == 0 || self.ahead.take(into) {
            return Poll::Ready(Ok(()));
        }
        if self.burst >= BURST {
            self.burst = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let this = &mut *self;
        let socket: &TcpStream = this.read.as_ref();
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let before = into.filled().len();
            match this.ahead.read(socket, into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => this.burst = 0,
                read => {
                    this.burst += into.filled().len() - before;
                    return Poll::Ready(read);
                }
            }
        }
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.backlog.failure() {
            return Poll::Ready(Err(error));
        }
        let waiting = self.backlog.waiting.load(Ordering::Relaxed);
        let mut rest = bytes;
        if waiting == 0 {
            match self.write.try_write(bytes) {
                Ok(count) => rest = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if rest.is_empty() {
            return Poll::Ready(Ok(bytes.len()));
        }
        if waiting + rest.len() > LIMIT {
            let error = io::Error::other("the peer does not read what it asked for");
            return Poll::Ready(Err(error));
        }
        self.backlog
            .waiting
            .fetch_add(rest.len(), Ordering::Relaxed);
        self.backlog.buffer().extend_from_slice(rest);
        self.backlog.more.notify_one();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.backlog.close();
        Poll::Ready(Ok(()))
    }
}

/// Writes what waits, until the session is over and nothing does. The socket's sending side is shut
/// down by the drop of its last owner.
async fn pump(write: Arc<OwnedWriteHalf>, backlog: Arc<Backlog>) {
    let mut taken = Vec::new();
    loop {
        let closing = backlog.state().closing;
        std::mem::swap(&mut *backlog.buffer(), &mut taken);
        if taken.is_empty() {
            if closing {
                return;
            }
            backlog.more.notified().await;
            continue;
        }
        let result = tokio::select! {
            result = write_all(&write, &taken, &backlog) => result,
            () = closed(&backlog) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = result {
            backlog.state().failed = Some(error.kind());
            backlog.short.notify_one();
            return;
        }
        taken.clear();
        taken.shrink_to(KEEP);
    }
}

async fn write_all(write: &OwnedWriteHalf, bytes: &[u8], backlog: &Backlog) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        write.writable().await?;
        match write.try_write(rest) {
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                let before = backlog.waiting.fetch_sub(count, Ordering::Relaxed);
                if before > LONG && before - count <= LONG {
                    backlog.short.notify_one();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves a while after the session is over.
async fn closed(backlog: &Backlog) {
    while !backlog.state().closing {
        backlog.more.notified().await;
    }
    tokio::time::sleep(LINGER).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dial = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dial, listener.accept());
        (dialled.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn writing_never_waits_and_everything_arrives_in_order_once_the_peer_reads() {
        let (near, mut far) = pair().await;
        let (mut buffered, backlog) = Buffered::new(near);
        let piece: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for _ in 0..200 {
            buffered.write_all(&piece).await.unwrap();
        }
        assert!(backlog.is_long());
        drop(buffered);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), piece.len() * 200);
        assert!(read.chunks(piece.len()).all(|chunk| chunk == piece));
        assert!(!backlog.is_long());
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_read_next_in_pieces_of_any_size() {
        let (near, mut far) = pair().await;
        let (mut buffered, _) = Buffered::new(near);
        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut read, mut piece) = (Vec::new(), vec![0; 40_000]);
        let writer = {
            let sent = sent.clone();
            tokio::spawn(async move {
                far.write_all(&sent).await.unwrap();
            })
        };
        for length in [1, 4, 32_000, 3, 4096, 4097, 40_000].into_iter().cycle() {
            match buffered.read(&mut piece[..length]).await.unwrap() {
                0 => break,
                count => read.extend_from_slice(&piece[..count]),
            }
        }
        writer.await.unwrap();
        assert!(read == sent);
    }

    #[tokio::test]
    async fn a_peer_that_lets_too_much_pile_up_is_cut() {
        let (near, _far) = pair().await;
        let (mut buffered, _) = Buffered::new(near);
        let piece = vec![0_u8; 8 << 20];
        let mut written = 0;
        let error = loop {
            match buffered.write_all(&piece).await {
                Ok(()) => written += piece.len(),
                Err(error) => break error,
            }
            assert!(written <= LIMIT + (16 << 20));
        };
        assert!(error.to_string().contains("does not read"), "{error}");
    }
}
