//! Views of what a server sends.

use crate::{
    ProtocolError,
    frame::Body,
    startup::{CancelKey, MAX_CANCEL_KEY},
};

/// Tags of the messages a server sends.
pub mod tag {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN: u8 = b'G';
    pub const COPY_OUT: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY: u8 = b'I';
    pub const ERROR: u8 = b'E';
    pub const FUNCTION_RESULT: u8 = b'V';
    pub const NEGOTIATE: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE: u8 = b'N';
    pub const NOTIFICATION: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Most columns a result can have (`MaxTupleAttributeNumber`, and what a row's 16-bit count allows).
pub const MAX_COLUMNS: usize = 1664;

/// One column of a result, as RowDescription gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column's name in the result.
    pub name: Box<[u8]>,
    /// OID of the relation it comes from; 0 when the server cannot say.
    pub table_oid: u32,
    /// Its attribute number there; 0 when the server cannot say.
    pub attribute: i16,
    /// OID of its type.
    pub type_oid: u32,
    /// Whether values come in binary.
    pub binary: bool,
}

/// Reads a RowDescription.
///
/// # Errors
/// The body does not have its shape or names too many columns.
pub fn row_description(body: &[u8]) -> Result<Vec<Field>, ProtocolError> {
    let mut body = Body::new(body);
    let count = body.count(19)?;
    if count > MAX_COLUMNS {
        return Err(ProtocolError::Count);
    }
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let name = body.cstr()?.into();
        let (table_oid, attribute, type_oid) = (body.u32()?, body.i16()?, body.u32()?);
        body.bytes(6)?;
        fields.push(Field {
            name,
            table_oid,
            attribute,
            type_oid,
            binary: body.i16()? == 1,
        });
    }
    body.end()?;
    Ok(fields)
}

/// The transaction status that a ReadyForQuery carries: `I`, `T` or `E`.
///
/// # Errors
/// The body is not one byte.
pub fn ready(body: &[u8]) -> Result<u8, ProtocolError> {
    match body {
        [status @ (b'I' | b'T' | b'E')] => Ok(*status),
        _ => Err(ProtocolError::Kind(body.first().copied().unwrap_or(0))),
    }
}

/// A ParameterStatus: name and value.
///
/// # Errors
/// The body does not have its shape.
pub fn parameter_status(body: &[u8]) -> Result<(&[u8], &[u8]), ProtocolError> {
    let mut body = Body::new(body);
    Ok((body.cstr()?, body.cstr()?))
}

/// A BackendKeyData.
///
/// # Errors
/// The key is shorter than four or longer than 256 bytes.
pub fn backend_key(body: &[u8]) -> Result<CancelKey, ProtocolError> {
    let mut body = Body::new(body);
    let pid = body.u32()?;
    let secret = body.rest();
    if !(4..=MAX_CANCEL_KEY).contains(&secret.len()) {
        return Err(ProtocolError::Count);
    }
    Ok(CancelKey {
        pid,
        secret: secret.to_vec(),
    })
}

/// The tag of a CommandComplete, such as `SELECT 5`.
///
/// # Errors
/// No terminating NUL.
pub fn command_tag(body: &[u8]) -> Result<&[u8], ProtocolError> {
    Body::new(body).cstr()
}

/// The fields of an ErrorResponse or NoticeResponse, in order.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    body: Body<'a>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of `body`; the iteration ends at the terminator or where the body is cut.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            body: Body::new(body),
        }
    }

    /// The value of the first field with this code.
    #[must_use]
    pub fn find(mut self, code: u8) -> Option<&'a [u8]> {
        self.find_map(|(found, value)| (found == code).then_some(value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = self.body.u8().ok().filter(|code| *code != 0)?;
        Some((code, self.body.cstr().ok()?))
    }
}
