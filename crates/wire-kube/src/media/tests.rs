use super::*;

fn accept(lines: &[&str]) -> Result<Option<String>, NotAcceptable> {
    accept_json(lines.iter().copied())
}

fn sent(line: &str) -> String {
    accept(&[line]).unwrap().unwrap_or_else(|| line.to_owned())
}

#[test]
fn leaves_json_as_it_is() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    for line in [
        "application/json",
        table,
        "application/json;stream=watch",
        "application/json;q=0.5, application/json;as=Table;v=v1;g=meta.k8s.io",
    ] {
        assert_eq!(accept(&[line]), Ok(None), "{line}");
    }
}

#[test]
fn nothing_and_wildcards_become_json() {
    assert_eq!(accept(&[]), Ok(Some(JSON.to_owned())));
    for line in ["", "  ", "*/*", "application/*", "*", "text/html, */*"] {
        assert_eq!(sent(line), JSON, "{line:?}");
    }
    assert_eq!(
        sent("*/*;as=Table;v=v1;g=meta.k8s.io"),
        "application/json;as=Table;v=v1;g=meta.k8s.io"
    );
}

#[test]
fn binary_forms_fall_back_to_json_where_the_client_takes_it() {
    for (line, expected) in [
        ("application/vnd.kubernetes.protobuf, */*", JSON),
        ("application/vnd.kubernetes.protobuf,application/json", JSON),
        (
            "application/cbor, application/json;q=0.5",
            "application/json;q=0.5",
        ),
        ("application/yaml, */*", JSON),
        (
            "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch",
            "application/json;stream=watch",
        ),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        ),
        // kubectl get: the wildcard adds nothing.
        ("application/json, */*", JSON),
    ] {
        assert_eq!(sent(line), expected, "{line}");
    }
}

#[test]
fn refuses_a_client_that_takes_no_json() {
    for line in [
        "application/vnd.kubernetes.protobuf",
        "application/cbor",
        "application/yaml",
        "application/cbor-seq, application/yaml",
        "text/plain",
        // The server compares case by case, and takes quotes for part of a name.
        "Application/JSON",
        "application/json;as=\"Table\"",
        ",",
    ] {
        assert_eq!(accept(&[line]), Err(NotAcceptable), "{line}");
    }
    assert_eq!(
        accept(&[&"application/json,".repeat(600)]),
        Err(NotAcceptable)
    );
    assert_eq!(accept(&[&"*/*,".repeat(65)]), Err(NotAcceptable));
}

#[test]
fn yaml_is_made_of_json() {
    for (line, expected) in [
        ("application/yaml", Ok(JSON)),
        ("application/cbor-seq, application/yaml", Ok(JSON)),
        (
            "application/yaml;as=Table;v=v1;g=meta.k8s.io, application/yaml;q=0.5",
            Ok("application/json;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.5"),
        ),
        ("application/vnd.kubernetes.protobuf", Err(NotAcceptable)),
        ("Application/Yaml", Err(NotAcceptable)),
        ("application/yaml;as=\"Table\"", Err(NotAcceptable)),
    ] {
        let sent = accept_yaml([line].into_iter());
        assert_eq!(sent, expected.map(str::to_owned), "{line}");
    }
    let second = accept_yaml(["application/cbor", "application/yaml"].into_iter());
    assert_eq!(second, Err(NotAcceptable));
}

#[test]
fn only_the_first_line_counts() {
    assert_eq!(
        accept(&["application/json", "application/vnd.kubernetes.protobuf"]),
        Ok(Some(JSON.to_owned()))
    );
    assert_eq!(
        accept(&["application/cbor", "application/json"]),
        Err(NotAcceptable)
    );
}

#[test]
fn knows_kinds_of_bodies() {
    for (text, kind) in [
        (None, BodyKind::Json),
        (Some(""), BodyKind::Json),
        (Some("application/json"), BodyKind::Json),
        (Some("Application/JSON; charset=utf-8"), BodyKind::Json),
        (Some("application/yaml"), BodyKind::Yaml),
        (
            Some("application/vnd.kubernetes.protobuf"),
            BodyKind::Protobuf,
        ),
        (Some("application/cbor"), BodyKind::Cbor),
        (Some("application/json-patch+json"), BodyKind::JsonPatch),
        (Some("application/merge-patch+json"), BodyKind::MergePatch),
        (
            Some("application/strategic-merge-patch+json"),
            BodyKind::StrategicPatch,
        ),
        (Some("application/apply-patch+yaml"), BodyKind::ApplyYaml),
        (Some("application/apply-patch+cbor"), BodyKind::ApplyCbor),
        (Some("text/plain"), BodyKind::Other),
        (Some(";"), BodyKind::Other),
        (Some("application/json, application/yaml"), BodyKind::Other),
    ] {
        assert_eq!(body_kind(text), kind, "{text:?}");
    }
}
