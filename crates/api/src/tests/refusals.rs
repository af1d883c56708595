//! What is refused, with the exact place and the suggestion.

use super::{TARGET, errors, lines, with_rules};
use crate::{CompileOptions, Diagnostic, References, compile, load, load_str};

/// The only error of a text.
fn only(text: &str) -> Diagnostic {
    let found = errors(text);
    assert_eq!(found.len(), 1, "expected one error, got: {}", lines(&found));
    found.into_iter().next().expect("one")
}

/// The rule's only error contains this.
fn rule_error(rule: &str, expected: &str) {
    let found = errors(&with_rules(&format!("  - {rule}\n")));
    let texts = lines(&found);
    assert!(
        texts.contains(expected),
        "expected `{expected}`, got: {texts}"
    );
}

#[test]
fn an_unknown_field_is_an_error_with_place_path_and_suggestion() {
    let error = only(&TARGET.replace("upstreamTLS", "upstreamTsl"));
    assert_eq!((error.line, error.column), (6, 3));
    assert_eq!(error.field, "spec.upstreamTsl");
    assert_eq!(error.message, "unknown field `upstreamTsl`");
    assert_eq!(
        error.suggestion.as_deref(),
        Some("did you mean `upstreamTLS`?")
    );
    assert_eq!(
        error.to_string(),
        "test.yaml:6:3: error: spec.upstreamTsl: unknown field `upstreamTsl` (did you mean \
         `upstreamTLS`?)"
    );
}

#[test]
fn an_unknown_value_is_an_error_with_place_path_and_suggestion() {
    let error = only(&TARGET.replace("PostgreSQL", "Postgresql"));
    assert_eq!((error.line, error.field.as_str()), (4, "spec.protocol"));
    assert_eq!(
        error.suggestion.as_deref(),
        Some("did you mean `PostgreSQL`?")
    );
    let error = only(&with_rules(
        "  - {name: x, match: {sql: {effects: [Select, Updat]}}, action: Deny}\n",
    ));
    assert_eq!(error.field, "spec.rules[0].match.sql.effects[1]");
    assert_eq!((error.line, error.column), (19, 47));
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `Update`?"));
}

#[test]
fn unknown_names_in_references_are_errors_with_suggestions() {
    let error = only(&with_rules("").replace("targets: [db]", "targets: [dbb]"));
    assert_eq!((error.line, error.field.as_str()), (17, "spec.targets[0]"));
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `db`?"));
    let error = only(&with_rules(
        "  - {name: x, match: {labels: [pii.snn]}, action: Mask}\n",
    ));
    assert_eq!(error.field, "spec.rules[0].match.labels[0]");
    assert_eq!(error.message, "no DataLabel is called `pii.snn`");
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `pii.ssn`?"));
    let error = only(&with_rules(
        "  - {name: x, match: {sql: {functions: [\"class:ServerFiles\"]}}, action: Deny}\n",
    ));
    assert_eq!(
        error.suggestion.as_deref(),
        Some("did you mean `ServerFile`?")
    );
}

#[test]
fn a_label_whose_fingerprints_are_asked_for_must_lie_on_a_target_of_the_policy() {
    let asks = |label: &str| {
        let audit = format!("  audit: {{fingerprints: [{label}]}}\n  rules:\n    []");
        with_rules("").replace("  rules:\n    []", &audit)
    };
    let compiled = super::compiled(&asks("\"pii.*\""));
    assert_eq!(compiled.bundle.policies()[0].fingerprints.len(), 1);
    let error = only(&asks("pii.snn"));
    assert_eq!(error.field, "spec.audit.fingerprints[0]");
    assert_eq!(error.message, "no DataLabel is called `pii.snn`");
    assert_eq!(error.suggestion.as_deref(), Some("did you mean `pii.ssn`?"));
    let elsewhere = asks("pii.ssn").replace("{target: db, table", "{target: other, table");
    assert!(!errors(&elsewhere).is_empty());
}

#[test]
fn all_documents_are_reported_and_not_only_the_first() {
    let text = format!(
        "kind: Targit\nmetadata: {{name: a}}\nspec: {{}}\n---\n{}",
        TARGET.replace("port: 5432", "port: \"5432\"")
    );
    let found = errors(&text);
    assert_eq!(found.len(), 2, "{}", lines(&found));
    assert_eq!(
        found[0].suggestion.as_deref(),
        Some("did you mean `Target`?")
    );
    assert_eq!(
        (found[1].line, found[1].field.as_str()),
        (9, "spec.addresses[0].port")
    );
}

#[test]
fn syntax_errors_and_duplicate_keys_have_a_line() {
    let error = only("kind: Target\nmetadata: {name: [}\n");
    assert_eq!(error.line, 2);
    let error = only(&TARGET.replace("metadata", "kind"));
    assert!(error.message.contains("duplicate"), "{error}");
    assert_eq!(error.line, 2);
}

#[test]
fn numbers_are_not_texts_and_texts_are_not_numbers() {
    let error = only(&TARGET.replace("name: db", "name: 7"));
    assert_eq!(error.field, "metadata.name");
    let error = only(&with_rules(
        "  - {name: x, limits: {statement: {rows: \"10\"}}}\n",
    ));
    assert_eq!(error.field, "spec.rules[0].limits.statement.rows");
}

#[test]
fn a_wrong_version_is_refused() {
    let error = only(&format!("apiVersion: weir.dev/v2\n{TARGET}"));
    assert_eq!(error.field, "apiVersion");
    assert_eq!(
        errors(&format!("apiVersion: weir.dev/v1alpha1\n{TARGET}")),
        []
    );
}

#[test]
fn names_are_unique_and_the_other_place_is_named() {
    let error = &errors(&format!("{TARGET}---\n{TARGET}"))[0];
    assert_eq!(
        error.message,
        "another Target is called `db`, in test.yaml line 2"
    );
    rule_error(
        "{name: x, limits: {statement: {rows: 1}}}\n  - {name: x, limits: {statement: {rows: 2}}}",
        "another rule of this policy is called `x`",
    );
}

#[test]
fn what_is_not_enforced_yet_is_refused_and_never_ignored() {
    for (rule, expected) in [
        (
            "{name: x, match: {mysql: {commands: [COM_PING]}}, action: Deny}",
            "match.mysql: a match on MySQL commands is not enforced",
        ),
        (
            "{name: x, limits: {statement: {duration: 30s}}}",
            "statement.duration: a limit of duration is not enforced",
        ),
    ] {
        rule_error(rule, expected);
    }
    let found = lines(&errors(&TARGET.replace("PostgreSQL", "MySQL")));
    assert!(found.contains("protocol MySQL is not enforced"), "{found}");
}

#[test]
fn rules_about_ssh_are_judged_for_sense() {
    for (rule, expected) in [
        (
            "{name: x, match: {ssh: {}}, action: Deny}",
            "match.ssh: says nothing",
        ),
        (
            "{name: x, match: {ssh: {commands: [pg_dump]}}, action: Deny}",
            "no target of this policy speaks SSH",
        ),
        (
            "{name: x, match: {ssh: {channels: [ssh]}}, action: Deny}",
            "ssh",
        ),
        (
            "{name: x, match: {ssh: {sftp: {operations: [open]}}}, action: Deny}",
            "open",
        ),
        (
            "{name: x, match: {ssh: {argv: [[]]}}, action: Deny}",
            "match.ssh.argv[0]: has no word",
        ),
        (
            "{name: x, match: {ssh: {commands: [ls], forwarding: true}}, action: Deny}",
            "no request is about a command and about forwarding",
        ),
        (
            "{name: x, match: {ssh: {commands: [ls], channels: [shell]}}, action: Deny}",
            "none of these is about a command",
        ),
        (
            "{name: x, match: {ssh: {commands: [ls]}, sql: {effects: [Drop]}}, action: Deny}",
            "what happens over SSH has no SQL and no labels",
        ),
        (
            "{name: x, match: {ssh: {channels: [shell, sftp]}, labels: [pii.ssn]}, action: Mask}",
            "only what commands and shells show can be masked",
        ),
        (
            "{name: x, match: {ssh: {channels: [shell]}, labels: [pii.ssn]}, action: Deny}",
            "what happens over SSH has no SQL and no labels",
        ),
        (
            "{name: x, match: {ssh: {commands: [ls]}}, action: Allow}",
            "this Allow never matters",
        ),
        (
            "{name: x, match: {ssh: {channels: [exec]}}, limits: {statement: {rows: 1}}}",
            "there are no rows over SSH",
        ),
        (
            "{name: x, match: {ssh: {channels: [exec]}}, limits: {statement: {bytes: 1}, onExceed: Throttle, throttle: {rowsPerSecond: 1}}}",
            "a throttle has a rate of rows",
        ),
    ] {
        rule_error(rule, expected);
    }
}

#[test]
fn the_policies_of_the_ssh_corpus_make_sense() {
    let options = CompileOptions {
        references: References::Lenient,
        ..CompileOptions::default()
    };
    for text in [
        include_str!("../../../../e2e/corpus/ssh/policy.yaml"),
        include_str!("../../../../e2e/corpus/ssh/allow-list.yaml"),
    ] {
        let resources = load_str("test.yaml", text).expect("loads");
        let compiled = compile(&resources, &options).expect("compiles");
        for found in compiled.diagnostics {
            assert!(
                found.message.contains("no Target is called `host`"),
                "{found}"
            );
        }
    }
}

#[test]
fn rules_that_can_never_fire_are_refused() {
    for (rule, expected) in [
        ("{name: x}", "does nothing"),
        (
            "{name: x, match: {sql: {effects: [Select], where: Missing}}, action: Deny}",
            "never applies: only UPDATE",
        ),
        (
            "{name: x, match: {sql: {effects: [Replication], tables: [a.b]}}, action: Deny}",
            "never applies: Replication has no other",
        ),
        (
            "{name: x, match: {sql: {effects: [Select]}}, action: Allow}",
            "this Allow never matters",
        ),
        (
            "{name: x, match: {sql: {effects: [Drop]}}, action: Deny, limits: {statement: {rows: 1}}}",
            "limits what the rule denies",
        ),
        ("{name: x, match: {sql: {}}, action: Deny}", "says nothing"),
        (
            "{name: x, match: {opaque: true, labels: [pii.ssn]}, action: Allow}",
            "`opaque` stands alone",
        ),
        (
            "{name: x, match: {opaque: true}, action: Deny}\n  - {name: y, match: {opaque: true}, action: Allow}",
            "it contradicts rule `x`",
        ),
        (
            "{name: x, match: {opaque: true}, action: Deny}\n  - {name: y, match: {opaque: true}, action: Deny}",
            "it repeats rule `x`",
        ),
    ] {
        rule_error(rule, expected);
    }
    let elsewhere = with_rules("  - {name: x, match: {labels: [pii.ssn]}, action: Mask}\n")
        .replace("target: db,", "target: other,");
    let text = format!(
        "{elsewhere}---\n{}",
        TARGET
            .replace("name: db", "name: other")
            .replace("5432", "5433")
    );
    assert!(lines(&errors(&text)).contains("lies on a target of this policy"));
}

#[test]
fn incomplete_rules_are_refused() {
    for (rule, expected) in [
        (
            "{name: x, match: {sql: {effects: [Drop]}}, action: RequireApproval}",
            "field `approval` is missing",
        ),
        (
            "{name: x, limits: {statement: {rows: 1}, onExceed: RequireApproval}}",
            "field `approval` is missing",
        ),
        (
            "{name: x, limits: {statement: {rows: 1}}, approval: {groups: [a]}}",
            "used only with RequireApproval",
        ),
        (
            "{name: x, action: RequireApproval, approval: {groups: []}}",
            "nobody could approve",
        ),
        (
            "{name: x, action: RequireApproval, approval: {users: [a], shape: {maxMinutes: 0}}}",
            "must be 1 to 10080",
        ),
        (
            "{name: x, action: RequireApproval, approval: {groups: [a], count: 0}}",
            "must be at least 1",
        ),
        (
            "{name: x, limits: {statement: {rows: 1}, onExceed: Throttle}}",
            "needs `throttle:",
        ),
        ("{name: x, limits: {window: {per: 1h}}}", "limits nothing"),
        (
            "{name: x, limits: {window: {rows: 1}}}",
            "field `per` is missing",
        ),
        (
            "{name: x, limits: {window: {statements: 1, per: 1h}, onExceed: Throttle, throttle: {rowsPerSecond: 1}}}",
            "statements cannot be throttled",
        ),
        (
            "{name: x, action: Mask}",
            "a mask needs `labels` or `columns`",
        ),
        (
            "{name: x, match: {labels: [pii.ssn]}, action: Mask, mask: {}}",
            "exactly one of `nullify`",
        ),
        (
            "{name: x, match: {labels: [pii.ssn]}, action: Deny, mask: {token: {}}}",
            "used only with `action: Mask`",
        ),
        (
            "{name: x, match: {sql: {tables: [customers]}}, action: Deny}",
            "write `public.customers`, or `*.customers`",
        ),
        (
            "{name: x, match: {sql: {tables: [public.Customers]}}, action: Deny}",
            "in double quotes",
        ),
        ("{name: X y, action: Deny}", "is not a name"),
        (
            "{name: x, limits: {statement: {rows: 1}}, action: Denny}",
            "did you mean `Deny`?",
        ),
    ] {
        rule_error(rule, expected);
    }
}

#[test]
fn a_guard_policy_can_only_tighten() {
    let text = with_rules("")
        .replace("    []\n", "")
        .replace("ClusterGuardPolicy", "GuardPolicy")
        .replace("{name: p}", "{name: p, namespace: billing}")
        .replace(
            "subjects: [{names: [reporter]}]",
            "subjects: [{serviceAccounts: [reporter]}]",
        );
    let allow = format!("{text}  - {{name: x, match: {{opaque: true}}, action: Allow}}\n");
    assert!(only(&allow).message.contains("can only tighten"));
    let text = text.replace("  rules:\n", "  rules: []\n");
    let foreign = text.replace("serviceAccounts: [reporter]", "namespaces: [other]");
    assert_eq!(only(&foreign).message, "unknown field `namespaces`");
    let default = text.replace("  rules: []\n", "  default: Deny\n");
    assert_eq!(only(&default).message, "unknown field `default`");
    let nowhere = text.replace(", namespace: billing", "");
    assert!(only(&nowhere).message.contains("`namespace` is missing"));
}

#[test]
fn a_policy_that_selects_nobody_is_refused() {
    let none = with_rules("").replace("[{names: [reporter]}]", "[]");
    assert!(only(&none).message.contains("selects nobody"));
    let empty = with_rules("").replace("[{names: [reporter]}]", "[{}]");
    assert_eq!(only(&empty).field, "spec.subjects[0]");
}

#[test]
fn contradictions_of_a_target_are_refused() {
    for (from, to, expected) in [
        (
            "mode: Disable",
            "mode: Disable, caFile: a",
            "mode Disable uses no CA",
        ),
        (
            "mode: Disable",
            "mode: VerifyFull, caFile: a, caRef: {name: b}",
            "exclude each other",
        ),
        (
            "mode: Disable",
            "mode: Prefer, caFile: a",
            "the CA would not be used",
        ),
        ("{host: 127.0.0.1, port: 5432}", "", "names no address"),
        (
            "{host: 127.0.0.1, port: 5432}",
            "{host: 127.0.0.1}",
            "`port` is missing",
        ),
        (
            "{host: 127.0.0.1, port: 5432}",
            "{cidr: 10.0.0.1/8, port: 1}",
            "beyond its length",
        ),
        (
            "{host: 127.0.0.1, port: 5432}",
            "{port: 1}",
            "exactly one of `host`",
        ),
        (
            "{host: 127.0.0.1, port: 5432}",
            "{host: a b, port: 1}",
            "neither a DNS name",
        ),
        (
            "{mode: Disable}",
            "{mode: Disable}\n  credentials: {mode: Brokered}",
            "needs `secretRef`",
        ),
        (
            "{mode: Disable}",
            "{mode: Disable}\n  credentials: {secretRef: {name: a}}",
            "PassThrough uses no login",
        ),
        (
            "{mode: Disable}",
            "{mode: Disable}\n  credentials: {mode: Brokered, secretRef: {name: a}, client: {password: {}}}",
            "exactly one of `secretRef` and `file`",
        ),
    ] {
        let found = lines(&errors(&TARGET.replace(from, to)));
        assert!(
            found.contains(expected),
            "expected `{expected}`, got: {found}"
        );
    }
    let twin = format!("{TARGET}---\n{}", TARGET.replace("name: db", "name: twin"));
    assert!(
        only(&twin)
            .message
            .contains("Target `db` has the same address")
    );
}

#[test]
fn a_file_that_is_missing_is_an_error_that_names_it() {
    let found = load(&["/nonexistent/policy.yaml".into()]).expect_err("missing");
    assert!(
        found[0]
            .to_string()
            .starts_with("/nonexistent/policy.yaml: error: cannot be read")
    );
}

#[test]
fn the_schema_says_the_whole_corpus_policy_and_check_names_what_is_not_enforced() {
    let found = errors(include_str!("other_protocols.yaml"));
    for diagnostic in &found {
        assert!(
            diagnostic.message.contains("not enforced by this version"),
            "{diagnostic}"
        );
    }
    let fields: Vec<&str> = found
        .iter()
        .map(|diagnostic| diagnostic.field.as_str())
        .collect();
    let protocols = fields
        .iter()
        .filter(|field| **field == "spec.protocol")
        .count();
    let rules = fields
        .iter()
        .filter(|field| field.starts_with("spec.rules"))
        .count();
    assert_eq!((protocols, rules), (1, 2), "{}", lines(&found));
}

#[test]
fn a_label_on_what_no_resource_is_called_is_refused() {
    let label = |resource: &str| {
        let fields = format!("{{group: example.com, resource: {resource}, fields: [spec.key]}}");
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: DataLabel\nmetadata: {{name: x}}\nspec: {{kubernetes: [{fields}]}}\n"
        );
        lines(&errors(&text))
    };
    for name in ["gadgets.example.com", "Gadget", "gadgets/status", "''"] {
        let found = label(name);
        assert!(
            found.contains("is not a plural in lower case"),
            "{name}: {found}"
        );
    }
    for name in ["gadgets", "gad?ets*"] {
        assert_eq!(label(name), "", "{name}");
    }
}

#[test]
fn what_no_request_to_an_api_server_has_is_refused() {
    let api = TARGET
        .replace("PostgreSQL", "Kubernetes")
        .replace("port: 5432", "port: 6443");
    let rule = |rule: &str| {
        let text = with_rules(&format!("  - {rule}\n")).replace(TARGET, &api);
        lines(&errors(&text))
    };
    for (text, expected) in [
        (
            "{name: x, match: {kubernetes: {resources: [pods/exec]}}, action: Deny}",
            "is not a plural in lower case, such as `secrets`: group and subresource stand apart",
        ),
        (
            "{name: x, match: {kubernetes: {resources: [Secret]}}, action: Deny}",
            "is not a plural in lower case",
        ),
        (
            "{name: x, match: {kubernetes: {paths: [/debug/*], resources: [pods]}}, action: Deny}",
            "a path that is no resource has no group",
        ),
        (
            "{name: x, match: {kubernetes: {}}, action: Deny}",
            "says nothing: it has no field",
        ),
        (
            "{name: x, match: {kubernetes: {verbs: [get]}, sql: {effects: [Select]}}, action: Deny}",
            "a request to the Kubernetes API has no SQL",
        ),
        (
            "{name: x, match: {kubernetes: {resources: [pods]}}, action: Allow}",
            "this Allow never matters",
        ),
    ] {
        let found = rule(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn conditions_are_for_rules_about_the_kubernetes_api_and_are_checked_when_they_are_read() {
    for rule in [
        "{name: x, match: {when: \"request.verb == 'get'\", sql: {effects: [Drop]}}, action: Deny}",
        "{name: x, match: {when: \"request.verb == 'get'\", ssh: {commands: [ls]}}, action: Deny}",
        "{name: x, match: {when: \"request.verb == 'get'\"}, action: Deny}",
    ] {
        rule_error(
            rule,
            "a CEL expression is for rules about the Kubernetes API",
        );
    }
    let api = TARGET
        .replace("PostgreSQL", "Kubernetes")
        .replace("port: 5432", "port: 6443");
    let rule = |rule: &str| {
        let text = with_rules(&format!("  - {rule}\n")).replace(TARGET, &api);
        lines(&errors(&text))
    };
    for (when, expected) in [
        ("request.verb = 'get'", "match.when: at character 14: "),
        (
            "request.verbs == 'get'",
            "at character 9: `request` has no field `verbs`",
        ),
        (
            "oldObject.spec.replicas > 1",
            "at character 1: there is no `oldObject`",
        ),
        (
            "object.a.matches(object.b)",
            "takes its regular expression as a literal",
        ),
    ] {
        let found = rule(&format!(
            "{{name: x, match: {{when: \"{when}\"}}, action: Deny}}"
        ));
        assert!(found.contains(expected), "{when}: {found}");
    }
}

#[test]
fn an_unknown_detector_is_an_error_with_a_suggestion() {
    let text = with_rules("").replace("columns: [ssn]}]", "columns: [ssn]}]\n  detectors: [ssnn]");
    let texts = lines(&errors(&text));
    assert!(
        texts.contains("no detector is called `ssnn` (did you mean `ssn`?)"),
        "{texts}"
    );
}
