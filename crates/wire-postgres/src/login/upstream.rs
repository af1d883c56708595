//! Logging in at the real server, as a client.
//!
//! The server chooses the method, as PostgreSQL's protocol has it. SCRAM is
//! mutual: once it was asked for, AuthenticationOk counts only after the
//! server's signature was verified.

use std::fmt;

use postgres_protocol::authentication::md5_hash;
use subtle::ConstantTimeEq as _;

use super::request::{AuthRequest, Mechanisms, message};
use super::scram::{self, Hash, Proof};
use super::{
    BINDING_TYPE, MAX_ITERATIONS, NONCE_LEN, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, UpstreamError,
};

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes (a whole message), then read the next one.
    Send(Vec<u8>),
    /// Read the next message.
    Wait,
    /// The server let us in.
    Done,
}

/// One login at an upstream server.
pub struct Upstream {
    user: String,
    password: Vec<u8>,
    nonce: String,
    channel_binding: Option<Vec<u8>>,
    state: State,
}

enum State {
    /// Nothing was asked yet.
    Fresh,
    /// The password, or its hash, is on its way.
    Answered,
    /// The client's first SCRAM message is on its way.
    First {
        gs2: String,
        bare: String,
        bound: bool,
    },
    /// The proof is on its way; the server has to prove itself.
    Proving { server_signature: Hash },
    /// The server has proven itself.
    Proven,
    /// It is over, one way or the other.
    Over,
}

impl Upstream {
    /// Prepares a login. `nonce` has to be fresh randomness.
    /// `channel_binding` is the `tls-server-end-point` hash of the upstream's
    /// certificate where the connection is TLS (RFC 5929), else `None`.
    #[must_use]
    pub fn new(
        user: impl Into<String>,
        password: impl Into<Vec<u8>>,
        nonce: [u8; NONCE_LEN],
        channel_binding: Option<Vec<u8>>,
    ) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            nonce: scram::printable(&nonce),
            channel_binding,
            state: State::Fresh,
        }
    }

    /// Answers one Authentication message. After an error the login is over
    /// and every further call fails. With SCRAM one call costs as many HMACs
    /// as the server has iterations (4,096 by default, about a millisecond).
    pub fn on_auth(&mut self, request: AuthRequest<'_>) -> Result<Action, UpstreamError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (state, request) {
            (State::Fresh | State::Answered | State::Proven, AuthRequest::Ok) => Ok(Action::Done),
            (State::First { .. } | State::Proving { .. }, AuthRequest::Ok) => {
                Err(UpstreamError::Unproven)
            }
            (State::Fresh, AuthRequest::CleartextPassword) => {
                let password = self.password.clone();
                self.answer(password)
            }
            (State::Fresh, AuthRequest::Md5Password(salt)) => {
                let hash = md5_hash(self.user.as_bytes(), &self.password, salt);
                self.answer(hash.into_bytes())
            }
            (State::Fresh, AuthRequest::Sasl(offer)) => self.first(offer),
            (State::First { gs2, bare, bound }, AuthRequest::SaslContinue(data)) => {
                self.prove(&gs2, &bare, bound, data)
            }
            (State::Proving { server_signature }, AuthRequest::SaslFinal(data)) => {
                check_server(&server_signature, data)?;
                self.state = State::Proven;
                Ok(Action::Wait)
            }
            (_, AuthRequest::Gss | AuthRequest::GssContinue) => {
                Err(UpstreamError::Unsupported("GSSAPI"))
            }
            (_, AuthRequest::Sspi) => Err(UpstreamError::Unsupported("SSPI")),
            (_, AuthRequest::KerberosV5) => Err(UpstreamError::Unsupported("Kerberos")),
            _ => Err(UpstreamError::OutOfOrder),
        }
    }

    fn answer(&mut self, mut body: Vec<u8>) -> Result<Action, UpstreamError> {
        if body.contains(&0) {
            return Err(UpstreamError::ZeroByte);
        }
        body.push(0);
        self.state = State::Answered;
        Ok(Action::Send(message(b'p', &body)))
    }

    /// Chooses the mechanism and sends client-first-message. The flag `y`
    /// tells the server that we could bind and saw no offer, so that it can
    /// notice one that was taken away.
    fn first(&mut self, offer: Mechanisms<'_>) -> Result<Action, UpstreamError> {
        let (mechanism, gs2) = match &self.channel_binding {
            Some(_) if offer.offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, format!("p={BINDING_TYPE},,"))
            }
            _ if !offer.offers(SCRAM_SHA_256) => return Err(UpstreamError::Mechanism),
            Some(_) => (SCRAM_SHA_256, "y,,".to_owned()),
            None => (SCRAM_SHA_256, "n,,".to_owned()),
        };
        // PostgreSQL takes the user from the start-up message and ignores
        // this one; libpq leaves it empty.
        let bare = format!("n=,r={}", self.nonce);
        let first = format!("{gs2}{bare}");
        let mut body = mechanism.as_bytes().to_vec();
        body.push(0);
        let len = i32::try_from(first.len()).unwrap_or(i32::MAX);
        body.extend_from_slice(&len.to_be_bytes());
        body.extend_from_slice(first.as_bytes());
        let bound = mechanism == SCRAM_SHA_256_PLUS;
        self.state = State::First { gs2, bare, bound };
        Ok(Action::Send(message(b'p', &body)))
    }

    fn prove(
        &mut self,
        gs2: &str,
        bare: &str,
        bound: bool,
        server_first: &[u8],
    ) -> Result<Action, UpstreamError> {
        let server_first = std::str::from_utf8(server_first)
            .map_err(|_| UpstreamError::Malformed("server-first-message is not UTF-8"))?;
        let challenge = Challenge::parse(server_first, &self.nonce)?;
        let mut binding = gs2.as_bytes().to_vec();
        if let (true, Some(hash)) = (bound, &self.channel_binding) {
            binding.extend_from_slice(hash);
        }
        let unproven = format!("c={},r={}", scram::encode(&binding), challenge.nonce);
        let auth_message = format!("{bare},{server_first},{unproven}");
        let proof = Proof::new(
            &self.password,
            &challenge.salt,
            challenge.iterations,
            auth_message.as_bytes(),
        );
        self.state = State::Proving {
            server_signature: proof.server_signature,
        };
        let last = format!("{unproven},p={}", scram::encode(&proof.client));
        Ok(Action::Send(message(b'p', last.as_bytes())))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A parsed server-first-message.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Challenge<'a> {
    fn parse(message: &'a str, ours: &str) -> Result<Self, UpstreamError> {
        let malformed = || UpstreamError::Malformed("server-first-message");
        let (nonce, rest) = scram::attribute(Some(message), 'r').ok_or_else(malformed)?;
        let theirs = nonce
            .strip_prefix(ours)
            .ok_or(UpstreamError::Malformed("the nonce does not continue ours"))?;
        if !scram::is_nonce(theirs) {
            return Err(malformed());
        }
        let (salt, rest) = scram::attribute(rest, 's').ok_or_else(malformed)?;
        let salt = scram::decode(salt)
            .filter(|salt| !salt.is_empty())
            .ok_or_else(malformed)?;
        let (iterations, rest) = scram::attribute(rest, 'i').ok_or_else(malformed)?;
        if iterations.is_empty() || !iterations.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let iterations = iterations
            .parse()
            .ok()
            .filter(|n| (1..=MAX_ITERATIONS).contains(n))
            .ok_or(UpstreamError::Iterations)?;
        if !scram::only_extensions(rest) {
            return Err(malformed());
        }
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

fn check_server(expected: &Hash, server_final: &[u8]) -> Result<(), UpstreamError> {
    let malformed = UpstreamError::Malformed("server-final-message");
    let Ok(text) = std::str::from_utf8(server_final) else {
        return Err(malformed);
    };
    if scram::attribute(Some(text), 'e').is_some() {
        return Err(UpstreamError::Refused);
    }
    let Some((signature, rest)) = scram::attribute(Some(text), 'v') else {
        return Err(malformed);
    };
    let Some(signature) = scram::decode(signature).filter(|_| scram::only_extensions(rest)) else {
        return Err(malformed);
    };
    if bool::from(signature.ct_eq(expected.as_slice())) {
        Ok(())
    } else {
        Err(UpstreamError::Signature)
    }
}
