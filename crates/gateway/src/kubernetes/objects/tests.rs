//! What is shown of answers.

use weir_detect::mask::TokenKey;
use weir_policy::{Mask, ValueMask};
use weir_wire_kube::rewrite::{Event, Limits, Rewriter};

use super::*;

/// Looks for passwords and tokens.
fn looks_like() -> Option<Arc<Scanner>> {
    let value = ValueMask {
        label: LabelId(0),
        detectors: ["password_assignment".to_owned(), "url_password".to_owned()].into(),
        mask: Mask::Constant("[masked]".into()),
    };
    let name = |_| Some(Arc::from("secret.looks-like"));
    let key = Arc::new(TokenKey::new(b"key"));
    Scanner::new(&[value], name, &key)
}

/// What is shown of an answer where they are looked for, and no field has a label.
fn shown(json: &str) -> String {
    rewritten(
        Masks::of(None, Vec::new(), Arc::from([]), looks_like()),
        json,
    )
}

fn rewritten(masks: Masks, json: &str) -> String {
    let mut rewriter = Rewriter::new(masks.patterns(), Limits::default());
    let mut masking = Masking::new(masks);
    let (mut rest, mut out) = (json.as_bytes(), Vec::new());
    while rewriter.feed(&mut rest, &mut out, &mut masking) != Ok(Event::None) {}
    rewriter.finish().unwrap();
    rewriter.hide_late(&mut out, 0, &mut masking);
    String::from_utf8(out).unwrap()
}

#[test]
fn values_are_found_by_what_stands_beside_them() {
    for (json, expected) in [
        (
            r#"{"data":{"password":"x1"}}"#,
            r#"{"data":{"password":"[masked]"}}"#,
        ),
        (
            r#"{"spec":{"env":[{"name":"DB_PASSWORD","value":"x1"}]}}"#,
            r#"{"spec":{"env":[{"name":"DB_PASSWORD","value":"[masked]"}]}}"#,
        ),
        (
            r#"{"spec":{"password":{"value":"x1"},"b":{"valueFrom":{"literal":"x1"}}}}"#,
            r#"{"spec":{"password":{"value":"[masked]"},"b":{"valueFrom":{"literal":"x1"}}}}"#,
        ),
        (
            r#"{"spec":{"env":[{"name":"DB_PASSWORD","values":["x1"]}]}}"#,
            r#"{"spec":{"env":[{"name":"DB_PASSWORD","values":["[masked]"]}]}}"#,
        ),
        (
            r#"{"spec":{"password":87654321,"maxTokens":87654321,"tokens":4096}}"#,
            r#"{"spec":{"password":null,"maxTokens":87654321,"tokens":4096}}"#,
        ),
        (
            r#"{"spec":{"passwordSecretRef":{"name":"db","key":"x1"}}}"#,
            r#"{"spec":{"passwordSecretRef":{"name":"db","key":"x1"}}}"#,
        ),
        (
            r#"{"spec":{"params":[{"key":"api_key","value":"x1"}]}}"#,
            r#"{"spec":{"params":[{"key":"api_key","value":"[masked]"}]}}"#,
        ),
        (
            r#"{"spec":{"p":[{"default":"x1","name":"password"},{"default":"x2","name":"a"}]}}"#,
            r#"{"spec":{"p":[{"default":"[masked]","name":"password"},{"default":"x2","name":"a"}]}}"#,
        ),
        (
            r#"{"spec":{"a":{"content":{"values":["x1",1234567]},"key":"api_key"},"b":{"value":"x1"}}}"#,
            r#"{"spec":{"a":{"content":{"values":["[masked]",null]},"key":"api_key"},"b":{"value":"x1"}}}"#,
        ),
        (
            r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"[{\"data\":\"x1\",\"name\":\"password\"}]"}}}"#,
            r#"{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"[{\"data\":\"[masked]\",\"name\":\"password\"}]"}}}"#,
        ),
        (
            r#"{"spec":{"p":[{"field":"password","value":"x1"},{"env":"DB_PASS","text":"x1"},{"k":"token","v":"x1"}]}}"#,
            r#"{"spec":{"p":[{"field":"password","value":"[masked]"},{"env":"DB_PASS","text":"[masked]"},{"k":"token","v":"[masked]"}]}}"#,
        ),
        (
            r#"{"spec":{"args":["set","db.password","x1","user","x2","password","--force","secret","db"],"keys":["password","user"]}}"#,
            r#"{"spec":{"args":["set","db.password","[masked]","user","x2","password","--force","secret","db"],"keys":["password","user"]}}"#,
        ),
        (
            r#"{"spec":{"args":["--db-password","x1","--verbose","x2"]}}"#,
            r#"{"spec":{"args":["--db-password","[masked]","--verbose","x2"]}}"#,
        ),
    ] {
        assert_eq!(shown(json), expected);
    }
}

#[test]
fn text_in_base64_is_looked_into() {
    let plain = "db:\n  user: app\n  password: hunter2-and-more\n";
    let masked = "db:\n  user: app\n  password: [masked]\n";
    let wrap = |text: &str| {
        format!(
            r#"{{"binaryData":{{"a.yml":"{}"}}}}"#,
            STANDARD.encode(text)
        )
    };
    assert_eq!(shown(&wrap(plain)), wrap(masked));
    let harmless = wrap("color: blue\nsize: large\n");
    assert_eq!(shown(&harmless), harmless);
}

#[test]
fn bytes_in_base64_are_looked_into_as_well() {
    let wrap = |bytes: &[u8]| {
        format!(
            r#"{{"binaryData":{{"a.bin":"{}"}}}}"#,
            STANDARD.encode(bytes)
        )
    };
    let value = shown(&wrap(b"\xff\xfe\n\npassword: hunter2-and-more\n"));
    assert_eq!(value, wrap(b"\xff\xfe\n\npassword: [masked]\n"));
}

/// What is shown of an answer about a resource where these fields are masked.
fn named(group: &str, resource: &str, fields: &[&str], json: &str) -> String {
    let resource = Resource {
        group: group.to_owned(),
        resource: resource.to_owned(),
        ..Resource::default()
    };
    let key = Arc::new(TokenKey::new(b"key"));
    let mask = Mask::Constant("[masked]".into());
    let patterns: Vec<FieldPattern> = fields
        .iter()
        .map(|field| FieldPattern::parse(field).unwrap())
        .collect();
    let masked = patterns.iter().map(|_| Masked {
        label: Arc::from("secret.kubernetes"),
        shown: Shown::new(mask.clone(), &key),
    });
    let masked = masked.collect();
    rewritten(Masks::of(Some(&resource), patterns, masked, None), json)
}

#[test]
fn cells_that_may_show_a_labelled_field_are_hidden() {
    let table = |columns: &[&str], cells: &str| {
        let columns: Vec<String> = columns
            .iter()
            .map(|name| format!(r#"{{"name":"{name}"}}"#))
            .collect();
        let columns = columns.join(",");
        format!(
            r#"{{"kind":"Table","columnDefinitions":[{columns}],"rows":[{{"cells":{cells}}}]}}"#
        )
    };
    let own = ["Name", "Pin", "Type", "Age"];
    let pods = ["Name", "Ready", "Status", "IP"];
    let text = r#"["a",4711,"t","5d"]"#;
    let pod = r#"["p","1/1","Running","10.0.0.1"]"#;
    for (group, resource, field, columns, cells, expected) in [
        (
            "x.io",
            "widgets",
            "spec.pin",
            &own,
            text,
            r#"["a",null,"t","5d"]"#,
        ),
        (
            "x.io",
            "widgets",
            "spec.*",
            &own,
            text,
            r#"["a",null,"[masked]","5d"]"#,
        ),
        (
            "",
            "pods",
            "status.podIP",
            &pods,
            pod,
            r#"["p","1/1","[masked]","[masked]"]"#,
        ),
        (
            "",
            "pods",
            "spec.containers[*].env[*].value",
            &pods,
            pod,
            pod,
        ),
        (
            "",
            "secrets",
            "data.*",
            &["Name", "Type", "Data", "Age"],
            r#"["s","Opaque",2,"5d"]"#,
            r#"["s","Opaque",2,"5d"]"#,
        ),
        (
            "things.k8s.io",
            "things",
            "spec.env",
            &["Name", "Env", "Pin", "Age"],
            r#"["a","v","w","5d"]"#,
            r#"["a","[masked]","[masked]","5d"]"#,
        ),
        (
            "",
            "secrets",
            "type",
            &["Name", "Type", "Data", "Age"],
            r#"["s","kubernetes.io/tls",2,"5d"]"#,
            r#"["s","[masked]",2,"5d"]"#,
        ),
    ] {
        let shown = named(group, resource, &[field], &table(columns, cells));
        assert_eq!(shown, table(columns, expected), "{resource} {field}");
    }
    // A column that is not known may be any.
    let rows = r#"{"kind":"Table","rows":[{"cells":["a",1]}]}"#;
    let shown = named("x.io", "widgets", &["spec.pin"], rows);
    assert_eq!(
        shown,
        r#"{"kind":"Table","rows":[{"cells":["[masked]",null]}]}"#
    );
}

#[test]
fn a_secret_that_is_masked_by_its_name_stays_base64() {
    let secret = Resource {
        resource: "secrets".to_owned(),
        ..Resource::default()
    };
    let masks = Masks::of(Some(&secret), Vec::new(), Arc::from([]), looks_like());
    let json = format!(
        r#"{{"kind":"Secret","metadata":{{"annotations":{{"password":"cGxhaW4="}}}},"data":{{"password":"{}"}}}}"#,
        STANDARD.encode("x1")
    );
    assert_eq!(
        rewritten(masks, &json),
        format!(
            r#"{{"kind":"Secret","metadata":{{"annotations":{{"password":"[masked]"}}}},"data":{{"password":"{}"}}}}"#,
            STANDARD.encode("[masked]")
        )
    );
}

#[test]
fn what_managed_fields_name_by_its_value_is_dropped_where_it_would_be_masked() {
    let wrap =
        |fields: &str| format!(r#"{{"metadata":{{"managedFields":[{{"fieldsV1":{fields}}}]}}}}"#);
    let tags =
        r#"{"f:spec":{"f:tags":{".":{},"v:\"password=hunter2-and-more\"":{},"v:\"b\"":{}}}}"#;
    let users =
        r#"{"f:spec":{"f:users":{"k:{\"token\":\"x1\"}":{".":{}},"k:{\"name\":\"b\"}":{}}}}"#;
    assert_eq!(
        shown(&wrap(tags)),
        wrap(r#"{"f:spec":{"f:tags":{".":{},"v:\"b\"":{}}}}"#)
    );
    assert_eq!(
        shown(&wrap(users)),
        wrap(r#"{"f:spec":{"f:users":{"k:{\"name\":\"b\"}":{}}}}"#)
    );
    let harmless = wrap(r#"{"f:spec":{"f:finalizers":{"v:\"a.b/c\"":{}}}}"#);
    assert_eq!(shown(&harmless), harmless);
}

#[test]
fn what_clients_send_back_is_never_masked() {
    let list = r#"{"kind":"PodList","metadata":{"continue":"password=hunter2-and-more","resourceVersion":"7"},"items":[{"metadata":{"name":"password=x","uid":"u"}}]}"#;
    assert_eq!(shown(list), list);
    let label = r#"{"metadata":{"labels":{"password":"x1"}}}"#;
    assert_eq!(
        shown(label),
        r#"{"metadata":{"labels":{"password":"[masked]"}}}"#
    );
    // A label may have the name of what names an object.
    let label = r#"{"metadata":{"labels":{"name":"password=hunter2-and-more"}}}"#;
    assert_eq!(
        shown(label),
        r#"{"metadata":{"labels":{"name":"password=[masked]"}}}"#
    );
}
