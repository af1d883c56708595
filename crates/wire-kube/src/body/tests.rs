mod fields;
mod secrets;

use super::*;

fn resource(group: &str, resource: &str) -> Resource {
    Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        ..Resource::default()
    }
}

fn read(resource_name: &str, kind: BodyKind, body: &str) -> BodyFacts {
    let group = match resource_name {
        "deployments" | "controllerrevisions" => "apps",
        "cronjobs" => "batch",
        "customresourcedefinitions" => "apiextensions.k8s.io",
        "rollouts" => "argoproj.io",
        _ => "",
    };
    facts(&resource(group, resource_name), kind, body.as_bytes())
}

fn pattern(text: &str) -> FieldPattern {
    FieldPattern::parse(text).unwrap()
}

/// `reads`, `steps out`, the service account, in one line.
fn shown(facts: &BodyFacts) -> String {
    assert_eq!(facts.opaque, None);
    let mut line = String::new();
    if facts.reads_secrets {
        line.push_str("secrets ");
    }
    if facts.privileged {
        line.push_str("privileged ");
    }
    match &facts.service_account {
        Some(ServiceAccount::Named(name)) => line.push_str(name),
        Some(ServiceAccount::Any) => line.push('*'),
        None => {}
    }
    line.trim_end().to_owned()
}

fn strings(facts: &BodyFacts) -> Vec<String> {
    let mut strings = Vec::new();
    facts.any_string(|text| {
        strings.push(text.to_owned());
        false
    });
    strings
}

#[test]
fn a_workload_that_gets_secrets_is_seen_wherever_its_template_stands() {
    for (name, spec, expected) in [
        ("pods", r#"{"containers":[{"image":"x"}]}"#, ""),
        (
            "pods",
            r#"{"containers":[{"envFrom":[{"secretRef":{"name":"db"}}]}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"containers":[{"envFrom":[{"configMapRef":{"name":"db"}}]}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"initContainers":[{"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"db","key":"p"}}}]}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"name":"v","secret":{"secretName":"db"}}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"name":"secret","emptyDir":{}}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"volumes":[{"projected":{"sources":[{"secret":{"name":"db"}}]}}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"projected":{"sources":[{"serviceAccountToken":{"path":"t"}}]}}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"volumes":[{"csi":{"driver":"secrets-store.csi.k8s.io"}}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"csi":{"driver":"ebs","nodePublishSecretRef":{"name":"db"}}}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"csi":{"driver":"ebs.csi.aws.com"}}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"volumes":[{"flexVolume":{"driver":"x","secretRef":{"name":"db"}}}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"volumes":[{"azureFile":{"secretName":"db","shareName":"x"}}]}"#,
            "secrets",
        ),
        ("pods", r#"{"imagePullSecrets":[{"name":"r"}]}"#, ""),
        (
            "pods",
            r#"{"ephemeralContainers":[{"name":"d","targetContainerName":"c"}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"ephemeralContainers":[{"name":"d","volumeMounts":[{"name":"v"}]}]}"#,
            "secrets",
        ),
        (
            "pods",
            r#"{"ephemeralContainers":[{"name":"d","image":"x"}]}"#,
            "",
        ),
        (
            "deployments",
            r#"{"template":{"spec":{"volumes":[{"secret":{}}],"hostNetwork":true}}}"#,
            "secrets privileged",
        ),
        (
            "cronjobs",
            r#"{"jobTemplate":{"spec":{"template":{"spec":{"serviceAccountName":"admin"}}}}}"#,
            "admin",
        ),
        (
            "rollouts",
            r#"{"template":{"spec":{"containers":[{"envFrom":[{"secretRef":{}}]}]}}}"#,
            "secrets",
        ),
        (
            "customresourcedefinitions",
            r#"{"versions":[{"schema":{"properties":{"hostNetwork":{"type":"boolean"},"secretKeyRef":{}}}}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"containers":[{"securityContext":{"privileged":true}}]}"#,
            "privileged",
        ),
        (
            "pods",
            r#"{"containers":[{"securityContext":{"privileged":false,"capabilities":{"drop":["ALL"],"add":[]}}}]}"#,
            "",
        ),
        (
            "pods",
            r#"{"containers":[{"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]}"#,
            "privileged",
        ),
        (
            "pods",
            r#"{"containers":[{"securityContext":{"procMount":"Unmasked"}}]}"#,
            "privileged",
        ),
        ("pods", r#"{"hostPID":true}"#, "privileged"),
        ("pods", r#"{"hostIPC":true}"#, "privileged"),
        ("pods", r#"{"hostNetwork":false,"hostPID":null}"#, ""),
        (
            "pods",
            r#"{"securityContext":{"windowsOptions":{"hostProcess":true}}}"#,
            "privileged",
        ),
        (
            "pods",
            r#"{"volumes":[{"hostPath":{"path":"/"}}]}"#,
            "privileged",
        ),
        (
            "pods",
            r#"{"serviceAccountName":"a","serviceAccount":"a"}"#,
            "a",
        ),
        (
            "pods",
            r#"{"serviceAccountName":"a","serviceAccount":"b"}"#,
            "*",
        ),
        ("pods", r#"{"serviceAccountName":""}"#, ""),
    ] {
        let body = format!(
            r#"{{"metadata":{{"name":"x","annotations":{{"hostPID":"y"}}}},"spec":{spec}}}"#
        );
        for kind in [
            BodyKind::Json,
            BodyKind::Yaml,
            BodyKind::ApplyYaml,
            BodyKind::StrategicPatch,
            BodyKind::MergePatch,
        ] {
            assert_eq!(shown(&read(name, kind, &body)), expected, "{kind:?} {spec}");
        }
    }
    // The names of a map's own texts say nothing.
    let map = read(
        "configmaps",
        BodyKind::Json,
        r#"{"data":{"hostPID":"true","serviceAccountName":"x"}}"#,
    );
    assert_eq!(shown(&map), "");
}

#[test]
fn a_json_patch_is_read_by_its_paths_as_well() {
    for (patch, expected) in [
        (
            r#"[{"op":"test","path":"/metadata/name","value":"db"}]"#,
            "",
        ),
        (
            r#"[{"op":"add","path":"/spec/containers/0/envFrom","value":[{"secretRef":{"name":"db"}}]}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"add","path":"/spec/containers/0/envFrom/-","value":{"secretRef":{"name":"db"}}}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"replace","path":"/spec/containers/0/envFrom/0/secretRef/name","value":"db"}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"add","path":"/spec/volumes/-","value":{"secret":{"secretName":"db"}}}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"replace","path":"/spec/volumes/0/secret/secretName","value":"db"}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"copy","from":"/spec/containers/0/env/0/valueFrom/secretKeyRef","path":"/spec/x"}]"#,
            "secrets",
        ),
        (
            r#"[{"op":"replace","path":"/spec/hostNetwork","value":true}]"#,
            "privileged",
        ),
        (r#"[{"op":"remove","path":"/spec/hostNetwork"}]"#, ""),
        (
            r#"[{"op":"replace","path":"/spec/containers/0/securityContext/capabilities/add/0","value":"SYS_ADMIN"}]"#,
            "privileged",
        ),
        (
            r#"[{"op":"replace","path":"/spec/serviceAccountName","value":"admin"}]"#,
            "admin",
        ),
        (
            r#"[{"op":"move","from":"/metadata/labels/x","path":"/spec/serviceAccountName"}]"#,
            "*",
        ),
        (
            r#"[{"op":"replace","path":"/spec","value":{"hostPID":true}}]"#,
            "privileged",
        ),
        (
            r#"[{"op":"replace","path":"","value":{"spec":{"hostPID":true}}}]"#,
            "privileged",
        ),
        (
            r#"[{"op":"replace","path":"/spec/template/spec/host~0x","value":1}]"#,
            "",
        ),
    ] {
        assert_eq!(
            shown(&read("pods", BodyKind::JsonPatch, patch)),
            expected,
            "{patch}"
        );
    }
}

#[test]
fn shows_every_string_also_those_that_are_wrapped() {
    let secret = read(
        "secrets",
        BodyKind::Json,
        r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"x\":\"Zmlyc3Q=\"},\"n\":1}"}},"data":{"a":"bWFza2Vk","b":"/w=="},"stringData":{"c":"plain"}}"#,
    );
    let texts = strings(&secret);
    for text in ["Zmlyc3Q=", "first", "bWFza2Vk", "masked", "/w==", "plain"] {
        assert!(texts.iter().any(|t| t == text), "{text} {texts:?}");
    }
    let map = read("configmaps", BodyKind::Json, r#"{"data":{"a":"bWFza2Vk"}}"#);
    assert_eq!(strings(&map), ["bWFza2Vk"]);
    let patch = read(
        "secrets",
        BodyKind::JsonPatch,
        r#"[{"op":"add","path":"/data/x","value":"bWFza2Vk"},{"op":"add","path":"/data","value":{"y":"eQ=="}}]"#,
    );
    assert_eq!(strings(&patch), ["bWFza2Vk", "masked", "eQ==", "y"]);
    let yaml = read(
        "secrets",
        BodyKind::ApplyYaml,
        "data: {a: bWFza2Vk}\nlist: [x, 1, true]\n",
    );
    assert_eq!(strings(&yaml), ["bWFza2Vk", "masked", "x"]);
}

#[test]
fn knows_a_secrets_type_and_a_dry_run() {
    let token = r#"{"type":"kubernetes.io/service-account-token"}"#;
    let typed = |name, kind, body| read(name, kind, body).secret_type;
    assert_eq!(
        typed("secrets", BodyKind::Json, token).as_deref(),
        Some("kubernetes.io/service-account-token")
    );
    assert_eq!(typed("services", BodyKind::Json, token), None);
    let patch = r#"[{"op":"add","path":"/type","value":"x"}]"#;
    assert_eq!(
        typed("secrets", BodyKind::JsonPatch, patch).as_deref(),
        Some("x")
    );
}

#[test]
fn a_delete_is_a_dry_run_where_its_body_says_so() {
    let all = r#"{"kind":"DeleteOptions","dryRun":["All"]}"#;
    assert!(asks_for_dry_run(BodyKind::Json, all.as_bytes()));
    assert!(asks_for_dry_run(BodyKind::Yaml, b"dryRun: [All]\n"));
    for (kind, options) in [
        (BodyKind::Json, "{}"),
        (BodyKind::Json, r#"{"kind":"DeleteOptions"}"#),
        (BodyKind::Json, r#"{"dryRun":[]}"#),
        (BodyKind::Json, r#"{"preconditions":{"dryRun":["All"]}}"#),
        (BodyKind::Json, r#"{"dryRun":["All"],"dryRun":[]}"#),
        (BodyKind::Cbor, all),
        (BodyKind::Other, all),
    ] {
        assert!(!asks_for_dry_run(kind, options.as_bytes()), "{options}");
    }
}

#[test]
fn what_cannot_be_read_may_do_anything() {
    let deep = "[".repeat(200);
    let many = format!("[{}0]", "0,".repeat(400_001));
    let large = format!("\"{}\"", "x".repeat(MAX_BODY));
    for (kind, body) in [
        (BodyKind::Cbor, "x"),
        (BodyKind::ApplyCbor, "x"),
        (BodyKind::Other, "x"),
        (BodyKind::Json, "{"),
        (BodyKind::Json, "{} {}"),
        (BodyKind::Json, " "),
        (BodyKind::Json, r#"{"a":1,"a":2}"#),
        (BodyKind::Json, r#"{"a":1,"\u0061":2}"#),
        (BodyKind::Json, "a: b"),
        (BodyKind::Json, &deep),
        (BodyKind::Json, &many),
        (BodyKind::Json, &large),
        (BodyKind::Yaml, "a: 1\na: 2\n"),
        (BodyKind::Yaml, "a: 1\n---\nb: 2\n"),
        (BodyKind::Yaml, "a: [\n"),
        (
            BodyKind::Yaml,
            "x: &a [1,1,1,1,1,1,1,1]\ny: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nz: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nq: &d [*c,*c,*c,*c,*c,*c,*c,*c]\nr: &e [*d,*d,*d,*d,*d,*d,*d,*d]\ns: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
        ),
        (BodyKind::Yaml, &deep),
        (BodyKind::JsonPatch, "{}"),
        (BodyKind::JsonPatch, "[1]"),
        (BodyKind::JsonPatch, r#"[{"op":"add","value":1}]"#),
        (
            BodyKind::JsonPatch,
            r#"[{"op":"Add","path":"/a","value":1}]"#,
        ),
        (
            BodyKind::JsonPatch,
            r#"[{"op":"add","path":"x/data/a","value":1}]"#,
        ),
        (BodyKind::JsonPatch, r#"[{"op":"copy","path":"/a"}]"#),
        (BodyKind::Protobuf, "{}"),
    ] {
        let facts = read("secrets", kind, body);
        let short: String = body.chars().take(40).collect();
        assert!(facts.opaque.is_some(), "{kind:?} {short}");
        assert!(facts.reads_secrets && facts.privileged && facts.is_partial());
        assert_eq!(facts.service_account, Some(ServiceAccount::Any));
        assert!(facts.sets(&pattern("data.*")) && facts.tests_or_copies(&pattern("x")));
    }
    let path = format!(
        r#"[{{"op":"test","path":"{}","value":1}}]"#,
        "/a".repeat(200)
    );
    assert!(read("secrets", BodyKind::JsonPatch, &path).opaque.is_some());
    let empty = read("secrets", BodyKind::Json, "");
    assert_eq!((empty.opaque.clone(), empty.is_partial()), (None, false));
    assert!(!empty.sets(&pattern("data.*")));
}

#[test]
fn yaml_merges_and_anchors_hide_nothing() {
    let merged = "base: &base\n  hostNetwork: true\nspec:\n  <<: *base\n  containers: []\n";
    let facts = read("pods", BodyKind::Yaml, merged);
    assert!(facts.opaque.is_some() || facts.privileged);
    let word = read("pods", BodyKind::Yaml, "spec:\n  hostNetwork: yes\n");
    assert!(word.privileged);
    let tagged = read(
        "secrets",
        BodyKind::Yaml,
        "data: !!map {a: !!str bWFza2Vk}\n",
    );
    assert!(tagged.opaque.is_some() || strings(&tagged).contains(&"masked".to_owned()));
}

#[test]
fn breaks_of_lines_that_not_every_reader_knows_are_refused() {
    for c in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let text = format!("spec:\n  # nothing{c}  hostNetwork: true\n");
        for kind in [BodyKind::Yaml, BodyKind::ApplyYaml] {
            let facts = read("pods", kind, &text);
            assert!(facts.opaque.is_some() && facts.privileged, "{c:?}");
        }
        let json = format!(r#"{{"data":{{"a":"{c}"}}}}"#);
        assert_eq!(read("configmaps", BodyKind::Yaml, &json).opaque, None);
    }
}

#[test]
fn directories_of_the_node_are_known_by_all_their_names() {
    for (resource, body, expected) in [
        (
            "persistentvolumes",
            r#"{"spec":{"local":{"path":"/"}}}"#,
            true,
        ),
        (
            "persistentvolumes",
            r#"{"spec":{"hostPath":{"path":"/"}}}"#,
            true,
        ),
        (
            "persistentvolumes",
            r#"{"spec":{"nfs":{"path":"/"}}}"#,
            false,
        ),
        ("rollouts", r#"{"spec":{"local":{"path":"/"}}}"#, false),
    ] {
        let facts = read(resource, BodyKind::Json, body);
        assert_eq!(facts.privileged, expected, "{resource} {body}");
    }
    let patch = r#"[{"op":"replace","path":"/spec/local/path","value":"/"}]"#;
    assert!(read("persistentvolumes", BodyKind::JsonPatch, patch).privileged);
}
