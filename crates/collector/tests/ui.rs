//! The web UI of a cluster's collector, over real TLS; the cluster's answers are played.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod bed;

use std::collections::HashMap;
use std::sync::Arc;

use bed::{Bed, NAME, Pod, bed, send, tls};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir_audit::{Body, EvidenceRead};
use weir_collector::EventPage;

/// A browser: its cookies, and nothing else.
struct Browser<'a> {
    bed: &'a Bed,
    cookies: HashMap<String, String>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let wanted = format!("{name}: ");
        let found = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix(&wanted));
        found.unwrap_or_default()
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> String {
        let wanted = format!("name=\"{name}\" value=\"");
        let (_, rest) = self.body.split_once(&wanted).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

impl<'a> Browser<'a> {
    fn new(bed: &'a Bed) -> Self {
        Self {
            bed,
            cookies: HashMap::new(),
        }
    }

    fn origin(&self) -> String {
        format!("https://{NAME}:{}", self.bed.auditors.port())
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    async fn post(&mut self, path: &str, form: &str) -> Answer {
        let origin = self.origin();
        self.send("POST", path, form, &format!("Origin: {origin}\r\n"))
            .await
    }

    async fn send(&mut self, method: &str, path: &str, form: &str, more: &str) -> Answer {
        let mut config = (*tls(&self.bed.root, None)).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.bed.auditors).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {NAME}:{}\r\nCookie: {}\r\n{more}Connection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.bed.auditors.port(),
            cookies.join("; "),
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // The server may end without a farewell.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let answer = Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.replace("\r\n", "\n"),
            body: body.to_owned(),
        };
        for line in answer.head.lines() {
            let Some(cookie) = line.strip_prefix("set-cookie: ") else {
                continue;
            };
            for part in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
                assert!(cookie.contains(part), "{cookie}");
            }
            let (name, rest) = cookie.split_once('=').unwrap();
            assert!(name.starts_with("__Host-"), "{cookie}");
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    /// Logs in with a token; the page that it leads to.
    async fn log_in(&mut self, token: &str) -> Answer {
        let door = self.get("/ui/login?next=/ui/sessions").await;
        let form = format!(
            "csrf={}&next=%2Fui%2Fsessions&token={token}",
            door.field("csrf")
        );
        self.post("/ui/login/token", &form).await
    }
}

async fn two_namespaces() -> Bed {
    let bed = bed().await;
    for (namespace, number) in [("billing", 1), ("shipping", 2)] {
        let pod = Pod::new(namespace, number);
        send(&bed.sidecar(&pod), pod.batch(number.into()))
            .await
            .unwrap();
    }
    bed.rules.allow("jane", Some("billing"));
    bed
}

async fn reads(bed: &Bed) -> Vec<EvidenceRead> {
    let auditor = bed.auditor("admin");
    let path = "/v1/events?kind=evidence_read&limit=1000";
    let page: EventPage = auditor.get(path).await.unwrap();
    let read = |body: Body| match body {
        Body::EvidenceRead(read) => Some(*read),
        _ => None,
    };
    page.events
        .into_iter()
        .filter_map(|event| read(event.body))
        .collect()
}

#[tokio::test]
async fn a_token_of_the_cluster_logs_in_and_reading_is_evidence_under_its_name() {
    let bed = two_namespaces().await;
    let mut browser = Browser::new(&bed);
    let led = browser.get("/").await;
    assert_eq!((led.status, led.header("location")), (303, "/ui/"));
    let led = browser.get("/ui/sessions?target=x").await;
    assert_eq!(
        led.header("location"),
        "/ui/login?next=%2Fui%2Fsessions%3Ftarget%3Dx"
    );
    let entered = browser.log_in("admin").await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (303, "/ui/sessions")
    );
    let page = browser.get("/ui/sessions").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("billing") && page.body.contains("shipping"));
    let read = reads(&bed).await;
    let read = read
        .iter()
        .find(|read| &*read.path == "/ui/sessions")
        .unwrap();
    assert_eq!(&*read.reader, "admin");
    assert_eq!(read.address.as_deref(), Some("127.0.0.1"));
    // The same session asks the API, and its reads are on record as well.
    let page = browser.get("/ui/api/v1/sessions").await;
    assert!(page.status == 200 && page.body.contains("shipping"));
    assert!(
        reads(&bed)
            .await
            .iter()
            .any(|read| &*read.path == "/v1/sessions" && &*read.reader == "admin")
    );
    let out = browser.get("/ui/holds").await;
    assert_eq!(out.status, 503, "the desk of this test decides nothing");
}

#[tokio::test]
async fn whoever_may_read_one_namespace_names_it_and_sees_no_other() {
    let bed = two_namespaces().await;
    let mut browser = Browser::new(&bed);
    assert_eq!(browser.log_in("jane").await.status, 303);
    let which = browser.get("/ui/sessions").await;
    assert_eq!(which.status, 403);
    assert!(which.body.contains("Which namespace?"));
    let csrf = which.field("csrf");
    let form = format!("csrf={csrf}&namespace=shipping&next=%2Fui%2Fsessions");
    browser.post("/ui/namespace", &form).await;
    assert_eq!(browser.get("/ui/sessions").await.status, 403, "not hers");
    let form = format!("csrf={csrf}&namespace=billing&next=%2Fui%2Fsessions");
    let chosen = browser.post("/ui/namespace", &form).await;
    assert_eq!(chosen.header("location"), "/ui/sessions");
    let page = browser.get("/ui/sessions").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("billing") && !page.body.contains("shipping"));
    let other = browser.get("/ui/api/v1/sessions?namespace=shipping").await;
    assert_eq!(other.status, 403);
    let own = browser.get("/ui/api/v1/events").await;
    assert!(own.status == 200 && !own.body.contains("shipping"));
    assert_eq!(
        browser.get("/ui/proof").await.status,
        403,
        "of the whole record"
    );
}

#[tokio::test]
async fn a_token_that_the_cluster_does_not_know_logs_nobody_in() {
    let bed = two_namespaces().await;
    let mut browser = Browser::new(&bed);
    let unknown = browser.log_in("nobody-knows-it").await;
    assert_eq!(unknown.status, 401);
    assert!(!browser.cookies.contains_key("__Host-weir"));
    for token in ["", "a%20b", "a%0Ab"] {
        assert_eq!(browser.log_in(token).await.status, 401, "{token}");
    }
    assert_eq!(browser.log_in(&"x".repeat(17_000)).await.status, 401);
    assert_eq!(browser.log_in(&"x".repeat(70_000)).await.status, 413);
}

#[tokio::test]
async fn nobody_is_logged_in_by_a_form_of_another_site_or_of_another_visit() {
    let bed = two_namespaces().await;
    let (mut mine, mut other) = (Browser::new(&bed), Browser::new(&bed));
    let door = mine.get("/ui/login").await;
    other.get("/ui/login").await;
    let form = format!("csrf={}&token=admin", door.field("csrf"));
    assert_eq!(other.post("/ui/login/token", &form).await.status, 403);
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(
        mine.send("POST", "/ui/login/token", &form, foreign)
            .await
            .status,
        403
    );
    assert_eq!(
        mine.send("POST", "/ui/login/token", &form, "").await.status,
        403
    );
    assert_eq!(
        mine.post("/ui/login/token", &form).await.status,
        303,
        "the control"
    );
}

#[tokio::test]
async fn a_bearer_token_is_for_the_api_and_a_session_for_the_pages() {
    let bed = two_namespaces().await;
    let mut browser = Browser::new(&bed);
    let bearer = "Authorization: Bearer admin\r\n";
    assert_eq!(
        browser.send("GET", "/ui/sessions", "", bearer).await.status,
        303
    );
    assert_eq!(
        browser.send("GET", "/v1/sessions", "", bearer).await.status,
        200
    );
    browser.log_in("admin").await;
    assert_eq!(
        browser.get("/v1/sessions").await.status,
        401,
        "a cookie is no token"
    );
    for (method, path) in [
        ("PUT", "/ui/holds"),
        ("DELETE", "/ui/"),
        ("OPTIONS", "/ui/login"),
    ] {
        assert_eq!(browser.send(method, path, "", "").await.status, 405);
    }
}
