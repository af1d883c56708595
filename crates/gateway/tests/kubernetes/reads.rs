//! What only reads goes over HTTP/1 to the server, beside a connection of HTTP/2.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, Rig, SECRET, pieces, whole};

/// What the server was asked, and in which version.
type Seen = Arc<Mutex<Vec<(Version, String)>>>;

fn secret() -> String {
    json!({"kind": "Secret", "apiVersion": "v1", "data": {"password": SECRET}}).to_string()
}

/// Lists without an end; everything else is a Secret.
fn answer(request: &Request<Incoming>) -> Answer {
    if request.uri().path().ends_with("/services") {
        let head = stream::iter([Bytes::from("{\"kind\":\"List\",\"items\":[")]);
        let item = json!({"metadata": {"name": "p"}, "data": {"x": "x".repeat(10_000)}});
        return pieces(head.chain(stream::repeat(Bytes::from(format!("{item},")))));
    }
    whole(200, "application/json", secret())
}

/// A server that speaks HTTP/2, and HTTP/1 for so many requests to a connection.
async fn server(requests: usize) -> (u16, Seen) {
    let (seen, listener) = (
        Seen::default(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let (port, shown) = (listener.local_addr().unwrap().port(), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut first = [0; 3];
                while socket.peek(&mut first).await.unwrap() < first.len() {}
                let two = first == *b"PRI";
                let left = Arc::new(Mutex::new(requests));
                let service = service_fn(move |request: Request<Incoming>| {
                    let target = request.uri().path_and_query().unwrap().to_string();
                    let method = request.method();
                    let asked = (request.version(), format!("{method} {target}"));
                    seen.lock().unwrap().push(asked);
                    let mut left = left.lock().unwrap();
                    let may = two || *left > 0;
                    *left = left.saturating_sub(1);
                    let answer = may.then(|| answer(&request)).ok_or("closed");
                    async move { answer }
                });
                if two {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    return builder
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                }
                let builder = hyper::server::conn::http1::Builder::new();
                builder
                    .serve_connection(TokioIo::new(socket), service)
                    .await
            });
        }
    });
    (port, shown)
}

struct Client(SendRequest<Full<Bytes>>);

impl Client {
    async fn of(rig: &Rig) -> Self {
        let socket = TcpStream::connect(rig.address).await.unwrap();
        let begun = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
        let (sender, connection) = begun.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, method: Method, path: &str, body: &str) -> Incoming {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://kube{path}"));
        let request = request.header("content-type", "application/json");
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.into_body()
    }

    async fn get(&mut self, path: &str) -> String {
        let body = self.ask(Method::GET, path, "").await;
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }
}

fn masked() -> String {
    secret().replace(SECRET, "W21hc2tlZF0=")
}

fn versions(seen: &Seen) -> Vec<Version> {
    let seen = seen.lock().unwrap();
    seen.iter().map(|(version, _)| *version).collect()
}

const ONE: Version = Version::HTTP_11;
const TWO: Version = Version::HTTP_2;

#[tokio::test]
async fn what_only_reads_and_ends_soon_goes_over_http1() {
    let (port, seen) = server(usize::MAX).await;
    let rig = Rig::before(port).await;
    let mut client = Client::of(&rig).await;
    let path = "/api/v1/namespaces/n/secrets";
    for _ in 0..2 {
        assert_eq!(client.get(&format!("{path}/s")).await, masked());
    }
    assert_eq!(
        client.get("/api/v1/namespaces/n/pods/p/log").await,
        secret()
    );
    client.get(&format!("{path}?watch=1")).await;
    drop(client.ask(Method::POST, path, &secret()).await);
    drop(client.ask(Method::DELETE, &format!("{path}/s"), "").await);
    assert_eq!(versions(&seen), [ONE, ONE, TWO, TWO, TWO, TWO]);
}

#[tokio::test]
async fn while_an_answer_is_read_others_go_over_http2() {
    let (port, seen) = server(usize::MAX).await;
    let rig = Rig::before(port).await;
    let mut client = Client::of(&rig).await;
    let path = "/api/v1/namespaces/n/secrets/s";
    let endless = client
        .ask(Method::GET, "/api/v1/namespaces/n/services", "")
        .await;
    assert_eq!(client.get(path).await, masked());
    assert_eq!(versions(&seen), [ONE, TWO]);
    drop(endless);
}

#[tokio::test]
async fn what_cannot_be_read_over_http1_is_read_over_http2() {
    let path = "/api/v1/namespaces/n/secrets/s";
    for (requests, expected) in [(0, [ONE, TWO, TWO].as_slice()), (1, &[ONE, ONE, TWO])] {
        let (port, seen) = server(requests).await;
        let rig = Rig::before(port).await;
        let mut client = Client::of(&rig).await;
        for _ in 0..2 {
            assert_eq!(client.get(path).await, masked());
        }
        assert_eq!(versions(&seen), expected, "{requests}");
    }
}
