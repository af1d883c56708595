//! The messages of the connection layer (RFC 4254), as far as a relay must know them.
//!
//! Pure. Nothing is copied; every length is checked; what follows the known fields of a message is
//! handed out as it is.

/// SSH_MSG_GLOBAL_REQUEST.
pub(super) const GLOBAL_REQUEST: u8 = 80;
/// SSH_MSG_REQUEST_SUCCESS.
pub(super) const REQUEST_SUCCESS: u8 = 81;
/// SSH_MSG_REQUEST_FAILURE.
pub(super) const REQUEST_FAILURE: u8 = 82;
/// SSH_MSG_CHANNEL_OPEN.
pub(super) const OPEN: u8 = 90;
/// SSH_MSG_CHANNEL_OPEN_CONFIRMATION.
pub(super) const OPEN_CONFIRMATION: u8 = 91;
/// SSH_MSG_CHANNEL_OPEN_FAILURE.
pub(super) const OPEN_FAILURE: u8 = 92;
/// SSH_MSG_CHANNEL_WINDOW_ADJUST.
pub(super) const WINDOW_ADJUST: u8 = 93;
/// SSH_MSG_CHANNEL_DATA.
pub(super) const DATA: u8 = 94;
/// Bytes before the data of such a message.
pub(super) const DATA_HEADER: usize = 9;
/// SSH_MSG_CHANNEL_EXTENDED_DATA.
pub(super) const EXTENDED_DATA: u8 = 95;
/// SSH_MSG_CHANNEL_EOF.
pub(super) const EOF: u8 = 96;
/// SSH_MSG_CHANNEL_CLOSE.
pub(super) const CLOSE: u8 = 97;
/// SSH_MSG_CHANNEL_REQUEST.
pub(super) const CHANNEL_REQUEST: u8 = 98;
/// SSH_MSG_CHANNEL_SUCCESS.
pub(super) const CHANNEL_SUCCESS: u8 = 99;
/// SSH_MSG_CHANNEL_FAILURE.
pub(super) const CHANNEL_FAILURE: u8 = 100;
/// SSH_OPEN_ADMINISTRATIVELY_PROHIBITED.
pub(super) const PROHIBITED: u32 = 1;
/// SSH_OPEN_CONNECT_FAILED.
pub(super) const CONNECT_FAILED: u32 = 2;
/// SSH_OPEN_RESOURCE_SHORTAGE.
pub(super) const SHORTAGE: u32 = 4;
/// SSH_EXTENDED_DATA_STDERR.
pub(super) const STDERR: u32 = 1;

/// A message that does not have its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message {0} does not have its shape")]
pub(super) struct Malformed(pub(super) u8);

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// A request about the connection.
    Global {
        name: &'a [u8],
        want_reply: bool,
        rest: &'a [u8],
    },
    /// The answer to one.
    GlobalSuccess,
    /// The answer to one.
    GlobalFailure,
    /// A channel is asked for.
    Open {
        kind: &'a [u8],
        sender: u32,
        window: u32,
        max_packet: u32,
        rest: &'a [u8],
    },
    /// A channel is open.
    Confirmation {
        recipient: u32,
        sender: u32,
        window: u32,
        max_packet: u32,
    },
    /// A channel is refused.
    OpenFailure { recipient: u32 },
    /// More may be sent.
    WindowAdjust { recipient: u32, bytes: u32 },
    /// Data.
    Data { recipient: u32, data: &'a [u8] },
    /// Data of another stream.
    ExtendedData {
        recipient: u32,
        code: u32,
        data: &'a [u8],
    },
    /// No more data.
    Eof { recipient: u32 },
    /// The end.
    Close { recipient: u32 },
    /// A request about a channel.
    Request {
        recipient: u32,
        name: &'a [u8],
        want_reply: bool,
        rest: &'a [u8],
    },
    /// The answer to one.
    Success { recipient: u32 },
    /// The answer to one.
    Failure { recipient: u32 },
    /// A message that this layer does not know.
    Unknown(u8),
}

/// Reads fields from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first != 0)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It does not have its shape.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, rest) = bytes.split_first().ok_or(Malformed(0))?;
        Self::fields(*kind, Fields(rest)).ok_or(Malformed(*kind))
    }

    fn fields(kind: u8, mut fields: Fields<'a>) -> Option<Self> {
        Some(match kind {
            GLOBAL_REQUEST => Self::Global {
                name: fields.string()?,
                want_reply: fields.flag()?,
                rest: fields.0,
            },
            REQUEST_SUCCESS => Self::GlobalSuccess,
            REQUEST_FAILURE => Self::GlobalFailure,
            OPEN => Self::Open {
                kind: fields.string()?,
                sender: fields.u32()?,
                window: fields.u32()?,
                max_packet: fields.u32()?,
                rest: fields.0,
            },
            OPEN_CONFIRMATION => Self::Confirmation {
                recipient: fields.u32()?,
                sender: fields.u32()?,
                window: fields.u32()?,
                max_packet: fields.u32()?,
            },
            OPEN_FAILURE => Self::OpenFailure {
                recipient: fields.u32()?,
            },
            WINDOW_ADJUST => {
                let (recipient, bytes) = (fields.u32()?, fields.u32()?);
                fields.end()?;
                Self::WindowAdjust { recipient, bytes }
            }
            DATA => {
                let (recipient, data) = (fields.u32()?, fields.string()?);
                fields.end()?;
                Self::Data { recipient, data }
            }
            EXTENDED_DATA => {
                let (recipient, code, data) = (fields.u32()?, fields.u32()?, fields.string()?);
                fields.end()?;
                Self::ExtendedData {
                    recipient,
                    code,
                    data,
                }
            }
            EOF => Self::Eof {
                recipient: fields.u32()?,
            },
            CLOSE => Self::Close {
                recipient: fields.u32()?,
            },
            CHANNEL_REQUEST => Self::Request {
                recipient: fields.u32()?,
                name: fields.string()?,
                want_reply: fields.flag()?,
                rest: fields.0,
            },
            CHANNEL_SUCCESS => Self::Success {
                recipient: fields.u32()?,
            },
            CHANNEL_FAILURE => Self::Failure {
                recipient: fields.u32()?,
            },
            other => Self::Unknown(other),
        })
    }
}

/// Writes a message.
#[derive(Debug)]
pub(super) struct Build(Vec<u8>);

impl Build {
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![kind])
    }

    /// A message about a channel.
    pub(super) fn channel(kind: u8, recipient: u32) -> Vec<u8> {
        Self::new(kind).u32(recipient).done()
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn flag(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    pub(super) fn string(mut self, text: &[u8]) -> Self {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.reserve(text.len() + 4);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text);
        self
    }

    /// Bytes as they are.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A message that opens a channel, with another window.
pub(super) fn with_window(message: &[u8], window: u32) -> Vec<u8> {
    let mut changed = message.to_vec();
    if let Ok(Message::Open { kind, .. }) = Message::parse(message) {
        let at = 1 + 4 + kind.len() + 4;
        if let Some(field) = changed.get_mut(at..at + 4) {
            field.copy_from_slice(&window.to_be_bytes());
        }
    }
    changed
}

/// Data for a channel.
pub(super) fn data(recipient: u32, code: Option<u32>, data: &[u8]) -> Vec<u8> {
    match code {
        None => Build::new(DATA).u32(recipient).string(data).done(),
        Some(code) => Build::new(EXTENDED_DATA)
            .u32(recipient)
            .u32(code)
            .string(data)
            .done(),
    }
}

/// Adds the data of a message to one before it, if both are nothing but data of the same channel and fit
/// into `most` bytes together.
pub(super) fn join(before: &mut Vec<u8>, message: &[u8], most: usize) -> bool {
    let (
        Ok(Message::Data {
            recipient,
            data: first,
        }),
        Ok(Message::Data {
            recipient: other,
            data,
        }),
    ) = (Message::parse(before), Message::parse(message))
    else {
        return false;
    };
    let length = first.len() + data.len();
    if recipient != other || length > most {
        return false;
    }
    before.extend_from_slice(data);
    if let (Some(field), Ok(length)) = (before.get_mut(5..DATA_HEADER), u32::try_from(length)) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    true
}

/// Why a channel was refused, as the peer says it.
pub(super) fn failure_text(message: &[u8]) -> String {
    let mut fields = Fields(message.get(1..).unwrap_or_default());
    let text = fields.u32().and(fields.u32()).and(fields.string());
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

/// A channel that is refused.
pub(super) fn open_failure(recipient: u32, reason: u32, text: &str) -> Vec<u8> {
    Build::new(OPEN_FAILURE)
        .u32(recipient)
        .u32(reason)
        .string(text.as_bytes())
        .string(b"en")
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let open = Build::new(OPEN)
            .string(b"direct-tcpip")
            .u32(7)
            .u32(65536)
            .u32(32768)
            .done();
        let open = [open, b"rest".to_vec()].concat();
        let expected = Message::Open {
            kind: b"direct-tcpip",
            sender: 7,
            window: 65536,
            max_packet: 32768,
            rest: b"rest",
        };
        assert_eq!(Message::parse(&open), Ok(expected));
        let bytes = data(3, Some(STDERR), b"text");
        let expected = Message::ExtendedData {
            recipient: 3,
            code: 1,
            data: b"text",
        };
        assert_eq!(Message::parse(&bytes), Ok(expected));
        let request = Build::new(CHANNEL_REQUEST)
            .u32(3)
            .string(b"exec")
            .flag(true)
            .string(b"id")
            .done();
        let expected = Message::Request {
            recipient: 3,
            name: b"exec",
            want_reply: true,
            rest: b"\0\0\0\x02id",
        };
        assert_eq!(Message::parse(&request), Ok(expected));
    }

    #[test]
    fn data_that_waits_is_joined_and_nothing_else_is() {
        let mut before = data(3, None, b"some ");
        assert!(join(&mut before, &data(3, None, b"text"), 9));
        assert_eq!(before, data(3, None, b"some text"));
        let unjoined = before.clone();
        for other in [
            data(3, None, b"x"),
            data(4, None, b""),
            data(3, Some(STDERR), b""),
            Build::channel(EOF, 3),
        ] {
            assert!(!join(&mut before, &other, 9));
        }
        assert_eq!(before, unjoined);
    }

    #[test]
    fn every_truncation_and_every_wrong_length_is_malformed_and_never_panics() {
        let whole = data(3, Some(STDERR), b"some text");
        for end in 1..whole.len() {
            assert_eq!(
                Message::parse(whole.get(..end).unwrap()),
                Err(Malformed(EXTENDED_DATA)),
                "{end}"
            );
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(Message::parse(&longer), Err(Malformed(EXTENDED_DATA)));
        let mut huge = data(3, None, b"x");
        huge.splice(5..9, [0xff; 4]);
        assert_eq!(Message::parse(&huge), Err(Malformed(DATA)));
        assert_eq!(Message::parse(&[]), Err(Malformed(0)));
        assert_eq!(Message::parse(&[192, 1, 2]), Ok(Message::Unknown(192)));
    }
}
