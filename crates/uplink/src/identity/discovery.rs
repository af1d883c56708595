//! OpenID Connect discovery: the issuer's document, then the keys that it names.
//!
//! It refuses plain http except on loopback, redirects, answers above 1 MiB, and a document whose
//! issuer is another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::JwkSet;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_BODY: usize = 1 << 20;
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

pub(super) async fn fetch_keys(issuer: &str, ca_file: Option<&Path>) -> Result<JwkSet, String> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let document: Document = parse(&fetch(&url, ca_file).await?)?;
    if document.issuer != issuer {
        return Err(format!("{url} states another issuer"));
    }
    parse(&fetch(&document.jwks_uri, ca_file).await?)
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

async fn fetch(url: &str, ca_file: Option<&Path>) -> Result<Bytes, String> {
    let got = tokio::time::timeout(PATIENCE, fetch_now(url, ca_file)).await;
    let got = got.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    got.map_err(|reason| format!("{url}: {reason}"))
}

async fn fetch_now(url: &str, ca_file: Option<&Path>) -> Result<Bytes, String> {
    let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
    let host = uri
        .host()
        .ok_or("it names no host")?
        .trim_matches(['[', ']'])
        .to_owned();
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if matches!(host.as_str(), "127.0.0.1" | "::1" | "localhost") => false,
        _ => return Err("only https, or http on loopback".to_owned()),
    };
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| e.to_string())?;
    if !tls {
        return get(stream, &uri).await;
    }
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(ca_file)?));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    get(stream, &uri).await
}

fn client_config(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let path = ca_file.unwrap_or(Path::new(SYSTEM_ROOTS));
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.map_err(|e| failed(&e))?)
            .map_err(|error| failed(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn get<S>(stream: S, uri: &Uri) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(text)?;
    if response.status() != StatusCode::OK {
        return Err(format!("status {}", response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    driver.abort();
    Ok(body)
}
