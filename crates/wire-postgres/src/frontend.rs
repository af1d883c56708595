//! Views of what a client sends after start-up.
//!
//! A view borrows from the message; nothing is copied and nothing is kept. Text is bytes: its
//! encoding is the session's `client_encoding`, which this crate does not know.

use crate::{ProtocolError, frame::Body};

/// Tags of the messages a client sends.
pub mod tag {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// What Describe and Close name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// `Parse`: prepare a statement.
#[derive(Debug, Clone, Copy)]
pub struct Parse<'a> {
    /// Statement name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text.
    pub query: &'a [u8],
}

/// `Bind`: make a portal from a statement and parameters.
#[derive(Debug, Clone)]
pub struct Bind<'a> {
    /// Portal name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement.
    pub statement: &'a [u8],
    /// Parameter values and whether each is binary.
    pub parameters: Vec<(Option<&'a [u8]>, bool)>,
    /// Result formats as sent: none, one for all, or one each; 1 is binary.
    pub result_formats: Vec<i16>,
}

/// `Execute`: run a portal.
#[derive(Debug, Clone, Copy)]
pub struct Execute<'a> {
    /// Portal name.
    pub portal: &'a [u8],
    /// Most rows to return now; 0 for all.
    pub max_rows: i32,
}

/// The text of a `Query`.
///
/// # Errors
/// No terminating NUL, or bytes after it.
pub fn query(body: &[u8]) -> Result<&[u8], ProtocolError> {
    let mut body = Body::new(body);
    let text = body.cstr()?;
    body.end()?;
    Ok(text)
}

/// Reads a `Parse`.
///
/// # Errors
/// The body does not have its shape.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, ProtocolError> {
    let mut body = Body::new(body);
    let (name, query) = (body.cstr()?, body.cstr()?);
    let types = body.count(4)?;
    body.bytes(types * 4)?;
    body.end()?;
    Ok(Parse { name, query })
}

/// Reads a `Bind`.
///
/// # Errors
/// The body does not have its shape, or its format counts do not fit its parameters.
pub fn bind(body: &[u8]) -> Result<Bind<'_>, ProtocolError> {
    let mut body = Body::new(body);
    let (portal, statement) = (body.cstr()?, body.cstr()?);
    let formats = codes(&mut body)?;
    let count = body.count(4)?;
    if formats.len() > 1 && formats.len() != count {
        return Err(ProtocolError::Count);
    }
    let mut parameters = Vec::with_capacity(count);
    for index in 0..count {
        let code = formats
            .get(index)
            .or(formats.first().filter(|_| formats.len() == 1));
        parameters.push((body.value()?, code == Some(&1)));
    }
    let result_formats = codes(&mut body)?;
    body.end()?;
    Ok(Bind {
        portal,
        statement,
        parameters,
        result_formats,
    })
}

fn codes(body: &mut Body<'_>) -> Result<Vec<i16>, ProtocolError> {
    let count = body.count(2)?;
    (0..count).map(|_| body.i16()).collect()
}

/// Reads an `Execute`.
///
/// # Errors
/// The body does not have its shape.
pub fn execute(body: &[u8]) -> Result<Execute<'_>, ProtocolError> {
    let mut body = Body::new(body);
    let (portal, max_rows) = (body.cstr()?, body.i32()?);
    body.end()?;
    Ok(Execute { portal, max_rows })
}

/// Reads what a `Describe` or a `Close` names.
///
/// # Errors
/// The kind is neither statement nor portal, or the body does not have its shape.
pub fn named(body: &[u8]) -> Result<Named<'_>, ProtocolError> {
    let mut body = Body::new(body);
    let kind = body.u8()?;
    let name = body.cstr()?;
    body.end()?;
    match kind {
        b'S' => Ok(Named::Statement(name)),
        b'P' => Ok(Named::Portal(name)),
        _ => Err(ProtocolError::Kind(kind)),
    }
}

/// Whether a message of the extended protocol names a statement or portal by bytes beyond ASCII, which mean
/// what the session's encoding makes of them.
pub fn has_foreign_name(tag: u8, body: &[u8]) -> bool {
    let (names, before) = match tag {
        tag::PARSE | tag::EXECUTE => (1, 0),
        tag::BIND => (2, 0),
        tag::DESCRIBE | tag::CLOSE => (1, 1),
        _ => return false,
    };
    let mut ended = 0;
    let mut inside = body.iter().skip(before).take_while(|byte| {
        ended += usize::from(**byte == 0);
        ended < names
    });
    inside.any(|byte| !byte.is_ascii())
}

/// The OID of the function that a `FunctionCall` calls.
///
/// # Errors
/// The body is too short.
pub fn function_oid(body: &[u8]) -> Result<u32, ProtocolError> {
    Body::new(body).u32()
}
