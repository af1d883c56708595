//! What the collector asks of the controller on behalf of people: what waits, a decision, and who is
//! governed.
//!
//! Invariant: a person is who a credential proves, never who a message says, but for `user`, which a
//! client certificate proved to the collector. Only the collector may say that.

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_api::kinds::{AccessRequestSpec, AccessRequestStatus, Binding, RequestDecision};
use weir_audit::Fingerprint;

/// Who acts. Exactly one of `token`, `id_token` and `user` is given.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// A bearer token for the Kubernetes API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// An ID token of the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// A user whom a client certificate of the cluster proved to the collector; in standalone the OS
    /// user at the other end of the operators' socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The groups of `user`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

impl Person {
    /// The bearer of a token for the Kubernetes API.
    #[must_use]
    pub fn of_token(token: impl Into<String>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::default()
        }
    }

    /// The bearer of an ID token.
    #[must_use]
    pub fn of_id_token(token: impl Into<String>) -> Self {
        Self {
            id_token: Some(token.into()),
            ..Self::default()
        }
    }

    /// A user who was proved elsewhere.
    #[must_use]
    pub fn of_user(user: impl Into<String>, groups: Vec<String>) -> Self {
        Self {
            user: Some(user.into()),
            groups,
            ..Self::default()
        }
    }
}

/// Tokens are not shown.
impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = |token: &Option<String>| token.as_ref().map(|_| "…");
        f.debug_struct("Person")
            .field("token", &given(&self.token))
            .field("id_token", &given(&self.id_token))
            .field("user", &self.user)
            .field("groups", &self.groups)
            .finish()
    }
}

/// What waits?
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsAsked {
    /// Who asks.
    pub person: Person,
    /// Of this namespace; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What is over as well.
    #[serde(default)]
    pub closed: bool,
}

/// The requests that a person may see, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsListed {
    /// Who asked, as they were proved.
    pub user: String,
    /// Their groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The requests.
    pub requests: Vec<RequestView>,
    /// How many more there are that one answer has no room for.
    #[serde(default)]
    pub left_out: u32,
}

/// A request, as one person sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// Its namespace; empty in standalone.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from every other request, past ones of the same name included.
    pub uid: String,
    /// When it was raised (RFC 3339).
    pub created: String,
    /// What is asked for.
    pub spec: AccessRequestSpec,
    /// Where it stands; absent just after it was raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AccessRequestStatus>,
    /// Whether this person may decide on it now.
    #[serde(default)]
    pub may_decide: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// A person decides.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionAsked {
    /// Who.
    pub person: Person,
    /// The request's namespace; empty in standalone.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, as the person saw it: the decision is about no other request of that name. Empty only
    /// where a person typed a name.
    #[serde(default)]
    pub uid: String,
    /// What they decide.
    pub decision: RequestDecision,
    /// Why, in their words; a denial needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how many more rows; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What an approval is good for; absent for this very statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// With `binding: Shape`: for how many minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
}

/// The decision counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionTaken {
    /// The request, with the decision.
    pub request: RequestView,
}

/// What are the fingerprints of a value?
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FingerprintsAsked {
    /// The value; it is neither kept nor logged.
    pub value: String,
    /// Under which labels.
    pub labels: Vec<String>,
}

/// The value is not shown.
impl fmt::Debug for FingerprintsAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FingerprintsAsked")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// The fingerprints of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FingerprintsMade {
    /// One for each label that was asked for, in their order.
    pub fingerprints: Vec<Fingerprint>,
}

/// Who is governed?
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageAsked {
    /// Who asks.
    pub person: Person,
}

/// Which pods are governed, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The namespaces that the person may see, by name.
    pub namespaces: Vec<NamespaceCoverage>,
}

/// The running pods of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCoverage {
    /// The namespace.
    pub namespace: String,
    /// `enforced`, `injected`, `excluded` (never governed) or `open`.
    pub mode: String,
    /// Pods with the sidecar and a stream to the controller.
    pub governed: u32,
    /// Pods with the sidecar whose sidecar is not connected.
    pub not_ready: u32,
    /// Pods without the sidecar where nothing asks for it, or that said no where they may.
    pub opted_out: u32,
    /// The names of pods without the sidecar where it is asked for; the last entry says how many more
    /// there are.
    pub unprotected: Vec<String>,
}
