//! Why a hold is not raised, and why a decision does not count.

use std::sync::Arc;

use super::WAITERS;
use super::grants::GrantError;
use crate::spool::SpoolError;

/// Why a hold was not raised.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] SpoolError),
    /// The request that it would have waited for could not be raised.
    #[error("{0}")]
    NotRaised(Arc<str>),
    /// Too many wait for the same.
    #[error("{WAITERS} statements wait for {0} already")]
    TooMany(Arc<str>),
}

/// Why a decision does not count.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no request of that name.
    #[error("no request {0} waits for a decision")]
    Unknown(String),
    /// It is over.
    #[error("request {name} was decided before: it is {phase}")]
    Over {
        /// Which.
        name: String,
        /// How it ended.
        phase: &'static str,
    },
    /// The decision was about another request of that name.
    #[error("this is not the request {0} that was decided on: look at it again")]
    OtherRequest(String),
    /// Who asks cannot decide.
    #[error("{0} is the requester, or answers for it, and cannot decide its own request")]
    Requester(String),
    /// The same person approved before.
    #[error("{0} has approved already; another person must")]
    Again(String),
    /// The approver is not among those who may decide.
    #[error("{0} is not among those who may decide")]
    Group(String),
    /// The approval asks for more than the policy lets anybody approve.
    #[error("{0}")]
    Terms(String),
    /// The shape could not be kept, so the approval does not count.
    #[error("the approval cannot be kept: {0}")]
    Grant(#[from] GrantError),
    /// The decision could not be recorded, so it does not count.
    #[error(transparent)]
    Unrecorded(#[from] SpoolError),
}
