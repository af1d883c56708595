use serde_json::{Value as Json, json};

use super::*;

fn condition(text: &str) -> Condition {
    Condition::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
}

fn request() -> Request<'static> {
    Request {
        verb: "create",
        group: "apps",
        version: "v1",
        resource: "deployments",
        namespace: Some("shop"),
        ..Request::default()
    }
}

/// What the two readings say about a whole object.
fn whole(text: &str, value: &Json) -> (bool, bool) {
    let (condition, request) = (condition(text), request());
    let object = Object::Whole { value, holes: None };
    (
        condition.restricts(&request, &object),
        condition.allows(&request, &object),
    )
}

const TRUE: (bool, bool) = (true, true);
const FALSE: (bool, bool) = (false, false);
/// Neither true nor false.
const UNKNOWN: (bool, bool) = (true, false);

fn deployment() -> Json {
    json!({
        "metadata": {"name": "web", "labels": {"team": "a", "app.kubernetes.io/name": "web"}},
        "spec": {
            "replicas": 3,
            "paused": false,
            "ratio": 0.5,
            "template": {"spec": {"containers": [
                {"name": "a", "image": "registry.example/a:1"},
                {"name": "b", "image": "docker.io/b:latest", "ports": [{"containerPort": 80}]},
            ]}},
        },
    })
}

#[test]
fn expressions_mean_what_cel_says() {
    let object = deployment();
    for (text, expected) in [
        ("true", TRUE),
        ("false || !true", FALSE),
        (
            "request.verb == 'create' && request.namespace in ['shop', 'prod']",
            TRUE,
        ),
        ("request.dryRun", FALSE),
        (
            "object.spec.replicas > 2 && object.spec.replicas <= 3",
            TRUE,
        ),
        (
            "object.spec.replicas == 3.0 && object.spec.replicas != 3.5",
            TRUE,
        ),
        ("object.spec.ratio < 1", TRUE),
        (
            "object.spec.replicas * 2 - 1 == 5 && 7 / 2 == 3 && 7 % 4 == 3 && -3 < 0",
            TRUE,
        ),
        (
            "object.metadata.labels['app.kubernetes.io/name'] == 'we' + 'b'",
            TRUE,
        ),
        (
            "has(object.metadata.labels.team) && !has(object.spec.strategy)",
            TRUE,
        ),
        ("'team' in object.metadata.labels", TRUE),
        (
            "object.spec.template.spec.containers.exists(c, c.image.endsWith(':latest'))",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.all(c, c.image.startsWith('registry.example/'))",
            FALSE,
        ),
        (
            "object.spec.template.spec.containers.exists_one(c, has(c.ports))",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.filter(c, c.name != 'a').size() == 1",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.map(c, c.name) == ['a', 'b']",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.map(c, has(c.ports), c.name) == ['b']",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers[1].ports[0].containerPort == 80",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.exists(c, has(c.ports) && c.ports.exists(p, \
             p.containerPort < 1024))",
            TRUE,
        ),
        (
            "object.metadata.labels.exists(name, name.contains('kubernetes.io'))",
            TRUE,
        ),
        ("object.metadata.name.matches('^[a-w]+$')", TRUE),
        (
            "size(object.metadata.labels) == 2 && 'grün'.size() == 4",
            TRUE,
        ),
        ("(object.spec.paused ? 1 : 2) == 2", TRUE),
        (
            "object.metadata.name < 'x' && 'a' < 'b' && false < true",
            TRUE,
        ),
        ("object.spec.replicas == 'three'", FALSE),
    ] {
        assert_eq!(whole(text, &object), expected, "{text}");
    }
}

#[test]
fn what_fails_restricts_and_allows_nothing_unless_something_else_decides() {
    let object = deployment();
    for (text, expected) in [
        ("object.spec.missing == 1", UNKNOWN),
        ("object.spec.missing == 1 || true", TRUE),
        ("object.spec.missing == 1 && false", FALSE),
        ("!(object.spec.missing == 1)", UNKNOWN),
        ("object.spec.replicas", UNKNOWN),
        ("object.spec.replicas + 'x' == 'x'", UNKNOWN),
        ("object.spec.replicas < 'x'", UNKNOWN),
        ("1 / 0 == 1", UNKNOWN),
        ("9223372036854775807 + 1 > 0", UNKNOWN),
        (
            "object.spec.template.spec.containers[2].name == 'c'",
            UNKNOWN,
        ),
        (
            "object.spec.template.spec.containers.exists(c, c.ports.size() == 1)",
            TRUE,
        ),
        (
            "object.spec.template.spec.containers.all(c, c.ports.size() == 1)",
            UNKNOWN,
        ),
        (
            "object.spec.template.spec.containers.all(c, c.ports.size() == 2)",
            FALSE,
        ),
        // A list's name is open.
        ("request.name == 'web'", UNKNOWN),
    ] {
        assert_eq!(whole(text, &object), expected, "{text}");
    }
}

#[test]
fn large_numbers_are_compared_as_they_are() {
    let object =
        json!({"a": 9_007_199_254_740_993_i64, "b": 9_007_199_254_740_992.0, "c": u64::MAX});
    assert_eq!(whole("object.a > object.b", &object), TRUE);
    assert_eq!(whole("object.c > 9223372036854775807", &object), TRUE);
    assert_eq!(whole("object.c == 18446744073709551615u", &object), TRUE);
}

#[test]
fn a_request_without_an_object_has_null() {
    let (request, object) = (request(), Object::Absent);
    let guarded = condition("object != null && object.spec.replicas > 1");
    assert!(!guarded.restricts(&request, &object));
    assert!(condition("object.spec.replicas > 1").restricts(&request, &object));
    assert!(!condition("object.spec.replicas > 1").allows(&request, &object));
}

#[test]
fn what_is_said_of_an_object_is_not_about_a_request_with_another() {
    let (request, object) = (request(), Object::Another);
    for (text, expected) in [
        ("object.spec.replicas > 1", false),
        ("!has(object.spec.paused)", false),
        ("object.spec.containers.exists(c, c.image == 'x')", false),
        ("object != null && object.spec.replicas > 1", false),
        ("object == null", true),
        ("request.verb == 'create'", true),
        ("request.verb == 'create' || object.spec.replicas > 1", true),
        ("request.verb == 'list' && object.spec.replicas > 1", false),
        // The name is open.
        ("request.name == 'web'", true),
        ("request.name == 'web' && object.spec.replicas > 1", true),
    ] {
        let condition = condition(text);
        assert_eq!(condition.restricts(&request, &object), expected, "{text}");
        let allows = text.starts_with("request.verb == 'create'");
        assert_eq!(condition.allows(&request, &object), allows, "{text}");
    }
}

#[test]
fn of_an_object_that_cannot_be_read_nothing_is_known() {
    let (request, object) = (request(), Object::Unread);
    for text in ["object == null", "object != null", "has(object.spec)"] {
        assert!(condition(text).restricts(&request, &object), "{text}");
        assert!(!condition(text).allows(&request, &object), "{text}");
    }
    assert!(condition("request.verb == 'create'").allows(&request, &object));
}

#[test]
fn places_that_are_not_known_are_neither_there_nor_missing() {
    let value = json!({"metadata": {"name": "x"}, "spec": {"list": [{"a": 1}], "known": {"b": 2}}});
    let mut holes = Holes::default();
    holes.add([Some("metadata")]);
    holes.add([Some("spec"), Some("list"), None, Some("c")]);
    holes.add([Some("spec"), Some("gone")]);
    let object = Object::Whole {
        value: &value,
        holes: Some(&holes),
    };
    let request = request();
    for (text, expected) in [
        ("object.metadata.name == 'x'", TRUE),
        ("has(object.metadata.labels)", UNKNOWN),
        ("size(object.metadata) == 1", UNKNOWN),
        ("has(object.spec.gone)", UNKNOWN),
        ("has(object.spec.other)", FALSE),
        ("object.spec.list.all(i, i.a == 1)", TRUE),
        ("object.spec.list.exists(i, has(i.c))", UNKNOWN),
        ("object.spec.list.exists(i, has(i.d))", FALSE),
        ("object.spec.known.b == 2", TRUE),
        ("object.spec == object.spec", UNKNOWN),
    ] {
        let condition = condition(text);
        let found = (
            condition.restricts(&request, &object),
            condition.allows(&request, &object),
        );
        assert_eq!(found, expected, "{text}");
    }
}

/// Changes the fields below these.
#[derive(Debug)]
struct Changed(&'static [&'static str]);

impl Touches for Changed {
    fn touches(&self, path: &[String]) -> bool {
        let path = path.join(".");
        self.0
            .iter()
            .any(|own| own.starts_with(&path) || path.starts_with(own))
    }
}

fn patch(
    text: &str,
    value: Option<&Json>,
    lists: bool,
    applied: bool,
    changed: &Changed,
) -> (bool, bool) {
    let (condition, request) = (condition(text), request());
    let object = Object::Changes {
        value,
        holes: &Holes::Patch { lists },
        applied,
        touches: changed,
    };
    (
        condition.restricts(&request, &object),
        condition.allows(&request, &object),
    )
}

#[test]
fn a_patch_is_meant_by_what_it_changes() {
    let value = json!({"spec": {"replicas": 9, "gone": null}});
    let changed = Changed(&["spec.replicas", "spec.gone"]);
    for (text, expected) in [
        ("object.spec.replicas > 5", TRUE),
        ("object.spec.replicas > 10", FALSE),
        ("has(object.spec.gone)", FALSE),
        // What it leaves as it is decides nothing, and is not known.
        ("has(object.spec.paused) && object.spec.paused", FALSE),
        ("!has(object.metadata.labels.team)", FALSE),
        ("object.spec.replicas > 5 && object.spec.paused", UNKNOWN),
        ("object.spec.replicas > 10 && object.spec.paused", FALSE),
        ("request.name == 'x'", UNKNOWN),
        (
            "request.verb == 'create' && has(object.metadata.labels.team)",
            FALSE,
        ),
        (
            "request.verb == 'create' || has(object.metadata.labels.team)",
            TRUE,
        ),
        ("size(object) == 1", UNKNOWN),
    ] {
        assert_eq!(
            patch(text, Some(&value), true, false, &changed),
            expected,
            "{text}"
        );
    }
    // Operations of a JSON patch say nothing of the object as it is then.
    let found = patch("object.spec.replicas > 5", None, true, false, &changed);
    assert_eq!(found, UNKNOWN);
}

#[test]
fn lists_of_a_strategic_patch_join_those_that_are_there() {
    let value = json!({"spec": {"containers": [{"name": "a", "image": "bad"}]}});
    let changed = Changed(&["spec.containers"]);
    for (text, merges, replaces) in [
        (
            "object.spec.containers.exists(c, c.image == 'bad')",
            TRUE,
            TRUE,
        ),
        (
            "object.spec.containers.exists(c, c.image == 'worse')",
            UNKNOWN,
            FALSE,
        ),
        (
            "object.spec.containers.all(c, c.image == 'bad')",
            UNKNOWN,
            TRUE,
        ),
        (
            "object.spec.containers.all(c, c.image == 'good')",
            FALSE,
            FALSE,
        ),
        ("object.spec.containers.size() == 1", UNKNOWN, TRUE),
        (
            "object.spec.containers.exists(c, has(c.command))",
            UNKNOWN,
            FALSE,
        ),
    ] {
        assert_eq!(
            patch(text, Some(&value), true, false, &changed),
            merges,
            "{text}"
        );
        assert_eq!(
            patch(text, Some(&value), false, false, &changed),
            replaces,
            "{text}"
        );
    }
    let directive = json!({"spec": {"$patch": "delete", "replicas": 1}});
    let changed = Changed(&["spec"]);
    let found = patch(
        "has(object.spec.replicas)",
        Some(&directive),
        true,
        false,
        &changed,
    );
    assert_eq!(found, UNKNOWN);
}

#[test]
fn what_is_applied_loses_what_it_does_not_name() {
    let value = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"replicas": 1}});
    let changed = Changed(&["metadata.labels.app", "spec.replicas"]);
    for (text, expected) in [
        ("!has(object.metadata.labels.team)", UNKNOWN),
        (
            "has(object.spec.hostNetwork) && object.spec.hostNetwork",
            FALSE,
        ),
        (
            "object.spec.replicas == 1 && has(object.spec.paused)",
            UNKNOWN,
        ),
    ] {
        assert_eq!(
            patch(text, Some(&value), true, true, &changed),
            expected,
            "{text}"
        );
    }
}

#[test]
fn no_expression_takes_more_than_its_steps() {
    let items: Vec<Json> = (0..50_000).map(|i| json!({"a": i})).collect();
    let object = json!({"list": items, "text": "x".repeat(1 << 20)});
    for text in [
        "object.list.all(a, object.list.all(b, a != b || true))",
        "object.list.map(a, object.text + object.text).size() > 0",
        "object.text.matches('(x+x+)+y')",
        "object.list.map(a, object.list.map(b, b)).size() > 0",
        "object.list.exists(a, object.list == object.list && false)",
    ] {
        let once = || {
            let begun = std::time::Instant::now();
            assert_eq!(whole(text, &object), UNKNOWN, "{text}");
            begun.elapsed()
        };
        // What else the machine does is not measured.
        let took = (0..5).map(|_| once()).min().unwrap();
        assert!(took.as_millis() < 500, "{text}: {took:?}");
    }
    assert_eq!(whole("object.list.size() == 50000", &object), TRUE);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, message, column) in [
        ("", "it is empty", None),
        ("request.verb = 'get'", "", Some(14)),
        ("request.verb == 'get' &&", "", Some(25)),
        ("user.name == 'x'", "there is no variable `user`", Some(1)),
        (
            "true && oldObject.spec == 1",
            "there is no `oldObject`",
            Some(9),
        ),
        (
            "request.user == 'x'",
            "`request` has no field `user`",
            Some(9),
        ),
        ("request == 1", "stands with one of its fields", Some(1)),
        ("has(request.name)", "always there", Some(1)),
        (
            "object.a.lowerAscii() == 'x'",
            "there is no function `lowerAscii`",
            Some(10),
        ),
        (
            "timestamp('2026-01-01T00:00:00Z') == 1",
            "no function `timestamp`",
            Some(1),
        ),
        ("object.a.matches(object.b)", "as a literal", Some(10)),
        ("object.a.matches('(')", "no regular expression", Some(10)),
        (
            "object.a.matches('a{5000}{5000}')",
            "no regular expression",
            Some(10),
        ),
        ("b'x' == object.a", "bytes", None),
        ("{'a': 1}.a == 1", "maps and messages", Some(1)),
        ("object.l.all(object, true)", "cannot be called", Some(1)),
        (
            "object.a.all(a, a.all(b, b.all(c, true)))",
            "loops are nested deeper than 2",
            None,
        ),
    ] {
        let wrong = Condition::parse(text).expect_err(text);
        assert!(wrong.message.contains(message), "{text}: {wrong:?}");
        assert_eq!(wrong.column, column, "{text}: {wrong:?}");
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_refused() {
    let long = format!("'{}' == 'x'", "x".repeat(MAX_TEXT));
    let wide = vec!["true"; 600].join("&&");
    let chain = vec!["1"; 200].join("+");
    for text in [
        long,
        wide.clone(),
        format!("{}1{} == 1", "(".repeat(500), ")".repeat(500)),
        format!("{}true", "!".repeat(2000)),
        format!("{}1 == 1", "-".repeat(2000)),
        format!("{}1 == 1", "- ".repeat(1000)),
        format!("{}true", "true ? true : ".repeat(200)),
        format!("{chain} == 1"),
        format!("object{} == 1", ".a".repeat(1000)),
        format!("object{} == 1", "[0]".repeat(500)),
        format!("{}object == 1{}", "size(".repeat(40), ")".repeat(40)),
    ] {
        // As much stack as the tasks of a runtime have.
        let parsed = std::thread::Builder::new().stack_size(2 << 20);
        let parsed = parsed.spawn(move || Condition::parse(&text).is_err());
        assert!(parsed.unwrap().join().unwrap());
    }
    assert!(Condition::parse(&vec!["true"; 400].join(" && ")).is_ok());
}

#[test]
fn a_condition_is_its_text() {
    let condition = condition("request.verb == 'get'");
    let text = serde_json::to_string(&condition).unwrap();
    assert_eq!(text, "\"request.verb == 'get'\"");
    assert_eq!(serde_json::from_str::<Condition>(&text).unwrap(), condition);
    assert!(serde_json::from_str::<Condition>("\"nothing\"").is_err());
    assert!(!condition.reads_object());
    assert!(self::condition("[1].exists(x, x == object.y)").reads_object());
}
