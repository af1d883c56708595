//! Claims about decisions. The builders here stand for the compiler in `weir-api`.

use std::time::Duration;

use crate::*;

mod composition;
mod counting;
mod exceptions;
mod kubernetes;
mod loosened;
mod meaning;
mod naming;
mod quarantines;
mod sharing;
mod ssh;
mod verdicts;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn target(name: &str, ip: &str) -> Target {
    Target {
        name: name.into(),
        protocol: Protocol::PostgreSQL,
        addresses: vec![Address {
            host: Host::Net(Cidr::parse(ip).expect("network")),
            ports: vec![5432],
        }],
        places: Vec::new(),
        upstream_tls: UpstreamTls {
            mode: TlsMode::Disable,
            ca: None,
            server_name: None,
        },
        client_tls: ClientTls::Refuse,
        credentials: Credentials::PassThrough,
        catalog: Catalog {
            refresh: Duration::from_secs(60),
            login: None,
        },
        pooler: Pooler::None,
        ssh: Ssh::default(),
        refused: None,
    }
}

fn label(name: &str, column: &str, mask: Mask) -> Label {
    Label {
        name: name.into(),
        anonymous: false,
        mask,
        fields: Vec::new(),
        columns: vec![LabelledColumns {
            target: Glob::any(),
            table: TablePattern::parse("public.customers").expect("table"),
            column: Glob::identifier(column).expect("column"),
        }],
        detectors: Vec::new(),
        patterns: Vec::new(),
        honey: false,
    }
}

fn rule(name: &str, action: Option<Action>, matches: Match) -> Rule {
    Rule {
        name: name.into(),
        matches,
        action,
        mask: None,
        limits: Vec::new(),
        approval: None,
        reason: None,
        hint: None,
    }
}

fn approval() -> Approval {
    Approval {
        groups: vec!["stewards".into()],
        count: 1,
        deadline: Duration::from_secs(60),
        ..Approval::default()
    }
}

fn policy(name: &str, rules: Vec<Rule>) -> Policy {
    Policy {
        name: name.into(),
        grants: true,
        mode: Mode::Enforce,
        default: DefaultAction::Allow,
        subjects: vec![SubjectSelector {
            names: vec![Glob::any()],
            ..SubjectSelector::default()
        }],
        targets: vec![Glob::any()],
        record: RecordLevel::Metadata,
        delivery: Delivery::Batch,
        fingerprints: Vec::new(),
        rules,
    }
}

fn effects(effects: &[Effect]) -> Match {
    Match {
        effects: EffectSet::of(effects),
        ..Match::default()
    }
}

fn labels(globs: &[&str]) -> Match {
    Match {
        labels: globs.iter().map(|g| Glob::free(g)).collect(),
        ..Match::default()
    }
}

const SSN: LabelId = LabelId(1);
const CARD: LabelId = LabelId(0);

/// Target `db`; labels `pii.card` (0, partial) and `pii.ssn` (1, constant).
fn bundle(policies: Vec<Policy>) -> Bundle {
    let mut builder = BundleBuilder::new();
    builder
        .target(target("db", "10.0.0.1"))
        .label(label("pii.ssn", "ssn", Mask::Constant("***".into())))
        .label(label(
            "pii.card",
            "card",
            Mask::Partial {
                keep_first: 0,
                keep_last: 4,
            },
        ));
    policies
        .into_iter()
        .for_each(|policy| _ = builder.policy(policy));
    builder.build(7).expect("bundle")
}

fn scope(policies: Vec<Policy>) -> std::sync::Arc<Scope> {
    bundle(policies)
        .scope(&Subject::named("reporter"), TargetId(0), NOW)
        .expect("selected")
}

fn decide(policies: Vec<Policy>, operation: &Operation<'_>) -> Decision {
    scope(policies).decide(operation, &NoCounters, NOW)
}

/// `permit`, `hold RULE…` or `deny RULE`.
fn outcome(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Permit(_) => "permit".into(),
        Verdict::Deny(denial) => format!("deny {}", denial.rule),
        Verdict::Hold(hold) => {
            let rules = hold.pending().iter().map(|spec| spec.rule.to_string());
            format!("hold {}", rules.collect::<Vec<_>>().join(" "))
        }
    }
}

fn verdict(policies: Vec<Policy>, operation: &Operation<'_>) -> String {
    outcome(&decide(policies, operation))
}
