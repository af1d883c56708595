//! TLS on both sides: terminate towards the client, originate upstream.
//!
//! Invariants: aws-lc-rs is the only provider and is named, never a process
//! default; TLS 1.2 and 1.3; leaves are ECDSA P-256 with SHA-256, so SCRAM's
//! `tls-server-end-point` is SHA-256; verification is on unless the mode is
//! called [`UpstreamMode::Require`].
//! Refuses: a root file without certificates, names that are not names, a peer
//! whose chain does not lead to the given roots.
//!
//! ```no_run
//! # use weir_transport::tls::*;
//! # async fn f(client: tokio::net::TcpStream, upstream: tokio::net::TcpStream) -> Result<(), TlsError> {
//! let authority = Authority::load_or_create(std::path::Path::new("/var/lib/weir"), "weir")?;
//! let names = LeafNames::new(["orders.corp.example"], Some("10.0.0.5".parse().unwrap()));
//! let done = terminate(Rewound::new(client), &authority, &names, &[b"postgresql"]).await?;
//! let binding = done.leaf.end_point(); // for SCRAM-SHA-256-PLUS
//! let mut stream = Stream::from(done.stream);
//!
//! let tls = UpstreamTls::new(UpstreamMode::VerifyFull, Some(b"-----BEGIN ..."), "orders.corp.example", &[b"postgresql"])?;
//! let server = originate(upstream, &tls).await?;
//! let server_binding = peer_end_point(&server);
//! let mut server = Stream::from(server);
//! # Ok(()) }
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

mod authority;
mod endpoint;
mod noticed;
mod originate;
mod signature;
mod stream;
mod terminate;

pub use authority::{Authority, Leaf, LeafNames};
pub use endpoint::{end_point_hash, peer_end_point};
pub use originate::{UpstreamMode, UpstreamTls, originate};
pub use stream::{Rewound, Stream};
pub use terminate::{Terminated, terminate, terminate_noticing};

/// Why a TLS session or a certificate could not be made; by who is to blame.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client's handshake failed.
    #[error("client's TLS handshake failed: {0}")]
    Client(#[source] io::Error),
    /// The upstream's handshake or certificate was refused.
    #[error("upstream's TLS handshake failed: {0}")]
    Upstream(#[source] io::Error),
    /// A configured root, name or key does not parse.
    #[error("TLS configuration: {0}")]
    Configuration(String),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Mint(#[from] rcgen::Error),
    /// A key file could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The library refused a configuration.
    #[error("TLS library: {0}")]
    Library(#[from] rustls::Error),
}

/// The one cryptography provider of this process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .clone()
}

#[cfg(test)]
mod tests;
