//! The collector: takes evidence, keeps it, finds it again, and says whether it is complete.
//!
//! - [`Collector`] is the embedded store: SQLite in WAL mode, frames in compressed blocks.
//! - [`api`] serves it over HTTP, to operators on a unix socket and to readers over TCP.
//! - [`client`] is the other end of that, for the command line.
//!
//! Invariants
//! - An acknowledged event was committed with a sync; ingest is idempotent.
//! - Frames are stored byte for byte as the engine sealed them, so the chain can be verified from
//!   what is at rest.
//! - What is missing, does not chain, or never ended becomes a finding in the collector's own chain.
//!
//! It refuses to alter evidence; retention deletes whole blocks, oldest first, and keeps the link.

pub mod api;
pub mod client;
mod store;

pub use store::{
    ChainReport, Collector, CollectorConfig, CollectorError, EngineReport, EventPage, Filter,
    SessionFilter, SessionPage, SessionSummary,
};
