//! One connection from accept to record.
//!
//! The engine routes a connection to a Target, terminates and originates TLS, logs in, and then
//! judges every statement before a byte of it goes on. It decides nothing itself: `weir_policy`
//! does. It parses nothing itself: the wire and sql crates do. [`postgres::operation`] is the one
//! place where their types meet. Policy, evidence, budgets, holds and secrets come through the
//! small traits in [`ports`].
//!
//! Everything fails closed: no identity, no policy, no catalog, no evidence means refused.

mod buffer;
mod command;
mod engine;
mod evidence;
mod explain;
mod incoming;
mod judge;
mod kubernetes;
mod leash;
mod masking;
mod moment;
mod pipe;
mod place;
pub mod ports;
mod postgres;
mod rarely;
mod relay;
mod scopes;
mod sniff;
mod ssh;
mod tls;
mod values;

use std::time::{SystemTime, UNIX_EPOCH};

pub use engine::{Engine, EngineConfig, Unmatched};
pub use explain::{SshAnswer, SshQuestion, explain_ssh};
pub use kubernetes::{
    KubernetesAnswer, KubernetesQuestion, PlaceholderClaims, Placeholders, explain_kubernetes,
};
pub use postgres::explain;
pub use ssh::{HostKeys, KeysError, placeholder_key};
pub use weir_wire_ssh::command::Command as SshCommandFacts;

/// The wall clock, in microseconds since 1970, for evidence.
pub(crate) fn wall_clock() -> weir_audit::Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    weir_audit::Timestamp::from_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// The wall clock, in milliseconds since 1970, for budgets.
pub(crate) fn millis() -> weir_policy::Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    weir_policy::Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
