//! The connection that the data of a channel, or of a stream, goes into, and comes out of.
//!
//! Two tasks move the bytes and tell whoever relays, who never waits for them. What was read has to go on
//! before more is read; what waits to be written is the relay's to bound.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

/// Bytes that are read at a time.
const READ: usize = 32 << 10;

/// What happens at a channel's connection.
pub(crate) enum Piped {
    /// It gives something.
    Data(Vec<u8>),
    /// It gives no more.
    End,
    /// It has taken so many bytes.
    Taken(usize),
    /// It has taken all.
    Done,
    /// It takes no more.
    Broken,
}

impl Piped {
    /// Bytes that it holds.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::End | Self::Taken(_) | Self::Done | Self::Broken => 0,
        }
    }
}

/// A channel's connection.
pub(crate) struct Pipe<S> {
    /// Whose channel it is.
    side: S,
    write: UnboundedSender<Option<Vec<u8>>>,
    /// Told when what was read has gone on.
    gone: Arc<Notify>,
    tasks: [AbortHandle; 2],
    /// Nothing more comes from the peer.
    pub(crate) peer_ended: bool,
    /// Nothing more comes from the connection.
    pub(crate) ended: bool,
    /// The peer has closed the channel.
    pub(crate) hung_up: bool,
}

impl<S: Copy> Pipe<S> {
    /// Takes over the connection of a channel. What happens at it is given to `put`, one thing after the
    /// other; it says whether anybody listens still.
    pub(crate) fn new<P, F>(side: S, socket: TcpStream, put: P) -> Self
    where
        P: Fn(Piped) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = bool> + Send + 'static,
    {
        let (read, write) = socket.into_split();
        let (sender, receiver) = unbounded_channel();
        let gone = Arc::<Notify>::default();
        let reading = read_all(read, put.clone(), Arc::clone(&gone));
        let writing = write_all(write, put, receiver);
        let tasks = [tokio::spawn(reading), tokio::spawn(writing)];
        Self {
            side,
            write: sender,
            gone,
            tasks: tasks.map(|task| task.abort_handle()),
            peer_ended: false,
            ended: false,
            hung_up: false,
        }
    }

    /// Whose channel it is.
    pub(crate) fn side(&self) -> S {
        self.side
    }

    /// What was read has gone on.
    pub(crate) fn more(&self) {
        self.gone.notify_one();
    }

    /// Gives it data of the peer's. False: it takes no more.
    pub(crate) fn give(&self, data: &[u8]) -> bool {
        !self.peer_ended && self.write.send(Some(data.to_vec())).is_ok()
    }

    /// The peer says no more.
    pub(crate) fn end(&mut self) {
        if !self.peer_ended {
            self.peer_ended = true;
            drop(self.write.send(None));
        }
    }
}

impl<S> Drop for Pipe<S> {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn read_all<P, F>(mut socket: OwnedReadHalf, put: P, gone: Arc<Notify>)
where
    P: Fn(Piped) -> F,
    F: Future<Output = bool>,
{
    loop {
        let mut data = Vec::with_capacity(READ);
        let read = socket.read_buf(&mut data).await;
        let ended = !matches!(read, Ok(1..));
        let event = if ended { Piped::End } else { Piped::Data(data) };
        if !put(event).await || ended {
            return;
        }
        gone.notified().await;
    }
}

async fn write_all<P, F>(
    mut socket: OwnedWriteHalf,
    put: P,
    mut pieces: UnboundedReceiver<Option<Vec<u8>>>,
) where
    P: Fn(Piped) -> F,
    F: Future<Output = bool>,
{
    while let Some(Some(data)) = pieces.recv().await {
        let event = match socket.write_all(&data).await {
            Ok(()) => Piped::Taken(data.len()),
            Err(_) => Piped::Broken,
        };
        let broken = matches!(event, Piped::Broken);
        if !put(event).await || broken {
            return;
        }
    }
    drop(socket.shutdown().await);
    put(Piped::Done).await;
}
