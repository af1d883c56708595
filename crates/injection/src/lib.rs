//! What a governed pod looks like: a pod in, the same pod with its sidecar out, or why not.
//!
//! Pure: JSON to JSON. One source for the webhook, `weir inject` and the chart, whose policies
//! compare what this crate makes as a whole. Everything of the user's stays; whatever bears a name
//! of Weir's is replaced and never trusted; injecting twice is injecting once. Refuses pods that
//! cannot be governed and annotations that would loosen; it does not repeat what the cluster's
//! admission policies refuse.

mod account;
mod container;
mod ephemeral;
mod inject;
mod names;
mod opt_in;
mod refusal;
mod room;
mod settings;
mod trust;

pub use account::give_account;
pub use container::{probe, sidecar, volumes};
pub use ephemeral::inject_ephemeral;
pub use inject::{Injected, inject};
pub use names::*;
pub use opt_in::{Governed, Namespace, governed};
pub use refusal::Refusal;
pub use settings::{Kubernetes, Resources, Settings};

#[cfg(test)]
mod tests;
