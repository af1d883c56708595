//! Plain listeners: the operators' socket, and TCP for readers.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::http::{Api, Caller};
use super::operator::Approver;

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
            Ok(peer) => approver(peer.uid()),
            Err(error) => {
                tracing::warn!(%error, "a peer of the operators' socket has no user");
                continue;
            }
        };
        let api = api.clone();
        tokio::spawn(async move {
            serve(api, stream, Caller::Operator(approver), None).await;
            drop(permit);
        });
    }
}

/// Serves the reading part of the API over TCP to holders of `token`. Never returns while it
/// works; drop the future to stop.
///
/// # Errors
/// Never for a single connection.
pub async fn serve_tcp(api: Api, listener: TcpListener, token: Arc<str>) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return Ok(());
        };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the collector's address");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (api, token) = (api.clone(), Arc::clone(&token));
        tokio::spawn(async move {
            serve(api, stream, Caller::Reader, Some(token)).await;
            drop(permit);
        });
    }
}

fn approver(uid: u32) -> Approver {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Approver {
        name: name.unwrap_or_else(|| format!("uid:{uid}")).into(),
        uid,
    }
}

async fn serve<S>(api: Api, stream: S, caller: Caller, token: Option<Arc<str>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (api, caller, token) = (api.clone(), caller.clone(), token.clone());
        async move { Ok::<_, Infallible>(api.answer(request, &caller, token.as_deref()).await) }
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
