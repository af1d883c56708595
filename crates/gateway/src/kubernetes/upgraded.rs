//! exec and attach: both streams are taken apart, looked at, and put together again.
//!
//! A stream is that of one of the two transports (WebSocket or SPDY), the same on both sides. What goes to
//! the server is written anew, one frame for a message, so that what was looked at is what the server
//! reads. What the server shows goes on when the [`Flow`] has let it pass, and while it waits the server
//! is not read: TCP holds it back, as no peer keeps windows of SPDY. What the client says goes on in the
//! meantime.
//!
//! Invariants: nothing that the server shows reaches the client before `pass` returned; how a command
//! ended reaches it after `ending` did; what was recorded is handed over even when the relay is dropped.
//! Refuses: streams that were not asked for, frames that are none. The client is told in the form of its
//! version: on the error channel, which kubectl prints.

mod recording;
mod relay;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;
use weir_audit::{ChannelRecorder, Names, RecordingChunk};
use weir_wire_kube::channel::Subprotocol;

use crate::values::Scanner;

pub(super) use relay::relay;

/// How the two sides carry channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// In WebSocket messages of this version (`Sec-WebSocket-Protocol` of the answer).
    WebSocket(Subprotocol),
    /// In SPDY streams of this version (`X-Stream-Protocol-Version` of the answer).
    Spdy(Subprotocol),
}

impl Transport {
    pub(super) fn subprotocol(self) -> Subprotocol {
        match self {
            Self::WebSocket(subprotocol) | Self::Spdy(subprotocol) => subprotocol,
        }
    }
}

/// What decides and keeps.
pub(super) trait Flow: Send + Sync {
    /// The server shows so many bytes; returns when they may go on.
    ///
    /// # Errors
    /// They may not, and the stream ends: what the client is told.
    fn pass(&self, bytes: u64) -> impl Future<Output = Result<(), String>> + Send;

    /// A chunk of the recording.
    fn record(&self, chunk: RecordingChunk);

    /// The command has ended as is said here; returns when the client may be told so. Called once, and not
    /// where `pass` or the stop has ended it.
    fn ending(&self, ended: &Ended) -> impl Future<Output = ()> + Send;
}

/// What ends a stream from outside: the text that the client is told.
pub(super) type Stop = Pin<Box<dyn Future<Output = String> + Send>>;

/// A stream that both sides have upgraded.
pub(super) struct Upgraded<C, S> {
    pub(super) client: C,
    pub(super) server: S,
    pub(super) transport: Transport,
    /// Whether standard input was asked for.
    pub(super) stdin: bool,
    /// What records it; with a terminal where one was asked for.
    pub(super) recorder: Option<ChannelRecorder>,
    /// When the statement began.
    pub(super) started: Instant,
    /// What finds values that are masked in what is shown.
    pub(super) scanner: Option<Arc<Scanner>>,
    /// What ends it from outside.
    pub(super) stop: Stop,
}

/// How a stream has ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    /// Bytes of the client's: input and sizes.
    pub(super) bytes_in: u64,
    /// Bytes that the server showed, before masks.
    pub(super) bytes_out: u64,
    /// The command's exit code, where the server said it.
    pub(super) exit: Option<i32>,
    /// What the server said of a failure that is no exit code.
    pub(super) failure: Option<String>,
    /// Labels of what was masked.
    pub(super) masked: Names,
    /// Why it ended.
    pub(super) reason: Reason,
}

/// Why a stream ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Reason {
    /// The server closed it.
    #[default]
    Server,
    /// The client closed it, or left.
    Client,
    /// It was not let pass: what the client was told.
    Refused(String),
    /// It was ended from outside: what the client was told.
    Stopped(String),
    /// The client's bytes were no frames, or asked for what it had not asked for.
    BadClient(String),
    /// The server's bytes were no frames.
    BadServer(String),
}

#[cfg(test)]
mod tests;
