//! Sizes of a terminal: JSON objects `{"Width":80,"Height":24}`, one after another.

use serde::Deserialize;

use super::ChannelError;

/// The longest object that is waited for.
const MAX_OBJECT: usize = 1 << 10;

/// Reads sizes as they come.
#[derive(Debug, Default)]
pub struct Sizes {
    waiting: Vec<u8>,
}

/// A size as Go reads it: names in any case, unknown ones ignored.
#[derive(Debug, Default, Deserialize)]
struct Size {
    #[serde(default, alias = "width", alias = "WIDTH")]
    #[serde(rename = "Width")]
    width: u16,
    #[serde(default, alias = "height", alias = "HEIGHT")]
    #[serde(rename = "Height")]
    height: u16,
}

impl Sizes {
    /// Takes bytes; the sizes (columns and rows) that are whole now.
    ///
    /// # Errors
    /// They are no sizes.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<(u16, u16)>, ChannelError> {
        let mut sizes = Vec::new();
        // A size holds no other object and no text of account, so that each ends with its bracket.
        for part in bytes.split_inclusive(|byte| *byte == b'}') {
            if self.waiting.len() + part.len() > MAX_OBJECT {
                return Err(ChannelError::Size);
            }
            self.waiting.extend_from_slice(part);
            if part.ends_with(b"}") {
                let size = serde_json::from_slice::<Size>(&self.waiting);
                let size = size.map_err(|_| ChannelError::Size)?;
                sizes.push((size.width, size.height));
                self.waiting.clear();
            }
        }
        Ok(sizes)
    }
}
