//! Content of files on its way to the client, without waiting for whole packets.
//!
//! A packet that carries bytes of a file is counted and accounted for when its first 13 bytes are
//! there; what belongs to it then goes on as it arrives, in the server's own messages wherever one
//! holds nothing else. Only what every meter takes at once goes this way: whatever has to wait, or is
//! refused, is collected and judged whole. Answers of Weir's own that come up meanwhile stand behind
//! the packet.

use weir_wire_ssh::sftp::{Delivery, FileId, HEADER};

use super::super::channel::Channel;
use super::super::flow::Flow;
use super::super::judge::Judge;
use super::super::packet::DATA_HEADER;
use super::super::relay::Relay;
use super::super::statement::Active;
use super::Sftp;

/// A packet whose beginning has gone on.
#[derive(Default)]
pub(super) struct Passing {
    file: Option<FileId>,
    /// Where in the file its next byte stands.
    offset: u64,
    /// Bytes of it that have not come.
    left: usize,
    /// What Weir itself answers, behind it.
    behind: Vec<u8>,
}

impl Passing {
    /// An answer of Weir's own.
    pub(super) fn answer(&mut self, down: &mut Flow, packet: Vec<u8>) {
        if self.left == 0 {
            down.send(None, packet);
        } else {
            self.behind.extend_from_slice(&packet);
        }
    }
}

impl Sftp {
    /// Bytes of a message that belong to the packet that is passing.
    fn go_on(&mut self, bytes: &[u8]) -> usize {
        let length = self.passing.left.min(bytes.len());
        if length > 0 {
            let part = bytes.get(..length).unwrap_or_default();
            if let Some(open) = self.passing.file.and_then(|it| self.files.get_mut(&it)) {
                open.read.feed(self.passing.offset, part);
            }
            self.passing.offset = self.passing.offset.saturating_add(length as u64);
            self.passing.left -= length;
        }
        length
    }

    /// Lets a packet of which these bytes are there begin, if it may go on at once: how many of them are
    /// its own.
    fn begin(&mut self, judge: &Judge, whole: Option<&mut Active>, bytes: &[u8]) -> Option<usize> {
        let delivery = self.tracker.delivery(bytes)?;
        if self.refused.is_some() {
            return None;
        }
        let Delivery {
            id,
            file,
            offset,
            length,
        } = delivery;
        let open = self.files.get_mut(&file)?;
        if open.refused.is_some() {
            return None;
        }
        // What is larger than a limit lets through is stopped as a whole.
        let reached = offset.saturating_add(length as u64);
        let meter = open.active.meter.as_ref();
        if meter.is_some_and(|meter| meter.foresee(open.size.max(reached)).is_some()) {
            return None;
        }
        let packet = HEADER + length;
        // What only the file has counted is collected, and not counted by it again.
        let fresh = !std::mem::take(&mut self.counted);
        if fresh && !passes(judge, &mut open.active, packet) {
            return None;
        }
        if let Some(whole) = whole {
            // What people have released of a file does not count again against the whole.
            if fresh && open.active.released {
                whole.spare(packet as u64);
            }
            if !passes(judge, whole, packet) {
                self.counted = true;
                return None;
            }
        }
        self.tracker.delivered(id);
        let head = HEADER.min(bytes.len());
        self.passing.file = Some(file);
        self.passing.offset = offset;
        self.passing.left = length;
        Some(head + self.go_on(bytes.get(head..).unwrap_or_default()))
    }
}

/// Counts what goes to the client, if it may do so at once.
fn passes(judge: &Judge, active: &mut Active, bytes: usize) -> bool {
    let meter = active.meter.as_mut();
    let passes = meter.is_none_or(|meter| judge.passes(meter, bytes as u64));
    if passes {
        active.count(bytes);
    }
    passes
}

/// Whether packets that begin now may go on at once.
fn is_free(channel: &Channel) -> bool {
    channel.stopped.is_none() && channel.sftp.as_ref().is_some_and(|sftp| !sftp.holds())
}

impl Relay {
    /// A message of the server's with data for the subsystem; the data was taken from its window.
    pub(in super::super) fn sftp_down(&mut self, key: u64, message: Vec<u8>) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let free = is_free(channel);
        let Some(sftp) = channel.sftp.as_mut() else {
            return;
        };
        let bytes = message.get(DATA_HEADER..).unwrap_or_default();
        let mut gone = sftp.go_on(bytes);
        let mut rest = bytes.get(gone..).unwrap_or_default();
        while free && sftp.passing.behind.is_empty() && sftp.down.waiting() == 0 {
            let Some(more) = sftp.begin(&self.judge, channel.active.as_mut(), rest) else {
                break;
            };
            gone += more;
            rest = rest.get(more..).unwrap_or_default();
        }
        if rest.is_empty() && (sftp.passing.left > 0 || sftp.passing.behind.is_empty()) {
            self.send_down(key, None, gone, message);
            return;
        }
        channel.down.release(gone);
        let front = bytes.get(..gone).unwrap_or_default();
        channel.down.send(None, front.to_vec());
        if sftp.passing.left == 0 {
            let behind = std::mem::take(&mut sftp.passing.behind);
            channel.down.send(None, behind);
        }
        sftp.down.push(rest);
        self.totals.bytes_out += gone as u64;
        self.sftp_answers(key);
    }

    /// Lets the packet begin that is not whole yet.
    pub(super) fn sftp_begin(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let free = is_free(channel);
        let Some(sftp) = channel.sftp.as_mut() else {
            return;
        };
        let there = std::mem::take(&mut sftp.down);
        if free && let Some(length) = sftp.begin(&self.judge, channel.active.as_mut(), there.rest())
        {
            // It is not whole: all that is there is its own.
            channel.down.release(length);
            channel.down.send(None, there.rest().to_vec());
            self.totals.bytes_out += length as u64;
        } else {
            sftp.down = there;
        }
    }
}
