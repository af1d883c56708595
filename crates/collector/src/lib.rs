//! The collector: takes evidence, keeps it, finds it again, and says whether it is complete.
//!
//! - [`Collector`] is the embedded store: SQLite in WAL mode, frames in compressed blocks.
//! - [`api`] serves it over HTTP, to operators on a unix socket and to readers over TCP.
//! - [`client`] is the other end of that, for the command line.
//! - [`Service`] is the collector of a cluster: [`Ingest`] takes evidence from sidecars, [`Auditors`]
//!   shows it to those whom the cluster lets read.
//!
//! Invariants
//! - An acknowledged event was committed with a sync; ingest is idempotent.
//! - Frames are stored byte for byte as the engine sealed them, so the chain can be verified from
//!   what is at rest.
//! - What is missing, does not chain, or never ended becomes a finding in the collector's own chain.
//!
//! - Each run of events that is taken is a leaf of a log (a Merkle tree with signed checkpoints), committed
//!   with them.
//!
//! It refuses to alter evidence; retention deletes whole blocks, oldest first, and keeps the link.

pub mod api;
mod archive;
mod auditors;
mod clickhouse;
pub mod client;
mod controller;
pub mod csv;
mod evidence;
pub mod exports;
pub mod findings;
mod ingest;
mod log;
mod otlp;
mod peer;
mod questions;
mod report;
mod service;
mod store;
mod tls;
mod ui;

pub use archive::{ArchiveConfig, Keepers, PlaceError, WitnessConfig};
pub use auditors::{Auditors, ReviewError, ReviewFuture, Reviewer};
pub use clickhouse::ClickHouseConfig;
pub use controller::Controller;
pub use ingest::{Ingest, IngestMetrics, Quota, Reason};
pub use log::{
    BundleError, BundleReport, Chain, EngineReport, KeyError, LogKey, Manifest, OwnKey, OwnSink,
    RangeReport, Selection, SignatureError, Signed, Signer, Status, Trusted, read_bundle,
    verify_bundle, verify_note,
};
pub use otlp::{OTLP_INTERVAL, Otlp, OtlpConfig, Signal};
pub use questions::{About, Answer, Question};
pub use report::{Engine, Report, ReportError, ReportFiles, Sealed};
pub use service::{Service, ServiceConfig, ServiceError};
pub use store::{
    Behind, ChainReport, Collector, CollectorConfig, CollectorError, Day, EventPage, Filter,
    FindingCount, HoldTotals, LabelDay, LogReport, Overview, PolicyCount, Proof, Saw, SawBy,
    SawFilter, SawIn, SawLabels, SawPerhaps, SessionFilter, SessionPage, SessionSummary, Taken,
    Traffic, Vouched,
};
pub use tls::{Credentials, Current, TlsError};
pub use ui::{LINK_LIFE, Ui, UiConfig};
