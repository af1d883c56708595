//! Statements that wait for people whom the controller asks.
//!
//! Invariants: a hold waits under the name that the controller gave it, in the same registry and
//! with the same evidence as a local one; a client that goes away withdraws its request; without
//! the controller a hold waits until its deadline and is refused then.
//! Refuses: a hold that the controller did not take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use weir_api::kinds::{AccessRequestSpec, Binding, Requester};
use weir_audit::{Timestamp, Value};
use weir_gateway::ports::{Held, HoldRequest, Holds, Pending};
use weir_uplink::control::{ControlClient, RequestRuling};

use crate::holds::{asked, held};

/// Most parameters that a request shows.
const PARAMETERS: usize = 1024;
/// Most characters of one parameter. A longer one cannot be reviewed: what approvers do not see,
/// they cannot approve.
const PARAMETER: usize = 8192;
/// Most characters of the reason.
const REASON: usize = 1024;
/// Most bytes of the statement; a longer one cannot be reviewed.
const STATEMENT: usize = 1 << 20;

/// Holds that the controller decides; cheap to clone.
#[derive(Clone)]
pub struct RemoteHolds {
    inner: Arc<Inner>,
}

struct Inner {
    client: Arc<ControlClient>,
    registry: weir_uplink::Holds,
    /// Requests that the controller may have made and that do not wait here yet.
    opening: AtomicUsize,
    /// Rulings on those.
    early: Mutex<BTreeMap<String, RequestRuling>>,
}

impl RemoteHolds {
    /// Holds over this client, kept in this registry.
    #[must_use]
    pub fn new(client: Arc<ControlClient>, registry: weir_uplink::Holds) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                registry,
                opening: AtomicUsize::new(0),
                early: Mutex::default(),
            }),
        }
    }

    /// Takes over what the controller says of a request. A ruling that is known already, or of a
    /// request that nobody waits for any more, changes nothing.
    pub async fn rule(&self, ruling: RequestRuling) {
        let name = ruling.name.clone();
        // Whoever takes it out again concludes: this call, or the one that opens the request.
        self.inner.early().insert(name.clone(), ruling);
        if self.inner.registry.waits(&name) {
            self.inner.conclude_early(&name).await;
        }
        if self.inner.opening.load(Ordering::Acquire) == 0 {
            self.inner.early().clear();
        }
    }
}

impl Holds for RemoteHolds {
    fn open(&self, request: HoldRequest) -> Pending<'_, Result<Held, String>> {
        Box::pin(async move {
            let inner = &self.inner;
            let spec = spec(&request, SystemTime::now().into())?;
            let _opening = Opening::new(&inner.opening);
            let opened = inner.client.open_access_request(&spec).await;
            let name = opened.map_err(|error| error.to_string())?.name;
            let mut hold = asked(request);
            hold.request.name = name.as_str().into();
            let ticket = match inner.registry.create(hold).await {
                Ok(ticket) => ticket,
                Err(error) => {
                    withdraw(&inner.client, name);
                    return Err(error.to_string());
                }
            };
            inner.conclude_early(&name).await;
            let client = Arc::clone(&inner.client);
            Ok(held(ticket, move |answered| {
                if !answered {
                    withdraw(&client, name);
                }
            }))
        })
    }
}

impl Inner {
    async fn conclude_early(&self, name: &str) {
        let ruling = self.early().remove(name);
        if let Some(ruling) = ruling
            && let Err(error) = self.registry.conclude(&ruling).await
        {
            tracing::warn!(%error, request = name, "a ruling came to nothing");
        }
    }

    fn early(&self) -> MutexGuard<'_, BTreeMap<String, RequestRuling>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts while a request is being opened.
struct Opening<'a>(&'a AtomicUsize);

impl<'a> Opening<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells the controller that nobody waits, in the background; the request expires by itself if
/// that fails.
fn withdraw(client: &Arc<ControlClient>, name: String) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let client = Arc::clone(client);
    runtime.spawn(async move {
        if let Err(error) = client.withdraw(&name).await {
            tracing::warn!(%error, request = %name, "a request could not be withdrawn");
        }
    });
}

/// The request as people will see it.
fn spec(request: &HoldRequest, now: Timestamp) -> Result<AccessRequestSpec, String> {
    if request.statement.len() > STATEMENT {
        return Err("the statement is too long to be reviewed".to_owned());
    }
    if request.parameters.len() > PARAMETERS {
        return Err("the statement has too many parameters to be reviewed".to_owned());
    }
    let shown = request.parameters.iter().map(parameter);
    let parameters: Vec<Option<String>> = shown.collect();
    let length = |text: &String| text.chars().count();
    if parameters
        .iter()
        .flatten()
        .map(length)
        .any(|n| n > PARAMETER)
    {
        return Err("a parameter is too long to be reviewed".to_owned());
    }
    let rule = request.rules.first();
    let rule = rule.ok_or("no rule asks for it")?;
    let session = &request.session;
    let identity = &session.identity;
    let text = |field: &Option<Arc<str>>| field.as_deref().map(str::to_owned);
    let target = session.target.as_deref().unwrap_or_default();
    let mut spec = AccessRequestSpec {
        requester: Requester {
            name: identity.name.to_string(),
            namespace: text(&identity.namespace),
            service_account: text(&identity.service_account),
            pod: text(&identity.pod),
        },
        summary: Vec::new(),
        target: target.to_owned(),
        policy: rule.policy.to_string(),
        rule: rule.rule.to_string(),
        statement: request.statement.to_string(),
        parameters,
        fingerprint: request.fingerprint.map(|print| format!("{print:016x}")),
        estimated_rows: None,
        reason: cut(&request.reason, REASON),
        deadline: now.plus(request.approval.deadline).to_string(),
        binding: Binding::Exact,
        groups: request.approval.groups.clone(),
        count: request.approval.count.max(1),
        labels: request.labels.iter().map(ToString::to_string).collect(),
        delivered_rows: Some(request.rows),
    };
    spec.summary = weir_api::summary(&spec);
    Ok(spec)
}

fn parameter(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Text(text) => Some(text.to_string()),
        Value::Binary(bytes) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            Some(format!("\\x{}", hex.collect::<String>()))
        }
    }
}

/// At most so many characters, and a sign that some are missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_audit::{Identity, Session};
    use weir_policy::{Approval, RuleName};

    use super::*;

    fn request(statement: &str) -> HoldRequest {
        let identity = Identity {
            namespace: Some("billing".into()),
            service_account: Some("reporter".into()),
            workload: Some("Deployment/reports".into()),
            ..Identity::named("spiffe://cluster.local/ns/billing/sa/reporter")
        };
        HoldRequest {
            session: Arc::new(Session {
                identity: Arc::new(identity),
                target: Some("orders-db".into()),
                ..Session::default()
            }),
            number: 1,
            statement: statement.into(),
            parameters: vec![Value::Null, Value::text(b"x"), Value::Binary([1, 2].into())],
            fingerprint: Some(7),
            rules: vec![RuleName::new("reporting", "bulk")],
            reason: "more than 10 rows".to_owned(),
            labels: vec!["pii.ssn".into()],
            rows: 10,
            approval: Approval {
                groups: vec!["stewards".to_owned()],
                count: 1,
                deadline: Duration::from_secs(60),
                retry: false,
            },
        }
    }

    #[test]
    fn a_request_tells_who_what_how_much_and_why() {
        let spec = spec(&request("select *\n  from customers"), Timestamp::default()).unwrap();
        assert!(
            spec.summary[0].contains("select * from customers"),
            "{:?}",
            spec.summary
        );
        assert_eq!((spec.delivered_rows, spec.labels.len()), (Some(10), 1));
        assert_eq!(
            (spec.policy.as_str(), spec.rule.as_str()),
            ("reporting", "bulk")
        );
        assert_eq!(spec.deadline, "1970-01-01T00:01:00.000000Z");
        let parameters = [None, Some("x"), Some("\\x0102")];
        let shown: Vec<_> = spec.parameters.iter().map(Option::as_deref).collect();
        assert_eq!(shown, parameters);
    }

    #[test]
    fn lines_are_cut_and_a_statement_that_nobody_can_read_is_refused() {
        let long = format!("select '{}'", "ä".repeat(400));
        let made = spec(&request(&long), Timestamp::default()).unwrap();
        assert_eq!(made.statement, long);
        assert!(spec(&request(&"x".repeat(STATEMENT + 1)), Timestamp::default()).is_err());
        let mut hidden = request("select $1");
        hidden.parameters = vec![Value::text("x".repeat(PARAMETER + 1).as_bytes())];
        assert!(spec(&hidden, Timestamp::default()).is_err());
    }
}
