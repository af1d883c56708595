//! People, their rights, and what they decide.
//!
//! - [`rules`]: whether a decision on a request counts. Pure; admission and the people's endpoints judge
//!   by the same function.
//! - [`access`]: what the cluster's RBAC says of somebody.
//! - [`proof`]: who somebody is.
//! - [`people`]: what the collector asks on behalf of people: requests, decisions, coverage.
//! - [`slack`]: decisions by buttons in Slack.
//!
//! Invariants
//! - Whoever is named was proved: by a TokenReview, by an ID token that is verified here, or by the API
//!   server itself. The collector's word counts for reading only.
//! - Nobody decides who may act as the requester, administrators included.
//! - What cannot be looked up is refused.

pub(crate) mod access;
pub(crate) mod people;
pub(crate) mod proof;
pub(crate) mod rules;
pub(crate) mod slack;
