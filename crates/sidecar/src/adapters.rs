//! What the engine asks for, answered by spool and identity.

use std::sync::Arc;
use std::time::SystemTime;

use weir_audit::{Identity, PolicyChanged, Record, SessionId};
use weir_gateway::ports::{AuditSink, Identities, Pending};
use weir_policy::{Bundle, Subject};
use weir_uplink::{AuditHandle, IdentitySource, control};

use crate::honey::Honey;

/// Evidence goes to the spool, and what it shows of honey with it.
pub struct Spooled {
    /// The spool.
    pub audit: AuditHandle,
    /// What nobody has a reason to read.
    pub honey: Honey,
}

impl Spooled {
    fn keep(&self, record: Record) {
        if let Err(error) = self.audit.record(record) {
            tracing::error!(%error, "an event could not be kept");
        }
    }
}

impl AuditSink for Spooled {
    fn healthy(&self) -> Result<(), String> {
        self.audit.healthy().map_err(|error| error.to_string())
    }

    fn next_session(&self) -> SessionId {
        self.audit.next_session()
    }

    fn record(&self, record: Record) {
        let found = self.honey.look(&record);
        self.keep(record);
        found.into_iter().for_each(|found| self.keep(found));
    }

    fn record_durable(&self, record: Record, strict: bool) -> Pending<'_, Result<(), String>> {
        Box::pin(async move {
            let found = self.honey.look(&record);
            let kept = if strict {
                self.audit.append_acknowledged(record).await
            } else {
                self.audit.append_durable(record).await
            };
            found.into_iter().for_each(|found| self.keep(found));
            kept.map(drop).map_err(|error| error.to_string())
        })
    }
}

/// The identity of everything that this process serves.
pub struct OneIdentity(pub Arc<IdentitySource>);

impl Identities for OneIdentity {
    fn current(&self) -> Result<(Subject, Arc<Identity>), String> {
        let identity = self
            .0
            .current()
            .map_err(|error| format!("identity: {error}"))?;
        Ok((subject(&identity), identity))
    }
}

/// The identity that the controller attested.
pub struct PodIdentity(pub Arc<control::Identity>);

impl Identities for PodIdentity {
    fn current(&self) -> Result<(Subject, Arc<Identity>), String> {
        let identity = self.0.attested();
        let identity = identity.ok_or("identity: the certificate has expired")?;
        Ok((subject(&identity), identity))
    }
}

/// What rules select on.
pub fn subject(identity: &Identity) -> Subject {
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

/// Records which policy is in force.
pub fn announce(bundle: &Bundle, refused: Option<&str>, audit: &AuditHandle) {
    let event = PolicyChanged {
        revision: bundle.revision(),
        digest: bundle.digest().into(),
        refused: refused.map(Into::into),
    };
    if let Err(error) = audit.record(Record::engine(SystemTime::now().into(), event)) {
        tracing::warn!(%error, "a policy change could not be recorded");
    }
}
