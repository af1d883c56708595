//! Statements that wait for people whom the controller asks.
//!
//! Invariants: a hold waits under the name that the controller gave it, in the same registry and
//! with the same evidence as a local one; when nobody waits for a request any more it is withdrawn,
//! also if whoever asked went away while it was being made; without the controller a hold waits until
//! its deadline and is refused then.
//! Refuses: a hold that the controller did not take, or that people could not read in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use weir_api::kinds::AccessRequestSpec;
use weir_api::shortened;
use weir_audit::{Closing, Timestamp};
use weir_gateway::ports::{Held, HoldRequest, Holds, Pending};
use weir_uplink::control::{ControlClient, Repeats, RequestRuling};
use weir_uplink::{HoldTicket, Leading, NewHold, Opened};

use crate::holds::{Asks, asked, supersede, wait};

/// Most parameters that a request shows.
const PARAMETERS: usize = 1024;
/// Most characters of one parameter. A longer one cannot be reviewed: what approvers do not see,
/// they cannot approve.
const PARAMETER: usize = 8192;
/// Most characters of the reason.
const REASON: usize = 1024;
/// Most bytes of the statement; a longer one cannot be reviewed.
const STATEMENT: usize = 1 << 20;
/// Most bytes of what decides beside the statement.
const DETAIL: usize = 256 << 10;
/// How late the controller is told that more wait for a request.
const TELLING: Duration = Duration::from_secs(30);

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
    /// Requests that more wait for than the controller knows.
    repeated: Mutex<BTreeSet<Arc<str>>>,
}

impl RemoteHolds {
    /// Holds over this client, kept in this registry.
    #[must_use]
    pub fn new(client: Arc<ControlClient>, registry: weir_uplink::Holds) -> Self {
        let telling = Arc::clone(&client);
        registry.on_end(move |name, closing| withdraw(&telling, name, closing));
        Self {
            inner: Arc::new(Inner {
                client,
                registry,
                opening: AtomicUsize::new(0),
                early: Mutex::default(),
                repeated: Mutex::default(),
            }),
        }
    }

    /// Ends what waits because of a rule that no longer asks people.
    pub fn policy_changed(&self, bundle: &weir_policy::Bundle) {
        supersede(&self.inner.registry, bundle);
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
        let asks = self.clone();
        Box::pin(async move { wait(asks, asked(request)).await })
    }
}

impl Asks for RemoteHolds {
    async fn ask(&self, hold: NewHold) -> Result<Opened, String> {
        let spec = spec(&hold, SystemTime::now().into())?;
        let opened = self.inner.registry.open(hold).await;
        match opened.map_err(|error| error.to_string())? {
            Opened::Leads(leading) => {
                // Whoever asks may go away; the request that was made then has to be withdrawn.
                let inner = Arc::clone(&self.inner);
                let raising = tokio::spawn(async move { inner.raise(*leading, &spec).await });
                let raised = raising.await.map_err(|error| error.to_string())?;
                raised.map(Opened::Waits)
            }
            Opened::Waits(ticket) => {
                Inner::repeated(&self.inner, ticket.name());
                Ok(Opened::Waits(ticket))
            }
            granted => Ok(granted),
        }
    }
}

impl Inner {
    async fn raise(
        &self,
        mut leading: Leading,
        spec: &AccessRequestSpec,
    ) -> Result<HoldTicket, String> {
        let _opening = Opening::new(&self.opening);
        let name = match self.client.open_access_request(spec).await {
            Ok(opened) => opened.name,
            Err(error) => {
                let reason = error.to_string();
                leading.fail(&reason);
                return Err(reason);
            }
        };
        match leading.raise(name.as_str().into()).await {
            Ok(ticket) => {
                self.conclude_early(&name).await;
                Ok(ticket)
            }
            Err(error) => {
                withdraw(&self.client, &name, Closing::ClientGone);
                Err(error.to_string())
            }
        }
    }

    /// Has the controller told, once for all that come meanwhile: each time the whole request is written anew.
    fn repeated(inner: &Arc<Self>, name: &Arc<str>) {
        let first = {
            let mut repeated = inner.repeats();
            let first = repeated.is_empty();
            repeated.insert(Arc::clone(name));
            first
        };
        if !first {
            return;
        }
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            tokio::time::sleep(TELLING).await;
            let names = std::mem::take(&mut *inner.repeats());
            let waiting = inner.registry.list();
            let known = |view: &&weir_uplink::HoldView| names.contains(&view.request.name);
            for view in waiting.iter().filter(known) {
                let (name, repeats) = (&view.request.name, view.repeats);
                if let Err(error) = inner.client.repeated(name, Repeats { repeats }).await {
                    tracing::debug!(%error, request = %name, "repeats were not told");
                }
            }
        });
    }

    fn repeats(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

/// Tells the controller that a request is over, in the background; it expires by itself if that
/// fails.
fn withdraw(client: &Arc<ControlClient>, name: &str, closing: Closing) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let (client, name) = (Arc::clone(client), name.to_owned());
    runtime.spawn(async move {
        let superseded = closing == Closing::Superseded;
        if let Err(error) = client.withdraw(&name, superseded).await {
            tracing::warn!(%error, request = %name, "a request could not be withdrawn");
        }
    });
}

/// The request as people will see it.
fn spec(hold: &NewHold, now: Timestamp) -> Result<AccessRequestSpec, String> {
    let request = &hold.request;
    if request.statement.len() > STATEMENT {
        return Err("the statement is too long to be reviewed".to_owned());
    }
    if request
        .detail
        .as_ref()
        .is_some_and(|text| text.len() > DETAIL)
    {
        return Err("what decides beside the statement is too long to be reviewed".to_owned());
    }
    if request.parameters.len() > PARAMETERS {
        return Err("the statement has too many parameters to be reviewed".to_owned());
    }
    if request.rules.is_empty() {
        return Err("no rule asks for it".to_owned());
    }
    let mut spec = weir_uplink::spec(&hold.session, request);
    let length = |text: &String| text.chars().count();
    let mut parameters = spec.parameters.iter().flatten().map(length);
    if parameters.any(|length| length > PARAMETER) {
        return Err("a parameter is too long to be reviewed".to_owned());
    }
    spec.reason = shortened(&spec.reason, REASON);
    spec.deadline = now.plus(hold.patience).to_string();
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use weir_audit::{AccessRequestCreated, Identity, Session, Value};

    use super::*;

    fn hold(statement: &str) -> NewHold {
        let identity = Identity {
            namespace: Some("billing".into()),
            service_account: Some("reporter".into()),
            workload: Some("Deployment/reports".into()),
            ..Identity::named("spiffe://cluster.local/ns/billing/sa/reporter")
        };
        NewHold {
            session: Arc::new(Session {
                identity: Arc::new(identity),
                target: Some("orders-db".into()),
                ..Session::default()
            }),
            request: AccessRequestCreated {
                number: 1,
                statement: statement.into(),
                parameters: vec![Value::Null, Value::text(b"x"), Value::Binary([1, 2].into())],
                fingerprint: Some(7),
                rules: ["billing:reporting/bulk"].into_iter().collect(),
                reason: "more than 10 rows".into(),
                labels: ["pii.ssn"].into_iter().collect(),
                rows: 10,
                groups: ["stewards"].into_iter().collect(),
                approvals: 1,
                ..AccessRequestCreated::default()
            },
            shape: None,
            apart: "".into(),
            patience: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_request_tells_who_what_how_much_and_why() {
        let spec = spec(&hold("select *\n  from customers"), Timestamp::default()).unwrap();
        assert!(!spec.summary.is_empty() && spec.summary.len() <= 3);
        assert_eq!((spec.delivered_rows, spec.labels.len()), (Some(10), 1));
        assert_eq!(
            (spec.policy.as_str(), spec.rule.as_str()),
            ("billing:reporting", "bulk")
        );
        assert_eq!(spec.deadline, "1970-01-01T00:01:00.000000Z");
        assert_eq!(
            spec.requester.workload.as_deref(),
            Some("Deployment/reports")
        );
        let parameters = [None, Some("x"), Some("\\x0102")];
        let shown: Vec<_> = spec.parameters.iter().map(Option::as_deref).collect();
        assert_eq!(shown, parameters);
    }

    #[test]
    fn a_statement_that_nobody_can_read_in_full_is_refused() {
        let long = format!("select '{}'", "ä".repeat(400));
        let made = spec(&hold(&long), Timestamp::default()).unwrap();
        assert_eq!(made.statement, long);
        assert!(spec(&hold(&"x".repeat(STATEMENT + 1)), Timestamp::default()).is_err());
        let mut behind = hold("execute p");
        behind.request.detail = Some("x".repeat(DETAIL + 1).into());
        assert!(spec(&behind, Timestamp::default()).is_err());
        let mut hidden = hold("select $1");
        hidden.request.parameters = vec![Value::text("x".repeat(PARAMETER + 1).as_bytes())];
        assert!(spec(&hidden, Timestamp::default()).is_err());
    }
}
