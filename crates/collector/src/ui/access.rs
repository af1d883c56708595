//! Who may read evidence: the cluster says so, or the configuration where there is no cluster.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::StatusCode;

use super::problem::Problem;
use super::sessions::{Proof, Who};
use crate::auditors::{Credential, Gate};

/// Who decides on it.
pub(crate) enum Access {
    /// The cluster's RBAC, by way of the controller.
    Cluster(Arc<Gate>),
    /// One machine: its users, by their links, and these groups of the identity provider.
    Machine { auditors: Vec<String> },
}

/// What somebody may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    /// This namespace, or all.
    pub(super) namespace: Option<String>,
}

impl Access {
    pub(super) fn takes_tokens(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub(super) fn takes_links(&self) -> bool {
        matches!(self, Self::Machine { .. })
    }

    /// The name of whoever a token proves.
    pub(super) async fn name_of(&self, proof: &Proof, from: IpAddr) -> Result<Arc<str>, Problem> {
        let (Self::Cluster(gate), Some(credential)) = (self, credential(proof)) else {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "Tokens are not taken here.",
            ));
        };
        match gate.admit_from(from, &credential, None).await {
            Ok(allowed) => Ok(allowed.user.into()),
            Err(denied) if denied.refusal.status == StatusCode::FORBIDDEN => Ok(denied.user.into()),
            Err(denied) => Err(denied.refusal.into()),
        }
    }

    /// What somebody may read of what they want to look at.
    pub(super) async fn reads(&self, who: &Who, namespace: Option<&str>) -> Result<Reads, Problem> {
        match self {
            Self::Cluster(gate) => {
                let credential = credential(&who.proof);
                let credential = credential.ok_or_else(|| Problem::bad("no credential".into()))?;
                let allowed = gate.admit(&credential, namespace.map(str::to_owned)).await;
                let allowed = allowed.map_err(|denied| Problem::from(denied.refusal))?;
                Ok(Reads {
                    namespace: allowed.namespace.or_else(|| namespace.map(str::to_owned)),
                })
            }
            Self::Machine { auditors } => {
                let may = match &who.proof {
                    Proof::Local => true,
                    Proof::Oidc(oidc) => oidc
                        .claims
                        .groups
                        .iter()
                        .any(|group| auditors.contains(group)),
                    Proof::Token(_) => false,
                };
                if may {
                    let namespace = namespace.map(str::to_owned);
                    return Ok(Reads { namespace });
                }
                let text = format!(
                    "{} is in no group that may read evidence (collector.ui.auditors).",
                    who.name
                );
                Err(Problem::new(StatusCode::FORBIDDEN, text))
            }
        }
    }

    /// Whether evidence is offered to somebody: in a cluster it takes naming a namespace to find out.
    pub(super) async fn shows_evidence(&self, who: &Who, namespace: Option<&str>) -> bool {
        match self {
            Self::Cluster(_) => true,
            Self::Machine { .. } => self.reads(who, namespace).await.is_ok(),
        }
    }

    /// Whether somebody may name one namespace instead of all.
    pub(super) fn has_namespaces(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether somebody still may read what they were shown.
    pub(super) async fn still(&self, who: &Who, namespace: Option<&str>) -> bool {
        self.reads(who, namespace).await.is_ok()
    }
}

fn credential(proof: &Proof) -> Option<Credential> {
    match proof {
        Proof::Token(token) => Some(Credential::Token(token.to_string())),
        Proof::Oidc(oidc) => Some(Credential::IdToken(oidc.id_token.clone())),
        Proof::Local => None,
    }
}
