use super::*;
use crate::body::facts;
use crate::{BodyFacts, BodyKind, FieldPattern, ServiceAccount};

/// A field that holds bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    if number >= 16 {
        out = vec![(number << 3 | 2) & 127 | 128, number >> 4];
    }
    let mut length = content.len();
    while length >= 128 {
        out.push((length & 127 | 128) as u8);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(content);
    out
}

fn text(number: u8, content: &str) -> Vec<u8> {
    bytes(number, content.as_bytes())
}

/// A field that holds a number.
fn number(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn envelope(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = join(&[text(1, api_version), text(2, kind)]);
    join(&[
        MAGIC.to_vec(),
        bytes(1, &type_meta),
        bytes(2, object),
        text(3, ""),
        text(4, ""),
    ])
}

fn resource(group: &str, resource: &str) -> Resource {
    Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        ..Resource::default()
    }
}

fn read(group: &str, name: &str, body: &[u8]) -> BodyFacts {
    facts(&resource(group, name), BodyKind::Protobuf, body)
}

fn pattern(text: &str) -> FieldPattern {
    FieldPattern::parse(text).unwrap()
}

#[test]
fn a_secret_becomes_what_it_is_in_json() {
    let entry = join(&[text(1, "password"), text(2, "masked")]);
    let meta = join(&[
        text(1, "db"),
        bytes(8, b""),
        bytes(12, &join(&[text(1, "a"), text(2, "b")])),
    ]);
    let secret = join(&[
        bytes(1, &meta),
        bytes(2, &entry),
        text(3, "Opaque"),
        number(5, 1),
    ]);
    let body = envelope("v1", "Secret", &secret);
    let object = object(&body, &resource("", "secrets")).unwrap();
    let expected = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "db", "annotations": {"a": "b"}},
        "data": {"password": "bWFza2Vk"}, "type": "Opaque", "immutable": true,
    });
    assert_eq!(object.value, expected);
    let facts = read("", "secrets", &body);
    assert_eq!(facts.opaque, None);
    assert_eq!(facts.secret_type.as_deref(), Some("Opaque"));
    assert!(facts.sets(&pattern("data.*")) && !facts.sets(&pattern("spec.x")));
    assert!(facts.any_string(|text| text == "masked"));
}

/// A pod's spec with one container.
fn pod_spec(container: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
    join(&[
        bytes(2, &join(&[text(1, "c"), join(container)])),
        join(more),
    ])
}

#[test]
fn workloads_are_read_down_to_what_their_containers_get() {
    let reference = bytes(1, &text(1, "db"));
    let from_secret = bytes(19, &bytes(3, &reference));
    let key = bytes(7, &join(&[text(1, "A"), bytes(3, &bytes(4, &reference))]));
    let privileged = bytes(15, &number(2, 1));
    let capable = bytes(15, &bytes(1, &text(1, "SYS_ADMIN")));
    let secret_volume = bytes(
        1,
        &join(&[text(1, "v"), bytes(2, &bytes(6, &text(1, "db")))]),
    );
    let host_volume = bytes(
        1,
        &join(&[text(1, "v"), bytes(2, &bytes(1, &text(1, "/")))]),
    );
    let projected = bytes(1, &bytes(2, &bytes(26, &bytes(1, &bytes(1, &reference)))));
    let account = text(8, "admin");
    // Target and mounts of an ephemeral container.
    let target = [bytes(34, &join(&[bytes(1, &text(1, "d")), text(2, "c")]))].map(|mut field| {
        field[0] = (34 << 3 | 2) as u8 & 127 | 128;
        field[1] = 2;
        field
    });
    for (container, more, expected) in [
        (vec![], vec![], (false, false, None)),
        (vec![from_secret], vec![], (true, false, None)),
        (vec![key], vec![], (true, false, None)),
        (vec![privileged], vec![], (false, true, None)),
        (vec![capable], vec![], (false, true, None)),
        (vec![], vec![secret_volume], (true, false, None)),
        (vec![], vec![host_volume], (false, true, None)),
        (vec![], vec![projected], (true, false, None)),
        (vec![], vec![number(11, 1)], (false, true, None)),
        (
            vec![],
            vec![number(11, 0), number(12, 0), number(13, 0)],
            (false, false, None),
        ),
        (vec![], vec![account], (false, false, Some("admin"))),
        (vec![], target.to_vec(), (true, false, None)),
    ] {
        let spec = pod_spec(&container, &more);
        let template = bytes(3, &bytes(2, &spec));
        let pod = envelope("v1", "Pod", &bytes(2, &spec));
        let deployment = envelope("apps/v1", "Deployment", &bytes(2, &template));
        let job = bytes(2, &bytes(6, &bytes(2, &spec)));
        let cron = envelope("batch/v1", "CronJob", &bytes(2, &bytes(5, &job)));
        for (group, name, body) in [
            ("", "pods", &pod),
            ("apps", "deployments", &deployment),
            ("batch", "cronjobs", &cron),
            // What names no kind is taken for the resource's own.
            ("", "pods", &envelope("", "", &bytes(2, &spec))),
        ] {
            let facts = read(group, name, body);
            assert_eq!(facts.opaque, None, "{name}");
            let named = expected
                .2
                .map(|name: &str| ServiceAccount::Named(name.to_owned()));
            let expected = (expected.0, expected.1, named);
            let got = (facts.reads_secrets, facts.privileged, facts.service_account);
            assert_eq!(got, expected, "{name} {container:?} {more:?}");
        }
    }
}

/// A field of any number.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = bytes(1, content);
    let tag = number << 3 | 2;
    let tag = match tag < 128 {
        true => vec![tag as u8],
        false => vec![(tag & 127 | 128) as u8, (tag >> 7) as u8],
    };
    out.splice(..1, tag);
    out
}

/// A pod with one volume.
fn pod_with(source: &[u8]) -> Vec<u8> {
    let volume = join(&[text(1, "v"), bytes(2, source)]);
    envelope("v1", "Pod", &bytes(2, &pod_spec(&[], &[bytes(1, &volume)])))
}

#[test]
fn each_kind_of_volume_is_what_it_is_in_json() {
    let reference = text(1, "db");
    let quantity = text(1, "1Gi");
    let key = join(&[text(1, "k"), text(2, "p"), number(3, 1)]);
    let claim = join(&[
        text(1, "ReadWriteOnce"),
        bytes(
            2,
            &bytes(2, &join(&[text(1, "storage"), bytes(2, &quantity)])),
        ),
        bytes(4, &bytes(1, &join(&[text(1, "a"), text(2, "b")]))),
        text(5, "gp3"),
    ]);
    for (number, content, json) in [
        (1, text(1, "/"), r#"{"hostPath":{"path":"/"}}"#),
        (
            2,
            bytes(2, &quantity),
            r#"{"emptyDir":{"sizeLimit":"1Gi"}}"#,
        ),
        (
            6,
            join(&[text(1, "db"), bytes(2, &key)]),
            r#"{"secret":{"secretName":"db","items":[{"key":"k","path":"p","mode":1}]}}"#,
        ),
        (
            7,
            join(&[text(1, "s"), text(2, "/")]),
            r#"{"nfs":{"server":"s","path":"/"}}"#,
        ),
        (
            8,
            bytes(10, &reference),
            r#"{"iscsi":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            10,
            text(1, "c"),
            r#"{"persistentVolumeClaim":{"claimName":"c"}}"#,
        ),
        (
            11,
            bytes(7, &reference),
            r#"{"rbd":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            12,
            bytes(3, &reference),
            r#"{"flexVolume":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            13,
            bytes(4, &reference),
            r#"{"cinder":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            14,
            bytes(5, &reference),
            r#"{"cephfs":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            16,
            bytes(
                1,
                &join(&[text(1, "p"), bytes(2, &text(2, "metadata.name"))]),
            ),
            r#"{"downwardAPI":{"items":[{"path":"p","fieldRef":{"fieldPath":"metadata.name"}}]}}"#,
        ),
        (18, text(1, "db"), r#"{"azureFile":{"secretName":"db"}}"#),
        (
            19,
            join(&[bytes(1, &reference), bytes(2, &key)]),
            r#"{"configMap":{"name":"db","items":[{"key":"k","path":"p","mode":1}]}}"#,
        ),
        (
            25,
            bytes(3, &reference),
            r#"{"scaleIO":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            26,
            bytes(1, &bytes(4, &text(3, "t"))),
            r#"{"projected":{"sources":[{"serviceAccountToken":{"path":"t"}}]}}"#,
        ),
        (
            26,
            bytes(1, &bytes(1, &bytes(1, &reference))),
            r#"{"projected":{"sources":[{"secret":{"name":"db"}}]}}"#,
        ),
        (
            27,
            bytes(5, &reference),
            r#"{"storageos":{"secretRef":{"name":"db"}}}"#,
        ),
        (
            28,
            join(&[text(1, "d"), bytes(5, &reference)]),
            r#"{"csi":{"driver":"d","nodePublishSecretRef":{"name":"db"}}}"#,
        ),
        (
            28,
            text(1, "secrets-store.csi.k8s.io"),
            r#"{"csi":{"driver":"secrets-store.csi.k8s.io"}}"#,
        ),
        (
            29,
            bytes(1, &bytes(2, &claim)),
            r#"{"ephemeral":{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"selector":{"matchLabels":{"a":"b"}},"storageClassName":"gp3"}}}}"#,
        ),
        (30, text(1, "i"), r#"{"image":{"reference":"i"}}"#),
    ] {
        let body = pod_with(&field(number, &content));
        let mut volume: Value = serde_json::from_str(json).unwrap();
        let object = object(&body, &resource("", "pods")).unwrap();
        assert!(object.unknown.is_empty(), "{json}");
        volume["name"] = "v".into();
        assert_eq!(object.value["spec"]["volumes"][0], volume);
        let ours = read("", "pods", &body);
        let theirs = facts_of(&object.value, "", "pods");
        assert_eq!(ours.reads_secrets, theirs.reads_secrets, "{json}");
        assert_eq!(ours.privileged, theirs.privileged, "{json}");
        let given = json.contains(r#""db""#) && !json.contains("configMap");
        assert_eq!(
            ours.reads_secrets,
            given || json.contains("secrets-store"),
            "{json}"
        );
    }
}

#[test]
fn fields_of_a_later_version_have_every_effect_but_in_metadata() {
    let all = |body: &[u8]| {
        let facts = read("", "pods", body);
        assert_eq!(facts.opaque, None);
        let any = facts.service_account == Some(ServiceAccount::Any);
        (facts.reads_secrets, facts.privileged, any)
    };
    let later = field(99, b"x");
    let spec = |container: &[Vec<u8>], more: &[Vec<u8>]| {
        envelope("v1", "Pod", &bytes(2, &pod_spec(container, more)))
    };
    for body in [
        pod_with(&later),
        pod_with(&field(14, &later)),
        spec(std::slice::from_ref(&later), &[]),
        spec(&[bytes(15, &later)], &[]),
        spec(&[], std::slice::from_ref(&later)),
        envelope("v1", "Pod", &later),
    ] {
        assert_eq!(all(&body), (true, true, true), "{body:?}");
    }
    // Affinity is known to be none of it, and metadata never is.
    for body in [
        spec(&[], &[field(18, b"\x0a\x00")]),
        envelope("v1", "Pod", &bytes(1, &later)),
    ] {
        assert_eq!(all(&body), (false, false, false), "{body:?}");
    }
    let map = read("", "configmaps", &envelope("v1", "ConfigMap", &later));
    assert!(!map.reads_secrets && map.is_partial());
}

#[test]
fn classes_of_volumes_are_read_for_the_secrets_of_their_drivers() {
    for (name, expected) in [
        ("csi.storage.k8s.io/node-stage-secret-name", true),
        ("type", false),
    ] {
        let parameter = bytes(3, &join(&[text(1, name), text(2, "db")]));
        let body = envelope("storage.k8s.io/v1", "StorageClass", &parameter);
        let facts = read("storage.k8s.io", "storageclasses", &body);
        assert_eq!((facts.opaque, facts.reads_secrets), (None, expected));
    }
}

#[test]
fn environment_is_a_field_and_an_empty_one_is_none() {
    let value = pattern("spec.containers[*].env[*].value");
    let with = |env: &[u8]| envelope("v1", "Pod", &bytes(2, &pod_spec(&[bytes(7, env)], &[])));
    let plain = read("", "pods", &with(&join(&[text(1, "A"), text(2, "x")])));
    let empty = read("", "pods", &with(&join(&[text(1, "A"), text(2, "")])));
    assert!(plain.sets(&value) && !empty.sets(&value));
}

#[test]
fn what_is_not_known_is_taken_for_anything_at_its_place() {
    // Affinity and a field of a later version.
    let affinity = join(&[vec![18 << 3 & 127 | 2 | 128, 1], vec![6], text(1, "zone")]);
    let body = envelope("v1", "Pod", &bytes(2, &affinity));
    let facts = read("", "pods", &body);
    assert_eq!(facts.opaque, None);
    assert!(facts.is_partial());
    assert!(
        facts.sets(&pattern("spec.affinity.x")) && !facts.sets(&pattern("spec.containers[*].env"))
    );
    assert!(facts.any_string(|text| text == "zone"));
    let later = envelope("v1", "Pod", &bytes(15, b"new"));
    let facts = read("", "pods", &later);
    assert!(facts.sets(&pattern("spec.x")) && facts.is_partial());
    // A Lease holds no workload.
    let lease = envelope(
        "coordination.k8s.io/v1",
        "Lease",
        &bytes(2, &text(1, "holder")),
    );
    let facts = read("coordination.k8s.io", "leases", &lease);
    assert_eq!(facts.opaque, None);
    assert!(!facts.reads_secrets && !facts.privileged && facts.sets(&pattern("spec.holder")));
    // What may hold one, and is not read.
    for (group, name) in [("apps", "controllerrevisions"), ("", "persistentvolumes")] {
        assert!(
            read(group, name, &envelope("v1", "X", b""))
                .opaque
                .is_some()
        );
    }
    // A kind that is not the resource's.
    assert!(read("", "pods", &lease).opaque.is_some());
    let options = envelope("v1", "DeleteOptions", &text(5, "All"));
    assert!(read("", "pods", &options).dry_run);
}

#[test]
fn broken_protobuf_may_do_anything() {
    let spec = pod_spec(&[bytes(19, &bytes(3, b""))], &[number(11, 1)]);
    let body = envelope("v1", "Pod", &bytes(2, &spec));
    assert_eq!(read("", "pods", &body).opaque, None);
    // Cut anywhere within, it is broken, or an object that lacks its end.
    let inner = bytes(2, &spec);
    for cut in 1..inner.len() {
        assert!(
            read("", "pods", &envelope("v1", "Pod", &inner[..cut]))
                .opaque
                .is_some()
        );
    }
    for body in [
        &b"k8s\0\x0a"[..],
        b"k8s\0\x13",
        b"k8s\0\x02",
        b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"k8s",
    ] {
        assert!(read("", "pods", body).opaque.is_some(), "{body:?}");
    }
    let twice = bytes(2, b"").repeat(2);
    let coded = join(&[MAGIC.to_vec(), bytes(2, b""), text(3, "gzip")]);
    let raws = join(&[MAGIC.to_vec(), bytes(2, b""), bytes(2, b"")]);
    let wrong = number(2, 1);
    for body in [
        envelope("v1", "Pod", &twice),
        coded,
        raws,
        envelope("v1", "Pod", &wrong),
    ] {
        assert!(read("", "pods", &body).opaque.is_some());
    }
}

#[test]
fn depth_and_counts_are_bounded() {
    let mut nested = Vec::new();
    for _ in 0..1000 {
        nested = bytes(1, &nested);
    }
    let body = envelope("coordination.k8s.io/v1", "Lease", &nested);
    assert_eq!(read("coordination.k8s.io", "leases", &body).opaque, None);
    let many = bytes(1, b"").repeat(MAX_FIELDS + 1);
    let body = envelope("coordination.k8s.io/v1", "Lease", &many);
    assert!(
        read("coordination.k8s.io", "leases", &body)
            .opaque
            .is_some()
    );
    let volumes = bytes(2, &bytes(1, b"").repeat(MAX_FIELDS + 1));
    assert!(
        read("", "pods", &envelope("v1", "Pod", &volumes))
            .opaque
            .is_some()
    );
}

/// Objects as `k8s.io/client-go` 0.37 encodes them: resource, protobuf in hexadecimal, JSON.
const CAPTURES: &str = include_str!("captures.tsv");

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// What is in JSON is in the object as well, but inside of what is not known.
fn assert_holds(json: &Value, ours: &Value, at: &str) {
    match (json, ours) {
        (Value::Object(json), Value::Object(ours)) => {
            let unknown = ours.is_empty();
            for (name, value) in json.iter().filter(|_| !unknown) {
                let empty = (value.is_null() || value == "")
                    || value.as_object().is_some_and(Map::is_empty);
                match ours.get(name) {
                    Some(ours) => assert_holds(value, ours, &format!("{at}.{name}")),
                    None => assert!(empty, "{at}.{name}"),
                }
            }
        }
        (Value::Array(json), Value::Array(ours)) => {
            // Numbers are counted only.
            let counted = ours.iter().all(Value::is_number);
            assert_eq!(json.len(), ours.len(), "{at}");
            for (json, ours) in json.iter().zip(ours).filter(|_| !counted) {
                assert_holds(json, ours, at);
            }
        }
        (json, ours) => assert_eq!(json, ours, "{at}"),
    }
}

#[test]
fn reads_what_client_go_writes() {
    for line in CAPTURES.lines() {
        let [name, hex, json] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (group, plural) = match name {
            "deployment" => ("apps", "deployments"),
            "statefulset" => ("apps", "statefulsets"),
            "cronjob" => ("batch", "cronjobs"),
            "secret" => ("", "secrets"),
            "configmap" => ("", "configmaps"),
            _ => ("", "pods"),
        };
        let body = unhex(hex);
        let ours = object(&body, &resource(group, plural)).unwrap();
        let json: Value = serde_json::from_str(json).unwrap();
        assert_holds(&json, &ours.value, name);
        let facts = read(group, plural, &body);
        let by_json = facts_of(&json, group, plural);
        let both = |f: &BodyFacts| {
            let account = f.service_account.clone();
            (
                f.reads_secrets,
                f.privileged,
                account,
                f.secret_type.clone(),
                f.dry_run,
            )
        };
        assert_eq!(both(&facts), both(&by_json), "{name}");
        // Cut anywhere: an answer, and none that lasts.
        for cut in 0..body.len() {
            read(group, plural, &body[..cut]);
        }
    }
}

fn facts_of(json: &Value, group: &str, name: &str) -> BodyFacts {
    let body = serde_json::to_vec(json).unwrap();
    facts(&resource(group, name), BodyKind::Json, &body)
}
