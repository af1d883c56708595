//! What a Weir process says about itself: logs, metrics, health.
//!
//! [`logging`] sets up `tracing` once per process, [`Registry`] makes metrics
//! whose labels come from closed enums, [`Readiness`] collects the reasons why
//! a process is not ready, and [`Admin`] serves all of it over HTTP.
//!
//! Refuses to do: read the environment, keep a global registry, put names, SQL
//! or addresses into labels, carry audit events (those are evidence, and have
//! a channel of their own).

mod admin;
pub mod logging;
mod metrics;
mod readiness;
mod reading;

pub use admin::{Admin, AdminConfig};
pub use logging::{LogError, LogFormat};
pub use metrics::{Counters, Gauges, Histograms, Label, PairCounters, Registry};
pub use prometheus::{Histogram, IntCounter, IntGauge};
pub use readiness::{Readiness, ReadinessGuard, ReadinessReport};
pub use reading::{Family, Point, Reading};
