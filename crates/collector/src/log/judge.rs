//! Whether an engine's events are what the log says: the one judge for a live store and for an export.
//!
//! The hashes in the log decide, not those beside the events: each leaf's frames are hashed anew from the
//! link that the leaf begins with, so that what was altered is found in its own leaf even where every later
//! link was rewritten to fit.
//!
//! The log's word is enough for what was accepted and deleted, not for what an engine said: whoever has the log's
//! key can write any leaf. So a signature vouches for the leaf that it is over, and for leaves before it only
//! through leaves whose frames were read from the first to the last; and the log vouches for its own engine alone.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use weir_audit::proof::{Evidence, Head, RangeLeaf, RetentionLeaf};
use weir_audit::{EngineId, Frame, Hash, MAX_FRAME, Timestamp, genesis, link};

use super::signed::{Chain, Signer};
use super::{OWN, Problems};

/// Ranges of one engine that a report lists; what is beyond counts all the same.
const MAX_RANGES: usize = 1000;

/// What became of a range of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Each event is there as it was sealed.
    Complete,
    /// Retention deleted it, and the log says so.
    Deleted,
    /// It is there as it was handed in, but nothing shows that its engine made it.
    Unsigned,
    /// What is there is not what was accepted.
    Altered,
    /// It was accepted, or must exist, and is not there.
    Missing,
    /// As `missing`, and nothing of its engine comes after it.
    Truncated,
}

impl Status {
    /// Whether the record is as it must be.
    #[must_use]
    pub fn is_ok(self) -> bool {
        matches!(self, Self::Complete | Self::Deleted)
    }

    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Deleted => "deleted",
            Self::Unsigned => "unsigned",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Truncated => "truncated",
        }
    }
}

/// A range of events of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReport {
    /// The epoch.
    pub epoch: u32,
    /// The first event.
    pub first_seq: u64,
    /// The last event.
    pub last_seq: u64,
    /// What became of it.
    pub status: Status,
    /// Where and how, or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One engine's chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineReport {
    /// The engine.
    pub engine: EngineId,
    /// Epochs seen.
    pub epochs: u32,
    /// Frames verified.
    pub frames: u64,
    /// Events verified.
    pub events: u64,
    /// The last link.
    pub head: String,
    /// Whether retention cut the beginning off.
    pub pruned: bool,
    /// Ranges of events, in order; at most 1,000.
    pub ranges: Vec<RangeReport>,
    /// How many ranges there are beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_ranges: u64,
    /// What is missing or altered, in words; at most 100.
    pub problems: Vec<String>,
    /// How many problems there are beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_problems: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A leaf of the log about events of the engine, and what vouches for it.
pub(crate) struct Claim {
    /// Its place in the log.
    pub(crate) number: u64,
    pub(crate) leaf: RangeLeaf,
    /// Present where the leaf says that it is signed and the signature was found.
    pub(crate) signature: Option<Signature>,
}

/// A signature at rest, not verified.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
    pub(crate) chain: Chain,
}

/// How far the frames of a claim were read.
struct Progress {
    claim: Claim,
    /// Up to where retention deleted after it was accepted: which of the engine's deletions.
    cut: Option<usize>,
    /// The first event that retention left.
    starts: u64,
    /// The next event that must come.
    next: u64,
    seen: bool,
    running: Hash,
    /// Events that should have been between others.
    holes: Vec<(u64, u64)>,
    /// What does not fit, and where.
    wrong: Option<String>,
    /// Whether a later signature of an unbroken chain vouches for it.
    vouched: bool,
}

pub(crate) struct Judge<'a> {
    engine: EngineId,
    signer: &'a Signer,
    /// The log's own engine, which signs by signing the log.
    own: bool,
    claims: Vec<Progress>,
    deleted: Vec<RetentionLeaf>,
    /// Whether these are all claims about the engine, so that nothing may be beside them.
    is_all: bool,
    at: usize,
    epoch: u32,
    report: EngineReport,
    problems: Problems,
    strangers: Vec<RangeReport>,
}

/// The leaves about one engine.
pub(crate) struct Leaves {
    pub(crate) claims: Vec<Claim>,
    /// With their places in the log, in order.
    pub(crate) deleted: Vec<(u64, RetentionLeaf)>,
    /// Whether these are all leaves that the log ever had about it: what a part lacks may be in another.
    pub(crate) is_all: bool,
}

/// Whether an engine is the one that a log is kept by: the log's name ends with the engine's, which is a
/// collector's. No other engine's events rest on the log's key alone.
fn keeps(log: &str, engine: &EngineId) -> bool {
    let name = log.rsplit('/').next();
    engine.as_str().starts_with(OWN) && name == Some(engine.as_str())
}

/// The deletions that reached furthest, from each one to the newest.
fn furthest(deleted: &[(u64, RetentionLeaf)]) -> Vec<usize> {
    let mut furthest: Vec<usize> = Vec::with_capacity(deleted.len());
    let reach = |at: usize| deleted.get(at).map(|(_, cut)| (cut.epoch, cut.last_seq));
    for at in (0..deleted.len()).rev() {
        let later = furthest.last().copied().unwrap_or(at);
        furthest.push(if reach(at) > reach(later) { at } else { later });
    }
    furthest.reverse();
    furthest
}

impl<'a> Judge<'a> {
    /// `log` is the name of the log's key.
    pub(crate) fn new(engine: EngineId, log: &str, leaves: Leaves, signer: &'a Signer) -> Self {
        let furthest = furthest(&leaves.deleted);
        let cut_of = |number: u64| {
            let later = leaves.deleted.partition_point(|(at, _)| *at < number);
            furthest.get(later).copied()
        };
        let mut claims: Vec<Progress> = leaves
            .claims
            .into_iter()
            .map(|claim| Progress {
                cut: cut_of(claim.number),
                starts: claim.leaf.first_seq,
                next: claim.leaf.first_seq,
                seen: false,
                running: claim.leaf.previous,
                holes: Vec::new(),
                wrong: None,
                vouched: false,
                claim,
            })
            .collect();
        claims.sort_by_key(|progress| (progress.claim.leaf.epoch, progress.claim.leaf.first_seq));
        let last = furthest.first().copied();
        let deleted: Vec<_> = leaves.deleted.into_iter().map(|(_, cut)| cut).collect();
        for progress in &mut claims {
            let leaf = &progress.claim.leaf;
            if let Some(cut) = progress.cut.and_then(|cut| deleted.get(cut))
                && cut.epoch == leaf.epoch
                && (leaf.first_seq..leaf.last_seq).contains(&cut.last_seq)
            {
                progress.starts = cut.last_seq + 1;
                progress.next = progress.starts;
                progress.running = cut.hash;
            }
        }
        let head = claims.last().map(|last| last.claim.leaf.hash);
        let head = head.or(last.and_then(|last| deleted.get(last)).map(|cut| cut.hash));
        let report = EngineReport {
            head: head.unwrap_or_else(|| genesis(&engine)).to_string(),
            engine: engine.clone(),
            epochs: 0,
            frames: 0,
            events: 0,
            pruned: !deleted.is_empty(),
            ranges: Vec::new(),
            more_ranges: 0,
            problems: Vec::new(),
            more_problems: 0,
        };
        Self {
            own: keeps(log, &engine),
            engine,
            signer,
            claims,
            deleted,
            is_all: leaves.is_all,
            at: 0,
            epoch: 0,
            report,
            problems: Problems::default(),
            strangers: Vec::new(),
        }
    }

    /// Reads the frames of a block that claims to begin with this epoch and event; blocks come in the order
    /// of these.
    pub(crate) fn block(&mut self, name: &str, begins: (u32, u64), mut bytes: &[u8]) {
        let mut place = begins;
        while !bytes.is_empty() {
            let Some((hash, payload, rest)) = split(bytes) else {
                self.unreadable(name, place, "it ends in the middle of a frame");
                return;
            };
            // What its link must be is looked at below.
            let any = Hash([0; 32]);
            match Frame::verify(any, link(&any, payload), payload.to_vec()) {
                Ok(frame) => {
                    self.frame(name, &frame, hash);
                    place = (frame.epoch(), frame.last_seq() + 1);
                }
                Err(error) => self.unreadable(name, place, &error.to_string()),
            }
            bytes = rest;
        }
    }

    /// A block that cannot be read from an event on.
    pub(crate) fn unreadable(&mut self, name: &str, (epoch, seq): (u32, u64), why: &str) {
        let detail = format!("block {name} cannot be read from event {seq} on: {why}");
        let claim = self.claims.iter_mut().find(|progress| {
            let leaf = &progress.claim.leaf;
            leaf.epoch == epoch && (leaf.first_seq..=leaf.last_seq).contains(&seq)
        });
        match claim {
            Some(progress) => {
                progress.wrong.get_or_insert(detail);
            }
            None => self.problems.add(detail),
        }
    }

    fn frame(&mut self, name: &str, frame: &Frame, stored: Hash) {
        let (epoch, first, last) = (frame.epoch(), frame.first_seq(), frame.last_seq());
        if !self.is_all && self.is_outside(epoch, first) {
            return;
        }
        if epoch != self.epoch {
            self.epoch = epoch;
            self.report.epochs += 1;
        }
        self.report.frames += 1;
        self.report.events += frame.count();
        let behind = |progress: &Progress| {
            let leaf = &progress.claim.leaf;
            (leaf.epoch, leaf.last_seq) < (epoch, first)
        };
        let from = self.at.min(self.claims.len());
        let past = self.claims.get(from..).unwrap_or_default();
        self.at = from + past.iter().take_while(|progress| behind(progress)).count();
        let Some(progress) = self.claims.get_mut(self.at).filter(|progress| {
            let leaf = &progress.claim.leaf;
            leaf.epoch == epoch && leaf.first_seq <= first && last <= leaf.last_seq
        }) else {
            self.strangers.push(RangeReport {
                epoch,
                first_seq: first,
                last_seq: last,
                status: Status::Altered,
                detail: Some(format!("in block {name}, and in no entry of the log")),
            });
            return;
        };
        progress.seen = true;
        let events = format!("events {first} to {last} in block {name}");
        let cut = progress.cut.and_then(|cut| self.deleted.get(cut));
        if cut.is_some_and(|cut| (epoch, first) <= (cut.epoch, cut.last_seq)) {
            let detail =
                format!("{events} are there, and the log says that retention deleted them");
            progress.wrong.get_or_insert(detail);
            return;
        }
        if first < progress.next {
            let detail = format!("{events} are there again, or in another order");
            progress.wrong.get_or_insert(detail);
            return;
        }
        let whole = first == progress.next;
        if !whole {
            progress.holes.push((progress.next, first - 1));
        }
        progress.next = last + 1;
        // Behind a hole its own link is all there is to go on from.
        let link = if whole {
            link(&progress.running, frame.payload())
        } else {
            stored
        };
        progress.running = link;
        if link != stored {
            let detail = format!("{events} are not what was sealed, or their link is not");
            progress.wrong.get_or_insert(detail);
        }
        let leaf = &progress.claim.leaf;
        if last == leaf.last_seq && link != leaf.hash {
            let detail = format!("the events up to {last} do not end with the hash in the log");
            progress.wrong.get_or_insert(detail);
        }
    }

    /// Whether an event is before or behind everything that is judged: blocks reach further.
    fn is_outside(&self, epoch: u32, seq: u64) -> bool {
        let (Some(first), Some(last)) = (self.claims.first(), self.claims.last()) else {
            return true;
        };
        let (first, last) = (&first.claim.leaf, &last.claim.leaf);
        (epoch, seq) < (first.epoch, first.first_seq) || (epoch, seq) > (last.epoch, last.last_seq)
    }

    /// The verdict, once every block was read.
    pub(crate) fn end(mut self) -> EngineReport {
        self.vouch();
        let mut ranges = Vec::new();
        self.beginning(&mut ranges);
        let last_seen = self.claims.iter().rposition(|progress| progress.seen);
        let mut before: Option<&RangeLeaf> = None;
        for (place, progress) in self.claims.iter().enumerate() {
            let leaf = &progress.claim.leaf;
            between(before, leaf, &mut ranges);
            let no_later = last_seen.is_none_or(|seen| place >= seen);
            let cut = progress.cut.and_then(|cut| self.deleted.get(cut));
            progress.judge(cut, no_later, &mut ranges);
            before = Some(leaf);
        }
        ranges.append(&mut self.strangers);
        ranges.sort_by_key(|range| (range.epoch, range.first_seq));
        for range in &ranges {
            if !range.status.is_ok() {
                let detail = range.detail.as_ref();
                let detail = detail
                    .map(|detail| format!(": {detail}"))
                    .unwrap_or_default();
                self.problems.add(format!(
                    "{} epoch {} events {} to {}{detail}",
                    range.status.as_str(),
                    range.epoch,
                    range.first_seq,
                    range.last_seq
                ));
            }
        }
        (self.report.ranges, self.report.more_ranges) = merged(ranges);
        let Problems { listed, more } = self.problems;
        (self.report.problems, self.report.more_problems) = (listed, more);
        self.report
    }

    /// Finds for each claim a signature over its end, or a later one that covers it.
    fn vouch(&mut self) {
        let mut covered_from: Option<usize> = None;
        for place in (0..self.claims.len()).rev() {
            let linked = covered_from == Some(place + 1) && self.is_linked(place);
            let valid = linked || self.has_valid_signature(place);
            if let Some(progress) = self.claims.get_mut(place) {
                progress.vouched = valid;
            }
            if valid {
                covered_from = Some(place);
            }
        }
    }

    /// Whether the claim after this one continues it, by the frames that were read.
    fn is_linked(&self, place: usize) -> bool {
        match self.claims.get(place..place + 2) {
            Some([one, next]) => {
                if !next.is_whole() {
                    return false;
                }
                let (one, next) = (&one.claim.leaf, &next.claim.leaf);
                let follows = if one.epoch == next.epoch {
                    one.last_seq + 1 == next.first_seq
                } else {
                    next.first_seq == 1
                };
                follows && one.hash == next.previous
            }
            _ => false,
        }
    }

    /// Whether its engine signed the end of this claim. A signature over the end of a later one vouches for that
    /// one, and through it.
    fn has_valid_signature(&mut self, place: usize) -> bool {
        let Some(progress) = self.claims.get(place) else {
            return false;
        };
        let leaf = &progress.claim.leaf;
        let evidence = match leaf.evidence {
            Evidence::Own => return self.own,
            Evidence::None => return false,
            Evidence::Signed(evidence) => evidence,
        };
        let ends = |leaf: &RangeLeaf, head: &Head| {
            leaf.epoch == head.epoch && leaf.last_seq == head.seq && leaf.hash == head.hash
        };
        let judged = match &progress.claim.signature {
            None => Err("its signature is missing".to_owned()),
            Some(signature) => {
                let head = &signature.head;
                let chain = signature.chain.iter().map(|one| one.as_ref());
                let later = self.claims.get(place..).unwrap_or_default();
                if head.evidence(&signature.bytes, chain) != evidence {
                    Err("its signature is not the one in the log".to_owned())
                } else if !later.iter().any(|other| ends(&other.claim.leaf, head)) {
                    Err("its signature is over another head".to_owned())
                } else {
                    let wrong = verify(self.signer, &self.engine, signature, leaf.received);
                    wrong.map_or(Ok(ends(leaf, head)), Err)
                }
            }
        };
        judged.unwrap_or_else(|why| {
            if let Some(progress) = self.claims.get_mut(place) {
                progress.wrong.get_or_insert(why);
            }
            false
        })
    }

    /// What must have been before the first claim.
    fn beginning(&self, ranges: &mut Vec<RangeReport>) {
        let Some(first) = self.claims.first().map(|first| &first.claim.leaf) else {
            return;
        };
        if !self.is_all || !self.deleted.is_empty() {
            return;
        }
        if first.first_seq > 1 {
            ranges.push(RangeReport {
                epoch: first.epoch,
                first_seq: 1,
                last_seq: first.first_seq - 1,
                status: Status::Missing,
                detail: Some("they were never received".into()),
            });
        } else if first.previous != genesis(&self.engine) {
            ranges.push(RangeReport {
                epoch: first.epoch.saturating_sub(1),
                first_seq: 1,
                last_seq: 1,
                status: Status::Missing,
                detail: Some("from here on to the epoch after it, they were never received".into()),
            });
        }
    }
}

fn verify(
    signer: &Signer,
    engine: &EngineId,
    signature: &Signature,
    at: Timestamp,
) -> Option<String> {
    let chain = &signature.chain;
    let verified = signer
        .verify_chain(engine, chain, at)
        .and_then(|()| Signer::verify_head(&signature.head, &signature.bytes, chain));
    verified.err().map(|error| error.to_string())
}

/// What must have been between two claims.
fn between(before: Option<&RangeLeaf>, leaf: &RangeLeaf, ranges: &mut Vec<RangeReport>) {
    let Some(before) = before else {
        return;
    };
    let (epoch, next) = if before.epoch == leaf.epoch {
        (leaf.epoch, before.last_seq + 1)
    } else {
        (leaf.epoch, 1)
    };
    let mut say = |epoch: u32, first: u64, last: u64, status: Status, detail: &str| {
        ranges.push(RangeReport {
            epoch,
            first_seq: first,
            last_seq: last,
            status,
            detail: Some(detail.to_owned()),
        });
    };
    if leaf.first_seq > next {
        let last = leaf.first_seq - 1;
        say(
            epoch,
            next,
            last,
            Status::Missing,
            "they were never received",
        );
    } else if before.hash == leaf.previous {
        // It continues.
    } else if before.epoch == leaf.epoch {
        let detail = "they do not continue the events before them";
        say(
            epoch,
            leaf.first_seq,
            leaf.last_seq,
            Status::Altered,
            detail,
        );
    } else {
        let first = before.last_seq + 1;
        let detail = "from here on to the end of the epoch, they were never received";
        say(before.epoch, first, first, Status::Missing, detail);
    }
}

impl Progress {
    /// Whether every frame of the claim was read, and links its beginning to its end.
    fn is_whole(&self) -> bool {
        let leaf = &self.claim.leaf;
        let read = self.starts == leaf.first_seq && self.next > leaf.last_seq;
        read && self.holes.is_empty() && self.wrong.is_none()
    }

    /// Says what became of each event; `no_later` if no claim after this one has any.
    fn judge(&self, cut: Option<&RetentionLeaf>, no_later: bool, ranges: &mut Vec<RangeReport>) {
        let leaf = &self.claim.leaf;
        let mut say = |first: u64, last: u64, status: Status, detail: Option<String>| {
            if first <= last {
                ranges.push(RangeReport {
                    epoch: leaf.epoch,
                    first_seq: first,
                    last_seq: last,
                    status,
                    detail,
                });
            }
        };
        if let Some(wrong) = &self.wrong {
            say(
                leaf.first_seq,
                leaf.last_seq,
                Status::Altered,
                Some(wrong.clone()),
            );
            return;
        }
        let present = match self.vouched {
            true => Status::Complete,
            false => Status::Unsigned,
        };
        let deleted = cut.map_or(0, |cut| match cut.epoch.cmp(&leaf.epoch) {
            Ordering::Less => 0,
            Ordering::Equal => cut.last_seq,
            Ordering::Greater => u64::MAX,
        });
        let mut absent = self.holes.clone();
        if self.starts > leaf.first_seq {
            absent.insert(0, (leaf.first_seq, self.starts - 1));
        }
        if self.next <= leaf.last_seq {
            absent.push((self.next, leaf.last_seq));
        }
        let mut from = leaf.first_seq;
        for (first, last) in absent {
            say(from, first - 1, present, None);
            let gone = cut.map(|cut| format!("at {} ({})", cut.at, cut.reason));
            say(first, last.min(deleted), Status::Deleted, gone);
            let (status, detail) = if no_later && last == leaf.last_seq {
                (Status::Truncated, "they were accepted, and the end is gone")
            } else {
                (Status::Missing, "they were accepted, and are gone")
            };
            say(
                first.max(deleted.saturating_add(1)),
                last,
                status,
                Some(detail.into()),
            );
            from = last + 1;
        }
        say(from, leaf.last_seq, present, None);
    }
}

/// Neighbours that say the same become one; how many are beyond those that a report lists.
fn merged(ranges: Vec<RangeReport>) -> (Vec<RangeReport>, u64) {
    let mut out: Vec<RangeReport> = Vec::new();
    for range in ranges {
        if let Some(last) = out.last_mut()
            && last.epoch == range.epoch
            && last.last_seq + 1 == range.first_seq
            && last.status == range.status
            && last.detail == range.detail
        {
            last.last_seq = range.last_seq;
        } else {
            out.push(range);
        }
    }
    let more = out.len().saturating_sub(MAX_RANGES);
    out.truncate(MAX_RANGES);
    (out, u64::try_from(more).unwrap_or(u64::MAX))
}

/// The link that a stored frame claims, its sealed bytes, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Hash, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let payload = rest.get(..length).filter(|_| length <= MAX_FRAME)?;
    Some((Hash(*hash), payload, rest.get(length..)?))
}

#[cfg(test)]
mod tests;
