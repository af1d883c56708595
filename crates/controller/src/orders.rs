//! The leader's part: who is ordered to be cut off, and let in again, is evidence, whether a pod of theirs runs or not.
//!
//! What is in force is compared with what was, as this replica saw it. A replica that begins to lead says of each
//! order that is in force that it is; what was lifted while nobody led is in the Quarantine, and pods that it hit say
//! so themselves. Refuses: to say who was hit.

use std::collections::BTreeMap;

use weir_api::kinds::QuarantineSpec;
use weir_audit::QuarantineChanged;

use crate::bundles::Current;
use crate::evidence::Findings;

/// Orders by name.
type Orders = BTreeMap<String, QuarantineSpec>;

/// Looks at what is in force while this replica leads. Never returns.
pub(crate) async fn run(mut current: Current, evidence: Findings) {
    let mut before: Option<Orders> = None;
    loop {
        let accepted = current
            .borrow_and_update()
            .as_ref()
            .map(|inputs| inputs.accepted.clone());
        if let Some(accepted) = accepted {
            let all = accepted.resources.quarantines.iter();
            let now: Orders = all
                .map(|one| (one.metadata.name.clone(), one.spec.clone()))
                .collect();
            for changed in changes(before.as_ref(), &now) {
                evidence.ordered(changed);
            }
            before = Some(now);
        }
        if current.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What was ordered and lifted in between; without a before, what is in force.
fn changes(before: Option<&Orders>, now: &Orders) -> Vec<QuarantineChanged> {
    let mut changes = Vec::new();
    let alive = |spec: &&QuarantineSpec| spec.lifted.is_none();
    for (name, spec) in now {
        let was = before.and_then(|before| before.get(name));
        match &spec.lifted {
            None if was.filter(alive) != Some(spec) => {
                changes.push(change(name, spec, (&spec.reason, &spec.by), true));
            }
            Some(lifted) if before.is_some() && was.is_none_or(|was| alive(&was)) => {
                if was.is_none() {
                    changes.push(change(name, spec, (&spec.reason, &spec.by), true));
                }
                changes.push(change(name, spec, (&lifted.reason, &lifted.by), false));
            }
            _ => {}
        }
    }
    // Whom an order names may be others now; for those that it named it is over.
    for (name, was) in before.into_iter().flatten().filter(|(_, was)| alive(was)) {
        let why = match now.get(name) {
            None => "it is not there any more",
            Some(spec) if spec.subjects != was.subjects => "it names others now",
            Some(_) => continue,
        };
        changes.insert(0, change(name, was, (why, ""), false));
    }
    changes
}

fn change(
    name: &str,
    spec: &QuarantineSpec,
    (reason, by): (&str, &str),
    on: bool,
) -> QuarantineChanged {
    QuarantineChanged {
        name: name.into(),
        subject: QuarantineChanged::order(&spec.whom()).into(),
        reason: reason.into(),
        by: by.into(),
        on,
    }
}

#[cfg(test)]
mod tests {
    use weir_api::kinds::{LiftingSpec, SubjectSpec};

    use super::*;

    fn spec(namespace: &str, lifted: bool) -> QuarantineSpec {
        QuarantineSpec {
            subjects: vec![SubjectSpec {
                namespaces: vec![namespace.to_owned()],
                ..SubjectSpec::default()
            }],
            reason: "leaked".to_owned(),
            by: "jane".to_owned(),
            lifted: lifted.then(|| LiftingSpec {
                reason: "rotated".to_owned(),
                by: "joe".to_owned(),
            }),
        }
    }

    fn orders(specs: &[(&str, QuarantineSpec)]) -> Orders {
        let specs = specs.iter().cloned();
        specs.map(|(name, spec)| (name.to_owned(), spec)).collect()
    }

    fn said(before: Option<&Orders>, now: &Orders) -> Vec<String> {
        let say = |one: &QuarantineChanged| {
            assert!(one.is_order());
            let QuarantineChanged {
                name,
                subject,
                reason,
                by,
                on,
            } = one;
            format!("{name} {on} {subject}: {reason} ({by})")
        };
        changes(before, now).iter().map(say).collect()
    }

    #[test]
    fn an_order_is_said_when_it_is_given_lifted_changed_and_gone() {
        let none = orders(&[]);
        let given = orders(&[("leak", spec("shop", false))]);
        let lifted = orders(&[("leak", spec("shop", true))]);
        let others = orders(&[("leak", spec("billing", false))]);
        let nothing: [&str; 0] = [];
        let order = "leak true whoever is of namespace shop: leaked (jane)";
        let over = "leak false whoever is of namespace shop: rotated (joe)";
        assert_eq!(said(Some(&none), &given), [order]);
        assert_eq!(said(Some(&given), &given), nothing);
        assert_eq!(said(Some(&given), &lifted), [over]);
        assert_eq!(said(Some(&lifted), &lifted), nothing);
        assert_eq!(said(Some(&lifted), &given), [order], "ordered again");
        assert_eq!(said(Some(&none), &lifted), [order, over], "at once");
        assert_eq!(
            said(Some(&given), &none),
            ["leak false whoever is of namespace shop: it is not there any more ()"]
        );
        assert_eq!(said(Some(&lifted), &none), nothing, "it was over");
        assert_eq!(
            said(Some(&given), &others),
            [
                "leak false whoever is of namespace shop: it names others now ()",
                "leak true whoever is of namespace billing: leaked (jane)",
            ]
        );
        // A replica that begins to lead.
        assert_eq!(said(None, &given), [order]);
        assert_eq!(said(None, &lifted), nothing);
    }
}
