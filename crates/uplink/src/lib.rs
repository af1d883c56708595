//! The engine's side of everything that outlives a connection: evidence, counters, identity, holds.
//!
//! - [`Spool`] keeps events on disk until the collector has committed them, and says when it
//!   cannot, so that the engine refuses work instead of doing it unseen.
//! - [`Shipper`] moves frames from the spool to a [`weir_audit::CollectorSink`], at least once, in order.
//! - [`ingest::RemoteCollector`] is such a sink in another process.
//! - [`CounterStore`] keeps budget counters so that kill -9 never refills one.
//! - [`LeaseLedger`] shares one window budget out, so that all its holders stay within the limit.
//! - [`IdentitySource`] says on whose behalf this engine works, verified, or that it cannot say.
//! - [`Holds`] is the list of statements that wait for a person.
//!
//! It refuses to decide anything about a statement: that is `policy`'s.

pub mod control;
mod holds;
mod identity;
pub mod ingest;
mod lease;
mod ledger;
mod ship;
mod spool;

pub use holds::{
    Answer, Approving, DecideError, Decision, GrantError, Grants, HoldTicket, HoldView, Holds,
    Leading, NewHold, OpenError, Opened, decision, spec,
};
pub use identity::{IdentityConfig, IdentityError, IdentitySource, KeySource, TokenConfig};
pub use lease::LeaseLedger;
pub use ledger::{CounterRow, CounterStore, LedgerError};
pub use ship::Shipper;
pub use spool::{AuditHandle, Delivery, Spool, SpoolConfig, SpoolError, SpoolStatus};
