//! What the API asks of the engine that runs beside it, and of whoever lets people decide on holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_api::kinds::{Binding, QuarantineSpec};
use weir_audit::Fingerprint;
use weir_uplink::control::{Coverage, DecisionAsked, Person, RequestView, RequestsListed};

/// An answer that takes time.
pub type OperatorFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, OperatorError>> + Send + 'a>>;

/// An answer of a [`Desk`] that takes time.
pub type DeskFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeskError>> + Send + 'a>>;

/// Where holds are decided: the controller, or the engine that runs beside the collector.
///
/// Whoever implements it proves the person and judges what they may; whoever asks says only which
/// credential they brought.
pub trait Desk: Send + Sync {
    /// The requests that a person may see: those that wait, and with `closed` the last that are over.
    fn requests(
        &self,
        person: Person,
        namespace: Option<String>,
        closed: bool,
    ) -> DeskFuture<'_, RequestsListed>;

    /// Decides on one; the request as it is afterwards.
    fn decide(&self, asked: DecisionAsked) -> DeskFuture<'_, RequestView>;

    /// The fingerprint of a value under each of these labels, made by whoever has the key: the collector
    /// never has it, and neither keeps the value.
    fn fingerprints(&self, value: String, labels: Vec<String>) -> DeskFuture<'_, Vec<Fingerprint>>;

    /// Which pods are governed; none where there is no cluster.
    fn coverage(&self, person: Person) -> DeskFuture<'_, Option<Coverage>>;
}

/// Why a person does not get what they ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The credential proves nobody.
    #[error("{0}")]
    Unauthenticated(String),
    /// This person may not.
    #[error("{0}")]
    Forbidden(String),
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// It was decided before, or is not the request that the person saw.
    #[error("{0}")]
    Conflict(String),
    /// The decision is not one that can be taken.
    #[error("{0}")]
    Invalid(String),
    /// They ask too often.
    #[error("{0}")]
    TooMany(String),
    /// It is not known now.
    #[error("{0}")]
    Unavailable(String),
}

/// The engine, as its operators reach it.
pub trait Operator: Send + Sync {
    /// Who is cut off, and who was.
    ///
    /// # Errors
    /// When that cannot be read.
    fn quarantines(&self) -> Result<Vec<QuarantineView>, OperatorError>;

    /// Cuts identities off. Who orders it is put into what is asked for.
    fn quarantine<'a>(
        &'a self,
        asked: QuarantineView,
        approver: &'a Approver,
    ) -> OperatorFuture<'a, ()>;

    /// Lets them in again.
    fn lift<'a>(
        &'a self,
        name: &'a str,
        reason: &'a str,
        approver: &'a Approver,
    ) -> OperatorFuture<'a, ()>;

    /// What is in force and how the engine is.
    fn status(&self) -> StatusView;

    /// Sets all budgets back to nothing used; itself evidence.
    fn reset_budgets<'a>(&'a self, approver: &'a Approver) -> OperatorFuture<'a, ()>;
}

/// Who is at the other end of the socket, as the kernel states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Login name, or `uid:N` where the user has none.
    pub name: Arc<str>,
    /// User number.
    pub uid: u32,
}

impl Approver {
    /// A user by number, with the name that the system knows.
    #[must_use]
    pub fn of(uid: u32) -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self {
            name: name.unwrap_or_else(|| format!("uid:{uid}")).into(),
            uid,
        }
    }
}

/// Why the engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// There is nothing of that name.
    #[error("{0}")]
    NotFound(String),
    /// It was done before.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be what it is meant to be.
    #[error("{0}")]
    Invalid(String),
    /// The engine cannot do it now.
    #[error("{0}")]
    Unavailable(String),
}

/// A quarantine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuarantineView {
    /// Its name.
    pub name: String,
    /// Whom it cuts off, and why.
    pub spec: QuarantineSpec,
}

/// How the engine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The engine's name.
    pub engine: String,
    /// Its epoch.
    pub epoch: u32,
    /// Weir's version.
    pub version: String,
    /// The policy revision in force.
    pub revision: u64,
    /// Its digest.
    pub digest: String,
    /// Why the newest policy is not in force, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// On whose behalf it works, or why that is not known.
    pub identity: String,
    /// Open sessions.
    pub sessions: u64,
    /// The spool.
    pub spool: SpoolView,
}

/// How the spool is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolView {
    /// Last event recorded.
    pub last_seq: u64,
    /// Last event on disk.
    pub durable_seq: u64,
    /// Last event that the collector committed.
    pub acknowledged_seq: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Events that were refused for want of room.
    pub lost: u64,
    /// Why work is refused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The body of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decide {
    /// Approve only so many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Why. A denial needs it, and the client is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What an approval is good for; left out: this very statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// With `binding: Shape`: for how many minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
    /// The request's UID, so that the decision is about no other request of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The request's namespace, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
