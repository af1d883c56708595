use super::*;

/// Allows what is listed, counts what it is asked.
#[derive(Default)]
struct Cluster {
    asked: Mutex<Vec<ReviewRequest>>,
    down: Mutex<bool>,
    denied: Mutex<bool>,
}

impl Cluster {
    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Reviewer for Cluster {
    fn review<'a>(&'a self, asked: &'a ReviewRequest) -> ReviewFuture<'a> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(asked.clone());
            if *self.down.lock().unwrap() {
                return Err(ReviewError("nobody answers".into()));
            }
            let token = asked.token.as_deref().unwrap_or_default();
            let (user, allowed) = match (token, asked.namespace.as_deref()) {
                ("all", None) => ("root", true),
                ("billing", Some("billing")) => ("jane", true),
                ("billing" | "all", _) => ("jane", false),
                _ => ("", false),
            };
            Ok(Review {
                user: user.into(),
                allowed: allowed && !*self.denied.lock().unwrap(),
                reason: String::new(),
            })
        })
    }
}

fn token(text: &str) -> Credential {
    Credential::Token(text.into())
}

fn gate() -> (Arc<Cluster>, Gate) {
    let cluster = Arc::new(Cluster::default());
    let gate = Gate::new(Arc::clone(&cluster) as Arc<dyn Reviewer>);
    (cluster, gate)
}

async fn status(gate: &Gate, token: &Credential, namespace: Option<&str>) -> u16 {
    match gate.admit(token, namespace.map(str::to_owned)).await {
        Ok(_) => 200,
        Err(denied) => denied.refusal.status.as_u16(),
    }
}

#[tokio::test]
async fn everything_or_the_namespace_that_was_asked_for() {
    let (_, gate) = gate();
    let all = gate
        .admit(&token("all"), Some("billing".into()))
        .await
        .ok()
        .unwrap();
    assert_eq!((all.user.as_str(), all.namespace), ("root", None));
    let one = gate
        .admit(&token("billing"), Some("billing".into()))
        .await
        .ok()
        .unwrap();
    assert_eq!(one.namespace.as_deref(), Some("billing"));
    for (credential, namespace, want) in [
        ("billing", None, 403),
        ("billing", Some("shipping"), 403),
        ("billing", Some("Not a namespace"), 400),
        ("nobody", Some("billing"), 401),
        ("nobody", None, 401),
    ] {
        assert_eq!(status(&gate, &token(credential), namespace).await, want);
    }
}

#[tokio::test(start_paused = true)]
async fn yes_is_remembered_for_ten_seconds_and_no_for_two() {
    let (cluster, gate) = gate();
    assert_eq!(status(&gate, &token("all"), None).await, 200);
    *cluster.denied.lock().unwrap() = true;
    tokio::time::advance(Duration::from_millis(9_900)).await;
    assert_eq!(status(&gate, &token("all"), None).await, 200);
    assert_eq!(cluster.asked(), 1);
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(status(&gate, &token("all"), None).await, 403);
    assert_eq!(cluster.asked(), 2);
    *cluster.denied.lock().unwrap() = false;
    assert_eq!(status(&gate, &token("all"), None).await, 403);
    tokio::time::advance(Duration::from_millis(2_100)).await;
    assert_eq!(status(&gate, &token("all"), None).await, 200);
}

#[tokio::test]
async fn no_answer_is_a_refusal_that_is_not_remembered() {
    let (cluster, gate) = gate();
    *cluster.down.lock().unwrap() = true;
    assert_eq!(status(&gate, &token("all"), None).await, 503);
    assert!(!gate.still(&token("all"), None).await);
    *cluster.down.lock().unwrap() = false;
    assert_eq!(status(&gate, &token("all"), None).await, 200);
}

#[tokio::test]
async fn credentials_and_namespaces_do_not_share_answers() {
    let user = |name: &str, groups: &[&str]| Credential::User {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    };
    let keys = [
        key(&token("a"), None),
        key(&token("a"), Some("")),
        key(&token("a"), Some("x")),
        key(&token("b"), None),
        key(&user("a", &[]), None),
        key(&user("a", &["b"]), None),
        key(&user("ab", &[]), None),
        key(&user("a", &["b", "c"]), None),
        key(&user("a", &["bc"]), None),
    ];
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_random_tokens_is_a_few_questions_and_locks_nobody_out_who_was_let_in() {
    let (cluster, gate) = gate();
    let near = IpAddr::from([127, 0, 0, 1]);
    let status = async |text: &str| match gate.admit_from(near, &token(text), None).await {
        Ok(_) => 200,
        Err(denied) => denied.refusal.status.as_u16(),
    };
    assert_eq!(status("all").await, 200);
    let mut answers = std::collections::BTreeMap::new();
    for n in 0..1000 {
        *answers
            .entry(status(&format!("random-{n}")).await)
            .or_insert(0) += 1;
    }
    assert_eq!(answers, [(401, 19), (429, 981)].into());
    assert_eq!(cluster.asked(), 20);
    // The same again costs nothing; the good one is asked about as before.
    for _ in 0..100 {
        assert_eq!(status("random-0").await, 401);
    }
    assert_eq!(cluster.asked(), 20);
    tokio::time::advance(YES).await;
    assert_eq!(status("all").await, 200);
    assert_eq!(cluster.asked(), 21);
    // What cannot be a token of the cluster is refused unasked.
    assert_eq!(status("eyJhbGciOiJSUzI1NiJ9.bm9uZQ.c2ln").await, 401);
    assert_eq!(cluster.asked(), 21);
    // Other credentials, and sessions that go on, are not unknown tokens.
    assert!(gate.still(&token("all"), None).await);
}
