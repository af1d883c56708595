//! Ways around a mask that are closed, and forms in which what is masked is given.

use super::*;

const SECRETS: &str = "/api/v1/namespaces/n/secrets";

fn secret() -> String {
    json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "data": {"x": SECRET}})
        .to_string()
}

async fn text(answer: Response<Incoming>) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_client_that_takes_yaml_only_is_given_yaml_that_is_masked() {
    let rig = Rig::new(|request| {
        assert_eq!(request.headers()["accept"], "application/json;as=X");
        whole(200, "application/json", secret())
    })
    .await;
    let yaml = [("accept", "application/yaml;as=X, application/cbor")];
    let answer = rig
        .ask(Method::GET, &format!("{SECRETS}/s"), &yaml, "")
        .await;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
    let length = answer.headers()["content-length"].clone();
    let masked =
        "apiVersion: v1\ndata:\n  x: \"W21hc2tlZF0=\"\nkind: Secret\nmetadata:\n  name: s\n";
    let shown = text(answer).await;
    assert_eq!((shown.as_str(), length), (masked, masked.len().into()));
    // A list that is longer than what waits before its head.
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(5, 300 << 10))).await;
    let yaml = [("accept", "application/yaml")];
    let answer = rig.ask(Method::GET, "/api/v1/configmaps", &yaml, "").await;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
    let shown = text(answer).await;
    assert_eq!(shown.matches("name: map-").count(), 5);
    assert!(shown.len() > 5 * (300 << 10) && !shown.contains("{\""));
    // The server's own refusal is one, too; a watch has no such form.
    let status = r#"{"kind":"Status","reason":"NotFound","code":404}"#;
    let rig = Rig::new(move |_| whole(404, "application/json", status)).await;
    let answer = rig
        .ask(Method::GET, &format!("{SECRETS}/s"), &yaml, "")
        .await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        text(answer).await,
        "kind: Status\nreason: NotFound\ncode: 404\n"
    );
    let watch = format!("{SECRETS}?watch=1");
    let answer = rig.ask(Method::GET, &watch, &yaml, "").await;
    assert_eq!(answer.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_limit_refuses_the_object_that_passes_it_in_yaml_too() {
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(6, 10))).await;
    let yaml = [("accept", "application/yaml")];
    let answer = rig.ask(Method::GET, "/api/v1/configmaps", &yaml, "").await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!text(answer).await.contains("map-"));
}

#[tokio::test]
async fn what_a_change_is_warned_about_or_refused_for_is_withheld_where_fields_are_masked() {
    let rig = Rig::new(|request| {
        let warning = format!("299 - \"it holds {SECRET}\"");
        let mut answer = match *request.method() {
            Method::DELETE if request.uri().path().ends_with("/gone") => whole(
                404,
                "application/json",
                r#"{"kind":"Status","message":"gone"}"#,
            ),
            Method::DELETE => {
                let status = format!(r#"{{"kind":"Status","message":"it holds {SECRET}"}}"#);
                whole(422, "application/json", status)
            }
            _ => whole(200, "application/json", secret()),
        };
        let headers = answer.headers_mut();
        headers.append("warning", warning.parse().unwrap());
        headers.append("warning", warning.parse().unwrap());
        answer
    })
    .await;
    let target = format!("{SECRETS}/s");
    let patch = [("content-type", "application/merge-patch+json")];
    for (method, body) in [(Method::PATCH, "{}"), (Method::DELETE, "")] {
        let answer = rig.ask(method.clone(), &target, &patch, body).await;
        let warnings: Vec<_> = answer
            .headers()
            .get_all("warning")
            .iter()
            .cloned()
            .collect();
        assert_eq!(warnings.len(), 1, "{method}");
        assert!(warnings[0].to_str().unwrap().contains("withheld"));
        assert!(!text(answer).await.contains(SECRET), "{method}");
    }
    let answer = rig
        .ask(Method::DELETE, &format!("{SECRETS}/gone"), &[], "")
        .await;
    assert!(text(answer).await.contains("gone"));
}

#[tokio::test]
async fn a_head_does_not_tell_how_long_a_masked_object_is() {
    let rig = Rig::new(|_| {
        let mut answer = whole(200, "application/json", "");
        answer.headers_mut().insert("content-length", 123.into());
        answer
    })
    .await;
    for (target, length) in [
        ("/api/v1/namespaces/n/secrets/s", None),
        ("/api/v1/namespaces/n/configmaps/c", Some(123.into())),
    ] {
        let answer = rig.ask(Method::HEAD, target, &[], "").await;
        assert_eq!(answer.headers().get("content-length").cloned(), length);
    }
}

#[tokio::test]
async fn a_log_that_ends_on_demand_does_not_show_the_beginning_of_a_value() {
    let rig = Rig::new(|request| {
        let log = format!("first\nmail {MAIL} now\nmail {MAIL}");
        let query = request.uri().query().unwrap_or_default();
        let limit = query
            .rsplit('=')
            .next()
            .and_then(|limit| limit.parse().ok());
        let log = log.get(..limit.unwrap_or(log.len())).unwrap().to_owned();
        whole(200, "text/plain", log)
    })
    .await;
    let target = "/api/v1/namespaces/n/pods/p/log";
    let whole = rig.get(target).await.1;
    assert_eq!(whole, "first\nmail [mail] now\nmail [mail]");
    for limit in 0..40 {
        let (_, shown) = rig.get(&format!("{target}?limitBytes={limit}")).await;
        assert!(!shown.contains("zora"), "{limit}: {shown}");
    }
}

#[tokio::test]
async fn what_compares_a_masked_field_or_a_copy_of_it_is_refused() {
    let rig = Rig::new(|_| whole(200, "application/json", secret())).await;
    let fields = "metadata: {name: secret.kubernetes}\nspec:\n  kubernetes: [{resource: secrets, fields: [\"data.*\"";
    let labelled = resources(rig.world.port, RULES).replace(
        fields,
        &format!("{fields}, \"metadata.labels[\\\"x.io/key\\\"]\""),
    );
    *rig.world.bundle.lock().unwrap() = compiled(&labelled, 2);
    for (selector, status) in [
        ("app%3Da", 200),
        ("x.io/key%3Da", 403),
        ("app%3Da,x.io/key+in+(a,b)", 403),
        ("%21x.io/key", 403),
    ] {
        let target = format!("{SECRETS}?labelSelector={selector}");
        assert_eq!(rig.get(&target).await.0.as_u16(), status, "{selector}");
    }
    let applied = "kubectl.kubernetes.io~1last-applied-configuration";
    let test = format!(r#"[{{"op":"test","path":"/metadata/annotations/{applied}","value":"x"}}]"#);
    let apply =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {
        applied.replace("~1", "/"): "{\"data\":{\"x\":\"y\"}}"}}})
        .to_string();
    for (kind, query, body, status) in [
        ("json-patch+json", "", &test, 403),
        ("apply-patch+yaml", "?fieldManager=a", &apply, 403),
        (
            "apply-patch+yaml",
            "?fieldManager=a&force=true",
            &apply,
            200,
        ),
        ("merge-patch+json", "?dryRun=All", &apply, 403),
        ("merge-patch+json", "", &apply, 200),
    ] {
        let kind = format!("application/{kind}");
        let target = format!("{SECRETS}/s{query}");
        let headers = [("content-type", kind.as_str())];
        let answer = rig.ask(Method::PATCH, &target, &headers, body).await;
        assert_eq!(answer.status().as_u16(), status, "{kind} {query}");
    }
}
