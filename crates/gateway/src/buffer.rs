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
    pub(crate) fn discard(&mut self, count: usize, out: &mut Outbox) {
        self.spill(out);
        self.bytes.advance(count.min(self.bytes.len()));
    }

    /// Moves what was approved to `out`.
    pub(crate) fn spill(&mut self, out: &mut Outbox) {
        if self.approved > 0 {
            out.bytes.extend_from_slice(self.approved());
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

/// Bytes for one side that are not those that came from the other.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    keeps_room: bool,
}

/// The most room that an empty outbox keeps, in bytes.
const ROOM: usize = 16 * 1024;

impl Outbox {
    /// Bytes that have not left.
    #[inline]
    pub(crate) fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Where more of them are appended.
    #[inline]
    pub(crate) const fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes away the first `count` bytes, which have left.
    pub(crate) fn written(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.bytes.len() {
            self.clear();
        } else if self.sent >= ROOM && self.sent >= self.unsent().len() {
            // A receiver that never takes all of it must not make it grow.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Drops what has not left.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        if self.bytes.capacity() > ROOM && !self.keeps_room {
            self.bytes = Vec::new();
        }
    }

    /// Whether room is kept, for as much again, when all has left.
    pub(crate) fn keep_room(&mut self, keeps: bool) {
        self.keeps_room = keeps;
        if self.unsent().is_empty() {
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_when_a_message_is_replaced() {
        let (mut inbox, mut out) = (Inbox::default(), Outbox::default());
        inbox.preload(b"aabbcc");
        inbox.approve(2);
        inbox.discard(2, &mut out);
        out.end().extend_from_slice(b"XX");
        inbox.approve(2);
        assert_eq!((out.unsent(), inbox.approved()), (&b"aaXX"[..], &b"cc"[..]));
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

    #[test]
    fn what_is_sent_in_parts_leaves_in_order() {
        let mut out = Outbox::default();
        out.end().extend_from_slice(b"abc");
        out.written(2);
        out.end().extend_from_slice(b"de");
        assert_eq!(out.unsent(), b"cde");
        out.written(3);
        assert_eq!(out.unsent(), b"");
        assert_eq!(out.end().len(), 0);
    }

    #[test]
    fn a_receiver_that_never_takes_all_does_not_make_it_grow() {
        let mut out = Outbox::default();
        out.end().extend_from_slice(&[0; ROOM]);
        for turn in 0..1000_u32 {
            out.end().extend_from_slice(&[turn as u8; ROOM / 2]);
            out.written(ROOM / 2);
            assert_eq!(out.unsent().len(), ROOM);
            assert!(out.end().len() <= 3 * ROOM, "{turn}");
        }
        assert_eq!(out.unsent().last(), Some(&(999_u32 as u8)));
    }

    #[test]
    fn room_is_kept_while_more_is_expected_and_no_longer() {
        let mut out = Outbox::default();
        let fill = |out: &mut Outbox| out.end().extend_from_slice(&[0; 2 * ROOM]);
        fill(&mut out);
        out.written(2 * ROOM);
        assert_eq!(out.end().capacity(), 0);
        out.keep_room(true);
        fill(&mut out);
        out.written(2 * ROOM);
        assert!(out.end().capacity() >= 2 * ROOM);
        fill(&mut out);
        out.keep_room(false);
        assert_eq!(out.unsent().len(), 2 * ROOM);
        out.written(2 * ROOM);
        assert_eq!(out.end().capacity(), 0);
    }
}
