//! Evidence on its way to the spool, with an eye on what nobody has a reason to read.
//!
//! A statement that touched a label which is honey, and was not refused, is a finding in the session's own
//! chain, next to the statement. Invariant: evidence is kept first; a session is a finding once per label.
//! Refuses: to look at values. What a statement touches is what the record says.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use weir_audit::{Body, Finding, FindingCode, Outcome, Record, SessionId, StatementFinished};
use weir_gateway::ports::Policies;

/// Sessions and labels that are remembered.
const REMEMBERED: usize = 4096;

/// Looks at what is recorded.
pub struct Honey {
    policies: Arc<dyn Policies>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    known: HashSet<(SessionId, Arc<str>)>,
    order: VecDeque<(SessionId, Arc<str>)>,
}

impl Honey {
    /// Honey is what the policies in force call so.
    #[must_use]
    pub fn new(policies: Arc<dyn Policies>) -> Self {
        Self {
            policies,
            told: Mutex::default(),
        }
    }

    /// The finding about a record, if it is one.
    pub(crate) fn look(&self, record: &Record) -> Option<Record> {
        let (Body::StatementFinished(finished), Some(session)) = (&record.body, &record.session)
        else {
            return None;
        };
        let refused = matches!(finished.outcome, Outcome::Denied | Outcome::Failed { .. });
        if refused || finished.statement.labels.is_empty() {
            return None;
        }
        let bundle = self.policies.current();
        let labels = finished.statement.labels.iter();
        let honey: Vec<&str> = labels
            .filter(|label| bundle.is_honey(label))
            .filter(|label| self.is_new(session.id, label))
            .collect();
        if honey.is_empty() {
            return None;
        }
        let finding = Finding {
            code: FindingCode::HoneyRowRead,
            message: said(
                &session.identity.name,
                session.target.as_deref(),
                &honey,
                finished,
            )
            .into(),
            subject: None,
            engine: None,
        };
        Some(Record::session(record.at, Arc::clone(session), finding))
    }

    fn is_new(&self, session: SessionId, label: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key: (SessionId, Arc<str>) = (session, label.into());
        if !told.known.insert(key.clone()) {
            return false;
        }
        told.order.push_back(key);
        if told.order.len() > REMEMBERED
            && let Some(oldest) = told.order.pop_front()
        {
            told.known.remove(&oldest);
        }
        true
    }
}

fn said(name: &str, target: Option<&str>, honey: &[&str], finished: &StatementFinished) -> String {
    let target = target.unwrap_or("a place that no Target names");
    let tables: Vec<&str> = finished.statement.tables.iter().take(5).collect();
    let tables = match tables.is_empty() {
        true => String::new(),
        false => format!(" in {}", tables.join(", ")),
    };
    format!(
        "{name} read {} on {target}, which nobody has a reason to read: statement {}{tables}, {} rows",
        honey.join(", "),
        finished.statement.number,
        finished.rows
    )
}

#[cfg(test)]
mod tests {
    use weir_audit::{Identity, Session, Statement, Timestamp};
    use weir_gateway::Unmatched;
    use weir_policy::{Bundle, BundleBuilder, Label, Mask};

    use super::*;

    struct One(Arc<Bundle>);

    impl Policies for One {
        fn current(&self) -> Arc<Bundle> {
            Arc::clone(&self.0)
        }

        fn unmatched(&self) -> Unmatched {
            Unmatched::Refuse
        }

        fn suspended(&self) -> Option<Arc<str>> {
            None
        }
    }

    fn honey() -> Honey {
        let mut builder = BundleBuilder::new();
        for (name, honey) in [("trap", true), ("pii.ssn", false)] {
            builder.label(Label {
                name: name.to_owned(),
                anonymous: false,
                mask: Mask::Null,
                columns: Vec::new(),
                fields: Vec::new(),
                detectors: Vec::new(),
                patterns: Vec::new(),
                honey,
            });
        }
        Honey::new(Arc::new(One(Arc::new(builder.build(1).unwrap()))))
    }

    fn statement(session: u64, labels: &[&str], outcome: Outcome) -> Record {
        let session = Session {
            id: SessionId::new(session),
            identity: Arc::new(Identity::named("reporter")),
            target: Some("shop".into()),
            ..Session::default()
        };
        let finished = StatementFinished {
            statement: Statement {
                number: 3,
                labels: labels.iter().map(|label| Arc::from(*label)).collect(),
                ..Statement::default()
            },
            outcome,
            rows: 2,
            ..StatementFinished::default()
        };
        Record::session(Timestamp::default(), Arc::new(session), finished)
    }

    #[test]
    fn who_reads_honey_is_found_once_in_a_session() {
        let honey = honey();
        let labels = ["pii.ssn", "trap"];
        let found = honey
            .look(&statement(1, &labels, Outcome::Completed))
            .unwrap();
        let Body::Finding(finding) = &found.body else {
            panic!("a finding: {found:?}")
        };
        assert_eq!(finding.code, FindingCode::HoneyRowRead);
        assert_eq!(
            &*finding.message,
            "reporter read trap on shop, which nobody has a reason to read: statement 3, 2 rows"
        );
        assert_eq!(found.session.unwrap().id, SessionId::new(1));
        assert!(
            honey
                .look(&statement(1, &labels, Outcome::Completed))
                .is_none()
        );
        assert!(
            honey
                .look(&statement(2, &labels, Outcome::LimitExceeded))
                .is_some()
        );
    }

    #[test]
    fn what_was_refused_or_is_no_honey_is_no_finding() {
        let honey = honey();
        let failed = Outcome::Failed {
            code: "42P01".into(),
        };
        for outcome in [Outcome::Denied, failed] {
            assert!(honey.look(&statement(1, &["trap"], outcome)).is_none());
        }
        assert!(
            honey
                .look(&statement(1, &["pii.ssn"], Outcome::Completed))
                .is_none()
        );
        assert!(honey.look(&statement(1, &[], Outcome::Completed)).is_none());
    }
}
