//! Blocks of the store, cut into requests.
//!
//! Pure. Small blocks go together, large ones in parts; the last request of a block carries its id, and the
//! store's cursor moves there when the receiver has it. A block without any record rides on what is before it.
//!
//! Invariant: records are made when their request is: of what events share each has its own copy, so all of a
//! turn at once could be a thousand times as large as its blocks.

use std::collections::VecDeque;
use std::vec::IntoIter;

use weir_audit::Event;

use crate::exports::otlp::record;
use crate::store::Outgoing;

/// Records of one request: as OpenTelemetry's own exporters do it, twice.
const RECORDS: usize = 1024;
/// Bytes of records in one request; a single record may be longer.
const BYTES: usize = 1 << 20;

/// A receiver that failed so many times over one request does not get it again as it is: a Collector of
/// OpenTelemetry says 500 of what it will never take, and everything else would wait behind it.
const FAILURES: u32 = 6;

/// What goes in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) records: Vec<String>,
    bytes: usize,
    /// All blocks up to this one are over with it.
    pub(super) settles: Option<i64>,
    /// Whether it is a part of one that the receiver failed over again and again.
    suspect: bool,
}

impl Batch {
    fn is_full(&self, next: &str) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= RECORDS || self.bytes + next.len() > BYTES)
    }

    fn push(&mut self, record: String) {
        self.bytes += record.len();
        self.records.push(record);
    }

    /// How often a receiver may fail over it before it goes in halves, or is given up.
    pub(super) fn tries(&self) -> u32 {
        if self.suspect && self.records.len() > 1 {
            1
        } else {
            FAILURES
        }
    }

    /// The same, after the receiver failed so often.
    pub(super) fn suspected(self) -> Self {
        Self {
            suspect: true,
            ..self
        }
    }

    /// Two halves, if there are two.
    pub(super) fn halves(mut self) -> Result<(Self, Self), Self> {
        if self.records.len() < 2 {
            return Err(self);
        }
        let half = self.records.split_off(self.records.len() / 2);
        let size = |records: &[String]| records.iter().map(String::len).sum();
        let second = Self {
            bytes: size(&half),
            records: half,
            settles: self.settles.take(),
            suspect: self.suspect,
        };
        self.bytes = size(&self.records);
        Ok((self, second))
    }
}

/// Some blocks on their way, in order.
#[derive(Default)]
pub(super) struct Batches {
    /// Requests that come again.
    again: Vec<Batch>,
    blocks: VecDeque<(i64, IntoIter<Event>)>,
    /// A record of the first block that had no room in the request before.
    left: Option<String>,
}

impl Batches {
    pub(super) fn new(blocks: Vec<Outgoing>) -> Self {
        let blocks = blocks
            .into_iter()
            .map(|block| (block.id, block.events.into_iter()));
        Self {
            blocks: blocks.collect(),
            ..Self::default()
        }
    }

    /// Puts a request before all others.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.again.push(batch);
    }

    /// Whether there are no more.
    pub(super) fn is_over(&self) -> bool {
        self.again.is_empty() && self.blocks.is_empty()
    }

    /// The next request. The last one may have no record.
    pub(super) fn next(&mut self) -> Option<Batch> {
        if let Some(batch) = self.again.pop() {
            return Some(batch);
        }
        let mut batch = Batch::default();
        while let Some((id, events)) = self.blocks.front_mut() {
            let next = self.left.take();
            match next.or_else(|| events.find_map(|event| record(&event))) {
                Some(record) if batch.is_full(&record) => {
                    self.left = Some(record);
                    return Some(batch);
                }
                Some(record) => batch.push(record),
                None => {
                    batch.settles = Some(*id);
                    self.blocks.pop_front();
                }
            }
        }
        (batch != Batch::default()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use weir_audit::{
        Body, Event, EventId, Finding, FindingCode, RecordingChunk, SCHEMA, Timestamp,
    };

    use super::*;

    fn event(seq: u64, body: impl Into<Body>) -> Event {
        Event {
            schema: SCHEMA,
            id: EventId {
                engine: "e1".parse().unwrap(),
                epoch: 1,
                seq,
            },
            time: Timestamp::from_micros(seq),
            session: None,
            body: body.into(),
        }
    }

    fn finding(length: usize) -> Finding {
        Finding {
            code: FindingCode::Other,
            message: "x".repeat(length).into(),
            subject: None,
            engine: None,
        }
    }

    fn block(id: i64, events: Vec<Event>) -> Outgoing {
        Outgoing {
            id,
            engine: "e1".parse().unwrap(),
            epoch: 1,
            first_seq: 1,
            last_seq: events.len() as u64,
            events,
        }
    }

    /// Records and what each request settles.
    fn cut(blocks: Vec<Outgoing>) -> Vec<(usize, Option<i64>)> {
        let mut batches = Batches::new(blocks);
        let all = std::iter::from_fn(|| batches.next());
        let all = all
            .map(|batch| (batch.records.len(), batch.settles))
            .collect();
        assert!(batches.is_over());
        all
    }

    #[test]
    fn small_blocks_go_together_and_large_ones_in_parts() {
        let some = |n: u64| (1..=n).map(|seq| event(seq, finding(1))).collect();
        assert_eq!(
            cut(vec![block(3, some(2)), block(7, some(3))]),
            [(5, Some(7))]
        );
        let cut_up = cut(vec![block(3, some(1)), block(4, some(2500))]);
        assert_eq!(cut_up, [(1024, Some(3)), (1024, None), (453, Some(4))]);
        assert_eq!(cut(Vec::new()), []);
    }

    #[test]
    fn a_request_is_bounded_in_bytes_but_holds_one_record() {
        let large = |seq| event(seq, finding(BYTES * 2 / 3));
        assert_eq!(
            cut(vec![block(1, vec![large(1), large(2)])]),
            [(1, None), (1, Some(1))]
        );
        let huge = block(1, vec![event(1, finding(3 * BYTES)), event(2, finding(1))]);
        assert_eq!(cut(vec![huge]), [(1, None), (1, Some(1))]);
    }

    #[test]
    fn blocks_without_records_are_settled_too() {
        let recording = || event(1, RecordingChunk::default());
        assert_eq!(cut(vec![block(9, vec![recording()])]), [(0, Some(9))]);
        let mixed = vec![
            block(8, vec![event(1, finding(1))]),
            block(9, vec![recording()]),
        ];
        assert_eq!(cut(mixed), [(1, Some(9))]);
    }

    #[test]
    fn a_request_that_is_too_large_is_halved_and_the_second_half_settles() {
        let three = (1..=3).map(|seq| event(seq, finding(1))).collect();
        let batch = Batches::new(vec![block(5, three)]).next().unwrap();
        let (first, second) = batch.clone().halves().unwrap();
        assert_eq!((first.records.len(), first.settles), (1, None));
        assert_eq!((second.records.len(), second.settles), (2, Some(5)));
        assert_eq!(
            [first.records.clone(), second.records].concat(),
            batch.records
        );
        assert_eq!(first.clone().halves(), Err(first));
    }

    #[test]
    fn no_more_than_one_request_is_made_at_a_time_and_one_that_comes_again_is_the_next() {
        let session = std::sync::Arc::new(weir_audit::Session {
            application: Some("a".repeat(400 << 10).into()),
            ..weir_audit::Session::default()
        });
        let events: Vec<Event> = (1..=100)
            .map(|seq| Event {
                session: Some(std::sync::Arc::clone(&session)),
                ..event(seq, finding(1))
            })
            .collect();
        let one = record(&events[0]).unwrap().len();
        let mut batches = Batches::new(vec![block(1, events)]);
        let mut records = 0;
        while let Some(batch) = batches.next() {
            records += batch.records.len();
            let made: usize = batch.records.iter().map(String::len).sum();
            let made = made + batches.left.as_ref().map_or(0, String::len);
            assert!(made <= BYTES + one && batches.again.is_empty(), "{made}");
            if batch.settles.is_none() && batch.records.len() > 1 {
                let (first, second) = batch.halves().unwrap();
                records -= first.records.len() + second.records.len();
                batches.put_back(second);
                batches.put_back(first.clone());
                assert_eq!(batches.next(), Some(first.clone()));
                records += first.records.len();
                records += batches.next().unwrap().records.len();
            }
        }
        assert_eq!(records, 100);
    }

    #[test]
    fn halves_of_what_a_receiver_fails_over_are_tried_once_and_the_last_one_as_often_as_the_whole()
    {
        let three = (1..=3).map(|seq| event(seq, finding(1))).collect();
        let batch = Batches::new(vec![block(5, three)]).next().unwrap();
        assert_eq!(batch.tries(), FAILURES);
        let (first, second) = batch.suspected().halves().unwrap();
        assert_eq!((first.records.len(), first.tries()), (1, FAILURES));
        assert_eq!((second.records.len(), second.tries()), (2, 1));
    }
}
