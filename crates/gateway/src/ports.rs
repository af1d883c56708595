//! What the engine needs from the rest of the process: small traits, so that the engine knows
//! neither spool nor collector nor where policies come from.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use weir_audit::{Identity, LabelledColumns, Names, Record, Session, SessionId, Value};
use weir_policy::{Bundle, Counters, RuleName, Subject, Timestamp, Usage, Wanted};

use crate::engine::Unmatched;

/// A boxed future, for the few calls that wait.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where evidence goes.
pub trait AuditSink: Send + Sync {
    /// Whether evidence can be kept; the error says why not. Cheap: asked for every statement.
    ///
    /// # Errors
    /// The spool is full or broken, and nothing may run.
    fn healthy(&self) -> Result<(), String>;

    /// A session id that was never given before.
    fn next_session(&self) -> SessionId;

    /// Keeps a record within the bounds of `Batch` delivery. Never waits.
    fn record(&self, record: Record);

    /// Keeps a record durably before it returns; `strict` waits for the collector's commit too.
    fn record_durable(&self, record: Record, strict: bool) -> Pending<'_, Result<(), String>>;
}

/// The policy in force.
pub trait Policies: Send + Sync {
    /// The bundle in force now.
    fn current(&self) -> Arc<Bundle>;

    /// What happens to a connection that no Target covers.
    fn unmatched(&self) -> Unmatched;

    /// Why nothing is permitted at the moment, if that is so: clients are told. The bundle in force
    /// then has no policy, so that open sessions are refused as well.
    fn suspended(&self) -> Option<Arc<str>>;
}

/// The budgets' counters, which outlive the process.
pub trait Budgets: Send + Sync {
    /// Calls `with` on the counters at one moment.
    fn read(&self, with: &mut dyn FnMut(&dyn Counters));

    /// Adds to counters; returns once the charge would survive a crash of the process.
    fn charge(&self, now: Timestamp, usage: &[Usage]);

    /// Asks whoever shares the budgets out for what is wanted. True: more is left than before, read
    /// the counters again. Called only where a window has too little left, and within a few seconds
    /// it answers.
    fn replenish<'a>(&'a self, wanted: &'a [Wanted]) -> Pending<'a, bool>;
}

/// A column that the configuration labels by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinnedColumn {
    /// The object id of its relation.
    pub oid: u32,
    /// Its number in the relation.
    pub attribute: i16,
    /// The label's name.
    pub label: Arc<str>,
    /// The name under which it was labelled: schema, relation and column. Empty where it was not, and has the label
    /// from another column.
    pub name: String,
}

/// Where labelled columns are remembered, so that labels follow a rename across a restart.
pub trait PinStore: Send + Sync {
    /// What was kept of a target's database; nothing if nothing was.
    ///
    /// # Errors
    /// It cannot be read; statements that labels matter to are refused.
    fn load(&self, target: &str, database: &[u8]) -> Result<Vec<PinnedColumn>, String>;

    /// Keeps the columns of a target's database, all of them, durably.
    ///
    /// # Errors
    /// It cannot be written; statements that labels matter to are refused.
    fn keep(&self, target: &str, database: &[u8], pins: &[PinnedColumn]) -> Result<(), String>;
}

/// Who the connections come from.
pub trait Identities: Send + Sync {
    /// The attested identity at this moment.
    ///
    /// # Errors
    /// The identity cannot be proven now; connections are refused with this reason.
    fn current(&self) -> Result<(Subject, Arc<Identity>), String>;
}

/// Secrets that the engine logs in with or answers clients against.
pub trait Credentials: Send + Sync {
    /// The content of a file or a field of a Secret that the bundle refers to.
    ///
    /// # Errors
    /// It cannot be read; the connection is refused.
    fn read(&self, source: &weir_policy::Source) -> Result<Vec<u8>, String>;

    /// One key of an object that the bundle refers to; none where the object has no such key.
    ///
    /// # Errors
    /// The object cannot be read; the connection is refused.
    fn field(&self, object: &str, key: &str) -> Result<Option<Vec<u8>>, String>;

    /// User name and password of a login that the bundle refers to.
    ///
    /// # Errors
    /// It cannot be read; the connection is refused.
    fn login(&self, login: &weir_policy::Login) -> Result<(String, String), String>;

    /// The token of this pod's own service account, as it is now. Only Weir has it.
    ///
    /// # Errors
    /// There is none, or it cannot be read; the request is refused.
    fn pod_token(&self) -> Result<String, String>;

    /// Whether a bearer token is the one that this pod's programs were given in its place.
    fn is_placeholder(&self, token: &str) -> bool;
}

/// What a reviewer is told about a held statement.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// The session it runs in.
    pub session: Arc<Session>,
    /// Number of the statement in its session.
    pub number: u64,
    /// Its text, whole.
    pub statement: Arc<str>,
    /// What decides beside its text, for people.
    pub detail: Option<Arc<str>>,
    /// What tells it from others that read the same: it waits with those alone in which this is equal, and
    /// a shape that is approved is good for them alone.
    pub apart: Arc<str>,
    /// Its parameters.
    pub parameters: Vec<Value>,
    /// Its fingerprint.
    pub fingerprint: Option<u64>,
    /// The rules that ask for approval.
    pub rules: Vec<RuleName>,
    /// Why.
    pub reason: String,
    /// Names of the labels it touches.
    pub labels: Vec<Arc<str>>,
    /// What it does, in the policy's words.
    pub effects: Names,
    /// The tables that it touches.
    pub tables: Names,
    /// The columns behind the labels, as far as they are known.
    pub columns: Vec<LabelledColumns>,
    /// Its shape, if it has one.
    pub shape: Option<HeldShape>,
    /// Rows that the server expects.
    pub estimate: Option<u64>,
    /// Rows delivered so far.
    pub rows: u64,
    /// Bytes delivered so far.
    pub bytes: u64,
    /// Who may approve, how many must, and until when.
    pub approval: weir_policy::Approval,
}

/// What is left of a statement without its literals and parameters, where nothing that is judged
/// depends on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldShape {
    /// Two statements are of one shape where this is equal.
    pub key: Arc<str>,
    /// The same for people.
    pub shown: Arc<str>,
    /// The literals and parameters of this statement.
    pub free: Vec<Arc<str>>,
}

/// How a hold ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Goes on: to the statement's end, or for this many more rows.
    Approved(Option<u64>),
    /// Refused by a person, with the reason given.
    Denied(String),
    /// Nobody decided in time.
    Expired,
    /// Nobody has to decide any more, for this reason; it did not go on.
    Superseded(String),
    /// The process is stopping.
    Stopped,
}

impl Ruling {
    /// How far it goes on.
    ///
    /// # Errors
    /// It does not, for this reason.
    pub(crate) fn release(self) -> Result<weir_policy::Release, String> {
        match self {
            Self::Approved(None) => Ok(weir_policy::Release::ToEnd),
            Self::Approved(Some(rows)) => Ok(weir_policy::Release::Rows(rows)),
            Self::Denied(reason) => Err(format!("not approved: {reason}")),
            Self::Expired => Err("nobody approved it in time".to_owned()),
            Self::Superseded(reason) => Err(format!("not decided: {reason}")),
            Self::Stopped => Err("weir is stopping".to_owned()),
        }
    }
}

/// A ruling, and the request that it is on: not always the one that was raised, which may have been
/// decided for another statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// The request's name.
    pub name: Arc<str>,
    /// What people said.
    pub ruling: Ruling,
}

/// A hold that waits for people. Dropping it without a ruling closes the request: client gone.
pub struct Held {
    /// The request's name.
    pub name: Arc<str>,
    /// Resolves once, when somebody rules or the deadline passes.
    pub ruling: oneshot::Receiver<Ruled>,
    /// Keeps the request open while it lives.
    pub guard: Box<dyn Send + Sync>,
}

impl Held {
    /// Waits for the ruling; the process is stopping where there is none.
    pub(crate) async fn ruled(&mut self) -> Ruled {
        (&mut self.ruling).await.unwrap_or_else(|_| Ruled {
            name: Arc::clone(&self.name),
            ruling: Ruling::Stopped,
        })
    }
}

/// Where holds are decided.
pub trait Holds: Send + Sync {
    /// Opens a request, joins one that waits for the same, or finds it approved before.
    ///
    /// # Errors
    /// It cannot be kept as evidence or there are too many; the statement is refused.
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>>;
}
