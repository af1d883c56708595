//! The collector enrols like a sidecar, serves with what it was granted, and asks who may read.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod bed;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bed::{Ca, Pod, tls};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use weir_collector::{Controller, Reviewer as _};
use weir_uplink::control::{
    ENROL, Endpoint, Enrol, EnrolConfig, Enroller, Key, REVIEW, Review, ReviewRequest,
};

/// A controller's two ports in one: what enrols shows a token, what reviews a certificate.
struct Played {
    root: Ca,
    pod: Pod,
    asked: Mutex<Vec<ReviewRequest>>,
}

async fn play(played: Arc<Played>) -> Endpoint {
    let leaf = played.root.server();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(played.root.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain, leaf.key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, played) = (acceptor.clone(), Arc::clone(&played));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let proved = stream.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request| {
                    let played = Arc::clone(&played);
                    async move { Ok::<_, Infallible>(answer(&played, proved, request).await) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Endpoint {
        host: bed::NAME.into(),
        port,
        addresses: Vec::new(),
    }
}

async fn answer(
    played: &Played,
    proved: bool,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let json = if path == ENROL && token.is_some_and(|token| token == "Bearer projected") {
        let asked: Enrol = serde_json::from_slice(&body).unwrap();
        serde_json::to_vec(&played.root.grant(&asked.csr, &played.pod)).unwrap()
    } else if path == REVIEW && proved {
        played
            .asked
            .lock()
            .unwrap()
            .push(serde_json::from_slice(&body).unwrap());
        let review = Review {
            user: "jane".into(),
            allowed: true,
            reason: String::new(),
        };
        serde_json::to_vec(&review).unwrap()
    } else {
        let mut refused = Response::new(Full::default());
        *refused.status_mut() = StatusCode::FORBIDDEN;
        return refused;
    };
    Response::new(Full::new(json.into()))
}

#[tokio::test]
async fn it_enrols_serves_with_what_it_was_granted_and_asks_who_may_read() {
    let played = Arc::new(Played {
        root: Ca::new("weir"),
        pod: Pod {
            account: "weir-collector".into(),
            ..Pod::new("weir-system", 9)
        },
        asked: Mutex::default(),
    });
    let endpoint = play(Arc::clone(&played)).await;
    let dir = tempfile::tempdir().unwrap();
    let config = EnrolConfig {
        endpoint: endpoint.clone(),
        roots: played.root.pem.clone(),
        trust_domain: bed::DOMAIN.into(),
        token: dir.path().join("token"),
    };
    std::fs::write(&config.token, "projected\n").unwrap();
    let controller = Arc::new(Controller::new(endpoint));
    let asked = ReviewRequest {
        token: Some("t".into()),
        verb: "list".into(),
        ..ReviewRequest::default()
    };
    let early = controller.review(&asked).await.unwrap_err();
    assert!(early.to_string().contains("not enrolled yet"), "{early}");
    let enroller = Enroller::new(config, Key::generate().unwrap()).unwrap();
    let enrolled = Arc::clone(&controller);
    tokio::spawn(async move { enrolled.stay_enrolled(&enroller).await });
    let mut credentials = controller.credentials();
    credentials.wait_for(Option::is_some).await.unwrap();
    // The credentials come a moment before the line for reviews is there.
    let review = loop {
        match controller.review(&asked).await {
            Ok(review) => break review,
            Err(error) => assert!(error.to_string().contains("not enrolled yet"), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((review.user.as_str(), review.allowed), ("jane", true));
    assert_eq!(played.asked.lock().unwrap()[0].token.as_deref(), Some("t"));
    // A service with these credentials is one that sidecars of the same root talk to.
    let bed = bed::bed_of(&played.root, credentials).await;
    let pod = Pod::new("billing", 1);
    let leaf = played.root.pod(&pod);
    let sidecar = bed.remote(tls(&played.root, Some(&leaf)));
    bed::send(&sidecar, pod.batch(1)).await.unwrap();
}
