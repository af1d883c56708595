//! PostgreSQL logins on both sides of the gateway, without IO.
//!
//! [`Upstream`] logs in at the real server with the real password, by the
//! method that server asks for. [`Downstream`] makes a client prove that it
//! knows a placeholder password, by SCRAM only, bound to the gateway's own
//! certificate where the connection is encrypted.
//!
//! Invariants: every message is bounded before it is read; a server that
//! asked for SCRAM is not believed until it has proven that it knows the
//! password too; proofs are compared in constant time; no error and no
//! `Debug` output carries a password, a proof or a nonce.
//!
//! Refuses to do: read sockets or clocks, make randomness (nonces and salts
//! are arguments), offer MD5 or clear text to a client, answer GSSAPI, SSPI,
//! Kerberos or OAuth.

mod downstream;
mod error;
mod request;
mod response;
mod scram;
mod upstream;

pub use downstream::{Downstream, Reply};
pub use error::{ClientError, UpstreamError};
pub use request::{AuthRequest, Mechanisms, authentication_ok};
pub use response::{SaslInitialResponse, password_message, sasl_response};
pub use scram::Secret;
pub use upstream::{Action, Upstream};

/// Random bytes in a nonce, before Base64; what PostgreSQL itself uses
/// (`SCRAM_RAW_NONCE_LEN`).
pub const NONCE_LEN: usize = 18;

/// The longest body of an Authentication message that a server may send;
/// libpq's own limit (`PQconnectPoll` refuses more than 2,000 bytes).
pub const MAX_REQUEST_LEN: usize = 2_000;

/// The longest SASL message that a client may send; PostgreSQL's own limit
/// (`PG_MAX_SASL_MESSAGE_LENGTH`).
pub const MAX_SASL_LEN: usize = 1_024;

/// The longest PasswordMessage that a client may send; PostgreSQL's own limit
/// (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub const MAX_PASSWORD_LEN: usize = 65_535;

/// The most PBKDF2 iterations that an upstream may demand. PostgreSQL's
/// default is 4,096; the bound keeps a hostile server from burning our CPU.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// The name of SCRAM without channel binding (RFC 7677).
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The name of SCRAM with channel binding (RFC 7677).
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The only channel binding that PostgreSQL knows (RFC 5929).
const BINDING_TYPE: &str = "tls-server-end-point";

#[cfg(test)]
mod tests;
