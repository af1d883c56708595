//! Bodies of requests in every form: an answer within bounds, and the same facts for an object however
//! it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use weir_fuzz::at_most;
use weir_wire_kube::{BodyKind, FieldPattern, Resource, facts};

const KINDS: [BodyKind; 8] = [
    BodyKind::Protobuf,
    BodyKind::Json,
    BodyKind::Yaml,
    BodyKind::JsonPatch,
    BodyKind::MergePatch,
    BodyKind::StrategicPatch,
    BodyKind::ApplyYaml,
    BodyKind::Other,
];
const RESOURCES: [(&str, &str); 5] = [
    ("", "pods"),
    ("", "secrets"),
    ("apps", "deployments"),
    ("batch", "cronjobs"),
    ("example.test", "things"),
];

fuzz_target!(|data: &[u8]| {
    let [first, body @ ..] = data else {
        return;
    };
    let first = usize::from(*first);
    let kind = KINDS[first % KINDS.len()];
    let (group, name) = RESOURCES[first / KINDS.len() % RESOURCES.len()];
    let resource = Resource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: name.to_owned(),
        ..Resource::default()
    };
    let read = at_most(256 << 20, || facts(&resource, kind, body));
    let field = FieldPattern::parse("data.*").unwrap();
    let all = FieldPattern::parse("**").unwrap();
    if read.opaque.is_some() {
        assert!(read.sets(&field) && read.reads_secrets && read.privileged);
        assert!(read.json.is_none() && read.is_partial());
    }
    assert!(!read.sets(&field) || read.sets(&all));
    assert!(!read.tests_or_copies(&field) || read.tests_or_copies(&all));
    let mut texts = 0_usize;
    read.any_string(|text| {
        texts += text.len();
        false
    });
    assert!(texts <= 64 * body.len() + 64);

    // Said in JSON, it says no less.
    if kind == BodyKind::Protobuf
        && let Some(json @ Value::Object(_)) = &read.json
        && !read.is_partial()
    {
        let written = serde_json::to_vec(json).unwrap();
        let again = facts(&resource, BodyKind::Json, &written);
        assert_eq!(
            (
                again.reads_secrets,
                again.privileged,
                &again.service_account
            ),
            (read.reads_secrets, read.privileged, &read.service_account)
        );
        assert_eq!(
            (&again.json, again.sets(&field)),
            (&read.json, read.sets(&field))
        );
    }
    if kind == BodyKind::Json && read.opaque.is_none() {
        let yaml = facts(&resource, BodyKind::Yaml, body);
        assert_eq!(yaml.json, read.json);
    }
});
