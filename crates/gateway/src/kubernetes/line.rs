//! One side of an upgraded connection: what was read and not looked at, what is to be written.
//!
//! Nothing here waits for anything but its own peer, and every wait may be given up and taken up again.
//! How much is read and written is the caller's to bound.

use std::future::pending;
use std::io;

use bytes::BytesMut;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split,
};

/// Bytes that are read at a time.
const READ: usize = 32 << 10;

/// One side.
pub(super) struct Line<S> {
    read: ReadHalf<S>,
    write: WriteHalf<S>,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    /// Nothing more comes from the peer.
    pub(super) ended: bool,
    /// The peer takes no more.
    pub(super) broken: bool,
    /// Something was written and may lie in a buffer below.
    dirty: bool,
    /// Nothing more is said to the peer.
    shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        let (read, write) = split(stream);
        Self {
            read,
            write,
            input: BytesMut::new(),
            output: BytesMut::new(),
            ended: false,
            broken: false,
            dirty: false,
            shut: false,
        }
    }

    /// Whether all that was to be written has gone.
    pub(super) fn is_flushed(&self) -> bool {
        self.broken || (self.output.is_empty() && !self.dirty)
    }

    /// Reads something, where it may, or writes something, where there is something. Waits forever where
    /// there is nothing to do.
    pub(super) async fn turn(&mut self, may_read: bool) {
        let Self {
            read,
            write,
            input,
            output,
            ended,
            broken,
            dirty,
            shut,
        } = self;
        let may_write = !*broken && !*shut;
        let reading = async {
            if may_read && !*ended {
                input.reserve(READ);
                return read.read_buf(input).await;
            }
            pending().await
        };
        let writing = async {
            if may_write && !output.is_empty() {
                return write.write_buf(output).await.map(|_| true);
            }
            if may_write && *dirty {
                return write.flush().await.map(|()| false);
            }
            pending::<io::Result<bool>>().await
        };
        tokio::select! {
            wrote = writing => match wrote {
                Ok(wrote) => *dirty = wrote,
                Err(_) => *broken = true,
            },
            read = reading => *ended = !matches!(read, Ok(1..)),
        }
        if *broken {
            output.clear();
        }
    }

    /// Waits until all that was to be written has gone, or the peer has.
    pub(super) async fn delivered(&mut self) {
        while !self.is_flushed() && !self.ended {
            self.input.clear();
            self.turn(true).await;
        }
    }

    /// Says that nothing more will be said, behind what was said before.
    pub(super) async fn shut(&mut self) {
        while !self.is_flushed() && !self.shut {
            self.turn(false).await;
        }
        if !self.shut {
            self.shut = true;
            self.broken |= self.write.shutdown().await.is_err();
        }
    }

    /// Throws away what the peer still says, until it ends: a connection that is closed with something
    /// unread would be reset, and the peer could lose what it has not read.
    pub(super) async fn drain(&mut self) {
        while !self.ended && !self.broken {
            self.input.clear();
            self.turn(true).await;
        }
    }
}
