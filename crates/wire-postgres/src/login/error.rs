//! What can go wrong in a login, split by who is at fault.

/// The client broke the protocol or did not know the placeholder password.
///
/// [`sqlstate`](Self::sqlstate), [`message`](Self::message) and
/// [`detail`](Self::detail) say what PostgreSQL would have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A message that does not parse, or that is longer than allowed.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// A message that is out of order.
    #[error("unexpected login message")]
    OutOfOrder,
    /// A mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// The client believes that channel binding is not offered, but it is:
    /// somebody took the offer away (RFC 5802, section 6: a downgrade).
    #[error("channel binding was downgraded between client and gateway")]
    Downgrade,
    /// The client is bound to another TLS connection than ours.
    #[error("SCRAM channel binding check failed")]
    Binding,
    /// A channel binding type other than `tls-server-end-point`.
    #[error("unsupported SCRAM channel-binding type")]
    BindingType,
    /// A part of SCRAM that PostgreSQL does not support either.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client's final nonce is not the one of this exchange.
    #[error("SCRAM nonce does not match")]
    Nonce,
    /// The proof is well formed and wrong.
    #[error("password authentication failed")]
    Password,
}

impl ClientError {
    /// The SQLSTATE of the FATAL answer.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::OutOfOrder | Self::Mechanism | Self::BindingType => "08P01",
            Self::Nonce => "08P01",
            Self::Unsupported(_) => "0A000",
            Self::Downgrade | Self::Binding => "28000",
            Self::Password => "28P01",
        }
    }

    /// The message of the FATAL answer, in PostgreSQL's words.
    #[must_use]
    pub fn message(&self, user: &str) -> String {
        match self {
            Self::Password => format!("password authentication failed for user \"{user}\""),
            Self::Malformed(_) => "malformed SCRAM message".to_owned(),
            Self::Downgrade => "SCRAM channel binding negotiation error".to_owned(),
            Self::Nonce => "invalid SCRAM response".to_owned(),
            Self::OutOfOrder => "expected SASL response".to_owned(),
            other => other.to_string(),
        }
    }

    /// The detail of the FATAL answer, where PostgreSQL gives one.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(detail) => Some(detail),
            Self::Downgrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding.",
            ),
            Self::Nonce => Some("Nonce does not match."),
            _ => None,
        }
    }
}

/// The upstream server broke the protocol, asked for what we cannot do, or
/// could not prove that it knows the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// A message that does not parse, or that is longer than allowed.
    #[error("malformed authentication message from upstream: {0}")]
    Malformed(&'static str),
    /// A message that is out of order.
    #[error("unexpected authentication message from upstream")]
    OutOfOrder,
    /// A method that a brokered login cannot answer.
    #[error("upstream asks for {0} authentication, which a brokered login does not support")]
    Unsupported(&'static str),
    /// None of the offered SASL mechanisms is SCRAM-SHA-256.
    #[error("upstream offers no supported SASL mechanism")]
    Mechanism,
    /// An iteration count of zero, or above [`MAX_ITERATIONS`](super::MAX_ITERATIONS).
    #[error("upstream demands a SCRAM iteration count out of bounds")]
    Iterations,
    /// Authentication ended before the server proved itself.
    #[error("upstream ended SCRAM authentication without proving that it knows the password")]
    Unproven,
    /// The server's proof is wrong: it does not know the password.
    #[error("upstream sent an incorrect SCRAM server signature")]
    Signature,
    /// The server ended SCRAM with an error value (RFC 5802, section 7).
    #[error("upstream refused the SCRAM exchange")]
    Refused,
    /// The password holds a zero byte, which no message can carry.
    #[error("the brokered password contains a zero byte")]
    ZeroByte,
}
