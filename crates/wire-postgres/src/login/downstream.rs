//! Checking a client against a placeholder password, as a server.
//!
//! SCRAM-SHA-256 only, and -PLUS with it where the client's connection is TLS
//! that we terminate. The syntax is read as strictly as PostgreSQL reads it
//! (`auth-scram.c`), and answered in the same cases with the same errors.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::request::{sasl, sasl_continue, sasl_final};
use super::response::{SaslInitialResponse, sasl_response};
use super::scram::{self, Hash, Secret};
use super::{BINDING_TYPE, ClientError, NONCE_LEN, SCRAM_SHA_256, SCRAM_SHA_256_PLUS};

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Send these bytes (a whole message), then read the client's answer.
    Continue(Vec<u8>),
    /// The client knows the password: send these bytes, and
    /// [`authentication_ok`](super::authentication_ok) when it may go on.
    Accepted(Vec<u8>),
}

/// One client's login at the gateway.
pub struct Downstream {
    secret: Arc<Secret>,
    nonce: String,
    channel_binding: Option<Vec<u8>>,
    state: State,
}

enum State {
    /// Mechanisms are offered.
    Offered,
    /// A mechanism is chosen, and its first message is awaited.
    Chosen { plus: bool },
    /// The challenge is out.
    Challenged {
        first: ClientFirst,
        nonce: String,
        server_first: String,
    },
    /// It is over, one way or the other.
    Over,
}

impl Downstream {
    /// Prepares a login. `nonce` has to be fresh randomness.
    /// `channel_binding` is the `tls-server-end-point` hash of the certificate
    /// that we showed this client, or `None` where it is not on TLS; only with
    /// it -PLUS is offered.
    #[must_use]
    pub fn new(
        secret: Arc<Secret>,
        nonce: [u8; NONCE_LEN],
        channel_binding: Option<Vec<u8>>,
    ) -> Self {
        Self {
            secret,
            nonce: scram::printable(&nonce),
            channel_binding,
            state: State::Offered,
        }
    }

    /// AuthenticationSASL, which opens the exchange.
    #[must_use]
    pub fn offer(&self) -> Vec<u8> {
        match self.channel_binding {
            Some(_) => sasl(&[SCRAM_SHA_256_PLUS, SCRAM_SHA_256]),
            None => sasl(&[SCRAM_SHA_256]),
        }
    }

    /// Answers the body of one `p` message. After an error the login is over
    /// and every further call fails.
    pub fn on_response(&mut self, body: &[u8]) -> Result<Reply, ClientError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Offered => {
                let initial = SaslInitialResponse::parse(body)?;
                let plus = self.choose(initial.mechanism)?;
                match initial.data {
                    Some(data) => self.challenge(plus, data),
                    None => {
                        self.state = State::Chosen { plus };
                        Ok(Reply::Continue(sasl_continue(&[])))
                    }
                }
            }
            State::Chosen { plus } => self.challenge(plus, sasl_response(body)?),
            State::Challenged {
                first,
                nonce,
                server_first,
            } => {
                let last = ClientFinal::parse(text(sasl_response(body)?)?)?;
                self.check_binding(&first, last.binding)?;
                if last.nonce != nonce {
                    return Err(ClientError::Nonce);
                }
                let auth = format!("{},{server_first},{}", first.bare, last.unproven);
                if !self.secret.accepts(auth.as_bytes(), &last.proof) {
                    return Err(ClientError::Password);
                }
                let signature = self.secret.server_signature(auth.as_bytes());
                let verifier = format!("v={}", scram::encode(&signature));
                Ok(Reply::Accepted(sasl_final(verifier.as_bytes())))
            }
            State::Over => Err(ClientError::OutOfOrder),
        }
    }

    /// Whether the client chose -PLUS.
    fn choose(&self, mechanism: &[u8]) -> Result<bool, ClientError> {
        if mechanism == SCRAM_SHA_256.as_bytes() {
            Ok(false)
        } else if mechanism == SCRAM_SHA_256_PLUS.as_bytes() && self.channel_binding.is_some() {
            Ok(true)
        } else {
            Err(ClientError::Mechanism)
        }
    }

    fn challenge(&mut self, plus: bool, data: &[u8]) -> Result<Reply, ClientError> {
        let (first, theirs) = ClientFirst::parse(text(data)?)?;
        match (first.flag, plus) {
            (Flag::Bound, true) | (Flag::Unable, false) => {}
            (Flag::Unable | Flag::NotOffered, true) => {
                return Err(ClientError::Malformed(
                    "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not \
                     include channel binding data.",
                ));
            }
            (Flag::Bound, false) => {
                return Err(ClientError::Malformed(
                    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM \
                     message includes channel binding data.",
                ));
            }
            (Flag::NotOffered, false) if self.channel_binding.is_some() => {
                return Err(ClientError::Downgrade);
            }
            (Flag::NotOffered, false) => {}
        }
        let nonce = format!("{theirs}{}", self.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            scram::encode(self.secret.salt()),
            self.secret.iterations()
        );
        let message = sasl_continue(server_first.as_bytes());
        self.state = State::Challenged {
            first,
            nonce,
            server_first,
        };
        Ok(Reply::Continue(message))
    }

    /// The attribute `c` repeats the flag of the first message and, with
    /// -PLUS, names the certificate that the client saw.
    fn check_binding(&self, first: &ClientFirst, attribute: &str) -> Result<(), ClientError> {
        let mut expected = first.gs2.clone().into_bytes();
        if let (Flag::Bound, Some(hash)) = (first.flag, &self.channel_binding) {
            expected.extend_from_slice(hash);
        }
        let expected = scram::encode(&expected);
        if expected.as_bytes().ct_eq(attribute.as_bytes()).into() {
            return Ok(());
        }
        Err(match first.flag {
            Flag::Bound => ClientError::Binding,
            Flag::Unable | Flag::NotOffered => ClientError::Malformed(
                "Unexpected channel-binding attribute in client-final-message.",
            ),
        })
    }
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Downstream")
            .field("plus", &self.channel_binding.is_some())
            .finish_non_exhaustive()
    }
}

/// What the client says about channel binding (RFC 5802, gs2-cbind-flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    /// `n`: it cannot, or does not want to.
    Unable,
    /// `y`: it could, and believes that we cannot.
    NotOffered,
    /// `p`: it does.
    Bound,
}

/// A parsed client-first-message.
struct ClientFirst {
    flag: Flag,
    gs2: String,
    bare: String,
}

impl ClientFirst {
    /// The message, and the nonce in it.
    fn parse(message: &str) -> Result<(Self, &str), ClientError> {
        let malformed = ClientError::Malformed("Malformed client-first-message.");
        let (flag, rest) = message.split_once(',').ok_or(malformed)?;
        let flag = match flag {
            "n" => Flag::Unable,
            "y" => Flag::NotOffered,
            bound => match bound.strip_prefix("p=") {
                Some(BINDING_TYPE) => Flag::Bound,
                Some(_) => return Err(ClientError::BindingType),
                None => {
                    return Err(ClientError::Malformed(
                        "Unexpected channel-binding flag in client-first-message.",
                    ));
                }
            },
        };
        let (authzid, bare) = rest.split_once(',').ok_or(malformed)?;
        if !authzid.is_empty() {
            return Err(ClientError::Unsupported(
                "client uses authorization identity, but it is not supported",
            ));
        }
        if bare.starts_with("m=") {
            return Err(ClientError::Unsupported(
                "client requires an unsupported SCRAM extension",
            ));
        }
        // The user is that of the start-up message; this one is ignored, as
        // PostgreSQL ignores it.
        let (_, rest) = scram::attribute(Some(bare), 'n').ok_or(malformed)?;
        let (nonce, rest) = scram::attribute(rest, 'r').ok_or(malformed)?;
        if !scram::is_nonce(nonce) {
            return Err(ClientError::Malformed("The nonce is not printable."));
        }
        if !scram::only_extensions(rest) {
            return Err(malformed);
        }
        let (gs2, bare) = message.split_at(message.len() - bare.len());
        let first = Self {
            flag,
            gs2: gs2.to_owned(),
            bare: bare.to_owned(),
        };
        Ok((first, nonce))
    }
}

/// A parsed client-final-message.
struct ClientFinal<'a> {
    binding: &'a str,
    nonce: &'a str,
    /// The message without its proof.
    unproven: &'a str,
    proof: Hash,
}

impl<'a> ClientFinal<'a> {
    fn parse(message: &'a str) -> Result<Self, ClientError> {
        let malformed = ClientError::Malformed("Malformed client-final-message.");
        let (binding, rest) = scram::attribute(Some(message), 'c').ok_or(malformed)?;
        let (nonce, rest) = scram::attribute(rest, 'r').ok_or(malformed)?;
        if !scram::only_extensions(rest) {
            return Err(malformed);
        }
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(malformed)?;
        let proof = scram::decode(proof)
            .and_then(|proof| Hash::try_from(proof).ok())
            .ok_or(ClientError::Malformed(
                "Malformed proof in client-final-message.",
            ))?;
        Ok(Self {
            binding,
            nonce,
            unproven,
            proof,
        })
    }
}

fn text(data: &[u8]) -> Result<&str, ClientError> {
    match std::str::from_utf8(data) {
        Ok("") => Err(ClientError::Malformed("The message is empty.")),
        Ok(text) if text.contains('\0') => Err(ClientError::Malformed(
            "Message length does not match input length.",
        )),
        Ok(text) => Ok(text),
        Err(_) => Err(ClientError::Malformed("The message is not UTF-8.")),
    }
}
