//! What was found and is recorded at once.
//!
//! Invariants
//! - A round is one transaction, however much was found in it.
//! - Of each engine and kind a round has so many findings, and one more that says how many there were beyond
//!   them: whoever gives cause for very many takes no room from others, and not from findings of another kind.

use std::collections::HashMap;
use std::sync::Arc;

use weir_audit::{Finding, FindingCode};

/// Findings of one kind about one engine.
const EACH: u64 = 8;
/// Engines and kinds that are told apart; what is found of others is counted for all of them together.
const APART: usize = 4096;

/// Whom a finding is about, and its kind.
type About = (Option<Arc<str>>, FindingCode);

#[derive(Default)]
pub(crate) struct Round {
    findings: Vec<Finding>,
    about: HashMap<About, u64>,
}

impl Round {
    pub(crate) fn add(&mut self, found: impl IntoIterator<Item = Finding>) {
        for finding in found {
            let mut about = (finding.engine.clone(), finding.code);
            let known = self.about.len() < APART || self.about.contains_key(&about);
            if !known {
                about.0 = None;
            }
            let count = self.about.entry(about).or_default();
            *count = count.saturating_add(1);
            if *count <= EACH {
                self.findings.push(finding);
            }
        }
    }

    /// What is recorded, if anything was found; the next round begins.
    pub(crate) fn take(&mut self) -> Option<Vec<Finding>> {
        let Self {
            mut findings,
            about,
        } = std::mem::take(self);
        let beyond = about.into_iter().filter(|(_, count)| *count > EACH);
        findings.extend(beyond.map(|((engine, code), count)| counted(engine, code, count - EACH)));
        (!findings.is_empty()).then_some(findings)
    }
}

/// How many more there were.
fn counted(engine: Option<Arc<str>>, code: FindingCode, more: u64) -> Finding {
    let about = engine.as_deref().unwrap_or("others");
    Finding {
        code,
        message: format!(
            "{more} more findings of the kind {} about {about} came at the same time, and are only counted",
            code.as_str()
        )
        .into(),
        subject: None,
        engine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(engine: &str, code: FindingCode, n: u64) -> Finding {
        Finding {
            code,
            message: n.to_string().into(),
            subject: None,
            engine: Some(engine.into()),
        }
    }

    #[test]
    fn very_many_about_one_engine_are_a_few_and_a_count_and_hide_nothing_else() {
        let mut round = Round::default();
        round.add((0..5000).map(|n| finding("pod_1", FindingCode::NewShape, n)));
        round.add([finding("pod_1", FindingCode::RepeatedDenials, 0)]);
        round.add([finding("pod_2", FindingCode::NewShape, 0)]);
        let found = round.take().unwrap();
        assert_eq!(found.len(), 8 + 1 + 1 + 1);
        assert_eq!(found[8].code, FindingCode::RepeatedDenials);
        assert_eq!(found[9].engine.as_deref(), Some("pod_2"));
        assert_eq!(
            &*found[10].message,
            "4992 more findings of the kind new_shape about pod_1 came at the same time, and are only \
             counted"
        );
        assert_eq!(found[10].engine.as_deref(), Some("pod_1"));
        assert_eq!(round.take(), None);
        round.add([finding("pod_1", FindingCode::NewShape, 0)]);
        assert_eq!(round.take().unwrap().len(), 1);
    }

    #[test]
    fn a_round_is_bounded_whoever_it_is_about() {
        let mut round = Round::default();
        round.add((0..10_000).map(|n| finding(&format!("pod_{n}"), FindingCode::ClockSkew, n)));
        let found = round.take().unwrap();
        assert_eq!(found.len(), 4096 + 8 + 1);
        let said = &found.last().unwrap().message;
        assert!(
            said.starts_with("5896 more findings") && said.contains("about others"),
            "{said}"
        );
    }
}
