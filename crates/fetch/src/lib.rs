//! One HTTP request to somebody else's server: identity providers, receivers of messages, archives.
//!
//! Invariants
//! - Every request is bounded: in time, from the look-up to the last byte of the answer, and in the
//!   size of the answer.
//! - Authorities are read anew for each request, so that they rotate without a restart.
//! - Nothing of a URL but its host is in an error: paths of webhooks are often secrets.
//!
//! It refuses to follow redirects, and to speak plain HTTP to anything but loopback and the cluster (and
//! to those only where the caller allows it).

mod endpoint;
mod fetcher;

pub use endpoint::{Endpoint, EndpointError};
pub use fetcher::{Answer, FetchError, Fetcher};
