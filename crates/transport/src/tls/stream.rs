//! One stream type for plain and encrypted peers.
//!
//! Invariants: [`Rewound`] yields bytes that were read ahead before anything
//! from the socket; [`Stream`] adds no buffer of its own.
//! The plain variant exposes its socket, so that a hot loop can `try_read` and
//! `try_write` without a waker.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// Most bytes that one [`Stream::try_read`] of an encrypted stream takes.
const TLS_READ: usize = 16 * 1024;

/// A socket with bytes that were already read from it.
#[derive(Debug)]
pub struct Rewound {
    prefix: Bytes,
    inner: TcpStream,
}

/// A peer, plain or encrypted.
#[derive(Debug)]
pub enum Stream {
    /// No TLS.
    Plain(TcpStream),
    /// Weir is the TLS client: the upstream.
    ClientTls(Box<client::TlsStream<TcpStream>>),
    /// Weir is the TLS server: the application.
    ServerTls(Box<server::TlsStream<Rewound>>),
}

impl Rewound {
    /// A socket of which nothing was read.
    pub fn new(inner: TcpStream) -> Self {
        Self {
            prefix: Bytes::new(),
            inner,
        }
    }

    /// A socket of which `prefix` was read already.
    pub fn with_prefix(prefix: Bytes, inner: TcpStream) -> Self {
        Self { prefix, inner }
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.inner
    }
}

impl Stream {
    /// The socket below, for options and addresses.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::ClientTls(tls) => tls.get_ref().0,
            Self::ServerTls(tls) => &tls.get_ref().0.inner,
        }
    }

    /// The socket when nothing lies between: read and write it directly.
    pub fn as_plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::ClientTls(_) | Self::ServerTls(_) => None,
        }
    }

    /// Reads what is there without waiting; `WouldBlock` otherwise. After
    /// that, wait with `AsyncRead` (an encrypted stream may hold bytes that
    /// its socket no longer announces).
    ///
    /// # Errors
    /// As `read(2)`; `Ok(0)` is the end of the stream.
    pub fn try_read(&mut self, buf: &mut BytesMut) -> io::Result<usize> {
        if let Self::Plain(socket) = self {
            return socket.try_read_buf(buf);
        }
        let mut context = Context::from_waker(Waker::noop());
        let start = buf.len();
        buf.resize(start + TLS_READ, 0);
        let (_, space) = buf.split_at_mut(start);
        let mut space = ReadBuf::new(space);
        let polled = Pin::new(self).poll_read(&mut context, &mut space);
        let n = space.filled().len();
        buf.truncate(start + n);
        match polled {
            Poll::Ready(result) => result.map(|()| n),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes without waiting; `WouldBlock` otherwise. An encrypted stream
    /// still needs a flush.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn try_write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Self::Plain(socket) = self {
            return socket.try_write(buf);
        }
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(self).poll_write(&mut context, buf) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(tls: client::TlsStream<TcpStream>) -> Self {
        Self::ClientTls(Box::new(tls))
    }
}

impl From<server::TlsStream<Rewound>> for Stream {
    fn from(tls: server::TlsStream<Rewound>) -> Self {
        Self::ServerTls(Box::new(tls))
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(self.prefix.get(..n).unwrap_or_default());
        self.prefix.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::ClientTls(tls) => Pin::new(tls).poll_read(cx, buf),
            Self::ServerTls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::ClientTls(tls) => Pin::new(tls).poll_write(cx, buf),
            Self::ServerTls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::ClientTls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Self::ServerTls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::ClientTls(tls) => tls.is_write_vectored(),
            Self::ServerTls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::ClientTls(tls) => Pin::new(tls).poll_flush(cx),
            Self::ServerTls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::ClientTls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::ServerTls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
