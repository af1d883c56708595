//! Which fields a body sets, compares or copies.

use super::*;

#[test]
fn says_which_fields_a_body_may_touch() {
    use BodyKind::{ApplyYaml, Json, JsonPatch, MergePatch, StrategicPatch};
    for (kind, body, field, sets, tests) in [
        (Json, r#"{"data":{"a":"b"}}"#, "data.*", true, false),
        (Json, r#"{"stringData":{"a":"b"}}"#, "data.*", true, false),
        (Json, r#"{"metadata":{"name":"x"}}"#, "data.*", false, false),
        (
            Json,
            r#"{"metadata":{"creationTimestamp":null}}"#,
            "**.token",
            false,
            false,
        ),
        (ApplyYaml, "metadata:\n  name: x\n", "data.*", false, false),
        (ApplyYaml, "data:\n  a: b\n", "data.*", true, false),
        (MergePatch, "{}", "data.*", false, false),
        (MergePatch, r#"{"data":null}"#, "data.*", true, false),
        (MergePatch, r#"{"data":{}}"#, "data.*", false, false),
        (
            MergePatch,
            r#"{"spec":{"containers":[]}}"#,
            "spec.containers[*].env[*].value",
            true,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"containers":[{"name":"c","image":"x"}]}}"#,
            "spec.containers[*].env[*].value",
            false,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"x"}]}]}}"#,
            "spec.containers[*].env[*].value",
            true,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"containers":[{"name":"c","$patch":"delete"}]}}"#,
            "spec.containers[*].env[*].value",
            true,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"$setElementOrder/containers":[{"name":"c"}]}}"#,
            "spec.containers[*].env[*].value",
            false,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"$deleteFromPrimitiveList/tokens":["x"]}}"#,
            "spec.tokens",
            true,
            true,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"$deleteFromPrimitiveList/names":["x"]}}"#,
            "spec.tokens",
            false,
            false,
        ),
        (
            StrategicPatch,
            r#"{"spec":{"users":[{"token":"x","$patch":"delete"}]}}"#,
            "spec.users[*].token",
            true,
            true,
        ),
        // What was applied is a copy of the object.
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"x"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"copy","from":"/metadata/annotations","path":"/metadata/labels"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/annotations/other","value":"x"}]"#,
            "data.*",
            false,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/data/password","value":"x"}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/data","value":{}}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"","value":{}}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/name","value":"db"}]"#,
            "data.*",
            false,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"copy","from":"/data/password","path":"/metadata/name"}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"move","from":"/data","path":"/metadata/labels"}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"copy","from":"/metadata/name","path":"/data/x"}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"add","path":"/data/x","value":"y"}]"#,
            "data.*",
            true,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/data/0","value":"y"}]"#,
            "data.*",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/data/a~1b","value":"y"}]"#,
            "data.a/b",
            true,
            true,
        ),
        // Copies in annotations, and items that are named by their values.
        (
            JsonPatch,
            r#"[{"op":"copy","from":"/metadata/annotations/note","path":"/data2"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/annotations/a~1original","value":"y"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/annotations/note","value":"a longer text"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/metadata/annotations/revision","value":"12"}]"#,
            "data.*",
            false,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"move","from":"/metadata/managedFields/0/fieldsV1","path":"/spec/x"}]"#,
            "data.*",
            false,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"copy","from":"/metadata/uid","path":"/spec/x"}]"#,
            "data.*",
            false,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"test","path":"/spec/containers/-1/env/0/value","value":"y"}]"#,
            "spec.containers[*].env[*].value",
            true,
            true,
        ),
        (
            JsonPatch,
            r#"[{"op":"add","path":"/spec/containers/-","value":{"name":"c"}}]"#,
            "spec.containers[*].env[*].value",
            false,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"add","path":"/spec/containers/-","value":{"env":[{"value":"c"}]}}]"#,
            "spec.containers[*].env[*].value",
            true,
            false,
        ),
        (
            JsonPatch,
            r#"[{"op":"remove","path":"/spec/containers/0"}]"#,
            "spec.containers[*].env[*].value",
            true,
            false,
        ),
    ] {
        let facts = read("secrets", kind, body);
        assert_eq!(facts.opaque, None, "{body}");
        let got = (
            facts.sets(&pattern(field)),
            facts.tests_or_copies(&pattern(field)),
        );
        assert_eq!(got, (sets, tests), "{field} {body}");
    }
}

#[test]
fn says_what_was_applied() {
    let applied = |object: &str| {
        serde_json::json!({ "metadata": { "annotations": { LAST_APPLIED: object } } }).to_string()
    };
    for (kind, body, expected) in [
        (BodyKind::Json, applied(r#"{"data":{"a":"b"}}"#), true),
        (BodyKind::MergePatch, applied(r#"{"stringData":{"a":"b"}}"#), true),
        (BodyKind::ApplyYaml, applied("no JSON"), true),
        (BodyKind::Json, applied(r#"{"type":"Opaque"}"#), false),
        (
            BodyKind::ApplyYaml,
            r#"{"metadata":{"annotations":{"kapp.k14s.io/original":"{\"data\":{\"a\":\"b\"}}"}}}"#.to_owned(),
            true,
        ),
        (
            BodyKind::ApplyYaml,
            r#"{"metadata":{"annotations":{"x.io/applied":"packed"}}}"#.to_owned(),
            true,
        ),
        (
            BodyKind::ApplyYaml,
            r#"{"metadata":{"annotations":{"note":"[{\"x\":{\"data\":{\"a\":\"b\"}}}]"}}}"#.to_owned(),
            true,
        ),
        (
            BodyKind::ApplyYaml,
            r#"{"metadata":{"annotations":{"note":"data: a","other":"{\"a\":1}"}}}"#.to_owned(),
            false,
        ),
        (BodyKind::Json, r#"{"data":{"a":"b"}}"#.to_owned(), false),
        (
            BodyKind::JsonPatch,
            r#"[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":"{\"data\":{\"a\":\"b\"}}"}]"#.to_owned(),
            true,
        ),
    ] {
        let facts = read("secrets", kind, &body);
        assert_eq!(facts.sets_applied(&pattern("data.*")), expected, "{body}");
    }
}
