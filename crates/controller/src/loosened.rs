//! The leader's part: policies that let more through than before, and exceptions that are over, are findings.
//!
//! What is in force is compared with what was, as this replica saw it: a change that no controller saw is
//! not found here. Refuses: to say whether a change was meant. Whoever changed it is in the API server's own
//! audit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_audit::FindingCode;
use weir_policy::{Bundle, Timestamp, loosened};

use crate::bundle::Accepted;
use crate::bundles::Current;
use crate::evidence::Findings;

/// How late the end of an exception may be found.
const PERIOD: Duration = Duration::from_secs(5);
/// Changes of several objects that belong together come one after the other.
const TOGETHER: Duration = Duration::from_secs(1);
/// Sentences of one finding.
const SENTENCES: usize = 5;

/// Looks at what is in force while this replica leads. Never returns.
pub(crate) async fn run(mut current: Current, findings: Findings) {
    let mut before: Option<Arc<Accepted>> = None;
    let mut alive = BTreeSet::new();
    loop {
        let accepted = current
            .borrow_and_update()
            .as_ref()
            .map(|inputs| Arc::clone(&inputs.accepted));
        if let Some(now) = accepted
            && let Some(bundle) = now.bundle()
        {
            for expired in over(bundle, &mut alive, time()) {
                findings.report(FindingCode::ExceptionExpired, expired);
            }
            if let Some(was) = before.as_ref().and_then(|was| was.bundle())
                && was.digest() != bundle.digest()
            {
                for said in said(loosened(was, bundle)) {
                    findings.report(FindingCode::PolicyLoosened, said);
                }
            }
            before = Some(now);
        }
        tokio::select! {
            changed = current.changed() => {
                if changed.is_err() {
                    return std::future::pending().await;
                }
                tokio::time::sleep(TOGETHER).await;
            }
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Exceptions that were alive when they were looked at last, and are over.
fn over(bundle: &Bundle, alive: &mut BTreeSet<String>, now: Timestamp) -> Vec<String> {
    let mut expired = Vec::new();
    let all = bundle.exceptions();
    alive.retain(|name| all.iter().any(|one| one.name == *name));
    for exception in all {
        if !exception.is_over(now) {
            alive.insert(exception.name.clone());
        } else if alive.remove(&exception.name) {
            expired.push(format!(
                "exception {} of {} is over: {} in force again",
                exception.name,
                exception.owner,
                exception.rules.join(", ")
            ));
        }
    }
    expired
}

/// A finding for some sentences each, so that none is too long to be read.
fn said(changes: Vec<String>) -> Vec<String> {
    changes
        .chunks(SENTENCES)
        .map(|some| some.join("; "))
        .collect()
}

fn time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use weir_policy::{BundleBuilder, Exception};

    use super::*;

    #[test]
    fn an_exception_is_over_once_and_one_that_was_never_seen_alive_is_no_news() {
        let bundle = |until: u64| {
            let mut builder = BundleBuilder::new();
            builder.exception(Exception {
                name: "shop:migration".to_owned(),
                owner: "jane".to_owned(),
                reason: "move".to_owned(),
                until: Timestamp(until),
                subjects: Vec::new(),
                targets: Vec::new(),
                rules: vec!["shop:limits/bulk".to_owned()],
            });
            builder.build(1).unwrap()
        };
        let mut alive = BTreeSet::new();
        let nothing: [String; 0] = [];
        assert_eq!(over(&bundle(100), &mut alive, Timestamp(200)), nothing);
        assert_eq!(over(&bundle(300), &mut alive, Timestamp(200)), nothing);
        assert_eq!(
            over(&bundle(300), &mut alive, Timestamp(300)),
            ["exception shop:migration of jane is over: shop:limits/bulk in force again"]
        );
        assert_eq!(over(&bundle(300), &mut alive, Timestamp(301)), nothing);
    }

    #[test]
    fn many_changes_are_a_few_findings() {
        let changes: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
        let said = said(changes);
        assert_eq!(said.len(), 3);
        assert_eq!(said[2], "c10; c11");
    }
}
