//! The controller's two ports, and the HTTP that they share.
//!
//! Refuses: to know TLS and connections; that is `weir_serve`'s.

pub(crate) mod control;
pub(crate) mod http;
pub(crate) mod lanes;
pub(crate) mod public;

use std::time::Duration;

use weir_serve::Bounds;

/// Connections of one address at once.
const PER_ADDRESS: usize = 64;
/// Requests at once on one connection.
const STREAMS: u32 = 64;
/// How long running requests have once a connection must end.
const DRAIN: Duration = Duration::from_secs(5);

const fn bounds(connections: usize) -> Bounds {
    Bounds {
        connections,
        per_address: PER_ADDRESS,
        streams: STREAMS,
        idle: None,
        drain: DRAIN,
    }
}
