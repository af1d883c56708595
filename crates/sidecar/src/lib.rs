//! The process around the engine: what `weir-sidecar` and `weir standalone` share, and what makes a
//! sidecar of it.
//!
//! Shared:
//! - [`redirect`] programs the network namespace and proves that Weir gets out of it;
//! - [`serve`] accepts, [`data_path`] is where sessions run, and says when to stop; [`upkeep`] keeps what serves small and current;
//! - [`adapters`], [`holds`], [`budgets`] and [`pins`] answer the engine's ports;
//! - [`metrics`], [`files`] and [`part`] are for whoever starts a process;
//! - [`probe`] is the other half of the self-test.
//!
//! The sidecar's own: [`config`], [`sidecar`] (the order of its start), and what answers the ports
//! from the controller: [`policies`], [`credentials`], [`leased`] and [`remote_holds`].
//!
//! It links neither a Kubernetes client nor a database.

mod account;
pub mod adapters;
pub mod budgets;
pub mod config;
pub mod credentials;
pub mod data_path;
pub mod files;
mod follow;
pub mod holds;
pub mod honey;
pub mod leased;
pub mod metrics;
pub mod part;
pub mod pins;
pub mod policies;
pub mod probe;
pub mod redirect;
pub mod remote_holds;
pub mod serve;
mod shipping;
pub mod sidecar;
mod store;
mod trust;
pub mod upkeep;
