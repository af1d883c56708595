//! One direction's bytes between arrival and departure.
//!
//! Invariant: what has been approved is a prefix of what has arrived. Approved bytes leave exactly
//! as they came, straight from the read buffer; a replacement is copied behind the approved prefix,
//! so that order is kept.

use bytes::{Buf, BytesMut};

/// Bytes read from one side, a prefix of which may go on to the other.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: BytesMut,
    approved: usize,
    read_size: usize,
}

/// Smallest and largest read, in bytes: small while idle, large under load.
const READ: std::ops::RangeInclusive<usize> = 2 * 1024..=64 * 1024;

impl Inbox {
    /// Bytes that nobody has judged yet.
    #[inline]
    pub(crate) fn unjudged(&self) -> &[u8] {
        self.bytes.get(self.approved..).unwrap_or_default()
    }

    /// Bytes that may go on as they are.
    #[inline]
    pub(crate) fn approved(&self) -> &[u8] {
        self.bytes.get(..self.approved).unwrap_or_default()
    }

    /// Lets the next `count` unjudged bytes go on.
    #[inline]
    pub(crate) fn approve(&mut self, count: usize) {
        self.approved = (self.approved + count).min(self.bytes.len());
    }

    /// Drops the next `count` unjudged bytes; what was approved moves to `out` first.
    pub(crate) fn discard(&mut self, count: usize, out: &mut BytesMut) {
        self.spill(out);
        self.bytes.advance(count.min(self.bytes.len()));
    }

    /// Moves what was approved to `out`.
    pub(crate) fn spill(&mut self, out: &mut BytesMut) {
        if self.approved > 0 {
            out.extend_from_slice(self.approved());
            self.bytes.advance(self.approved);
            self.approved = 0;
        }
    }

    /// Takes away `count` approved bytes that have been written.
    pub(crate) fn written(&mut self, count: usize) {
        let count = count.min(self.approved);
        self.bytes.advance(count);
        self.approved -= count;
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The buffer to read into, with room for one read; `need` bytes more are known to come.
    pub(crate) fn room(&mut self, need: usize) -> &mut BytesMut {
        self.read_size = self.read_size.clamp(*READ.start(), *READ.end());
        let want = self.read_size.max(need.min(*READ.end() * 4));
        if self.bytes.is_empty() && self.bytes.capacity() > 2 * want {
            self.bytes = BytesMut::new();
        }
        if self.bytes.capacity() - self.bytes.len() < want / 2 {
            self.bytes.reserve(want);
        }
        &mut self.bytes
    }

    /// Adapts the next read to what the last one brought.
    pub(crate) fn arrived(&mut self, count: usize) {
        if count >= self.read_size {
            self.read_size = (self.read_size * 2).min(*READ.end());
        } else if count < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(*READ.start());
        }
    }

    /// Starts with bytes that were read before.
    pub(crate) fn preload(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_when_a_message_is_replaced() {
        let (mut inbox, mut out) = (Inbox::default(), BytesMut::new());
        inbox.preload(b"aabbcc");
        inbox.approve(2);
        inbox.discard(2, &mut out);
        out.extend_from_slice(b"XX");
        inbox.approve(2);
        assert_eq!((&out[..], inbox.approved()), (&b"aaXX"[..], &b"cc"[..]));
        inbox.written(1);
        assert_eq!((inbox.approved(), inbox.unjudged().len()), (&b"c"[..], 0));
    }

    #[test]
    fn an_idle_buffer_gives_its_memory_back() {
        let mut inbox = Inbox::default();
        for _ in 0..8 {
            inbox.room(0);
            inbox.arrived(64 * 1024);
        }
        inbox.room(0);
        for _ in 0..8 {
            inbox.arrived(10);
        }
        assert!(inbox.room(0).capacity() <= 8 * 1024);
    }
}
