//! Where people decide on the holds of the running engine.
//!
//! Invariants: who decides is the OS user at the other end of the operators' socket, as the kernel
//! states it, or whoever was given that user's one-time link, with the system's groups and the
//! configuration's; or the bearer of an ID token of the configured provider, with the groups that it
//! states.
//! Refuses: tokens of a cluster, which nothing here can verify.

use std::collections::BTreeMap;

use weir_api::kinds::{Binding, RequestDecision};
use weir_audit::{Fingerprint, FingerprintKey, Names, Ruling, Via};
use weir_collector::api::{Desk, DeskError, DeskFuture};
use weir_oidc::{Verifier, VerifyError};
use weir_uplink::control::{Coverage, DecisionAsked, Person, RequestView, RequestsListed};
use weir_uplink::{Approving, DecideError, Decision, HoldView, Holds};

/// The engine's holds, as people reach them.
pub(crate) struct StandaloneDesk {
    pub(crate) holds: Holds,
    /// Approver groups from the configuration.
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    /// Makes fingerprints of labelled values.
    pub(crate) fingerprint_key: FingerprintKey,
    /// Who judges ID tokens, if a provider is configured.
    pub(crate) verifier: Option<Verifier>,
}

/// Who acts, proved.
struct Proved {
    name: String,
    groups: Names,
    via: Via,
}

impl StandaloneDesk {
    async fn prove(&self, person: Person) -> Result<Proved, DeskError> {
        match person {
            Person {
                token: None,
                id_token: None,
                user: Some(name),
                groups,
            } => Ok(self.prove_user(name, groups)),
            Person {
                token: None,
                id_token: Some(token),
                user: None,
                ..
            } => self.prove_bearer(&token).await,
            _ => Err(DeskError::Unauthenticated(
                "only users of this machine and bearers of an ID token are known here".to_owned(),
            )),
        }
    }

    async fn prove_bearer(&self, id_token: &str) -> Result<Proved, DeskError> {
        let Some(verifier) = &self.verifier else {
            return Err(DeskError::Unauthenticated(
                "no identity provider is configured".to_owned(),
            ));
        };
        match verifier.verify(id_token).await {
            Ok(claims) => Ok(Proved {
                name: claims.username,
                groups: claims.groups.into_iter().collect(),
                via: Via::Oidc,
            }),
            Err(error @ VerifyError::Refused(_)) => {
                Err(DeskError::Unauthenticated(error.to_string()))
            }
            Err(error @ VerifyError::Unavailable(_)) => {
                Err(DeskError::Unavailable(error.to_string()))
            }
        }
    }

    fn prove_user(&self, name: String, groups: Vec<String>) -> Proved {
        let configured = self.groups.iter();
        let configured = configured
            .filter(|(_, users)| users.contains(&name))
            .map(|(group, _)| group.clone());
        let groups = system_groups(&name)
            .into_iter()
            .chain(configured)
            .chain(groups)
            .collect();
        Proved {
            name,
            groups,
            via: Via::Socket,
        }
    }
}

impl Proved {
    fn approving(&self) -> Approving<'_> {
        Approving {
            name: &self.name,
            groups: Some(&self.groups),
            via: self.via,
        }
    }

    /// A request as this person sees it.
    fn sees(&self, hold: &HoldView) -> RequestView {
        let mut view = hold.view();
        let yes = Decision::from(Ruling::Approve { rows: None });
        let may = hold.check(None, self.approving(), &yes);
        view.may_decide = may.is_ok();
        view.why_not = may.err().map(|error| error.to_string());
        view
    }
}

impl Desk for StandaloneDesk {
    fn requests(
        &self,
        person: Person,
        _namespace: Option<String>,
        closed: bool,
    ) -> DeskFuture<'_, RequestsListed> {
        Box::pin(async move {
            let proved = self.prove(person).await?;
            let waiting = self.holds.list();
            let mut requests: Vec<_> = waiting.iter().map(|hold| proved.sees(hold)).collect();
            if closed {
                let over = self.holds.closed();
                requests.extend(over.iter().rev().map(HoldView::view));
            }
            Ok(RequestsListed {
                groups: proved.groups.iter().map(str::to_owned).collect(),
                user: proved.name,
                requests,
                left_out: 0,
            })
        })
    }

    fn decide(&self, asked: DecisionAsked) -> DeskFuture<'_, RequestView> {
        Box::pin(async move {
            let proved = self.prove(asked.person).await?;
            let decision = decision(asked.decision, asked.reason, asked.rows);
            let decision = Decision {
                binding: match asked.binding {
                    Some(Binding::Shape) => weir_audit::Binding::Shape,
                    Some(Binding::Exact) | None => weir_audit::Binding::Exact,
                },
                minutes: asked.minutes,
                ..decision
            };
            let uid = Some(asked.uid.as_str()).filter(|uid| !uid.is_empty());
            let decided = self
                .holds
                .decide(&asked.name, uid, proved.approving(), &decision)
                .await;
            decided.map(|hold| hold.view()).map_err(refused)
        })
    }

    fn fingerprints(&self, value: String, labels: Vec<String>) -> DeskFuture<'_, Vec<Fingerprint>> {
        let key = &self.fingerprint_key;
        let of = |label: &String| key.of_label(label).fingerprint(&value);
        let made = labels.iter().map(of).collect();
        Box::pin(std::future::ready(Ok(made)))
    }

    fn coverage(&self, person: Person) -> DeskFuture<'_, Option<Coverage>> {
        Box::pin(async move { self.prove(person).await.map(|_| None) })
    }
}

fn decision(yes: RequestDecision, reason: Option<String>, rows: Option<u64>) -> Decision {
    match yes {
        RequestDecision::Approve => Decision {
            comment: reason.map(Into::into),
            ..Decision::from(Ruling::Approve { rows })
        },
        RequestDecision::Deny => Decision::from(Ruling::Deny {
            reason: reason.unwrap_or_default().into(),
        }),
    }
}

fn refused(error: DecideError) -> DeskError {
    let text = error.to_string();
    match error {
        DecideError::Unknown(_) => DeskError::NotFound(text),
        DecideError::Requester(_) | DecideError::Group(_) => DeskError::Forbidden(text),
        DecideError::Again(_) | DecideError::Over { .. } | DecideError::OtherRequest(_) => {
            DeskError::Conflict(text)
        }
        DecideError::Terms(_) => DeskError::Invalid(text),
        DecideError::Grant(_) | DecideError::Unrecorded(_) => DeskError::Unavailable(text),
    }
}

/// The groups of a user by the system's files: the primary one, and those that list the user.
fn system_groups(user: &str) -> Vec<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let primary = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(2).unwrap_or_default().to_owned())
    });
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, number, members] = fields.as_slice() else {
                return None;
            };
            let listed = members.split(',').any(|member| member == user);
            (listed || primary.as_deref() == Some(*number)).then(|| (*name).to_owned())
        })
        .collect()
}
