//! `PolicyException`: a loosening with an owner, a reason and an end.

use serde::{Deserialize, Serialize};

use super::guard_policy::SubjectSpec;

/// Frees some subjects from some rules for some time. It names who answers for it, and is shown
/// wherever a decision is explained. It lifts single rules and grants nothing: that takes a
/// ClusterGuardPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PolicyExceptionSpec {
    /// The person or team who answers for it.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub owner: String,
    /// Why it is needed. Auditors read this.
    #[cfg_attr(feature = "crds", schemars(length(min = 1, max = 1024)))]
    pub reason: String,
    /// When it ends, as an RFC 3339 time such as `2027-01-31T18:00:00Z`.
    #[cfg_attr(feature = "crds", schemars(length(max = 64), extend("format" = "date-time")))]
    pub expires: String,
    /// Whom it frees: one of these selectors must hold.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub subjects: Vec<SubjectSpec>,
    /// Where it frees them: Targets by name or glob.
    #[cfg_attr(feature = "crds", schemars(length(min = 1)))]
    pub targets: Vec<String>,
    /// The rules that do not bind, each as `policy/rule`; those of a GuardPolicy as
    /// `namespace:policy/rule`. Of an Allow rule only the limits are lifted. `weir.dev/kube-token` lets pods
    /// keep the token of their service account that ask for it by annotation.
    #[cfg_attr(
        feature = "crds",
        schemars(
            length(min = 1),
            inner(length(max = 570), regex(pattern = "^[^/]+/[^/(][^/]*$"))
        )
    )]
    pub rules: Vec<String>,
}
