//! The decisions of Weir: may this subject do this to this target, and under which obligations?
//!
//! A [`Bundle`] is compiled, plain data. For each connection [`Bundle::scope`] selects what applies
//! once; [`Scope::decide`] then answers each operation. Everything here is synchronous and pure: no
//! clock, no IO, no randomness; time and counters are arguments.
//!
//! Composition does not depend on order and only tightens: any Deny wins, the smallest limit and
//! the strictest mask hold, the strongest audit is kept, and every policy that asks for approval
//! must get it. An [`Exception`] takes single rules away until a moment, and every decision says where
//! that mattered. A [`Permit`] cannot be made anywhere else.

mod bundle;
mod decide;
mod decision;
mod destination;
mod effect;
mod exception;
mod explain;
mod functions;
mod kubernetes;
mod label;
mod ledger;
mod limit;
mod loosened;
mod matching;
mod name;
mod operation;
mod quarantine;
mod route;
mod rule;
mod scope;
mod ssh;
mod target;

pub use bundle::{BuildError, Bundle, BundleBuilder};
pub use decide::UNPROVEN_HINT;
pub use decision::{Decision, Denial, Hold, HoldSpec, Obligations, Permit, ValueMask, Verdict};
pub use destination::host_address;
pub use effect::{Effect, EffectSet};
pub use exception::{Exception, Lifted};
pub use explain::{Outcome, RuleTrace};
pub use functions::FunctionClass;
pub use kubernetes::{
    Endpoint, KubernetesEffect, KubernetesMatch, KubernetesOperation, KubernetesResource,
};
pub use label::{Label, LabelId, LabelRules, LabelledColumns, LabelledField, Mask};
pub use ledger::{
    Ahead, Amount, BudgetKey, Counters, LedgerRow, NoCounters, Timestamp, Usage, Wanted,
    WindowLedger,
};
pub use limit::{Limit, LimitScope, Meter, OnExceed, Release, Step};
pub use loosened::loosened;
pub use matching::Field;
pub use name::{FunctionPattern, Glob, HOST_VALUE, PatternError, TablePattern};
pub use operation::{
    Access, FunctionRef, LabelUse, Operation, Output, Relation, SqlOperation, Subject, Use, UseSet,
    WhereClause,
};
pub use quarantine::{Lifting, Quarantine};
pub use route::Unroutable;
pub use rule::{
    Action, Approval, DefaultAction, Delivery, Exceed, LimitSpec, Match, Mode, Policy, RecordLevel,
    Rule, RuleName, SubjectSelector, WhereTest,
};
pub use scope::Scope;
pub use ssh::{
    ForwardKind, SftpMatch, SftpOperation, SshChannel, SshCommand, SshMatch, SshOperation,
    SshRequest,
};
pub use target::{
    Address, Catalog, Cidr, ClientLogin, ClientTls, Credentials, Host, Login, Places, Pooler,
    Protocol, Resolved, Source, Ssh, Standing, Target, TargetId, TlsMode, UpstreamTls,
};

#[cfg(test)]
mod tests;
