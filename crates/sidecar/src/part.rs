//! Why a process does not start.

/// A part of the process that could not start. The process ends.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct PartError {
    /// What was being started.
    pub what: &'static str,
    /// Why it did not.
    pub reason: String,
}

/// Names the part that an error belongs to.
pub fn part<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> PartError {
    move |error| PartError {
        what,
        reason: error.to_string(),
    }
}
