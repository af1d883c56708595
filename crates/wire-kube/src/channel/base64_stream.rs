//! Base64 of one message, decoded as it comes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::ChannelError;

/// Decodes one message.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Characters that do not make three bytes yet.
    carry: Vec<u8>,
    /// Padding has come: nothing may follow.
    ended: bool,
}

impl Decoder {
    /// Decodes what can be decoded; at the end of the message nothing may be left.
    pub(super) fn take(&mut self, text: &[u8], last: bool) -> Result<Bytes, ChannelError> {
        // Go's decoder skips line ends.
        let chars = text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        self.carry.extend(chars);
        let whole = self.carry.len() / 4 * 4;
        let ready = self.carry.get(..whole).unwrap_or_default();
        if self.ended && !self.carry.is_empty() {
            return Err(ChannelError::Base64);
        }
        let decoded = BASE64_STANDARD.decode(ready);
        let decoded = decoded.map_err(|_| ChannelError::Base64)?;
        self.ended |= ready.ends_with(b"=");
        self.carry.drain(..whole);
        if (last || self.ended) && !self.carry.is_empty() {
            return Err(ChannelError::Base64);
        }
        Ok(decoded.into())
    }
}
