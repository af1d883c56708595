//! The yardstick for SSH: russh on both sides, and nothing between the channels.
//!
//! Sessions only: what a client asks of a channel is asked of the server's, data goes both ways
//! through russh's own channels, and any client is let in. With `--digest` it also makes the SHA-256
//! of what the server sends, so that the cost of that alone can be seen.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Preferred, cipher, client, server};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::Fail;

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
];

struct Upstream;

impl client::Handler for Upstream {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

struct Downstream {
    target: SocketAddr,
    user: String,
    key: Arc<PrivateKey>,
    digest: bool,
    upstream: Option<client::Handle<Upstream>>,
}

impl server::Handler for Downstream {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Self::Error> {
        let config = client::Config {
            preferred: Preferred {
                cipher: CIPHERS.into(),
                ..Preferred::default()
            },
            nodelay: true,
            ..client::Config::default()
        };
        let mut upstream = client::connect(Arc::new(config), self.target, Upstream).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.key), None);
        upstream
            .authenticate_publickey(self.user.as_str(), key)
            .await?;
        self.upstream = Some(upstream);
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        let upstream = self.upstream.as_ref().ok_or(russh::Error::Disconnect)?;
        let other = upstream.channel_open_session().await?;
        reply.accept().await;
        tokio::spawn(relay(channel, other, self.digest));
        Ok(())
    }
}

async fn relay(near: Channel<server::Msg>, far: Channel<client::Msg>, digest: bool) {
    let (mut near_read, near) = near.split();
    let (mut far_read, far) = far.split();
    let up = async {
        while let Some(message) = near_read.wait().await {
            match message {
                ChannelMsg::Data { data } => far.data_bytes(data).await?,
                ChannelMsg::ExtendedData { data, ext } => {
                    far.extended_data_bytes(ext, data).await?;
                }
                ChannelMsg::Eof => far.eof().await?,
                ChannelMsg::Close => far.close().await?,
                ChannelMsg::Exec { command, .. } => far.exec(true, command).await?,
                ChannelMsg::RequestShell { .. } => far.request_shell(true).await?,
                ChannelMsg::RequestSubsystem { name, .. } => {
                    far.request_subsystem(true, name).await?;
                }
                _ => {}
            }
        }
        Ok::<(), russh::Error>(())
    };
    let down = async {
        let mut ended = false;
        let mut sha256 = digest.then(Sha256::new);
        while let Some(message) = far_read.wait().await {
            match message {
                ChannelMsg::Data { data } => {
                    if let Some(sha256) = &mut sha256 {
                        sha256.update(&data);
                    }
                    near.data_bytes(data).await?;
                }
                ChannelMsg::ExtendedData { data, ext } => {
                    near.extended_data_bytes(ext, data).await?;
                }
                // OpenSSH says how a program ended after the end of its output; a client that has
                // nothing more to send closes the channel at that end, and russh then forgets it.
                ChannelMsg::Eof => ended = true,
                ChannelMsg::ExitStatus { exit_status } => near.exit_status(exit_status).await?,
                ChannelMsg::Close => {
                    if ended {
                        near.eof().await?;
                    }
                    near.close().await?;
                }
                _ => {}
            }
        }
        std::hint::black_box(sha256.map(Sha256::finalize));
        Ok::<(), russh::Error>(())
    };
    drop(tokio::join!(up, down));
}

/// Relays until the process is ended.
pub(crate) fn run(
    listen: SocketAddr,
    target: SocketAddr,
    user: &str,
    key: &Path,
    digest: bool,
) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(accept(listen, target, user, key, digest))
}

async fn accept(
    listen: SocketAddr,
    target: SocketAddr,
    user: &str,
    key: &Path,
    digest: bool,
) -> Result<(), Fail> {
    let key = Arc::new(russh::keys::load_secret_key(key, None)?);
    let host = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)?;
    let config = Arc::new(server::Config {
        keys: vec![host],
        inactivity_timeout: None,
        preferred: Preferred {
            cipher: CIPHERS.into(),
            ..Preferred::default()
        },
        nodelay: true,
        ..server::Config::default()
    });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let handler = Downstream {
            target,
            user: user.to_owned(),
            key: Arc::clone(&key),
            digest,
            upstream: None,
        };
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(session) = server::run_stream(config, socket, handler).await {
                drop(session.await);
            }
        });
    }
}
