//! One direction of a channel: who may send how much, and what waits.
//!
//! A window that the receiver grants is handed on to the sender, never more than [`MAX_WINDOW`] at a
//! time: what waits here is bounded by what the sender was granted, and a receiver that stops
//! reading stops the sender of its own channel alone. What is kept back is not granted again, so its
//! sender stands still.

use std::collections::VecDeque;

use super::packet;

/// Most that a sender may send ahead.
pub(super) const MAX_WINDOW: u32 = 2 << 20;
/// Small grants are collected up to this, or an eighth of the window: receivers grant every three
/// packets, and each grant that is handed on costs the sender as much as one of its own.
const GRANT: u64 = 256 << 10;

/// Messages that may wait for a receiver that takes no data.
const MESSAGES: usize = 4096;
/// Bytes of Weir's own that may wait for it, beside its window.
const OWN: u64 = 1 << 20;
/// Data that waits is joined up to this: what comes in single bytes must not cost more than it is.
const JOINED: usize = 16 << 10;

/// The sender has sent more than it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more data than the window of its channel holds")]
pub(super) struct Overrun;

/// Something on its way.
#[derive(Debug)]
enum Item {
    /// Data from `start` on of a stream: standard output, or the one with this code.
    Data {
        code: Option<u32>,
        data: Vec<u8>,
        start: usize,
    },
    /// A whole message.
    Message(Vec<u8>),
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    /// The receiver's number of the channel.
    recipient: u32,
    /// What the receiver takes at the moment.
    credit: u64,
    /// What the sender may still send.
    granted: u64,
    /// Most that the sender is granted at a time.
    window: u64,
    /// The longest data that the receiver takes in one message.
    max_packet: usize,
    queue: VecDeque<Item>,
    queued: u64,
    /// Bytes that were taken from the sender and are not in the queue yet.
    kept: u64,
}

impl Flow {
    /// A direction towards a receiver that starts with this window and takes messages of at most so
    /// many bytes of data.
    pub(super) fn new(recipient: u32, credit: u32, max_packet: u32, window: u32) -> Self {
        let credit = u64::from(credit);
        Self {
            recipient,
            credit,
            granted: credit.min(u64::from(window)),
            window: u64::from(window),
            max_packet: (max_packet as usize).max(1),
            queue: VecDeque::new(),
            queued: 0,
            kept: 0,
        }
    }

    /// The sender has sent so many bytes, which are now kept.
    ///
    /// # Errors
    /// It was not granted so many.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Overrun> {
        let bytes = bytes as u64;
        self.granted = self.granted.checked_sub(bytes).ok_or(Overrun)?;
        self.kept += bytes;
        Ok(())
    }

    /// So many kept bytes go no further, or go on as [`Flow::send`] says.
    pub(super) fn release(&mut self, bytes: usize) {
        self.kept = self.kept.saturating_sub(bytes as u64);
    }

    /// Data for the receiver.
    pub(super) fn send(&mut self, code: Option<u32>, data: Vec<u8>) {
        if data.is_empty() {
            return;
        }
        self.queued += data.len() as u64;
        if let Some(Item::Data {
            code: last,
            data: before,
            ..
        }) = self.queue.back_mut()
            && *last == code
            && before.len() + data.len() <= JOINED
        {
            before.extend_from_slice(&data);
            return;
        }
        let start = 0;
        self.queue.push_back(Item::Data { code, data, start });
    }

    /// Whether so much waits that whoever causes more of it must stop.
    pub(super) fn is_long(&self) -> bool {
        self.queue.len() > MESSAGES || self.queued > self.window + OWN
    }

    /// A message for the receiver, after the data before it.
    pub(super) fn message(&mut self, message: Vec<u8>) {
        self.queue.push_back(Item::Message(message));
    }

    /// The receiver takes so many bytes more.
    pub(super) fn adjust(&mut self, bytes: u32) {
        let most = u64::from(u32::MAX);
        self.credit = (self.credit + u64::from(bytes)).min(most);
    }

    /// Whether data of this length can go on at once, in one message.
    pub(super) fn passes(&mut self, bytes: usize) -> bool {
        let fits = self.queue.is_empty() && bytes <= self.max_packet && bytes as u64 <= self.credit;
        if fits {
            self.credit -= bytes as u64;
            self.kept = self.kept.saturating_sub(bytes as u64);
        }
        fits
    }

    /// The next message that can go on.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        match self.queue.pop_front()? {
            Item::Message(message) => Some(message),
            Item::Data { code, data, start } => {
                let left = data.len() - start;
                let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
                let length = left.min(self.max_packet).min(credit);
                if length == 0 {
                    self.queue.push_front(Item::Data { code, data, start });
                    return None;
                }
                let end = start + length;
                let message = packet::data(self.recipient, code, data.get(start..end)?);
                self.credit -= length as u64;
                self.queued = self.queued.saturating_sub(length as u64);
                if end < data.len() {
                    self.queue.push_front(Item::Data {
                        code,
                        data,
                        start: end,
                    });
                }
                Some(message)
            }
        }
    }

    /// What the sender may still send.
    pub(super) fn granted(&self) -> u32 {
        u32::try_from(self.granted).unwrap_or(u32::MAX)
    }

    /// Whether all has gone on.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What the sender is to be granted now.
    pub(super) fn grant(&mut self) -> Option<u32> {
        let room = self.credit.min(self.window);
        let allowed = room.saturating_sub(self.queued + self.kept + self.granted);
        let small = GRANT.min(self.window / 8);
        if allowed == 0 || (allowed < small && self.granted >= small) {
            return None;
        }
        self.granted += allowed;
        u32::try_from(allowed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(message: &[u8]) -> usize {
        message.len() - 9
    }

    #[test]
    fn a_sender_is_granted_what_the_receiver_grants_and_never_more_than_its_window() {
        let mut flow = Flow::new(1, u32::MAX, 32768, MAX_WINDOW);
        assert_eq!(flow.grant(), None);
        let mut sent = 0;
        while flow.take(32768).is_ok() {
            flow.release(32768);
            flow.send(None, vec![0; 32768]);
            sent += 32768;
        }
        assert_eq!(sent, MAX_WINDOW as usize);
        assert_eq!(flow.grant(), None);
        while flow.next().is_some() {}
        assert_eq!(flow.grant(), Some(MAX_WINDOW));
    }

    #[test]
    fn data_waits_for_the_receivers_window_and_is_cut_to_its_packets() {
        let mut flow = Flow::new(1, 100, 64, MAX_WINDOW);
        flow.take(100).unwrap();
        flow.release(100);
        flow.send(None, vec![7; 100]);
        flow.send(Some(1), vec![8; 50]);
        flow.message(vec![packet::EOF]);
        assert_eq!(length(&flow.next().unwrap()), 64);
        assert_eq!(length(&flow.next().unwrap()), 36);
        assert!(flow.next().is_none());
        flow.adjust(50);
        assert_eq!(flow.next().unwrap().len(), 13 + 50);
        assert_eq!(flow.next().unwrap(), [packet::EOF]);
    }

    #[test]
    fn single_bytes_that_wait_are_joined_and_too_many_messages_are_noticed() {
        let mut flow = Flow::new(1, 0, 32768, MAX_WINDOW);
        for _ in 0..10_000 {
            flow.send(None, vec![7]);
            flow.send(Some(1), Vec::new());
        }
        assert_eq!(flow.queue.len(), 1);
        flow.send(Some(1), vec![8]);
        assert_eq!((flow.queue.len(), flow.is_long()), (2, false));
        flow.adjust(20_000);
        assert_eq!(length(&flow.next().unwrap()), 10_000);
        for _ in 0..=MESSAGES {
            flow.message(vec![packet::CHANNEL_FAILURE]);
        }
        assert!(flow.is_long());
        let mut flow = Flow::new(1, 0, 32768, 1000);
        flow.send(None, vec![0; 2 << 20]);
        assert!(flow.is_long());
    }

    #[test]
    fn what_is_kept_back_is_not_granted_again() {
        let mut flow = Flow::new(1, 1000, 1000, MAX_WINDOW);
        flow.take(1000).unwrap();
        assert_eq!(flow.grant(), None);
        assert_eq!(flow.take(1), Err(Overrun));
        flow.release(1000);
        flow.send(None, vec![1; 1000]);
        assert_eq!(flow.grant(), None);
        assert_eq!(length(&flow.next().unwrap()), 1000);
    }

    #[test]
    fn what_is_swallowed_is_granted_again() {
        let mut flow = Flow::new(1, 1000, 1000, MAX_WINDOW);
        flow.take(900).unwrap();
        assert_eq!(flow.grant(), None);
        flow.release(900);
        assert_eq!(flow.grant(), Some(900));
    }
}
