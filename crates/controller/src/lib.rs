//! Admission, bundles, identities and access requests.

pub mod admission;
pub mod webhooks;
