//! The controller: identities, bundles, admission and access requests.
//!
//! Besides the CLI the only process that talks to the Kubernetes API. Every replica serves; what
//! must be done once is done by the leader. Refuses: to be in the data path. Sidecars go on
//! without it for as long as they are told to.

pub mod admission;
mod alerts;
mod authority;
mod bundle;
mod bundles;
mod config;
mod decisions;
mod evidence;
mod fingerprints;
mod identity;
mod keepers;
mod known;
mod leader;
mod leases;
mod loosened;
mod orders;
mod peer;
mod reports;
mod requests;
mod reviews;
mod run;
mod server;
mod services;
mod sessions;
mod snapshot;
mod statuses;
mod store;
mod text;
mod unprotected;
mod watches;
pub mod webhooks;

pub use config::{Args, Config, ConfigError};
pub use run::{RunError, run};
