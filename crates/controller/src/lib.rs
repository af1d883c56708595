//! Admission, bundles, identities and access requests.

pub mod webhooks;
