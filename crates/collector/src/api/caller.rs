//! Who asks, what they may read, and how evidence names them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use weir_audit::EvidenceRead;
use weir_uplink::control::Person;

use super::operator::Approver;
use super::reply::Refusal;

/// Whoever bears the collector's token.
const READER: &str = "collector.token";

/// Who is asking.
#[derive(Clone)]
pub(crate) enum Caller {
    Operator(Approver),
    Reader,
    Auditor(Scope),
}

/// What an auditor may read.
#[derive(Clone)]
pub(crate) struct Scope {
    /// Who they are.
    pub(crate) user: Arc<str>,
    /// Where they ask from.
    pub(crate) address: Arc<str>,
    /// What they brought to prove it.
    pub(crate) person: Person,
    /// This namespace, or all.
    pub(crate) namespace: Option<String>,
    /// Whether they still may.
    pub(crate) still: Still,
}

/// Asks again whether a caller may read.
pub(crate) type Still = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

impl Caller {
    /// The namespace that they are confined to.
    pub(super) fn confined(&self) -> Option<&String> {
        match self {
            Self::Auditor(scope) => scope.namespace.as_ref(),
            Self::Operator(_) | Self::Reader => None,
        }
    }

    /// Who reads, as evidence names them.
    pub(super) fn reads(&self, path: &str, query: &str) -> EvidenceRead {
        let (reader, address) = match self {
            Self::Operator(approver) => (Arc::clone(&approver.name), None),
            Self::Reader => (READER.into(), None),
            Self::Auditor(scope) => (Arc::clone(&scope.user), Some(Arc::clone(&scope.address))),
        };
        EvidenceRead {
            reader,
            address,
            path: path.into(),
            query: query.into(),
            namespace: self.confined().map(|namespace| namespace.as_str().into()),
        }
    }

    /// Who they are to the desk.
    pub(super) fn person(&self) -> Person {
        match self {
            Self::Operator(approver) => Person::of_user(&*approver.name, Vec::new()),
            Self::Reader => Person::of_user(READER, Vec::new()),
            Self::Auditor(scope) => scope.person.clone(),
        }
    }

    /// What is not of one namespace is for those who may read all.
    pub(super) fn everywhere(&self) -> Result<(), Refusal> {
        match self.confined() {
            None => Ok(()),
            Some(namespace) => Err(Refusal::forbidden(format!(
                "this needs the right to list auditevents cluster-wide, not in {namespace} alone"
            ))),
        }
    }
}

/// Whatever was asked for, no more than the caller may read.
pub(super) fn confine(namespace: &mut Option<String>, caller: &Caller) -> Result<(), Refusal> {
    let Some(own) = caller.confined() else {
        return Ok(());
    };
    if namespace.as_ref().is_some_and(|asked| asked != own) {
        let message = format!("you may list auditevents in {own}");
        return Err(Refusal::forbidden(message));
    }
    *namespace = Some(own.clone());
    Ok(())
}
