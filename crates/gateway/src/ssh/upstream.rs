//! The connection to the real server: dialling, its host key, and logging in.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, AuthResult, RawSender};
use russh::keys::agent::client::AgentClient;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{
    Algorithm, Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey,
    PublicKeyOrCertificate,
};
use tokio::io::DuplexStream;
use weir_policy::Login;

use super::backlog::{Backlog, Buffered};
use super::host::HostCheck;
use super::relay::{Event, Inbox};
use crate::place::{CONNECT, Way};
use crate::ports::Credentials;

/// How long a certificate of Weir's own is valid: it is used at once.
const CERTIFICATE_LIFE: u64 = 300;
const BACKDATE: u64 = 60;

/// A connection to the server, not logged in.
pub(super) struct Upstream {
    pub(super) handle: client::Handle<Handler>,
    seen: Arc<Mutex<Seen>>,
    pub(super) backlog: Arc<Backlog>,
    /// What the server said before the login.
    pub(super) banner: Arc<Mutex<String>>,
    /// The address that the server sees, if it is known.
    local: Option<IpAddr>,
}

/// Why the server was not met.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unmet {
    /// It is not reached, or does not speak as it should.
    #[error("{0}")]
    Unreached(String),
    /// It is not the host that the Target means.
    #[error("{0}")]
    Another(String),
}

/// What Weir logs in with.
pub(super) enum Secret {
    Password(String),
    Key(Box<PrivateKey>, Option<Box<Certificate>>),
    /// Signs a certificate for each connection.
    Authority(Box<PrivateKey>),
}

/// A login of Weir's own.
pub(super) struct BrokeredLogin {
    /// The user it is for; none where the client says.
    pub(super) user: Option<String>,
    pub(super) secret: Secret,
}

impl BrokeredLogin {
    /// Reads a login.
    ///
    /// # Errors
    /// It cannot be read, or holds nothing to log in with.
    pub(super) fn read(login: &Login, credentials: &dyn Credentials) -> Result<Self, String> {
        let Login::Ref(object) = login else {
            let (user, password) = credentials.login(login)?;
            return Ok(Self {
                user: Some(user),
                secret: Secret::Password(password),
            });
        };
        let field = |key: &str| credentials.field(object, key);
        let text = |key: &str| -> Result<Option<String>, String> {
            let Some(bytes) = field(key)? else {
                return Ok(None);
            };
            let text =
                String::from_utf8(bytes).map_err(|_| format!("{object}: {key}: not UTF-8"))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        };
        let key = |name: &str| -> Result<Option<Box<PrivateKey>>, String> {
            let Some(text) = text(name)? else {
                return Ok(None);
            };
            // An empty line at the end is part of the format.
            russh::keys::decode_secret_key(&format!("{text}\n"), None)
                .map(|key| Some(Box::new(key)))
                .map_err(|error| format!("{object}: {name}: {error}"))
        };
        let secret = if let Some(private) = key("ssh-privatekey")? {
            let certificate = text("ssh-privatekey-cert.pub")?
                .map(|text| Certificate::from_openssh(&text).map(Box::new))
                .transpose()
                .map_err(|error| format!("{object}: ssh-privatekey-cert.pub: {error}"))?;
            Secret::Key(private, certificate)
        } else if let Some(authority) = key("ssh-ca-key")? {
            Secret::Authority(authority)
        } else if let Some(password) = text("password")? {
            Secret::Password(password)
        } else {
            return Err(format!(
                "{object}: has none of ssh-privatekey, ssh-ca-key and password"
            ));
        };
        Ok(Self {
            user: text("username")?,
            secret,
        })
    }
}

/// What the server shows and says while it is met.
pub(super) struct Handler {
    check: HostCheck,
    seen: Arc<Mutex<Seen>>,
    banner: Arc<Mutex<String>>,
    inbox: Inbox,
}

#[derive(Default)]
struct Seen {
    refused: Option<String>,
    key: Option<PublicKey>,
}

impl client::Handler for Handler {
    type Error = russh::Error;

    fn packet(&mut self, payload: Vec<u8>) -> Result<Option<Vec<u8>>, Self::Error> {
        self.inbox.put(Event::Server(payload))?;
        Ok(None)
    }

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let accepted = self.check.accept(shown);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(reason) = &accepted {
            self.inbox.end(reason);
            seen.refused = Some(reason.clone());
        } else if seen.key.is_none() {
            seen.key = Some(shown.public_key());
            if self.check.first_use {
                // From now on it is this key, on this connection too.
                self.check.pin(shown.public_key());
            }
        }
        Ok(accepted.is_ok())
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        const LONGEST: usize = 16 << 10;
        let mut kept = self.banner.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + banner.len() <= LONGEST {
            kept.push_str(banner);
        }
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: client::DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        match reason {
            client::DisconnectReason::ReceivedDisconnect(said) => {
                self.inbox.end(&format!("server: {}", plain(&said.message)));
                Ok(())
            }
            client::DisconnectReason::Error(error) => {
                self.inbox.end(&format!("server: {error}"));
                Err(error)
            }
        }
    }
}

/// What a server says, fit for a line of Weir's own: short, and nothing that a terminal acts on.
fn plain(said: &str) -> String {
    const LONGEST: usize = 256;
    let letters = said.chars().take(LONGEST);
    letters
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

impl Upstream {
    /// Connects and meets the server. The key that was trusted on first use comes along.
    ///
    /// # Errors
    /// It is not reached, or is not the host that the Target means.
    pub(super) async fn connect(
        way: Way,
        check: HostCheck,
        inbox: Inbox,
    ) -> Result<(Self, Option<PublicKey>), Unmet> {
        let io = |error: std::io::Error| Unmet::Unreached(error.to_string());
        let socket = way.dial().await.map_err(|error| {
            Unmet::Unreached(format!("could not connect to the server: {error}"))
        })?;
        let local = match way {
            Way::Direct(_) => Some(socket.local_addr().map_err(io)?.ip().to_canonical()),
            Way::Through(_) | Way::Forwarded(_) => None,
        };
        let (buffered, backlog) = Buffered::new(socket);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let banner = Arc::default();
        let config = super::algorithms::client(&check);
        let first_use = check.first_use;
        let handler = Handler {
            check,
            seen: Arc::clone(&seen),
            banner: Arc::clone(&banner),
            inbox,
        };
        let met = client::connect_stream(Arc::new(config), buffered, handler);
        let met = tokio::time::timeout(CONNECT, met).await;
        let mut shown = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = shown.refused.take() {
            return Err(Unmet::Another(reason));
        }
        let slow = "the server did not complete the key exchange";
        let handle = met
            .map_err(|_| Unmet::Unreached(slow.to_owned()))?
            .map_err(|error| {
                let error = plain(&error.to_string());
                Unmet::Unreached(format!("the key exchange with the server failed: {error}"))
            })?;
        let kept = shown.key.take().filter(|_| first_use);
        drop(shown);
        let upstream = Self {
            seen,
            handle,
            backlog,
            banner,
            local,
        };
        Ok((upstream, kept))
    }

    /// Why the key that the server has shown since is not the host's.
    pub(super) fn another(&self) -> Option<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.refused.take()
    }

    /// What sends messages to the server.
    pub(super) fn sender(&self) -> RawSender {
        self.handle.raw_sender()
    }

    /// Logs in for a client.
    ///
    /// # Errors
    /// The server refuses it.
    pub(super) async fn log_in(
        &mut self,
        user: &str,
        secret: &Secret,
        identity: &str,
    ) -> Result<(), String> {
        let failed = |error: russh::Error| format!("logging in failed: {error}");
        let result = match secret {
            Secret::Password(password) => self.handle.authenticate_password(user, password).await,
            Secret::Key(key, None) => {
                let hash = match key.algorithm() {
                    Algorithm::Rsa { .. } => self
                        .handle
                        .best_supported_rsa_hash()
                        .await
                        .map_err(failed)?
                        .flatten(),
                    _ => None,
                };
                let key = PrivateKeyWithHashAlg::new(Arc::new((**key).clone()), hash);
                self.handle.authenticate_publickey(user, key).await
            }
            Secret::Key(key, Some(certificate)) => {
                let key = Arc::new((**key).clone());
                let certificate = (**certificate).clone();
                self.handle
                    .authenticate_openssh_cert(user, key, certificate)
                    .await
            }
            Secret::Authority(authority) => {
                let (key, certificate) = self
                    .mint(user, authority, identity)
                    .map_err(|error| format!("no certificate for the login: {error}"))?;
                self.handle
                    .authenticate_openssh_cert(user, Arc::new(key), certificate)
                    .await
            }
        };
        match result.map_err(failed)? {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { .. } => {
                Err(format!("the server refuses Weir's login as {user:?}"))
            }
        }
    }

    /// Logs in with a key that the agent at the other end of `stream` has.
    ///
    /// # Errors
    /// The agent does not sign, or the server refuses it.
    pub(super) async fn log_in_by_agent(
        &mut self,
        user: &str,
        key: &PublicKey,
        stream: DuplexStream,
    ) -> Result<(), String> {
        let hash = match key.algorithm() {
            Algorithm::Rsa { .. } => {
                let best = self.handle.best_supported_rsa_hash().await;
                best.map_err(|error| format!("logging in failed: {error}"))?
                    .flatten()
            }
            _ => None,
        };
        let mut agent = AgentClient::connect(stream);
        let asked = self
            .handle
            .authenticate_publickey_with(user, key.clone(), hash, &mut agent);
        match asked.await {
            Ok(AuthResult::Success) => Ok(()),
            Ok(AuthResult::Failure { .. }) => Err(format!(
                "the server does not let {user:?} in with the agent's key {}",
                key.fingerprint(HashAlg::Sha256)
            )),
            Err(error) => Err(format!("the client's agent does not sign: {error}")),
        }
    }

    /// A key and its certificate, for one login from this address.
    fn mint(
        &self,
        user: &str,
        authority: &PrivateKey,
        identity: &str,
    ) -> Result<(PrivateKey, Certificate), russh::keys::ssh_key::Error> {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        let now = crate::wall_clock().as_micros() / 1_000_000;
        let mut builder = Builder::new_with_random_nonce(
            &mut safe_rng(),
            key.public_key(),
            now.saturating_sub(BACKDATE),
            now + CERTIFICATE_LIFE,
        )?;
        builder
            .cert_type(CertType::User)?
            .key_id(format!("weir:{identity}"))?
            .valid_principal(user)?;
        if let Some(local) = self.local {
            builder.critical_option("source-address", local.to_string())?;
        }
        // What the session may do is the policy's to say, and what the server's configuration says.
        for extension in [
            "permit-X11-forwarding",
            "permit-agent-forwarding",
            "permit-port-forwarding",
            "permit-pty",
            "permit-user-rc",
        ] {
            builder.extension(extension, "")?;
        }
        Ok((key, builder.sign(authority)?))
    }
}
