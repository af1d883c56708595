//! Authentication messages (`R`): views of what a server sent, and bytes of
//! what we send as a server.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use super::{MAX_REQUEST_LEN, UpstreamError};

/// A parsed Authentication message, borrowed from its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRequest<'a> {
    /// The login succeeded.
    Ok,
    /// Kerberos V5, which no living server asks for.
    KerberosV5,
    /// A PasswordMessage with the password itself.
    CleartextPassword,
    /// A PasswordMessage with an MD5 hash over this salt.
    Md5Password([u8; 4]),
    /// GSSAPI.
    Gss,
    /// More data for GSSAPI or SSPI.
    GssContinue,
    /// SSPI.
    Sspi,
    /// A choice of SASL mechanisms.
    Sasl(Mechanisms<'a>),
    /// A SASL challenge.
    SaslContinue(&'a [u8]),
    /// The end of the SASL exchange.
    SaslFinal(&'a [u8]),
}

/// The list of mechanisms in an AuthenticationSASL message: whole and
/// terminated, or it would not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'a>(&'a [u8]);

impl<'a> Mechanisms<'a> {
    /// The names in the server's order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .split(|b| *b == 0)
            .take_while(|name| !name.is_empty())
    }

    /// Whether the server offers this one.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        self.iter().any(|offer| offer == name.as_bytes())
    }
}

impl<'a> AuthRequest<'a> {
    /// Reads the body of an `R` message (what follows its length).
    pub fn parse(body: &'a [u8]) -> Result<Self, UpstreamError> {
        if body.len() > MAX_REQUEST_LEN {
            return Err(UpstreamError::Malformed("too long"));
        }
        let (code, rest) = body
            .split_first_chunk::<4>()
            .ok_or(UpstreamError::Malformed("too short"))?;
        let request = match u32::from_be_bytes(*code) {
            0 => Self::Ok,
            2 => Self::KerberosV5,
            3 => Self::CleartextPassword,
            5 => {
                let salt = rest
                    .try_into()
                    .map_err(|_| UpstreamError::Malformed("the MD5 salt is not four bytes"))?;
                return Ok(Self::Md5Password(salt));
            }
            7 => Self::Gss,
            8 => return Ok(Self::GssContinue),
            9 => Self::Sspi,
            10 => return mechanisms(rest).map(Self::Sasl),
            11 => return Ok(Self::SaslContinue(rest)),
            12 => return Ok(Self::SaslFinal(rest)),
            _ => return Err(UpstreamError::Unsupported("an unknown")),
        };
        if rest.is_empty() {
            Ok(request)
        } else {
            Err(UpstreamError::Malformed("trailing bytes"))
        }
    }
}

/// A list is names that end in zero, and an empty name at its end.
fn mechanisms(rest: &[u8]) -> Result<Mechanisms<'_>, UpstreamError> {
    match rest {
        [0] => Ok(Mechanisms(&[])),
        [first, .., 0, 0] if *first != 0 && !rest.windows(2).rev().skip(1).any(|w| w == [0, 0]) => {
            Ok(Mechanisms(rest))
        }
        _ => Err(UpstreamError::Malformed(
            "the list of SASL mechanisms is not terminated",
        )),
    }
}

/// AuthenticationOk, as a whole message.
#[must_use]
pub fn authentication_ok() -> Vec<u8> {
    request(0, &[])
}

/// AuthenticationSASL with these mechanisms, as a whole message.
pub(super) fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in mechanisms {
        list.extend_from_slice(name.as_bytes());
        list.push(0);
    }
    list.push(0);
    request(10, &list)
}

/// AuthenticationSASLContinue, as a whole message.
pub(super) fn sasl_continue(data: &[u8]) -> Vec<u8> {
    request(11, data)
}

/// AuthenticationSASLFinal, as a whole message.
pub(super) fn sasl_final(data: &[u8]) -> Vec<u8> {
    request(12, data)
}

fn request(code: u32, data: &[u8]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(data);
    message(b'R', &body)
}

/// One message: type, length (which counts itself), body.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    // Every body built here is far below 2 GB; a saturated length would be
    // refused by any peer rather than misread.
    let len = i32::try_from(body.len().saturating_add(4)).unwrap_or(i32::MAX);
    let mut out = Vec::with_capacity(body.len().saturating_add(5));
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(body);
    out
}
