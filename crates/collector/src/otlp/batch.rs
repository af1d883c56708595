//! Blocks of the store, cut into requests.
//!
//! Pure. Small blocks go together, large ones in parts; the last request of a block carries its id, and the
//! store's cursor moves there when the receiver has it. A block without any record rides on what is before it.

use std::collections::VecDeque;

use crate::exports::otlp::record;
use crate::store::Outgoing;

/// Records of one request: as OpenTelemetry's own exporters do it, twice.
const RECORDS: usize = 1024;
/// Bytes of records in one request; a single record may be longer.
const BYTES: usize = 1 << 20;

/// What goes in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) records: Vec<String>,
    bytes: usize,
    /// All blocks up to this one are over with it.
    pub(super) settles: Option<i64>,
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
        };
        self.bytes = size(&self.records);
        Ok((self, second))
    }
}

/// All records of some blocks, in order. The last request may have no record.
pub(super) fn batches(blocks: &[Outgoing]) -> VecDeque<Batch> {
    let mut all = VecDeque::new();
    let mut batch = Batch::default();
    for block in blocks {
        for record in block.events.iter().filter_map(record) {
            if batch.is_full(&record) {
                all.push_back(std::mem::take(&mut batch));
            }
            batch.push(record);
        }
        batch.settles = Some(block.id);
    }
    if batch != Batch::default() {
        all.push_back(batch);
    }
    all
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
    fn cut(blocks: &[Outgoing]) -> Vec<(usize, Option<i64>)> {
        let all = batches(blocks).into_iter();
        all.map(|batch| (batch.records.len(), batch.settles))
            .collect()
    }

    #[test]
    fn small_blocks_go_together_and_large_ones_in_parts() {
        let some = |n: u64| (1..=n).map(|seq| event(seq, finding(1))).collect();
        assert_eq!(cut(&[block(3, some(2)), block(7, some(3))]), [(5, Some(7))]);
        let cut_up = cut(&[block(3, some(1)), block(4, some(2500))]);
        assert_eq!(cut_up, [(1024, Some(3)), (1024, None), (453, Some(4))]);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn a_request_is_bounded_in_bytes_but_holds_one_record() {
        let large = |seq| event(seq, finding(BYTES * 2 / 3));
        assert_eq!(
            cut(&[block(1, vec![large(1), large(2)])]),
            [(1, None), (1, Some(1))]
        );
        let huge = block(1, vec![event(1, finding(3 * BYTES)), event(2, finding(1))]);
        assert_eq!(cut(&[huge]), [(1, None), (1, Some(1))]);
    }

    #[test]
    fn blocks_without_records_are_settled_too() {
        let recording = || event(1, RecordingChunk::default());
        assert_eq!(cut(&[block(9, vec![recording()])]), [(0, Some(9))]);
        let mixed = [
            block(8, vec![event(1, finding(1))]),
            block(9, vec![recording()]),
        ];
        assert_eq!(cut(&mixed), [(1, Some(9))]);
    }

    #[test]
    fn a_request_that_is_too_large_is_halved_and_the_second_half_settles() {
        let three = (1..=3).map(|seq| event(seq, finding(1))).collect();
        let batch = batches(&[block(5, three)]).pop_front().unwrap();
        let (first, second) = batch.clone().halves().unwrap();
        assert_eq!((first.records.len(), first.settles), (1, None));
        assert_eq!((second.records.len(), second.settles), (2, Some(5)));
        assert_eq!(
            [first.records.clone(), second.records].concat(),
            batch.records
        );
        assert_eq!(first.clone().halves(), Err(first));
    }
}
