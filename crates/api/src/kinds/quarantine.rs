//! `Quarantine`: identities that are cut off at once, whatever policies say.

use serde::{Deserialize, Serialize};

use super::guard_policy::SubjectSpec;

/// Cuts identities off: in every sidecar, within a second, their sessions end and new connections are
/// refused, to every destination. `lifted` lets them in again, and so does deleting it; both are evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuarantineSpec {
    /// Whom it cuts off: one of these selectors must hold.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub subjects: Vec<SubjectSpec>,
    /// Why. Auditors read this, and clients do not.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub reason: String,
    /// Who ordered it. In a cluster it is whom the API server authenticated, whatever is written here.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub by: String,
    /// Given once they are let in again. The object stays, so that it says what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<LiftingSpec>,
}

impl QuarantineSpec {
    /// Whom it names, in words.
    #[must_use]
    pub fn whom(&self) -> String {
        let subjects = self.subjects.iter().map(|subject| {
            let SubjectSpec {
                names,
                namespaces,
                service_accounts,
                pods,
                groups,
                claims,
            } = subject;
            let lists = [
                ("called", names),
                ("of namespace", namespaces),
                ("of service account", service_accounts),
                ("pod", pods),
                ("of group", groups),
            ];
            let given = lists.into_iter().filter(|(_, list)| !list.is_empty());
            let mut all: Vec<String> = given
                .map(|(word, list)| format!("{word} {}", list.join(" or ")))
                .collect();
            all.extend(
                claims
                    .iter()
                    .map(|(name, value)| format!("of claim {name}={value}")),
            );
            match all.as_slice() {
                [] => "anybody".to_owned(),
                all => all.join(", "),
            }
        });
        subjects.collect::<Vec<_>>().join("; or ")
    }
}

/// The end of a quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LiftingSpec {
    /// Why.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub reason: String,
    /// Who. In a cluster it is whom the API server authenticated, whatever is written here.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub by: String,
}
