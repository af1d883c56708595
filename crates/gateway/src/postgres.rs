//! PostgreSQL connections: start-up and login, then a session.
//!
//! The path of one query: `client` takes the message, `judge` decides, the client's exact bytes go
//! on, `server` counts, masks and records what comes back, `statement` leaves the record.

mod cache;
mod cancel;
mod catalog;
mod catalogs;
mod client;
mod code;
mod context;
mod definitions;
mod dial;
mod encoding;
mod estimate;
mod exchange;
mod explain;
mod hold;
mod judge;
mod judgement;
mod login;
mod made;
mod mask;
mod need;
mod opening;
mod operation;
mod pending;
mod prepared;
mod printed;
mod recorder;
mod redefinition;
mod refusal;
mod scan;
mod seen;
mod server;
mod session;
mod start;
mod statement;

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use weir_wire_postgres::startup::CancelKey;

pub(crate) use cache::StatementCache;
pub(crate) use cancel::CancelRegistry;
pub(crate) use catalogs::Catalogs;
pub(crate) use definitions::Definitions;
use dial::Dialer;
pub use explain::explain;
pub(crate) use start::serve;

/// What a session knows of its connection.
pub(crate) struct Connection {
    /// Name of the Target.
    target: String,
    /// The database, as the start-up message names it.
    database: Vec<u8>,
    /// Reaches the server again, to cancel.
    dialer: Dialer,
    /// The key that the server gave.
    key: Option<CancelKey>,
    /// A cancel request of Weir's that may not have reached the server yet.
    cancelling: Option<JoinHandle<()>>,
    /// Rings when the client sends a CancelRequest for this session.
    cancelled: Arc<Notify>,
    /// Replication is permitted on this connection.
    replication: bool,
    /// The client was told of an error where the server completed.
    poisoned: bool,
    /// The client believes that the server skips to the next Sync, so it is told nothing until then.
    muted: bool,
}

impl Connection {
    /// Cancels what the server is doing, and waits until the server has taken note.
    async fn cancel_upstream(&self) {
        if let Some(key) = &self.key {
            self.dialer.cancel(key).await;
        }
    }

    /// The same, without waiting: what comes next does (`cancelling`).
    fn cancel_upstream_soon(&mut self) {
        self.cancelling = cancel_soon(&self.dialer, self.key.as_ref());
    }
}

/// Cancels what a server is doing, beside everything else.
fn cancel_soon(dialer: &Dialer, key: Option<&CancelKey>) -> Option<JoinHandle<()>> {
    let (dialer, key) = (dialer.clone(), key.cloned()?);
    Some(tokio::spawn(async move { dialer.cancel(&key).await }))
}
