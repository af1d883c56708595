//! Reaching the server: TCP, then TLS as the Target asks.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_policy::{Target, TlsMode};
use weir_transport::listen::keep_alive;
use weir_transport::tls::{Stream, UpstreamTls, originate, peer_end_point};
use weir_wire_postgres::startup::{self, CancelKey};

use crate::engine::Route;
use crate::place::{CONNECT, Place, Way};
use crate::ports::Credentials;
use crate::tls;

/// How long a server may take to act on a CancelRequest.
const CANCEL: Duration = Duration::from_secs(5);

/// Everything that is needed to reach a Target's server.
#[derive(Clone)]
pub(super) struct Dialer {
    way: Way,
    place: Place,
    tls: Option<UpstreamTls>,
    required: bool,
}

/// A connection to the server.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    /// Whether it is TLS.
    pub(super) tls: bool,
    /// `tls-server-end-point` of the server's certificate.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Why the server could not be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// TCP failed.
    #[error("could not connect to the server: {0}")]
    Connect(std::io::Error),
    /// It took too long.
    #[error("the server did not answer within {} s", CONNECT.as_secs())]
    Timeout,
    /// The Target asks for TLS and the server has none.
    #[error("the server does not support TLS, which the target requires")]
    NoTls,
    /// TLS failed.
    #[error("TLS to the server failed: {0}")]
    Tls(#[from] weir_transport::tls::TlsError),
    /// The Target's settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl From<tls::SettingsError> for DialError {
    fn from(error: tls::SettingsError) -> Self {
        match error {
            tls::SettingsError::Secret(reason) => Self::Settings(reason),
            tls::SettingsError::Tls(error) => Self::Tls(error),
        }
    }
}

impl Dialer {
    /// Reads the Target's settings.
    pub(super) fn new(
        route: &Route,
        target: &Target,
        credentials: &dyn Credentials,
    ) -> Result<Self, DialError> {
        let settings = &target.upstream_tls;
        let tls = tls::of_target(target, &route.place, credentials, b"postgresql")?;
        let required = !matches!(settings.mode, TlsMode::Disable | TlsMode::Prefer);
        Ok(Self {
            way: route.way.clone(),
            place: route.place.clone(),
            tls,
            required,
        })
    }

    /// Connects.
    pub(super) async fn dial(&self) -> Result<Dialled, DialError> {
        let mut socket = self.way.dial().await.map_err(DialError::Connect)?;
        keep_alive(&socket).map_err(DialError::Connect)?;
        let Some(tls) = &self.tls else {
            return Ok(plain(socket));
        };
        socket
            .write_all(&startup::ssl_request())
            .await
            .map_err(DialError::Connect)?;
        let answer = tokio::time::timeout(CONNECT, socket.read_u8()).await;
        match answer
            .map_err(|_| DialError::Timeout)?
            .map_err(DialError::Connect)?
        {
            b'S' => {
                let stream = originate(socket, tls).await?;
                let end_point = peer_end_point(&stream);
                Ok(Dialled {
                    stream: stream.into(),
                    tls: true,
                    end_point,
                })
            }
            _ if self.required => Err(DialError::NoTls),
            _ => Ok(plain(socket)),
        }
    }

    /// Sends a CancelRequest and waits until the server closes: only then has it acted.
    pub(super) async fn cancel(&self, key: &CancelKey) {
        let sent = async {
            let mut stream = self.dial().await.ok()?.stream;
            stream.write_all(&key.encode()).await.ok()?;
            stream.flush().await.ok()?;
            let mut rest = [0; 64];
            while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
            Some(())
        };
        if !matches!(tokio::time::timeout(CANCEL, sent).await, Ok(Some(()))) {
            tracing::warn!(address = %self.place, "a cancel request did not reach the server");
        }
    }
}

fn plain(socket: TcpStream) -> Dialled {
    Dialled {
        stream: Stream::from(socket),
        tls: false,
        end_point: None,
    }
}
