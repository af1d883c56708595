//! The endpoints over a real socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start() -> Running {
    let registry = Registry::default();
    registry.counter("weir_test_total", "Test.").unwrap().inc();
    let readiness = Readiness::default();
    let config = AdminConfig {
        address: "127.0.0.1:0".parse().unwrap(),
    };
    let admin = Admin::bind(config, registry, readiness.clone())
        .await
        .unwrap();
    let address = admin.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(admin.serve(async move {
        let _ = stopped.await;
    }));
    Running {
        address,
        readiness,
        stop,
        served,
    }
}

impl Running {
    /// Sends these bytes and reads until the server closes.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
            .await
    }
}

#[tokio::test]
async fn metrics_are_in_prometheus_text_format() {
    let answer = start().await.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"));
    assert!(answer.ends_with("weir_test_total 1\n"));
}

#[tokio::test]
async fn readiness_names_its_reasons_and_ends_with_draining() {
    let running = start().await;
    let guard = running.readiness.guard("policies");
    let answer = running.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"waiting\":[\"policies\"]"), "{answer}");
    assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200"));
    guard.release();
    assert!(running.get("/readyz").await.starts_with("HTTP/1.1 200"));
    running.readiness.drain();
    let answer = running.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"));
    assert!(answer.contains("\"draining\":true"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = start().await;
    assert!(running.get("/").await.starts_with("HTTP/1.1 404"));
    let answer = running
        .raw(b"DELETE /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: GET, HEAD"));
}

#[tokio::test]
async fn bodies_are_refused_unread() {
    let running = start().await;
    for framing in ["content-length: 1000000000", "transfer-encoding: chunked"] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        let answer = running.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn long_headers_are_refused() {
    let running = start().await;
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let answer = running.raw(long.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let many = format!(
        "GET / HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(MAX_HEADERS + 1)
    );
    let answer = running.raw(many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn shutdown_closes_idle_connections_and_the_listener() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 4096];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    running.stop.send(()).unwrap();
    running.served.await.unwrap();
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0);
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let running = start().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        idle.push(stream);
    }
    let waiting = running.get("/healthz");
    let mut waiting = pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(100), waiting.as_mut()).await;
    assert!(early.is_err(), "served beyond the limit");
    idle.clear();
    assert!(waiting.await.starts_with("HTTP/1.1 200"));
}
