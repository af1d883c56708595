//! The connection that the data of a channel goes into, and comes out of.
//!
//! Two tasks move the bytes and tell the relay; the relay never waits for them. What was read has to
//! go on before more is read; what waits to be written is bounded by the window that its sender has.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::channel::Side;
use super::relay::{Event, Inbox};

/// Bytes that are read at a time.
const READ: usize = 32 << 10;

/// What happens at a channel's connection.
pub(super) enum Piped {
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
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::End | Self::Taken(_) | Self::Done | Self::Broken => 0,
        }
    }
}

/// A channel's connection.
pub(super) struct Pipe {
    /// Whose channel it is.
    side: Side,
    write: UnboundedSender<Option<Vec<u8>>>,
    /// Told when what was read has gone on.
    gone: Arc<Notify>,
    tasks: [AbortHandle; 2],
    /// Nothing more comes from the peer.
    pub(super) peer_ended: bool,
    /// Nothing more comes from the connection.
    pub(super) ended: bool,
    /// The peer has closed the channel.
    pub(super) hung_up: bool,
}

impl Pipe {
    /// Takes over the connection of a channel.
    pub(super) fn new(key: u64, side: Side, socket: TcpStream, inbox: &Inbox) -> Self {
        let (read, write) = socket.into_split();
        let (sender, receiver) = unbounded_channel();
        let gone = Arc::<Notify>::default();
        let reading = read_all(key, read, inbox.clone(), Arc::clone(&gone));
        let writing = write_all(key, write, inbox.clone(), receiver);
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
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// What was read has gone on.
    pub(super) fn more(&self) {
        self.gone.notify_one();
    }

    /// Gives it data of the peer's. False: it takes no more.
    pub(super) fn give(&self, data: &[u8]) -> bool {
        !self.peer_ended && self.write.send(Some(data.to_vec())).is_ok()
    }

    /// The peer says no more.
    pub(super) fn end(&mut self) {
        if !self.peer_ended {
            self.peer_ended = true;
            drop(self.write.send(None));
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn read_all(key: u64, mut socket: OwnedReadHalf, inbox: Inbox, gone: Arc<Notify>) {
    loop {
        let mut data = Vec::with_capacity(READ);
        let read = socket.read_buf(&mut data).await;
        let ended = !matches!(read, Ok(1..));
        let event = if ended { Piped::End } else { Piped::Data(data) };
        if inbox.put(Event::Piped(key, event)).is_err() || ended {
            return;
        }
        gone.notified().await;
    }
}

async fn write_all(
    key: u64,
    mut socket: OwnedWriteHalf,
    inbox: Inbox,
    mut pieces: UnboundedReceiver<Option<Vec<u8>>>,
) {
    while let Some(Some(data)) = pieces.recv().await {
        let event = match socket.write_all(&data).await {
            Ok(()) => Piped::Taken(data.len()),
            Err(_) => Piped::Broken,
        };
        let broken = matches!(event, Piped::Broken);
        if inbox.put(Event::Piped(key, event)).is_err() || broken {
            return;
        }
    }
    drop(socket.shutdown().await);
    drop(inbox.put(Event::Piped(key, Piped::Done)));
}
