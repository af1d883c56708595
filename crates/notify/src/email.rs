//! Electronic mail, by SMTP.
//!
//! Invariants
//! - Nothing is sent before TLS is up: `STARTTLS` is required where TLS does not come first, and the
//!   server's name must be in its certificate.
//! - Messages about one hold are one thread: each refers to the first.
//! - Password and authorities are read anew for each attempt, and are never logged.
//!
//! Refuses: plain text on the wire, and addresses that are none.

mod letter;

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::error::{SendError, read, secret};
use crate::message::Message;
use crate::slack::Links;
use crate::text::brief;

/// How long each step of an attempt may take, and all of it together.
const STEP: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailTls {
    /// By `STARTTLS`, which the server must offer. Port 587.
    #[default]
    Starttls,
    /// Before anything is said. Port 465.
    Implicit,
}

/// Where mail goes, and how.
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// The server's name, which must be in its certificate.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When TLS begins.
    pub tls: EmailTls,
    /// The login. None: no login.
    pub login: Option<(String, PathBuf)>,
    /// PEM file with the only authorities that count. Without it: Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// The sender, such as `Weir <weir@example.org>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// The UI's URL.
    pub ui_url: Option<String>,
}

/// A mail server, a sender and recipients.
#[derive(Debug)]
pub struct Email {
    host: String,
    port: u16,
    tls: EmailTls,
    login: Option<(String, PathBuf)>,
    ca_file: Option<PathBuf>,
    from: Mailbox,
    to: Vec<Mailbox>,
    links: Links,
}

impl Email {
    /// A receiver; nothing is read or dialled yet.
    ///
    /// # Errors
    /// When an address is none, or there is no recipient.
    pub fn new(config: EmailConfig) -> Result<Self, String> {
        let address = |text: &String| {
            let parsed: Result<Mailbox, _> = text.parse();
            parsed.map_err(|error| format!("{text:?} is no address: {error}"))
        };
        if config.to.is_empty() {
            return Err("there is no recipient".to_owned());
        }
        if config.host.is_empty() {
            return Err("there is no host".to_owned());
        }
        Ok(Self {
            from: address(&config.from)?,
            to: config.to.iter().map(address).collect::<Result<_, _>>()?,
            host: config.host,
            port: config.port,
            tls: config.tls,
            login: config.login,
            ca_file: config.ca_file,
            links: Links { ui: config.ui_url },
        })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Reads the files as an attempt would.
    ///
    /// # Errors
    /// When an attempt would fail.
    pub async fn check(&self) -> Result<(), SendError> {
        self.credentials().await?;
        self.parameters().await.map(drop)
    }

    /// Sends a message once. Delivered is what the server took.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), SendError> {
        let letter = letter::letter(message, &self.from, &self.to, &self.links)?;
        let parameters = self.parameters().await?;
        let tls = match self.tls {
            EmailTls::Starttls => Tls::Required(parameters),
            EmailTls::Implicit => Tls::Wrapper(parameters),
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.as_str())
                .port(self.port)
                .tls(tls)
                .timeout(Some(STEP))
                .hello_name(self.hello());
        if let Some(credentials) = self.credentials().await? {
            transport = transport.credentials(credentials);
        }
        let sent = tokio::time::timeout(PATIENCE, transport.build().send(letter)).await;
        let sent = sent.map_err(|_| {
            SendError::Mail(format!(
                "it did not take the message within {} s",
                PATIENCE.as_secs()
            ))
        })?;
        sent.map(drop)
            .map_err(|error| SendError::Mail(said(&error)))
    }

    /// By RFC 5321, a client that has no name says its domain.
    fn hello(&self) -> ClientId {
        ClientId::Domain(self.from.email.domain().to_owned())
    }

    async fn credentials(&self) -> Result<Option<Credentials>, SendError> {
        let Some((user, password_file)) = &self.login else {
            return Ok(None);
        };
        let password = secret(password_file).await?;
        Ok(Some(Credentials::new(user.clone(), password)))
    }

    async fn parameters(&self) -> Result<TlsParameters, SendError> {
        let builder = TlsParameters::builder(self.host.clone());
        let Some(path) = &self.ca_file else {
            let builder = builder.certificate_store(CertificateStore::WebpkiRoots);
            return builder
                .build_rustls()
                .map_err(|error| SendError::Mail(said(&error)));
        };
        let unusable =
            |why: String| SendError::Mail(format!("the authorities of {}: {why}", path.display()));
        let pem = read(path).await?;
        let mut builder = builder.certificate_store(CertificateStore::None);
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            let certificate = Certificate::from_der(certificate.to_vec());
            builder = builder
                .add_root_certificate(certificate.map_err(|error| unusable(error.to_string()))?);
            count += 1;
        }
        if count == 0 {
            return Err(unusable("no certificate in the file".to_owned()));
        }
        builder
            .build_rustls()
            .map_err(|error| unusable(error.to_string()))
    }
}

/// What went wrong, with its cause: the library's own text leaves it out.
fn said(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    brief(&text, 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(from: &str, to: &[&str]) -> Result<Email, String> {
        Email::new(EmailConfig {
            host: "mail.example".to_owned(),
            port: 587,
            tls: EmailTls::Starttls,
            login: None,
            ca_file: None,
            from: from.to_owned(),
            to: to.iter().map(|one| (*one).to_owned()).collect(),
            ui_url: None,
        })
    }

    #[test]
    fn what_is_no_address_is_refused_at_the_start() {
        assert!(
            config(
                "Weir <weir@example.org>",
                &["a@example.org", "B <b@example.org>"]
            )
            .is_ok()
        );
        for (from, to) in [
            ("weir", vec!["a@example.org"]),
            ("weir@example.org", vec![]),
            (
                "weir@example.org",
                vec!["a@example.org\nBcc: b@example.org"],
            ),
            (
                "weir@example.org\r\nBcc: b@example.org",
                vec!["a@example.org"],
            ),
        ] {
            assert!(config(from, &to).is_err(), "{from} {to:?}");
        }
    }
}
