//! Requests that people decide on, and what is judged by the object that a request carries.

use super::*;

#[tokio::test]
async fn a_client_that_leaves_while_it_is_held_closes_the_request() {
    let rig = Rig::new(|_| whole(200, "application/json", "{}")).await;
    let target = "/api/v1/namespaces/n/endpoints/e";
    let mut socket = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: kube\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes())
        .await
        .unwrap();
    while rig.world.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!rig.world.closed.load(Ordering::SeqCst));
    drop(socket);
    for _ in 0..500 {
        if rig.world.closed.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is still held");
}

#[tokio::test]
async fn an_approval_lets_one_request_through_and_no_other() {
    let served = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let log = Arc::clone(&served);
    let rig = Rig::new(move |request| {
        let method = request.method().to_string();
        *log.lock().unwrap().entry(method).or_default() += 1;
        whole(200, "application/json", "{}")
    })
    .await;
    let target = "/api/v1/namespaces/n/limitranges/l";
    let (status, _) = rig.get(target).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let rule = rig.world.rulings.lock().unwrap().remove(0);
    rule.send(Ruled {
        name: "request-1".into(),
        ruling: Ruling::Approved(None),
    })
    .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = rig.ask(Method::DELETE, target, &[], "").await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(rig.get(target).await.0, StatusCode::OK);
    assert_eq!(rig.get(target).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        *served.lock().unwrap(),
        BTreeMap::from([("GET".to_owned(), 1)])
    );
}

#[tokio::test]
async fn people_are_shown_the_object_and_requests_with_others_are_others() {
    let rig = Rig::new(|_| whole(200, "application/json", "{}")).await;
    let sender = http2(rig.address).await;
    let post = |name: &str, asker: &str| {
        let object = format!(r#"{{"kind": "Endpoints", "metadata": {{"name": "{name}"}}}}"#);
        let request = Request::post("http://kube/api/v1/namespaces/n/endpoints")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {asker}"));
        let request = request.body(Full::new(Bytes::from(object))).unwrap();
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(request).await })
    };
    let mut held = Vec::new();
    for (name, asker) in [
        ("benign", "a"),
        ("evil", "a"),
        ("benign", "b"),
        ("benign", "a"),
    ] {
        let before = held.len();
        held.push(post(name, asker));
        while rig.world.asked.load(Ordering::SeqCst) <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let asked = rig.world.held.lock().unwrap();
    let shown = |place: usize| asked[place].detail.as_deref().unwrap().to_owned();
    assert!(shown(0).contains("\"name\": \"benign\"") && shown(1).contains("\"name\": \"evil\""));
    assert!(
        shown(0).contains("With credentials of its own"),
        "{}",
        shown(0)
    );
    assert_eq!(asked[0].statement, asked[1].statement);
    assert_eq!(asked[0].apart, asked[3].apart);
    for other in [1, 2] {
        assert_ne!(asked[0].apart, asked[other].apart);
    }
    assert!(asked.iter().all(|one| one.shape.is_none()));
}

#[tokio::test]
async fn text_through_a_proxy_goes_on_as_it_comes() {
    let rig = Rig::new(|_| {
        let first = stream::iter([Bytes::from(format!("data: {MAIL}\n\n"))]);
        let body = StreamBody::new(first.chain(stream::pending()).map(|it| Ok(Frame::data(it))));
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(body.boxed_unsync()).unwrap()
    })
    .await;
    let allowed = "\n- {name: hide, match: {labels: [\"pii.*\"]}, action: Mask}
- {name: proxies, match: {kubernetes: {resources: [services], subresources: [proxy]}}, action: Allow}";
    rig.world.swap(allowed);
    let target = "/api/v1/namespaces/n/services/s/proxy/events";
    let asking = rig.ask(Method::GET, target, &[], "");
    let answer = tokio::time::timeout(Duration::from_secs(10), asking)
        .await
        .unwrap();
    let mut body = answer.into_body();
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame())
        .await
        .unwrap();
    let data = frame.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&data[..], b"data: [mail]\n\n");
}

#[tokio::test]
async fn conditions_are_about_the_object_that_a_request_carries() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let rig = Rig::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        whole(200, "application/json", "{}")
    })
    .await;
    rig.world.swap(
        "
- name: many
  match: {kubernetes: {verbs: [create, update, patch]}, when: \"object.spec.replicas > 5\"}
  action: Deny
- name: images
  match:
    kubernetes: {verbs: [create, update, patch], resources: [deployments]}
    when: >-
      object.spec.template.spec.containers.exists(c, !c.image.startsWith('registry.example/'))
  action: Deny
- name: prod
  match: {when: \"request.namespace == 'prod' && !request.dryRun && request.verb == 'delete'\"}
  action: Deny",
    );
    let object = |replicas: u32, image: &str| {
        let container = json!({"name": "a", "image": image});
        json!({"spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}}})
            .to_string()
    };
    let (good, bad) = ("registry.example/a", "docker.io/a");
    let yaml = "spec: {replicas: 3, template: {spec: {containers: [{image: docker.io/x}]}}}";
    let all = "/apis/apps/v1/namespaces/shop/deployments";
    let one = "/apis/apps/v1/namespaces/shop/deployments/web";
    let prod = "/apis/apps/v1/namespaces/prod/deployments/web";
    let strategic = "application/strategic-merge-patch+json";
    let json_patch = "application/json-patch+json";
    let plain = "application/json";
    let replicas = r#"[{"op":"replace","path":"/spec/replicas","value":2}]"#;
    let labels = r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#;
    let image =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"docker.io/b"}]}}}}"#;
    for (method, target, kind, body, passes) in [
        (Method::POST, all, plain, object(3, good), true),
        (Method::POST, all, plain, object(6, good), false),
        (Method::POST, all, plain, object(3, bad), false),
        (
            Method::POST,
            all,
            "application/yaml",
            yaml.to_owned(),
            false,
        ),
        (Method::POST, all, "application/cbor", "x".to_owned(), false),
        (Method::POST, all, plain, "{\"spec\": {}}".to_owned(), false),
        (
            Method::PATCH,
            one,
            strategic,
            "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}".to_owned(),
            true,
        ),
        (
            Method::PATCH,
            one,
            strategic,
            "{\"spec\":{\"replicas\":9}}".to_owned(),
            false,
        ),
        (
            Method::PATCH,
            one,
            strategic,
            "{\"spec\":{\"replicas\":2}}".to_owned(),
            true,
        ),
        (Method::PATCH, one, strategic, image.to_owned(), false),
        (Method::PATCH, one, json_patch, replicas.to_owned(), false),
        (Method::PATCH, one, json_patch, labels.to_owned(), true),
        (Method::GET, one, plain, String::new(), true),
        (Method::DELETE, one, plain, String::new(), true),
        (Method::DELETE, prod, plain, String::new(), false),
        (
            Method::DELETE,
            "/apis/apps/v1/namespaces/prod/deployments/web?dryRun=All",
            plain,
            String::new(),
            true,
        ),
    ] {
        let before = served.load(Ordering::SeqCst);
        let answer = rig
            .ask(method.clone(), target, &[("content-type", kind)], &body)
            .await;
        let wanted = if passes {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(answer.status(), wanted, "{method} {target} {kind} {body}");
        let reached = served.load(Ordering::SeqCst) - before;
        assert_eq!(
            reached,
            usize::from(passes),
            "{method} {target} {kind} {body}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_changes_while_people_decide_ends_the_answer() {
    let rig = Rig::new(|_| whole(200, "application/json", config_maps(8, 16))).await;
    let pages = "
- name: pages
  match: {kubernetes: {resources: [configmaps]}}
  limits: {statement: {objects: 5}, onExceed: RequireApproval}
  approval: {groups: [sre], count: 1, deadline: 1m}";
    rig.world.swap(pages);
    let (answer, ()) = tokio::join!(rig.get("/api/v1/namespaces/n/configmaps"), async {
        while rig.world.rulings.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rig.world
            .swap("\n- {name: none, match: {kubernetes: {resources: [configmaps]}}, action: Deny}");
        let rule = rig.world.rulings.lock().unwrap().remove(0);
        let ruling = Ruling::Approved(None);
        rule.send(Ruled {
            name: "request-1".into(),
            ruling,
        })
        .unwrap();
    });
    assert_eq!(answer.0, StatusCode::FORBIDDEN, "{}", answer.1);
}

/// A connection that speaks HTTP/2.
async fn http2(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(socket))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn objects_of_requests_that_wait_for_people_leave_the_connection_bounded() {
    let rig = Rig::new(|_| whole(200, "application/json", "{}")).await;
    let sender = http2(rig.address).await;
    let object = Bytes::from(format!("{{\"x\":\"{}\"}}", "x".repeat(3 << 20)));
    let post = |object: Bytes| {
        let request = Request::post("http://kube/api/v1/namespaces/n/endpoints");
        let mut sender = sender.clone();
        let request = request.body(Full::new(object)).unwrap();
        async move { sender.send_request(request).await.unwrap().status() }
    };
    let held: Vec<_> = (0..5).map(|_| tokio::spawn(post(object.clone()))).collect();
    while rig.world.asked.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Sixteen mebibytes hold five of them, and nothing of the sixth is read.
    assert_eq!(post(object).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(rig.world.asked.load(Ordering::SeqCst), 5);
    assert!(held.iter().all(|one| !one.is_finished()));
}

#[tokio::test]
async fn a_watch_over_websocket_is_sent_back_to_http_at_once() {
    let rig = Rig::new(|_| pieces(stream::pending())).await;
    let headers = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let target = "/api/v1/namespaces/n/pods?watch=true";
    let answer = rig.ask(Method::GET, target, &headers, "").await;
    // fabric8 asks ten times before it believes a 503.
    assert_eq!(answer.status(), StatusCode::OK);
    let event = answer.into_body().collect().await.unwrap().to_bytes();
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!(event["object"]["code"], 503);
    // Any other protocol that is offered is none that has to be taken.
    let headers = [("connection", "Upgrade"), ("upgrade", "h2c")];
    let answer = rig.ask(Method::GET, target, &headers, "").await;
    assert_eq!(answer.status(), StatusCode::OK);
}
