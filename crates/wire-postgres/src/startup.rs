//! The first packet of a connection, which has no tag.
//!
//! Source: PostgreSQL documentation, "Start-up", "SSL Session Encryption", "Canceling Requests in
//! Progress".

use crate::{
    ProtocolError,
    frame::{Body, MAX_STARTUP},
};

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// Longest cancel key of protocol 3.2, in bytes.
pub const MAX_CANCEL_KEY: usize = 256;

/// What a client may send first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// Asks for TLS; answered with one byte, after which the client starts again.
    SslRequest,
    /// Asks for GSSAPI encryption; always answered `N`.
    GssEncRequest,
    /// Asks to cancel what another connection is doing.
    Cancel(CancelKey),
    /// A session begins.
    Startup(Startup),
}

/// The key that a server gave a session, by which it can be cancelled.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The server process.
    pub pid: u32,
    /// Four bytes in protocol 3.0, up to [`MAX_CANCEL_KEY`] in 3.2.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Name and value of a start-up parameter.
pub type Parameter = (Vec<u8>, Vec<u8>);

/// A session's start-up message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Major and minor protocol version.
    pub version: (u16, u16),
    /// Parameters in the order sent; names and values are bytes in no known encoding yet.
    pub parameters: Vec<Parameter>,
}

/// Bytes of a name that count.
const MAX_NAME: usize = 63;

impl Startup {
    /// The last value given for `name`, as the server reads it.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let named = self
            .parameters
            .iter()
            .rev()
            .find(|(key, _)| key == name.as_bytes());
        named.map(|(_, value)| value.as_slice())
    }

    /// Names user and database as the server will: cut to the length of a name, and an empty database is the
    /// user's.
    pub fn settle_names(&mut self) {
        let user = cut(self.parameter("user").unwrap_or_default()).to_vec();
        let database = self.parameter("database").filter(|name| !name.is_empty());
        let database = database.map_or_else(|| user.clone(), |name| cut(name).to_vec());
        for (name, settled) in [("user", user), ("database", database)] {
            let mut named = self.parameters.iter_mut();
            let given = named.rfind(|(key, _)| key == name.as_bytes());
            match given {
                Some((_, value)) => *value = settled,
                None if name == "database" => {
                    self.parameters.push((name.as_bytes().to_vec(), settled));
                }
                None => {}
            }
        }
    }

    /// The start-up packet with these parameters.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.version.1.to_be_bytes());
        for (name, value) in &self.parameters {
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
        out.push(0);
        set_length(&mut out);
        out
    }
}

impl CancelKey {
    /// The CancelRequest packet for this key.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        out.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&self.pid.to_be_bytes());
        out.extend_from_slice(&self.secret);
        set_length(&mut out);
        out
    }
}

/// The eight bytes that ask a server for TLS.
#[must_use]
pub fn ssl_request() -> [u8; 8] {
    let mut out = [0, 0, 0, 8, 0, 0, 0, 0];
    out[4..].copy_from_slice(&SSL_REQUEST.to_be_bytes());
    out
}

fn set_length(packet: &mut [u8]) {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    if let Some(head) = packet.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
}

/// Parses the packet at the start of `bytes`; gives it with its length, or `None` for more bytes.
///
/// # Errors
/// The length is not one that a server would accept, or the packet is malformed.
pub fn parse(bytes: &[u8]) -> Result<Option<(FirstPacket, usize)>, ProtocolError> {
    let Some(head) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*head) as usize;
    if !(8..=MAX_STARTUP).contains(&length) {
        return Err(ProtocolError::StartupLength(length));
    }
    let Some(packet) = bytes.get(4..length) else {
        return Ok(None);
    };
    let mut body = Body::new(packet);
    let first = match body.u32()? {
        SSL_REQUEST => body.end().map(|()| FirstPacket::SslRequest)?,
        GSSENC_REQUEST => body.end().map(|()| FirstPacket::GssEncRequest)?,
        CANCEL_REQUEST => {
            let pid = body.u32()?;
            let secret = body.rest();
            if !(4..=MAX_CANCEL_KEY).contains(&secret.len()) {
                return Err(ProtocolError::Count);
            }
            FirstPacket::Cancel(CancelKey {
                pid,
                secret: secret.to_vec(),
            })
        }
        version => {
            let parameters = parameters(&mut body)?;
            let [a, b, c, d] = version.to_be_bytes();
            let version = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            FirstPacket::Startup(Startup {
                version,
                parameters,
            })
        }
    };
    Ok(Some((first, length)))
}

/// A name as far as the server reads it (`NAMEDATALEN` less its end), without half of a character.
fn cut(name: &[u8]) -> &[u8] {
    let Some(short) = name.get(..MAX_NAME) else {
        return name;
    };
    match std::str::from_utf8(short) {
        Err(error) if error.error_len().is_none() => {
            short.get(..error.valid_up_to()).unwrap_or(short)
        }
        _ => short,
    }
}

fn parameters(body: &mut Body<'_>) -> Result<Vec<Parameter>, ProtocolError> {
    let mut found = Vec::new();
    loop {
        let name = body.cstr()?;
        if name.is_empty() {
            body.end()?;
            return Ok(found);
        }
        found.push((name.to_vec(), body.cstr()?.to_vec()));
    }
}
