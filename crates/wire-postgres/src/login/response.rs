//! What a client answers while it logs in: the bodies of `p` messages.
//!
//! One type byte serves four messages; which it is follows from what was
//! asked, so each has its own parser.

use super::{ClientError, MAX_PASSWORD_LEN, MAX_SASL_LEN};

/// The body of a SASLInitialResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism that the client chose, unchecked.
    pub mechanism: &'a [u8],
    /// The first SASL message, where the client sends it at once.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads the body of a `p` message that answers AuthenticationSASL.
    pub fn parse(body: &'a [u8]) -> Result<Self, ClientError> {
        bounded(body, MAX_SASL_LEN)?;
        let end = memchr::memchr(0, body).ok_or(ClientError::Malformed(
            "The mechanism name is not terminated.",
        ))?;
        let (mechanism, rest) = body.split_at(end);
        let (len, data) = rest
            .get(1..)
            .and_then(|rest| rest.split_first_chunk::<4>())
            .ok_or(ClientError::Malformed("The message is truncated."))?;
        let data = match (i32::from_be_bytes(*len), data) {
            (-1, []) => None,
            (len, data) if usize::try_from(len) == Ok(data.len()) => Some(data),
            _ => {
                return Err(ClientError::Malformed(
                    "Message length does not match input length.",
                ));
            }
        };
        Ok(Self { mechanism, data })
    }
}

/// Reads the body of a `p` message that answers AuthenticationSASLContinue.
pub fn sasl_response(body: &[u8]) -> Result<&[u8], ClientError> {
    bounded(body, MAX_SASL_LEN)
}

/// Reads the body of a PasswordMessage: the password, or its MD5 hash,
/// without the zero at its end.
pub fn password_message(body: &[u8]) -> Result<&[u8], ClientError> {
    match bounded(body, MAX_PASSWORD_LEN)? {
        [password @ .., 0] if !password.contains(&0) => Ok(password),
        _ => Err(ClientError::Malformed("Invalid password packet size.")),
    }
}

fn bounded(body: &[u8], limit: usize) -> Result<&[u8], ClientError> {
    if body.len() > limit {
        return Err(ClientError::Malformed("The message is too long."));
    }
    Ok(body)
}
