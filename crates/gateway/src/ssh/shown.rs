//! What the client is shown where values are masked.

use super::packet::STDERR;
use super::relay::{Event, Relay};

impl Relay {
    /// Shows text of the server's with its values masked. False: nothing is masked on this channel.
    pub(super) fn show(&mut self, key: u64, code: Option<u32>, text: &[u8]) -> bool {
        let Some(channel) = self.channels.get_mut(&key) else {
            return false;
        };
        let active = channel.active.as_mut();
        let Some(masking) = active.and_then(|active| active.masking.as_mut()) else {
            return false;
        };
        let mut shown = Vec::with_capacity(text.len());
        if masking.take(code == Some(STDERR), text, &mut shown) {
            let inbox = self.inbox.clone();
            tokio::spawn(async move {
                tokio::time::sleep(crate::masking::PATIENCE).await;
                drop(inbox.put(Event::Settle(key)));
            });
        }
        channel.down.release(text.len());
        self.send_text(key, code, shown);
        true
    }

    /// Shows what waits for the rest of its line.
    pub(super) fn settle(&mut self, key: u64) {
        for code in [None, Some(STDERR)] {
            let channel = self.channels.get_mut(&key);
            let active = channel.and_then(|channel| channel.active.as_mut());
            let Some(masking) = active.and_then(|active| active.masking.as_mut()) else {
                return;
            };
            let mut shown = Vec::new();
            masking.flush(code.is_some(), &mut shown);
            self.send_text(key, code, shown);
        }
    }

    fn send_text(&mut self, key: u64, code: Option<u32>, text: Vec<u8>) {
        if text.is_empty() {
            self.flush(key);
            return;
        }
        self.keep_down(key, code, &text);
        self.totals.bytes_out += text.len() as u64;
        if let Some(channel) = self.channels.get_mut(&key)
            && !channel.closing.to_client
        {
            channel.down.send(code, text);
        }
        self.flush(key);
    }
}
