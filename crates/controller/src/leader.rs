//! Who reconciles: one replica at a time, by a Lease.
//!
//! Invariants: the holder counts from when it *sent* its last successful renewal and steps down
//! before the Lease can be taken; others count from when *they* last saw it change, on their own
//! clock, so that no clock has to be right; every write names the version that it replaces.
//! Everything else (serving, admission, bundles) does not depend on this.
//! Refuses: to fence. What a leader does must be harmless when done twice.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a Lease is good for without renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How long its holder believes in it: less, so that two never do.
const BELIEF: Duration = Duration::from_secs(10);
/// How often it is renewed, and looked at by others.
const RENEW: Duration = Duration::from_secs(5);
/// How often one that is about to be free is tried.
const RETRY: Duration = Duration::from_secs(2);

/// Where the Lease is, and who this is.
#[derive(Clone, Debug)]
pub(crate) struct LeaderConfig {
    pub(crate) namespace: String,
    pub(crate) lease: String,
    pub(crate) identity: String,
}

/// What was seen of the Lease, and when.
#[derive(Clone, Debug)]
struct Seen {
    version: Option<String>,
    at: Instant,
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Renew,
    Take,
    Wait,
}

/// Takes part in the election until `stop`; then gives the Lease back. `leading` says whether this
/// replica leads.
pub(crate) async fn run(
    client: Client,
    config: LeaderConfig,
    leading: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let api = Api::<Lease>::namespaced(client, &config.namespace);
    let mut stop = std::pin::pin!(stop);
    let mut seen: Option<Seen> = None;
    let mut believed: Option<Instant> = None;
    loop {
        let sent = Instant::now();
        let round = tokio::time::timeout(RENEW, turn(&api, &config, &mut seen));
        let pause = match round.await {
            Ok(Ok(true)) => {
                believed = Some(sent);
                RENEW
            }
            Ok(Ok(false)) => {
                believed = None;
                RETRY
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the leader election failed and is tried again");
                RETRY
            }
            Err(_) => RETRY,
        };
        set(&leading, believed.is_some_and(|at| at.elapsed() < BELIEF));
        // A belief ends on time even while a renewal hangs.
        let end = believed.map(|at| at + BELIEF);
        let next = Instant::now() + pause;
        let wake = end.map_or(next, |end| end.min(next));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = &mut stop => break,
        }
        set(&leading, believed.is_some_and(|at| at.elapsed() < BELIEF));
    }
    let led = *leading.borrow();
    set(&leading, false);
    if led && let Err(error) = release(&api, &config).await {
        tracing::info!(%error, "the Lease was not given back and will expire");
    }
}

fn set(leading: &watch::Sender<bool>, now: bool) {
    leading.send_if_modified(|leads| {
        let changed = *leads != now;
        if changed {
            tracing::info!(leads = now, "leadership changed");
        }
        *leads = now;
        changed
    });
}

/// One look at the Lease, and what follows. Whether this replica holds it now.
async fn turn(
    api: &Api<Lease>,
    config: &LeaderConfig,
    seen: &mut Option<Seen>,
) -> Result<bool, kube::Error> {
    let Some(mut lease) = api.get_opt(&config.lease).await? else {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(config.lease.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        };
        lease.spec = Some(spec(config, None, Timestamp::now()));
        return won(api.create(&PostParams::default(), &lease).await);
    };
    let version = lease.metadata.resource_version.clone();
    let now = Instant::now();
    let unchanged = seen.as_ref().filter(|seen| seen.version == version);
    let since = unchanged.map_or(now, |seen| seen.at);
    *seen = Some(Seen { version, at: since });
    match step(lease.spec.as_ref(), &config.identity, since.elapsed()) {
        Step::Wait => Ok(false),
        Step::Renew | Step::Take => {
            lease.spec = Some(spec(config, lease.spec.as_ref(), Timestamp::now()));
            won(api
                .replace(&config.lease, &PostParams::default(), &lease)
                .await)
        }
    }
}

/// A lost race is not an error.
fn won(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn step(spec: Option<&LeaseSpec>, identity: &str, unchanged: Duration) -> Step {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    match holder.filter(|holder| !holder.is_empty()) {
        None => Step::Take,
        Some(holder) if holder == identity => Step::Renew,
        Some(_) => {
            let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
            let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(DURATION, Duration::from_secs);
            if unchanged >= duration {
                Step::Take
            } else {
                Step::Wait
            }
        }
    }
}

fn spec(config: &LeaderConfig, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
    let holder = before.and_then(|before| before.holder_identity.as_deref());
    let mine = holder == Some(config.identity.as_str());
    let transitions = before
        .and_then(|before| before.lease_transitions)
        .unwrap_or(0);
    let acquired = before.and_then(|before| before.acquire_time.clone());
    LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: acquired.filter(|_| mine).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if mine {
            transitions
        } else {
            transitions.saturating_add(1)
        }),
        ..LeaseSpec::default()
    }
}

async fn release(api: &Api<Lease>, config: &LeaderConfig) -> Result<(), kube::Error> {
    let Some(mut lease) = api.get_opt(&config.lease).await? else {
        return Ok(());
    };
    let Some(spec) = lease.spec.as_mut() else {
        return Ok(());
    };
    if spec.holder_identity.as_deref() == Some(config.identity.as_str()) {
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        won(api
            .replace(&config.lease, &PostParams::default(), &lease)
            .await)?;
    }
    Ok(())
}

/// Runs `work` whenever this replica leads, from the start each time; ends it when it does not.
pub(crate) async fn while_leading<F: Future<Output = ()>>(
    mut leading: watch::Receiver<bool>,
    work: impl Fn() -> F,
) {
    loop {
        if leading.wait_for(|leads| *leads).await.is_err() {
            return;
        }
        tokio::select! {
            () = work() => {}
            lost = leading.wait_for(|leads| !*leads) => if lost.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> LeaderConfig {
        LeaderConfig {
            namespace: "weir-system".into(),
            lease: "weir-controller".into(),
            identity: "a".into(),
        }
    }

    #[test]
    fn a_free_lease_is_taken_and_the_own_one_renewed() {
        let now = Timestamp::now();
        assert_eq!(step(None, "a", Duration::ZERO), Step::Take);
        let mut mine = spec(&config(), None, now);
        assert_eq!(step(Some(&mine), "a", Duration::ZERO), Step::Renew);
        mine.holder_identity = Some(String::new());
        assert_eq!(step(Some(&mine), "a", Duration::ZERO), Step::Take);
    }

    #[test]
    fn the_lease_of_another_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let mine = spec(&config(), None, Timestamp::now());
        assert_eq!(step(Some(&mine), "b", Duration::from_secs(14)), Step::Wait);
        assert_eq!(step(Some(&mine), "b", Duration::from_secs(15)), Step::Take);
        // Whatever its holder's clock says.
        let old = spec(&config(), None, Timestamp::UNIX_EPOCH);
        assert_eq!(step(Some(&old), "b", Duration::from_secs(14)), Step::Wait);
    }

    #[test]
    fn a_renewal_keeps_when_it_was_acquired_and_a_transition_counts() {
        let first = spec(&config(), None, Timestamp::UNIX_EPOCH);
        let renewed = spec(&config(), Some(&first), Timestamp::now());
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_eq!(renewed.lease_transitions, Some(1));
        let other = LeaderConfig {
            identity: "b".into(),
            ..config()
        };
        let taken = spec(&other, Some(&renewed), Timestamp::now());
        assert_ne!(taken.acquire_time, first.acquire_time);
        assert_eq!(taken.lease_transitions, Some(2));
    }

    #[test]
    fn a_leader_stops_believing_before_others_may_take_over() {
        assert!(BELIEF < DURATION && RENEW + RENEW <= BELIEF);
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_with_leadership_and_starts_again_with_it() {
        let (leads, leading) = watch::channel(false);
        let starts = std::sync::atomic::AtomicUsize::new(0);
        let work = || async {
            starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            std::future::pending().await
        };
        let started = || starts.load(std::sync::atomic::Ordering::Relaxed);
        let drive = async {
            for (leads_now, expected) in [(false, 0), (true, 1), (false, 1), (true, 2)] {
                leads.send_replace(leads_now);
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(started(), expected);
            }
        };
        tokio::select! {
            () = while_leading(leading, work) => panic!("it ended"),
            () = drive => {}
        }
    }
}
