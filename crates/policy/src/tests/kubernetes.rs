//! What rules say about the Kubernetes API.

use super::*;

const DENY: Option<Action> = Some(Action::Deny);
const ALLOW: Option<Action> = Some(Action::Allow);

fn globs(list: &[&str]) -> Vec<Glob> {
    list.iter().map(|text| Glob::free(text)).collect()
}

fn kubernetes(matches: KubernetesMatch) -> Match {
    Match {
        kubernetes: Some(matches),
        ..Match::default()
    }
}

fn secrets() -> KubernetesMatch {
    KubernetesMatch {
        resources: globs(&["secrets"]),
        ..KubernetesMatch::default()
    }
}

fn resource(resource: &'static str) -> KubernetesResource<'static> {
    KubernetesResource {
        version: "v1",
        resource,
        namespace: Some("shop"),
        name: Some("db"),
        ..KubernetesResource::default()
    }
}

fn get(resource: KubernetesResource<'static>) -> KubernetesOperation<'static> {
    KubernetesOperation {
        verb: "get",
        endpoint: Endpoint::Resource(resource),
        ..KubernetesOperation::default()
    }
}

fn path(path: &'static str, known: bool) -> KubernetesOperation<'static> {
    KubernetesOperation {
        verb: "get",
        endpoint: Endpoint::Path { path, known },
        ..KubernetesOperation::default()
    }
}

fn on(rules: &[(Option<Action>, Match)], operation: &KubernetesOperation<'_>) -> String {
    by(DefaultAction::Allow, rules, operation)
}

fn by(
    default: DefaultAction,
    rules: &[(Option<Action>, Match)],
    operation: &KubernetesOperation<'_>,
) -> String {
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(i, (action, it))| rule(&format!("r{i}"), *action, it.clone()));
    let policy = Policy {
        default,
        ..policy("p", rules.collect())
    };
    verdict(vec![policy], &Operation::Kubernetes(operation))
}

#[test]
fn what_a_request_leaves_open_is_meant_by_a_rule_that_restricts() {
    let named = KubernetesMatch {
        names: globs(&["db"]),
        namespaces: globs(&["shop"]),
        ..secrets()
    };
    let all = KubernetesResource {
        namespace: None,
        name: None,
        ..resource("secrets")
    };
    let other = KubernetesResource {
        name: Some("tls"),
        ..resource("secrets")
    };
    for (resource, denied) in [
        (resource("secrets"), true),
        (all, true),
        (other, false),
        (resource("configmaps"), false),
    ] {
        let said = on(&[(DENY, kubernetes(named.clone()))], &get(resource));
        assert_eq!(said == "deny p/r0", denied, "{resource:?}");
        let said = by(
            DefaultAction::Deny,
            &[(ALLOW, kubernetes(named.clone()))],
            &get(resource),
        );
        let allowed = resource.name == Some("db") && resource.resource == "secrets";
        assert_eq!(said == "permit", allowed, "{resource:?}");
    }
}

#[test]
fn who_may_read_pods_may_not_run_commands_in_them() {
    let pods = KubernetesMatch {
        resources: globs(&["pods"]),
        ..KubernetesMatch::default()
    };
    let exec = KubernetesOperation {
        verb: "create",
        effects: &[KubernetesEffect::RunsCommand],
        ..get(KubernetesResource {
            subresource: "exec",
            ..resource("pods")
        })
    };
    let read = [(ALLOW, kubernetes(pods.clone()))];
    assert_eq!(
        by(DefaultAction::Deny, &read, &get(resource("pods"))),
        "permit"
    );
    assert_eq!(by(DefaultAction::Deny, &read, &exec), "deny p/(default)");
    assert_eq!(on(&[(DENY, kubernetes(pods.clone()))], &exec), "deny p/r0");
    let named = KubernetesMatch {
        subresources: globs(&["exec"]),
        ..pods
    };
    assert_eq!(
        by(DefaultAction::Deny, &[(ALLOW, kubernetes(named))], &exec),
        "permit"
    );
    let effects = KubernetesMatch {
        effects: vec![KubernetesEffect::RunsCommand],
        ..KubernetesMatch::default()
    };
    assert_eq!(on(&[(DENY, kubernetes(effects))], &exec), "deny p/r0");
    let commands = KubernetesMatch {
        commands: globs(&["sh"]),
        ..KubernetesMatch::default()
    };
    // Nobody knows what an attached terminal runs.
    assert_eq!(
        on(&[(DENY, kubernetes(commands.clone()))], &exec),
        "deny p/r0"
    );
    let words = ["env"];
    let command = SshCommand {
        text: "env",
        programs: &["env"],
        argv: Some(&words),
        ..SshCommand::default()
    };
    let env = KubernetesOperation {
        command: Some(&command),
        ..exec
    };
    assert_eq!(on(&[(DENY, kubernetes(commands))], &env), "permit");
}

#[test]
fn what_leads_around_rules_is_refused_unless_it_is_named() {
    let foreign = KubernetesOperation {
        foreign_identity: true,
        ..get(resource("secrets"))
    };
    let proxy = get(KubernetesResource {
        subresource: "proxy",
        ..resource("services")
    });
    let debug = path("/debug/flags/v", false);
    let by_identity = KubernetesMatch {
        foreign_identity: true,
        ..KubernetesMatch::default()
    };
    let by_subresource = KubernetesMatch {
        subresources: globs(&["proxy"]),
        ..KubernetesMatch::default()
    };
    let by_path = KubernetesMatch {
        paths: globs(&["/debug/*"]),
        ..KubernetesMatch::default()
    };
    for (operation, rule, named) in [
        (foreign, "(foreign-identity)", by_identity),
        (proxy, "(proxy)", by_subresource),
        (debug, "(path)", by_path),
    ] {
        assert_eq!(on(&[], &operation), format!("deny p/{rule}"));
        let everything = (ALLOW, Match::default());
        assert_eq!(on(&[everything], &operation), format!("deny p/{rule}"));
        assert_eq!(on(&[(ALLOW, kubernetes(named))], &operation), "permit");
        let watched = Policy {
            mode: Mode::Observe,
            ..policy("p", Vec::new())
        };
        assert_eq!(
            verdict(vec![watched], &Operation::Kubernetes(&operation)),
            "permit"
        );
    }
    let known = path("/openapi/v3", true);
    assert_eq!(on(&[], &known), "permit");
    assert_eq!(by(DefaultAction::Deny, &[], &known), "permit");
    assert_eq!(by(DefaultAction::Deny, &[], &debug), "deny p/(default)");
}

#[test]
fn a_request_that_would_tell_what_is_masked_is_refused_by_the_rule_that_masks() {
    let outputs = [Output::Labelled(&[SSN])];
    let masked = KubernetesOperation {
        outputs: &outputs,
        ..get(resource("secrets"))
    };
    let rules = || vec![rule("hide", Some(Action::Mask), labels(&["pii.*"]))];
    let decided = |rules: Vec<Rule>, operation: &KubernetesOperation<'_>| {
        decide(vec![policy("p", rules)], &Operation::Kubernetes(operation))
    };
    let decision = decided(rules(), &masked);
    assert!(matches!(decision.verdict, Verdict::Permit(_)));
    assert_eq!(
        decision.obligations.masks,
        [(0, Mask::Constant("***".into()))]
    );
    for how in [Use::Predicate, Use::Write] {
        let uses = [LabelUse { label: SSN, how }];
        let tells = KubernetesOperation {
            label_uses: &uses,
            ..masked
        };
        let decision = decided(rules(), &tells);
        assert!(
            matches!(decision.verdict, Verdict::Deny(ref denial) if &*denial.rule.rule == "hide")
        );
        let decision = decided(Vec::new(), &tells);
        assert!(matches!(decision.verdict, Verdict::Permit(_)));
    }
}

#[test]
fn rules_about_sql_say_nothing_about_objects() {
    let rules = [
        (DENY, effects(&[Effect::Select])),
        (
            DENY,
            Match {
                except_tables: vec![TablePattern::parse("a.b").unwrap()],
                ..Match::default()
            },
        ),
    ];
    assert_eq!(on(&rules, &get(resource("secrets"))), "permit");
    let allow = [(ALLOW, effects(&[Effect::Select]))];
    let said = by(DefaultAction::Deny, &allow, &get(resource("secrets")));
    assert_eq!(said, "deny p/(default)");
}

#[test]
fn a_list_that_goes_on_counts_with_the_pages_before() {
    let limit = LimitSpec {
        per: None,
        rows: Some(3),
        bytes: None,
        statements: None,
        on_exceed: Exceed::Deny,
    };
    let bulk = Rule {
        limits: vec![limit],
        ..rule("bulk", None, Match::default())
    };
    let scope = scope(vec![policy("p", vec![bulk])]);
    let list = get(resource("secrets"));
    let decision = scope.decide(&Operation::Kubernetes(&list), &NoCounters, NOW);
    let meter = Meter::new(&decision.obligations.limits, &NoCounters, NOW);
    let before = Amount {
        rows: 2,
        ..Amount::default()
    };
    let mut meter = meter.after(before, &NoCounters, NOW);
    assert_eq!(meter.row(1), Step::Continue);
    assert_eq!(meter.row(1), Step::Exceeded(0));
}

#[test]
fn a_condition_on_objects_is_not_about_subresources_that_carry_none_unless_they_are_named() {
    let rule = |text: Option<&str>, subresources: &[&str]| {
        kubernetes(KubernetesMatch {
            resources: globs(&["pods"]),
            subresources: globs(subresources),
            when: text.map(|text| weir_condition::Condition::parse(text).unwrap()),
            ..KubernetesMatch::default()
        })
    };
    let exec = KubernetesOperation {
        verb: "create",
        is_about_another: true,
        ..get(KubernetesResource {
            subresource: "exec",
            ..resource("pods")
        })
    };
    let object = "object.spec.hostUsers";
    for (text, subresources, expected) in [
        (Some(object), &[][..], "permit"),
        (Some(object), &["exec"], "deny p/r0"),
        (Some("request.verb == 'create'"), &[], "deny p/r0"),
        (None, &[], "deny p/r0"),
    ] {
        let said = on(&[(DENY, rule(text, subresources))], &exec);
        assert_eq!(said, expected, "{text:?} {subresources:?}");
    }
}

#[test]
fn events_of_both_groups_are_the_same_objects() {
    let rule = |group: &str| {
        kubernetes(KubernetesMatch {
            groups: globs(&[group]),
            resources: globs(&["events"]),
            ..KubernetesMatch::default()
        })
    };
    for (group, other) in [("", "events.k8s.io"), ("events.k8s.io", "")] {
        let events = |group| {
            get(KubernetesResource {
                group,
                ..resource("events")
            })
        };
        for asked in [group, other] {
            assert_eq!(on(&[(DENY, rule(group))], &events(asked)), "deny p/r0");
            let allowed = by(DefaultAction::Deny, &[(ALLOW, rule(group))], &events(asked));
            assert_eq!(allowed == "permit", asked == group, "{group} {asked}");
        }
        let custom = events("example.com");
        assert_eq!(on(&[(DENY, rule(group))], &custom), "permit");
    }
}

#[test]
fn a_condition_that_is_not_known_to_hold_restricts_and_allows_nothing() {
    let when = |text: &str| {
        kubernetes(KubernetesMatch {
            when: Some(weir_condition::Condition::parse(text).unwrap()),
            ..KubernetesMatch::default()
        })
    };
    let object = serde_json::json!({"spec": {"replicas": 9}});
    let create = KubernetesOperation {
        verb: "create",
        object: weir_condition::Object::Whole {
            value: &object,
            holes: None,
        },
        ..get(resource("deployments"))
    };
    let list = KubernetesOperation {
        verb: "list",
        ..get(KubernetesResource {
            namespace: None,
            name: None,
            ..resource("deployments")
        })
    };
    for (text, operation, denied, allowed) in [
        ("object.spec.replicas > 5", &create, true, true),
        ("object.spec.replicas > 10", &create, false, false),
        ("object.spec.paused", &create, true, false),
        (
            "object != null && object.spec.replicas > 5",
            &list,
            false,
            false,
        ),
        ("request.namespace == 'prod'", &create, false, false),
        ("request.namespace == 'prod'", &list, true, false),
        (
            "request.resource == 'deployments' && !request.dryRun",
            &list,
            true,
            true,
        ),
    ] {
        let deny = on(&[(DENY, when(text))], operation);
        assert_eq!(deny.starts_with("deny"), denied, "{text}: {deny}");
        let allow = by(DefaultAction::Deny, &[(ALLOW, when(text))], operation);
        assert_eq!(!allow.starts_with("deny"), allowed, "{text}: {allow}");
    }
    // A rule with a condition is about the Kubernetes API alone.
    let sql = verdict(
        vec![policy("p", vec![rule("r", DENY, when("true"))])],
        &Operation::Sql(&SqlOperation::default()),
    );
    assert!(!sql.starts_with("deny"), "{sql}");
}

#[test]
fn what_may_create_or_deletes_by_another_way_is_meant_by_rules_that_restrict_that() {
    let verbs = |list: &[&str]| KubernetesMatch {
        verbs: globs(list),
        ..KubernetesMatch::default()
    };
    let apply = KubernetesOperation {
        verb: "patch",
        also: &["create"],
        ..get(resource("pods"))
    };
    let all = KubernetesOperation {
        verb: "deletecollection",
        also: &["delete"],
        ..get(KubernetesResource {
            name: None,
            ..resource("pods")
        })
    };
    for (operation, named, denied, allowed) in [
        (&apply, &["create"][..], true, false),
        (&apply, &["patch"], true, false),
        (&apply, &["create", "patch"], true, true),
        (&apply, &["update"], false, false),
        (&all, &["delete"], true, false),
        (&all, &["deletecollection"], true, true),
    ] {
        let matches = kubernetes(verbs(named));
        let deny = on(&[(DENY, matches.clone())], operation);
        assert_eq!(deny.starts_with("deny"), denied, "{named:?}: {deny}");
        let allow = by(DefaultAction::Deny, &[(ALLOW, matches)], operation);
        assert_eq!(!allow.starts_with("deny"), allowed, "{named:?}: {allow}");
    }
    // A condition may ask for the verb; under a verb that the rule does not name it says nothing.
    for (named, text, denied) in [
        (&[][..], "request.verb == 'create'", true),
        (&["create"], "request.verb != 'patch'", true),
        (&["create"], "request.verb == 'patch'", false),
    ] {
        let matches = kubernetes(KubernetesMatch {
            when: Some(weir_condition::Condition::parse(text).unwrap()),
            ..verbs(named)
        });
        let deny = on(&[(DENY, matches)], &apply);
        assert_eq!(deny.starts_with("deny"), denied, "{text}: {deny}");
    }
}

#[test]
fn a_proxy_is_named_by_what_stands_between_scheme_and_port() {
    for (name, denied) in [
        ("db", true),
        ("db:443", true),
        ("https:db:443", true),
        ("https:other:443", false),
        ("other:db", false),
    ] {
        let operation = get(KubernetesResource {
            subresource: "proxy",
            name: Some(name),
            ..resource("services")
        });
        let named = |names: &[&str]| KubernetesMatch {
            subresources: globs(&["proxy"]),
            names: globs(names),
            ..KubernetesMatch::default()
        };
        let all = kubernetes(named(&[]));
        let rules = [(ALLOW, all), (DENY, kubernetes(named(&["db"])))];
        let told = on(&rules, &operation);
        assert_eq!(told.starts_with("deny"), denied, "{name}: {told}");
    }
}
