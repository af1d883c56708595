//! What the engine asks for, answered by spool, holds, identity and files.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_audit::{AccessRequestCreated, Identity, Record, SessionId};
use weir_gateway::ports::{
    AuditSink, Credentials, Held, HoldRequest, Holds, Identities, Pending, Ruling,
};
use weir_policy::{Login, Source, Subject};
use weir_uplink::{Answer, AuditHandle, IdentitySource, NewHold};

/// Evidence goes to the spool.
pub(crate) struct Spooled(pub(crate) AuditHandle);

impl AuditSink for Spooled {
    fn healthy(&self) -> Result<(), String> {
        self.0.healthy().map_err(|error| error.to_string())
    }

    fn next_session(&self) -> SessionId {
        self.0.next_session()
    }

    fn record(&self, record: Record) {
        if let Err(error) = self.0.record(record) {
            tracing::error!(%error, "an event could not be kept");
        }
    }

    fn record_durable(&self, record: Record, strict: bool) -> Pending<'_, Result<(), String>> {
        Box::pin(async move {
            let kept = if strict {
                self.0.append_acknowledged(record).await
            } else {
                self.0.append_durable(record).await
            };
            kept.map(drop).map_err(|error| error.to_string())
        })
    }
}

/// Holds wait in the operator's registry.
pub(crate) struct OperatorHolds(pub(crate) weir_uplink::Holds);

/// Ends a task with what it guards.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Holds for OperatorHolds {
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>> {
        Box::pin(async move {
            let rule = |rule: &weir_policy::RuleName| -> Arc<str> {
                format!("{}/{}", rule.policy, rule.rule).into()
            };
            let asked = AccessRequestCreated {
                name: Arc::from(""),
                number: request.number,
                statement: request.statement,
                parameters: request.parameters,
                fingerprint: request.fingerprint,
                rules: request.rules.iter().map(rule).collect(),
                reason: request.reason.into(),
                labels: request.labels.into_iter().collect(),
                rows: request.rows,
                estimate: None,
                groups: request
                    .approval
                    .groups
                    .iter()
                    .map(|name| Arc::from(name.as_str()))
                    .collect(),
                approvals: request.approval.count,
                deadline: weir_audit::Timestamp::default(),
            };
            let patience = request.approval.deadline;
            let hold = NewHold {
                session: request.session,
                request: asked,
                patience,
            };
            let mut ticket = self
                .0
                .create(hold)
                .await
                .map_err(|error| error.to_string())?;
            let name = Arc::clone(ticket.name());
            let (tell, ruling) = oneshot::channel();
            let waiting = tokio::spawn(async move {
                let ruling = match ticket.answer().await {
                    Answer::Approved { rows } => Ruling::Approved(rows),
                    Answer::Denied { approver, reason } => {
                        Ruling::Denied(format!("{reason} ({approver})"))
                    }
                    Answer::Expired => Ruling::Expired,
                };
                drop(tell.send(ruling));
            });
            Ok(Held {
                name,
                ruling,
                guard: Box::new(AbortOnDrop(waiting)),
            })
        })
    }
}

/// The identity of everything that this process serves.
pub(crate) struct OneIdentity(pub(crate) Arc<IdentitySource>);

impl Identities for OneIdentity {
    fn current(&self) -> Result<(Subject, Arc<Identity>), String> {
        let identity = self
            .0
            .current()
            .map_err(|error| format!("identity: {error}"))?;
        Ok((subject(&identity), identity))
    }
}

/// What rules select on.
pub(crate) fn subject(identity: &Identity) -> Subject {
    let text = |field: &Option<Arc<str>>| field.as_deref().map(str::to_owned);
    let claims = [
        ("iss", &identity.issuer),
        ("sub", &identity.subject),
        ("email", &identity.email),
    ];
    Subject {
        name: identity.name.to_string(),
        namespace: text(&identity.namespace),
        service_account: text(&identity.service_account),
        pod: text(&identity.pod),
        groups: identity.groups.iter().map(str::to_owned).collect(),
        claims: claims
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), text(value)?)))
            .collect(),
    }
}

/// Secrets from files: a directory for each named object, a file for each of its keys.
pub(crate) struct FileSecrets {
    /// Where named objects are.
    pub(crate) dir: PathBuf,
    /// What relative file names are relative to.
    pub(crate) base: PathBuf,
}

impl FileSecrets {
    fn file(&self, path: PathBuf) -> Result<Vec<u8>, String> {
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn named(&self, name: &str, keys: &[&str]) -> Result<Vec<u8>, String> {
        let dir = self.dir.join(name);
        let existing = keys
            .iter()
            .map(|key| dir.join(key))
            .find(|path| path.exists());
        match existing {
            Some(path) => self.file(path),
            None => Err(format!(
                "{}: has none of {}",
                dir.display(),
                keys.join(", ")
            )),
        }
    }

    fn line(bytes: Vec<u8>) -> Result<String, String> {
        let text = String::from_utf8(bytes).map_err(|_| "a login is not UTF-8".to_owned())?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Credentials for FileSecrets {
    fn read(&self, source: &Source) -> Result<Vec<u8>, String> {
        match source {
            Source::Ref(name) => self.named(name, &["ca.crt", "password", "token"]),
            Source::File(path) => self.file(self.base.join(path)),
        }
    }

    fn login(&self, login: &Login) -> Result<(String, String), String> {
        let (user, password) = match login {
            Login::Ref(name) => (
                self.named(name, &["username"])?,
                self.named(name, &["password"])?,
            ),
            Login::Files { username, password } => (
                self.file(self.base.join(username))?,
                self.file(self.base.join(password))?,
            ),
        };
        Ok((Self::line(user)?, Self::line(password)?))
    }
}
