//! Towards the client: read its hello, mint a leaf for what it asked, shake
//! hands.
//!
//! Invariants: the leaf carries the Target's names, the original destination
//! and the name asked by SNI; the handshake may not take longer than
//! [`HANDSHAKE`]. Refuses: clients whose ALPN list lacks the protocol.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::Rewound;
use super::{Authority, Leaf, LeafNames, TlsError};

/// Bound of a handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(10);

/// A session with the client.
#[derive(Debug)]
pub struct Terminated {
    /// Decrypted from here on.
    pub stream: TlsStream<Rewound>,
    /// The certificate shown, for SCRAM's channel binding.
    pub leaf: Arc<Leaf>,
    /// What the client asked for by SNI.
    pub server_name: Option<String>,
    /// What ALPN agreed on; direct TLS of PostgreSQL requires `postgresql`.
    pub alpn: Option<Vec<u8>>,
    /// Whether the client has shown a certificate; it is not verified.
    pub certified: bool,
}

/// Terminates a client's TLS. `io` starts at the first byte of its hello.
///
/// # Errors
/// [`TlsError::Client`] when the handshake fails or takes too long.
pub async fn terminate(
    io: Rewound,
    authority: &Authority,
    names: &LeafNames,
    alpn: &[&[u8]],
) -> Result<Terminated, TlsError> {
    accept(io, authority, names, alpn, false).await
}

/// The same, where the client is asked for a certificate: it need not have one, and whether it has is told
/// in [`Terminated::certified`].
///
/// # Errors
/// As [`terminate`].
pub async fn terminate_noticing(
    io: Rewound,
    authority: &Authority,
    names: &LeafNames,
    alpn: &[&[u8]],
) -> Result<Terminated, TlsError> {
    accept(io, authority, names, alpn, true).await
}

async fn accept(
    io: Rewound,
    authority: &Authority,
    names: &LeafNames,
    alpn: &[&[u8]],
    asks: bool,
) -> Result<Terminated, TlsError> {
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io)
            .await
            .map_err(TlsError::Client)?;
        let server_name = start.client_hello().server_name().map(str::to_owned);
        let leaf = match &server_name {
            Some(name) => authority.mint(&names.with(name))?,
            None => authority.mint(names)?,
        };
        let stream = start
            .into_stream(leaf.server_config(alpn, asks)?)
            .await
            .map_err(TlsError::Client)?;
        let session = stream.get_ref().1;
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        let certified = session
            .peer_certificates()
            .is_some_and(|chain| !chain.is_empty());
        Ok(Terminated {
            stream,
            leaf,
            server_name,
            alpn,
            certified,
        })
    };
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(result) => result,
        Err(_) => Err(TlsError::Client(std::io::ErrorKind::TimedOut.into())),
    }
}
