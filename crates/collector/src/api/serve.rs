//! Plain listeners: the operators' socket, and TCP for readers.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use std::convert::Infallible;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::caller::Caller;
use super::http::Api;
use super::operator::Approver;
use crate::Ui;

const MAX_CONNECTIONS: usize = 256;
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve on {path}: {source}")]
pub struct ServeError {
    path: PathBuf,
    source: io::Error,
}

/// Serves the whole API on a unix socket; the approver is the peer's OS user. Never returns while
/// it works; drop the future to stop.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve_socket(api: Api, path: &Path) -> Result<(), ServeError> {
    let failed = |source| ServeError {
        path: path.to_owned(),
        source,
    };
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(failed)?;
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&hidden, path).map_err(failed)?;
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the operators' socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let approver = match stream.peer_cred() {
            Ok(peer) => Approver::of(peer.uid()),
            Err(error) => {
                tracing::warn!(%error, "a peer of the operators' socket has no user");
                continue;
            }
        };
        let api = api.clone();
        tokio::spawn(async move {
            serve(api, stream, Caller::Operator(approver), None, None).await;
            drop(permit);
        });
    }
}

/// Serves the reading part of the API over TCP to holders of `token`, and the web UI if there is one.
/// Never returns while it works; drop the future to stop.
///
/// # Errors
/// Never for a single connection.
pub async fn serve_tcp(
    api: Api,
    ui: Option<Ui>,
    listener: TcpListener,
    token: Arc<str>,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the collector's address");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (api, token) = (api.clone(), Arc::clone(&token));
        let ui = ui.clone().map(|ui| (ui, address));
        tokio::spawn(async move {
            serve(api, stream, Caller::Reader, Some(token), ui).await;
            drop(permit);
        });
    }
}

async fn serve<S>(
    api: Api,
    stream: S,
    caller: Caller,
    token: Option<Arc<str>>,
    ui: Option<(Ui, SocketAddr)>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (api, caller, token) = (api.clone(), caller.clone(), token.clone());
        let ui = ui.clone().filter(|_| Ui::serves(request.uri().path()));
        async move {
            let answer = match ui {
                Some((ui, address)) => ui.answer(address, request).await,
                None => api.answer(request, &caller, token.as_deref()).await,
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an API connection ended");
    }
}
