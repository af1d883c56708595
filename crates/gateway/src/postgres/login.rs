//! From the start-up message to the first ReadyForQuery: passed through, or brokered.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_policy::{ClientLogin, Credentials, Target};
use weir_transport::tls::Stream;
use weir_wire_postgres::backend::{self, tag};
use weir_wire_postgres::frame::{HEADER, Header};
use weir_wire_postgres::frontend::tag as frontend_tag;
use weir_wire_postgres::login::{
    Action, AuthRequest, Downstream, NONCE_LEN, Reply, Secret, Upstream, authentication_ok,
};
use weir_wire_postgres::message;
use weir_wire_postgres::startup::{CancelKey, Startup};

use super::dial::Dialled;
use super::refusal::Refusal;
use super::start::Client;
use crate::engine::Shared;

/// The longest message during login.
const MAX_LOGIN_MESSAGE: usize = 64 * 1024;

/// Iterations of the SCRAM secret made from a placeholder: PostgreSQL's default.
const ITERATIONS: u32 = 4096;

/// A server that has let us in.
pub(super) struct LoggedIn {
    pub(super) stream: Stream,
    /// Read and not passed on yet.
    pub(super) rest: BytesMut,
    pub(super) key: Option<CancelKey>,
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why nobody was let in.
pub(super) enum LoginError {
    /// The client is told this.
    Told(Refusal),
    /// The client knows already, or is gone.
    Silent(String),
}

struct Login<'a> {
    client: &'a mut Client,
    server: Stream,
    server_tls: bool,
    rest: BytesMut,
    key: Option<CancelKey>,
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Logs in, and passes on to the client what the server says about it.
pub(super) async fn log_in(
    shared: &Shared,
    client: &mut Client,
    dialled: Dialled,
    target: &Target,
    startup: &Startup,
) -> Result<LoggedIn, LoginError> {
    let end_point = dialled.end_point;
    let mut login = Login {
        client,
        server: dialled.stream,
        server_tls: dialled.tls,
        rest: BytesMut::new(),
        key: None,
        parameters: Vec::new(),
    };
    match &target.credentials {
        Credentials::PassThrough => {
            login.send_server(&startup.encode()).await?;
            login.pass_through().await?;
        }
        Credentials::Brokered {
            login: secret,
            client: check,
        } => {
            let told = |reason: String| LoginError::Told(refusal("28000", reason));
            let (user, password) = shared.credentials.login(secret).map_err(told)?;
            if let ClientLogin::Password(placeholder) = check {
                let placeholder = shared.credentials.read(placeholder).map_err(told)?;
                login.check_client(&placeholder, startup).await?;
            }
            let mut upstream = startup.clone();
            let database = upstream.parameter("database").unwrap_or_default().to_vec();
            upstream
                .parameters
                .retain(|(name, _)| name != b"user" && name != b"database");
            upstream
                .parameters
                .insert(0, (b"user".to_vec(), user.clone().into_bytes()));
            upstream
                .parameters
                .insert(1, (b"database".to_vec(), database));
            login.send_server(&upstream.encode()).await?;
            let machine = Upstream::new(user, password.into_bytes(), nonce()?, end_point);
            login.broker(machine).await?;
        }
    }
    Ok(LoggedIn {
        stream: login.server,
        rest: login.rest,
        key: login.key,
        parameters: login.parameters,
    })
}

fn refusal(sqlstate: &'static str, message: String) -> Refusal {
    Refusal {
        sqlstate,
        message: format!("weir: {message}"),
        detail: None,
        hint: None,
        rules: Vec::new(),
        may_be_mistake: false,
    }
}

fn silent(error: impl std::fmt::Display) -> LoginError {
    LoginError::Silent(error.to_string())
}

fn nonce() -> Result<[u8; NONCE_LEN], LoginError> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| silent("no randomness"))?;
    Ok(nonce)
}

impl Login<'_> {
    async fn send_server(&mut self, bytes: &[u8]) -> Result<(), LoginError> {
        self.server.write_all(bytes).await.map_err(silent)?;
        self.server.flush().await.map_err(silent)
    }

    async fn send_client(&mut self, bytes: &[u8]) -> Result<(), LoginError> {
        self.client.stream.write_all(bytes).await.map_err(silent)?;
        self.client.stream.flush().await.map_err(silent)
    }

    /// Relays until the server is ready or closes.
    async fn pass_through(&mut self) -> Result<(), LoginError> {
        let (mut from_client, mut out) = (std::mem::take(&mut self.client.rest), Vec::new());
        let (mut ready, mut asked) = (false, false);
        while !ready {
            let mut failed = None;
            while let Some(message) = take_message(&mut self.rest)? {
                ready = self.learn(&message)?;
                if message.first() == Some(&tag::AUTHENTICATION) {
                    asked = wants_answer(&message);
                }
                if message.first() == Some(&tag::ERROR) {
                    failed = Some("the server refused the login".to_owned());
                }
                out.extend_from_slice(&self.without_plus(&message));
                if ready {
                    break;
                }
            }
            if !out.is_empty() {
                let bytes = std::mem::take(&mut out);
                self.send_client(&bytes).await?;
                continue;
            }
            if ready {
                break;
            }
            // What a client sends ahead of the session stays where it is until the session begins.
            let ahead = |from_client: &BytesMut| {
                from_client
                    .first()
                    .is_some_and(|tag| *tag != frontend_tag::PASSWORD)
            };
            while !ahead(&from_client)
                && let Some(message) = take_message(&mut from_client)?
            {
                self.check_binding(&message)?;
                self.send_server(&message).await?;
                asked = false;
            }
            let ahead = ahead(&from_client);
            if ahead && asked {
                return Err(silent("the client sent something else than its password"));
            }
            let read = tokio::select! {
                read = self.server.read_buf(&mut self.rest) => read.map(|n| (n, true)),
                read = self.client.stream.read_buf(&mut from_client), if !ahead => read.map(|n| (n, false)),
            };
            match read.map_err(silent)? {
                (0, true) => return Err(silent(failed.unwrap_or("the server closed".to_owned()))),
                (0, false) => return Err(silent("the client went away during login")),
                _ => {}
            }
        }
        self.client.rest = from_client;
        Ok(())
    }

    /// A client that says it could bind the channel but thinks the server cannot would be taken for
    /// the victim of an attack by a server that can.
    fn check_binding(&self, message: &[u8]) -> Result<(), LoginError> {
        let body = message.get(HEADER..).unwrap_or_default();
        let unsure = self.server_tls && body.starts_with(b"SCRAM-SHA-256\0");
        if unsure && body.get(18..20) == Some(b"y,") {
            let mut refused = refusal(
                "28000",
                "channel binding cannot pass through an intercepted TLS connection".to_owned(),
            );
            refused.hint =
                Some("use credentials mode Brokered, or set PGCHANNELBINDING=disable".to_owned());
            return Err(LoginError::Told(refused));
        }
        Ok(())
    }

    /// SCRAM-SHA-256-PLUS binds to a certificate that the client never sees: it is not offered.
    fn without_plus(&self, message: &[u8]) -> Vec<u8> {
        const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0";
        let body = message.get(HEADER..).unwrap_or_default();
        let is_sasl =
            message.first() == Some(&tag::AUTHENTICATION) && body.starts_with(&[0, 0, 0, 10]);
        match memchr::memmem::find(body, PLUS).filter(|_| is_sasl) {
            None => message.to_vec(),
            Some(at) => {
                let mut out = Vec::new();
                message::message(&mut out, tag::AUTHENTICATION, |out| {
                    out.extend_from_slice(body.get(..at).unwrap_or_default());
                    out.extend_from_slice(body.get(at + PLUS.len()..).unwrap_or_default());
                });
                out
            }
        }
    }

    /// Takes note of what a message tells; true when the session may begin.
    fn learn(&mut self, message: &[u8]) -> Result<bool, LoginError> {
        let body = message.get(HEADER..).unwrap_or_default();
        match message.first().copied() {
            Some(tag::BACKEND_KEY_DATA) => {
                self.key = Some(backend::backend_key(body).map_err(silent)?);
            }
            Some(tag::PARAMETER_STATUS) => {
                let (name, value) = backend::parameter_status(body).map_err(silent)?;
                self.parameters.push((name.to_vec(), value.to_vec()));
            }
            Some(tag::READY) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// Makes the client prove that it knows the placeholder.
    async fn check_client(
        &mut self,
        placeholder: &[u8],
        startup: &Startup,
    ) -> Result<(), LoginError> {
        let placeholder = placeholder.trim_ascii_end();
        let salt = nonce()?;
        let secret = Secret::derive(placeholder, &salt, ITERATIONS);
        let end_point = self.client.end_point.clone();
        let mut machine = Downstream::new(secret.into(), nonce()?, end_point);
        let offer = machine.offer();
        self.send_client(&offer).await?;
        loop {
            let message = self.client_message().await?;
            let body = message.get(HEADER..).unwrap_or_default();
            match machine.on_response(body) {
                Ok(Reply::Continue(bytes)) => self.send_client(&bytes).await?,
                Ok(Reply::Accepted(bytes)) => return self.send_client(&bytes).await,
                Err(error) => {
                    let user = startup.parameter("user").unwrap_or_default();
                    let user = String::from_utf8_lossy(user);
                    return Err(LoginError::Told(Refusal {
                        sqlstate: error.sqlstate(),
                        message: error.message(&user),
                        detail: error.detail().map(str::to_owned),
                        hint: None,
                        rules: Vec::new(),
                        may_be_mistake: false,
                    }));
                }
            }
        }
    }

    async fn client_message(&mut self) -> Result<Vec<u8>, LoginError> {
        loop {
            if let Some(message) = take_message(&mut self.client.rest)? {
                if message.first() != Some(&frontend_tag::PASSWORD) {
                    return Err(silent("the client sent something else than its password"));
                }
                return Ok(message);
            }
            let read = self.client.stream.read_buf(&mut self.client.rest).await;
            if read.map_err(silent)? == 0 {
                return Err(silent("the client went away during login"));
            }
        }
    }

    /// Logs in with Weir's own secret.
    async fn broker(&mut self, mut machine: Upstream) -> Result<(), LoginError> {
        let mut done = false;
        loop {
            let Some(message) = take_message(&mut self.rest)? else {
                let read = self.server.read_buf(&mut self.rest).await;
                if read.map_err(silent)? == 0 {
                    return Err(silent("the server closed during login"));
                }
                continue;
            };
            let body = message.get(HEADER..).unwrap_or_default();
            match message.first().copied() {
                Some(tag::AUTHENTICATION) if !done => {
                    let told = |error: &dyn std::fmt::Display| {
                        let text = format!("the login at the server failed: {error}");
                        LoginError::Told(refusal("28000", text))
                    };
                    let request = AuthRequest::parse(body).map_err(|error| told(&error))?;
                    match machine.on_auth(request).map_err(|error| told(&error))? {
                        Action::Send(bytes) => self.send_server(&bytes).await?,
                        Action::Wait => {}
                        Action::Done => {
                            done = true;
                            self.send_client(&authentication_ok()).await?;
                        }
                    }
                }
                Some(tag::ERROR) => {
                    self.send_client(&message).await?;
                    drop(self.client.stream.shutdown().await);
                    return Err(silent("the server refused the login"));
                }
                _ => {
                    let ready = self.learn(&message)?;
                    self.send_client(&message).await?;
                    if ready {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether an Authentication message waits for the client: all do but Ok and SASLFinal.
fn wants_answer(message: &[u8]) -> bool {
    !matches!(message.get(HEADER..), Some([0, 0, 0, 0 | 12, ..]))
}

/// Takes a whole message from the front of `bytes`.
fn take_message(bytes: &mut BytesMut) -> Result<Option<Vec<u8>>, LoginError> {
    let Some(header) = Header::peek(bytes).map_err(silent)? else {
        return Ok(None);
    };
    if header.total > MAX_LOGIN_MESSAGE {
        return Err(silent("a message during login is too long"));
    }
    if bytes.len() < header.total {
        return Ok(None);
    }
    Ok(Some(bytes.split_to(header.total).to_vec()))
}
