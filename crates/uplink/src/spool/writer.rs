//! The writer thread: seals what is queued, writes it, syncs it, and tells who waits.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use weir_audit::{Body, Finding, FindingCode, Frame, FrameBuilder, Hash, Heartbeat, Record};

use super::queue::{Shared, Turn};
use super::recover::Recovered;
use super::segment::{self, Head};
use super::{SpoolConfig, SpoolError};

/// A frame is sealed at about this size.
const FRAME_BYTES: usize = 64 << 10;
/// Written evidence is synced at the latest after this time.
const SYNC: Duration = Duration::from_millis(200);
/// What the ends of running statements may take above the bound.
const RESERVE: u64 = 16 << 20;
/// How long to wait before writing again to a disk that refused.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    shared: Arc<Shared>,
    config: SpoolConfig,
    file: File,
    segment: u64,
    next_segment: u64,
    start: u64,
    length: u64,
    hash: Hash,
    last: (u32, u64),
    open: HashSet<u64>,
    dirty_since: Option<Instant>,
    last_event: Instant,
    buffer: Vec<u8>,
    failed_sync: bool,
    _lock: File,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: &SpoolConfig,
        recovered: Recovered,
    ) -> Result<Self, SpoolError> {
        let head = Head {
            engine: recovered.engine.clone(),
            previous: recovered.hash,
            last: recovered.last,
            open: Vec::new(),
        };
        let (file, segment) = segment::create(&config.dir, recovered.next_segment, &head)
            .map_err(|error| SpoolError::open(&config.dir, &error))?;
        let used: u64 = recovered
            .segments
            .iter()
            .map(|segment| segment.durable_len)
            .sum();
        shared
            .disk_bytes
            .store(used + segment.durable_len, Ordering::Relaxed);
        let length = segment.durable_len;
        shared.with_segments(|segments| segments.push_back(segment));
        Ok(Self {
            shared,
            config: config.clone(),
            file,
            segment: recovered.next_segment,
            next_segment: recovered.next_segment + 1,
            start: length,
            length,
            hash: recovered.hash,
            last: (recovered.epoch, 0),
            open: HashSet::new(),
            dirty_since: None,
            last_event: Instant::now(),
            buffer: Vec::new(),
            failed_sync: false,
            _lock: recovered.lock,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let mut turn = self.shared.turn();
            self.watch(&turn);
            let written = self.write(&mut turn);
            if written {
                let due = self
                    .dirty_since
                    .is_some_and(|since| since.elapsed() >= SYNC);
                if turn.urgent || turn.closed || due {
                    self.sync();
                }
                if self.length > self.config.segment_bytes {
                    self.roll();
                }
                self.judge();
            }
            if turn.closed {
                break;
            }
        }
        self.shared.ended();
    }

    /// Says that it lives, and what it lost.
    fn watch(&mut self, turn: &Turn) {
        if !turn.records.is_empty() {
            self.last_event = Instant::now();
        } else if self.last_event.elapsed() >= self.config.heartbeat && !turn.closed {
            self.last_event = Instant::now();
            let beat = Heartbeat {
                open_sessions: self.open.len() as u64,
            };
            let _ = self
                .shared
                .push(Record::engine(SystemTime::now().into(), beat), false);
        }
        if turn.lost > 0 {
            let lost = turn.lost;
            let finding = Finding {
                code: FindingCode::EventsLost,
                message: format!("{lost} events were lost because no room was left").into(),
                subject: None,
                engine: None,
            };
            let _ = self
                .shared
                .push(Record::engine(SystemTime::now().into(), finding), true);
        }
    }

    /// Seals and writes a turn's records; waits for the disk as long as it must. False if the
    /// spool was closed while the disk refused.
    fn write(&mut self, turn: &mut Turn) -> bool {
        // A collector takes no other, and what it never takes is in the way of all that comes after it.
        turn.records.iter_mut().for_each(Record::bound);
        let mut rest = turn.records.as_slice();
        let mut seq = turn.first_seq;
        while !rest.is_empty() {
            let mut builder = FrameBuilder::new(self.shared.epoch, seq);
            let mut taken = 0;
            for record in rest {
                builder.push(record);
                taken += 1;
                if builder.byte_len() >= FRAME_BYTES {
                    break;
                }
            }
            if let Some(frame) = builder.seal(self.hash)
                && !self.append_until_done(&frame, turn.closed)
            {
                return false;
            }
            let (done, left) = rest.split_at(taken);
            done.iter().for_each(|record| self.note(record));
            rest = left;
            seq += taken as u64;
        }
        true
    }

    fn note(&mut self, record: &Record) {
        let Some(session) = &record.session else {
            return;
        };
        match record.body {
            Body::ConnectionOpened(_) => self.open.insert(session.id.as_u64()),
            Body::ConnectionClosed(_) => self.open.remove(&session.id.as_u64()),
            _ => false,
        };
    }

    fn append_until_done(&mut self, frame: &Frame, closed: bool) -> bool {
        loop {
            let problem = match self.append(frame) {
                Ok(()) => return true,
                Err(problem) => problem,
            };
            self.shared.report(Some(problem), true);
            if closed {
                tracing::error!("events that the disk refused are lost at the end");
                return false;
            }
            std::thread::sleep(RETRY);
        }
    }

    fn append(&mut self, frame: &Frame) -> Result<(), SpoolError> {
        let disk = |error: io::Error| SpoolError::Disk(error.to_string().into());
        let size = frame.stored_len() as u64;
        let used = self.shared.disk_bytes.load(Ordering::Relaxed);
        if used + size > self.config.max_bytes + RESERVE {
            // The collector may hold everything but the newest segment: let that one go too.
            if self.dirty_since.is_some() {
                self.sync();
            }
            self.roll();
            return Err(SpoolError::Full);
        }
        self.buffer.clear();
        frame.write_to(&mut self.buffer);
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.rewind().map_err(disk)?;
            return Err(disk(error));
        }
        if self.buffer.capacity() > 4 * FRAME_BYTES {
            self.buffer = Vec::new();
        }
        self.length += size;
        self.shared.disk_bytes.fetch_add(size, Ordering::Relaxed);
        self.hash = frame.hash();
        self.last = (frame.epoch(), frame.last_seq());
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Cuts off what a failed write left behind.
    fn rewind(&mut self) -> io::Result<()> {
        use std::io::Seek as _;
        self.file.set_len(self.length)?;
        self.file.seek(io::SeekFrom::Start(self.length))?;
        Ok(())
    }

    fn sync(&mut self) {
        if let Err(error) = self.file.sync_data() {
            // What the kernel could not write it may also have dropped: nothing more is promised.
            self.failed_sync = true;
            self.shared
                .report(Some(SpoolError::Disk(error.to_string().into())), true);
            return;
        }
        self.dirty_since = None;
        let (id, length, last) = (self.segment, self.length, self.last);
        self.shared.with_segments(|segments| {
            if let Some(segment) = segments.iter_mut().find(|segment| segment.id == id) {
                segment.durable_len = length;
                segment.last = last;
            }
        });
        self.shared.set_durable(last.1);
    }

    fn roll(&mut self) {
        if self.dirty_since.is_some() {
            self.sync();
        }
        if self.dirty_since.is_some() || self.length == self.start {
            return;
        }
        let head = Head {
            engine: self.shared.engine.clone(),
            previous: self.hash,
            last: self.last,
            open: self.open.iter().copied().collect(),
        };
        match segment::create(&self.config.dir, self.next_segment, &head) {
            Ok((file, segment)) => {
                let old = self.segment;
                self.file = file;
                self.segment = segment.id;
                self.next_segment += 1;
                self.start = segment.durable_len;
                self.length = self.start;
                self.shared
                    .disk_bytes
                    .fetch_add(self.length, Ordering::Relaxed);
                self.shared.with_segments(|segments| {
                    if let Some(old) = segments.iter_mut().find(|segment| segment.id == old) {
                        old.sealed = true;
                    }
                    segments.push_back(segment);
                });
            }
            // The old segment goes on growing; the next turn tries again.
            Err(error) => tracing::warn!(%error, "cannot begin a spool segment"),
        }
    }

    fn judge(&mut self) {
        if self.failed_sync {
            return;
        }
        let full = self.shared.disk_bytes.load(Ordering::Relaxed) > self.config.max_bytes;
        self.shared.report(full.then_some(SpoolError::Full), false);
    }
}
