//! What concerns one subject decides for it as everything does.

use weir_policy::{
    Bundle, Effect, EffectSet, LabelUse, NoCounters, Operation, Output, Relation, SqlOperation,
    Subject, Timestamp, Use, Verdict, WhereClause,
};

use crate::{
    CompileOptions, References, Resources, compile, concerning, granted_objects, load_str,
};

/// A small deterministic generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.roll(list.len() as u64)).expect("small");
        list[index]
    }
}

const NAMESPACES: [&str; 2] = ["billing", "shipping"];
const ACCOUNTS: [&str; 3] = ["reporter", "writer", "cron"];
const TARGETS: [&str; 3] = ["orders", "ledger", "broken"];

fn subject(namespace: &str, account: &str) -> Subject {
    Subject {
        namespace: Some(namespace.into()),
        service_account: Some(account.into()),
        pod: Some(format!("{account}-0")),
        ..Subject::named(format!("spiffe://t/ns/{namespace}/sa/{account}"))
    }
}

fn rule(dice: &mut Dice, index: usize) -> String {
    let matches = dice.pick(&[
        "sql: {effects: [Delete]}",
        "sql: {effects: [Select], tables: [public.customers]}",
        "sql: {where: Missing}",
        "sql: {}",
        "labels: [pii.a]",
        "labels: [\"pii.*\"]",
        "labels: [pii.gone]",
        "uses: [OrderBy]",
        "columns: [{table: public.customers, columns: [phone]}]",
        "opaque: true",
    ]);
    let action = dice.pick(&[
        "action: Deny",
        "action: Mask",
        "action: Allow",
        "action: RequireApproval, approval: {groups: [g], deadline: 5m}",
        "limits: {window: {rows: 5, per: 1h}}",
    ]);
    format!("{{name: r{index}, match: {{{matches}}}, {action}}}")
}

fn rules(dice: &mut Dice) -> String {
    let count = usize::try_from(dice.roll(4)).expect("small");
    let rules: Vec<String> = (0..count).map(|index| rule(dice, index)).collect();
    rules.join(", ")
}

/// A cluster in which much is right and something always wrong.
fn cluster(dice: &mut Dice) -> Resources {
    let mut documents = Vec::new();
    for target in TARGETS {
        let mode = if target == "broken" {
            "Prefer, caRef: {name: x}"
        } else {
            "VerifyFull"
        };
        documents.push(format!(
            "kind: Target
metadata: {{name: {target}}}
spec:
  protocol: PostgreSQL
  addresses: [{{host: {target}.example, port: 5432}}]
  upstreamTLS: {{mode: {mode}}}
  credentials: {{mode: Brokered, secretRef: {{name: {target}-login}}}}
"
        ));
    }
    for (label, target, column) in [
        ("pii.a", "orders", "ssn"),
        ("pii.b", "\"*\"", "email"),
        ("pii.c", "ledger", "\"iban\", \"A B\""),
        ("pii.d", "broken", "x"),
    ] {
        let detectors = dice.pick(&["[]", "[ssn]"]);
        documents.push(format!(
            "kind: DataLabel
metadata: {{name: {label}}}
spec:
  columns: [{{target: {target}, table: public.customers, columns: [{column}]}}]
  detectors: {detectors}
  mask: {{token: {{}}}}
"
        ));
    }
    for index in 0..4 {
        let account = dice.pick(&["reporter", "\"*\"", "writer"]);
        let target = dice.pick(&["orders", "ledger", "\"*\"", "missing"]);
        let mode = dice.pick(&["Enforce", "Enforce", "Observe"]);
        let default = dice.pick(&["Allow", "Allow", "Deny"]);
        let rules = rules(dice);
        documents.push(format!(
            "kind: ClusterGuardPolicy
metadata: {{name: c{index}}}
spec: {{mode: {mode}, default: {default}, subjects: [{{serviceAccounts: [{account}]}}], targets: [{target}], rules: [{rules}]}}
"
        ));
        let namespace = dice.pick(&NAMESPACES);
        let target = dice.pick(&["orders", "\"*\""]);
        let rules = self::rules(dice);
        documents.push(format!(
            "kind: GuardPolicy
metadata: {{name: l{index}, namespace: {namespace}}}
spec: {{targets: [{target}], rules: [{rules}]}}
"
        ));
        let account = dice.pick(&ACCOUNTS);
        let policy = dice.pick(&["c0", "c1", "billing:l0", "shipping:l1", "nobody"]);
        documents.push(format!(
            "kind: PolicyException
metadata: {{name: x{index}}}
spec: {{owner: o, reason: r, expires: 2030-01-01T00:00:00Z, subjects: [{{serviceAccounts: [{account}]}}], targets: [\"*\"], rules: [{policy}/r0]}}
"
        ));
    }
    let mut resources = Resources::default();
    for (i, text) in documents.iter().enumerate() {
        let loaded = load_str(&format!("object-{i}"), text);
        resources.merge(loaded.unwrap_or_else(|errors| panic!("{errors:?}\n{text}")));
    }
    resources
}

fn bundle(resources: &Resources) -> Bundle {
    let options = CompileOptions {
        references: References::Lenient,
        ..CompileOptions::default()
    };
    compile(resources, &options).expect("lenient").bundle
}

/// Every decision on a set of operations, in words that do not depend on ids.
fn decisions(bundle: &Bundle, subject: &Subject, target: &str) -> Vec<String> {
    let (id, _) = bundle.target_named(target).expect("every target stays");
    let now = Timestamp(0);
    let Some(scope) = bundle.scope(subject, id, now) else {
        return vec!["not granted".to_owned()];
    };
    let labels = bundle.labels(id).expect("labels");
    let of = |column: &str| labels.of_column("public", "customers", column);
    let columns = [of("ssn"), of("email"), of("iban"), of("phone"), of("x")];
    let relations = [Relation {
        schema: "public",
        name: "customers",
        access: weir_policy::Access::Read,
    }];
    let mut said = Vec::new();
    for effect in [Effect::Select, Effect::Delete] {
        for ids in &columns {
            for unproven in [false, true] {
                let outputs = [if unproven {
                    Output::Unproven(ids)
                } else {
                    Output::Labelled(ids)
                }];
                for how in [Use::Output, Use::OrderBy] {
                    let uses: Vec<LabelUse> =
                        ids.iter().map(|id| LabelUse { label: *id, how }).collect();
                    let sql = SqlOperation {
                        effects: EffectSet::of(&[effect]),
                        relations: &relations,
                        outputs: &outputs,
                        label_uses: &uses,
                        where_clause: WhereClause::Missing,
                        ..SqlOperation::default()
                    };
                    said.push(describe(
                        bundle,
                        &scope.decide(&Operation::Sql(&sql), &NoCounters, now),
                    ));
                }
            }
        }
    }
    for operation in [
        Operation::Opaque { reason: "odd" },
        Operation::FunctionCall,
        Operation::Replication,
    ] {
        said.push(describe(
            bundle,
            &scope.decide(&operation, &NoCounters, now),
        ));
    }
    said
}

fn describe(bundle: &Bundle, decision: &weir_policy::Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Permit(_) => "permit".to_owned(),
        Verdict::Deny(denial) => format!("deny {denial:?}"),
        Verdict::Hold(hold) => format!("hold {:?}", hold.pending()),
    };
    let values = decision.obligations.values.iter();
    let values: Vec<_> = values
        .map(|value| {
            (
                bundle.label(value.label).map(|label| &label.name),
                &value.mask,
            )
        })
        .collect();
    let obligations = &decision.obligations;
    format!(
        "{verdict} {:?} {values:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        obligations.masks,
        obligations.limits,
        obligations.record,
        obligations.delivery,
        decision.why,
        decision.would_deny,
        decision.exceptions,
    )
}

#[test]
fn what_concerns_a_subject_decides_for_it_as_everything_does() {
    let mut kept = 0;
    for seed in 0..60 {
        let all = cluster(&mut Dice(seed));
        let whole = bundle(&all);
        for namespace in NAMESPACES {
            for account in ACCOUNTS {
                let subject = subject(namespace, account);
                let own = concerning(&all, &subject);
                kept += own.cluster_policies.len() + own.policies.len();
                let part = bundle(&own);
                for target in TARGETS {
                    let mine = decisions(&part, &subject, target);
                    let theirs = decisions(&whole, &subject, target);
                    let differs = mine
                        .iter()
                        .zip(&theirs)
                        .find(|(mine, theirs)| mine != theirs);
                    assert_eq!(
                        differs, None,
                        "seed {seed}, {namespace}/{account} on {target}"
                    );
                    assert_eq!(mine.len(), theirs.len());
                }
                assert_eq!(
                    granted_objects(&part, &subject),
                    granted_objects(&whole, &subject)
                );
            }
        }
    }
    assert!(kept < 60 * 6 * 8 * 3 / 4, "it keeps too much: {kept}");
}

#[test]
fn nothing_of_others_is_kept_and_ungranted_targets_lose_their_logins() {
    let text = "kind: ClusterGuardPolicy
metadata: {name: mine}
spec: {subjects: [{serviceAccounts: [reporter]}], targets: [orders]}
---
kind: ClusterGuardPolicy
metadata: {name: others}
spec: {subjects: [{serviceAccounts: [writer]}], targets: [ledger]}
---
kind: GuardPolicy
metadata: {name: elsewhere, namespace: shipping}
spec: {targets: [orders], rules: [{name: x, action: Deny}]}
---
kind: DataLabel
metadata: {name: pii.ledger}
spec: {columns: [{target: ledger, table: public.a, columns: [b]}]}
---
kind: Target
metadata: {name: orders}
spec:
  protocol: PostgreSQL
  addresses: [{host: orders.example, port: 5432}]
  upstreamTLS: {caRef: {name: orders-ca}}
  credentials: {mode: Brokered, secretRef: {name: orders-login}, client: {password: {secretRef: {name: orders-client}}}}
---
kind: Target
metadata: {name: ledger}
spec:
  protocol: PostgreSQL
  addresses: [{host: ledger.example, port: 5432}]
  upstreamTLS: {caRef: {name: ledger-ca}}
  credentials: {mode: Brokered, secretRef: {name: ledger-login}}
";
    let all = load_str("x", text).expect("loads");
    let reporter = subject("billing", "reporter");
    let own = concerning(&all, &reporter);
    let names: Vec<&str> = own
        .cluster_policies
        .iter()
        .map(|policy| policy.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["mine"]);
    assert!(own.policies.is_empty() && own.labels.is_empty());
    assert_eq!(own.targets.len(), 2);
    let written = serde_json::Value::from(own.manifests().expect("JSON")).to_string();
    assert!(written.contains("orders-login") && !written.contains("ledger-login"));
    assert!(!written.contains("ledger-ca"));
    let granted: Vec<String> = granted_objects(&bundle(&all), &reporter)
        .into_iter()
        .collect();
    assert_eq!(granted, ["orders-ca", "orders-client", "orders-login"]);
    let (_, ledger) = bundle(&own)
        .target_named("ledger")
        .map(|(id, t)| (id, t.clone()))
        .expect("kept");
    assert_eq!(ledger.client_tls, weir_policy::ClientTls::Offer);
}
