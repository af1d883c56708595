//! Messages against a real receiver, which is not ours: Python's HTTPS server, and its own HMAC.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::sync::mpsc;
use weir_api::kinds::AccessRequestSpec;
use weir_notify::{
    Courier, Event, Hold, Message, NotifyMetrics, Receiver as To, Webhook, WebhookConfig,
};
use weir_telemetry::Registry;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

struct Receiver {
    process: Child,
    port: u16,
    lines: mpsc::UnboundedReceiver<Value>,
}

impl Receiver {
    fn start(cert: &str, key: &str, refusals: u32) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receiver.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args([cert, key, SECRET, &refusals.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = out.next().unwrap().unwrap().parse().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in out.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            process,
            port,
            lines,
        }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(30), self.lines.recv());
        line.await.expect("a request in time").unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Bed {
    dir: tempfile::TempDir,
}

impl Bed {
    /// A directory with a key, an authority, and a certificate of it for `name`.
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = KeyPair::generate().unwrap();
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = root.self_signed(&authority).unwrap();
        let issuer = Issuer::new(root, authority);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let bed = Self { dir };
        bed.write("ca.pem", &ca.pem());
        bed.write("cert.pem", &leaf.pem());
        bed.write("key.pem", &key.serialize_pem());
        bed.write("secret", &format!("{OTHER}\n{SECRET}\n"));
        bed
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn receiver(&self, refusals: u32) -> Receiver {
        let text = |name| self.path(name).display().to_string();
        Receiver::start(&text("cert.pem"), &text("key.pem"), refusals)
    }

    fn webhook(&self, url: &str, ca: bool) -> Webhook {
        Webhook::new(WebhookConfig {
            url: url.to_owned(),
            key_file: self.path("secret"),
            ca_file: ca.then(|| self.path("ca.pem")),
            allow_http: true,
        })
        .unwrap()
    }
}

fn message(id: &str, name: &str) -> Message {
    let spec: AccessRequestSpec = serde_json::from_value(serde_json::json!({
        "requester": {"name": "spiffe://cluster.local/ns/billing/sa/reporter"},
        "summary": ["reporter wants customers"], "target": "orders", "policy": "reporting",
        "rule": "bulk", "statement": "select * from customers -- ä", "reason": "too much",
        "deadline": "2126-11-27T12:00:00Z", "groups": ["stewards"], "count": 1,
    }))
    .unwrap();
    let hold = Hold {
        name,
        namespace: Some("billing"),
        uid: "1-2",
        spec: &spec,
    };
    Message::of_hold(id, "2026-11-27T11:00:00Z", &hold, Event::Created)
}

#[tokio::test]
async fn a_receiver_that_is_not_ours_verifies_the_signature() {
    let bed = Bed::new("localhost");
    let mut receiver = bed.receiver(0);
    let webhook = bed.webhook(
        &format!("https://localhost:{}/hooks/s3cret", receiver.port),
        true,
    );
    webhook
        .send(&message("hold_1_created", "weir-a"))
        .await
        .unwrap();
    let got = receiver.next().await;
    assert_eq!(got["good"], true, "{got}");
    assert_eq!(got["fresh"], true, "{got}");
    assert_eq!(
        (&got["path"], &got["id"]),
        (&"/hooks/s3cret".into(), &"hold_1_created".into())
    );
    assert_eq!(got["type"], "application/json");
    assert_eq!(
        got["body"]["data"]["statement"],
        "select * from customers -- ä"
    );
}

#[tokio::test]
async fn a_changed_key_counts_from_the_next_attempt_on() {
    let bed = Bed::new("localhost");
    let mut receiver = bed.receiver(0);
    let webhook = bed.webhook(&format!("https://localhost:{}/", receiver.port), true);
    bed.write("secret", OTHER);
    webhook.send(&message("a", "weir-a")).await.unwrap();
    assert_eq!(receiver.next().await["good"], false);
    bed.write("secret", SECRET);
    webhook.send(&message("b", "weir-a")).await.unwrap();
    assert_eq!(receiver.next().await["good"], true);
}

#[tokio::test]
async fn a_receiver_whose_certificate_nobody_vouches_for_gets_nothing() {
    let bed = Bed::new("localhost");
    let mut receiver = bed.receiver(0);
    let url = format!("https://localhost:{}/", receiver.port);
    // Mozilla's roots do not know this authority.
    let error = bed.webhook(&url, false).send(&message("a", "weir-a")).await;
    assert!(error.is_err());
    let other = Bed::new("elsewhere.example");
    let mut elsewhere = other.receiver(0);
    let url = format!("https://localhost:{}/", elsewhere.port);
    let error = other
        .webhook(&url, true)
        .send(&message("a", "weir-a"))
        .await;
    assert!(error.is_err());
    assert!(receiver.lines.try_recv().is_err() && elsewhere.lines.try_recv().is_err());
}

#[tokio::test]
async fn a_message_that_was_refused_comes_again_under_the_same_id_and_in_order() {
    let bed = Bed::new("localhost");
    let mut receiver = bed.receiver(2);
    let webhook = bed.webhook(&format!("https://localhost:{}/", receiver.port), true);
    let registry = Registry::default();
    let courier = Courier::new(To::Webhook(webhook), NotifyMetrics::new(&registry).unwrap());
    let (queue, messages) = mpsc::channel(8);
    let done = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&done);
    let running = tokio::spawn(async move {
        let note = |delivery: weir_notify::Delivery| {
            seen.lock()
                .unwrap()
                .push((delivery.id.to_string(), delivery.delivered));
        };
        courier.run(messages, note).await;
    });
    for id in ["one", "two"] {
        queue.send(message(id, "weir-a")).await.unwrap();
    }
    drop(queue);
    let mut got = Vec::new();
    for _ in 0..4 {
        let line = receiver.next().await;
        assert_eq!(line["good"], true);
        got.push((
            line["id"].as_str().unwrap().to_owned(),
            line["status"].as_u64().unwrap(),
        ));
    }
    let expected = [("one", 503), ("one", 503), ("one", 204), ("two", 204)];
    assert_eq!(got, expected.map(|(id, status)| (id.to_owned(), status)));
    running.await.unwrap();
    let done = done.lock().unwrap().clone();
    assert_eq!(done, [("one".to_owned(), true), ("two".to_owned(), true)]);
    let text = registry.render().unwrap();
    assert!(
        text.contains("weir_notifications_total{channel=\"webhook\",outcome=\"sent\"} 2"),
        "{text}"
    );
    assert!(
        text.contains("weir_notifications_total{channel=\"webhook\",outcome=\"retried\"} 2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dead_receiver_of_one_hold_does_not_delay_the_others_or_whoever_hands_them_in() {
    let bed = Bed::new("localhost");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let webhook = bed.webhook(&format!("https://localhost:{port}/"), true);
    let registry = Registry::default();
    let courier = Courier::new(To::Webhook(webhook), NotifyMetrics::new(&registry).unwrap());
    let (queue, messages) = mpsc::channel(8);
    let running = tokio::spawn(async move { courier.run(messages, |_| {}).await });
    let begun = Instant::now();
    for n in 0..2000 {
        queue
            .send(message("x", &format!("weir-{n}")))
            .await
            .unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
    // More than is kept is dropped and counted.
    let dropped = || {
        let text = registry.render().unwrap();
        let name = "weir_notifications_total{channel=\"webhook\",outcome=\"dropped\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<u64>().unwrap()
    };
    while dropped() < 900 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
    running.abort();
}

#[tokio::test]
async fn plain_http_works_where_it_is_allowed() {
    let bed = Bed::new("localhost");
    let mut receiver = Receiver::start("-", "-", 0);
    let webhook = bed.webhook(&format!("http://127.0.0.1:{}/", receiver.port), false);
    webhook.send(&message("a", "weir-a")).await.unwrap();
    assert_eq!(receiver.next().await["good"], true);
}
