//! Moves frames from the spool to a collector: at least once, in order.
//!
//! One thread at the lowest priority, so that shipping never takes CPU from traffic; a second one,
//! at normal priority, takes over while somebody waits for the collector (`BlockingStrict`) or the
//! spool is more than a quarter full. Only synced frames are shipped: the collector never holds
//! what the spool could lose.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_audit::{Batch, CollectorSink, FrameReader, Hash, SinkError};

use crate::spool::{AuditHandle, Segment, Shared};

/// Small, because everything that a batch becomes is in memory at once.
const BATCH_BYTES: u64 = 256 << 10;
const IDLE: Duration = Duration::from_millis(200);
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The running threads.
pub struct Shipper {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Shipper {
    /// Starts shipping.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn start(spool: &AuditHandle, sink: Arc<dyn CollectorSink>) -> io::Result<Self> {
        let shared = Arc::clone(&spool.shared);
        let stop = Arc::new(AtomicBool::new(false));
        let cursor = Arc::new(Mutex::new(Cursor::default()));
        let mut threads = Vec::new();
        for urgent in [false, true] {
            let worker = Worker {
                shared: Arc::clone(&shared),
                sink: Arc::clone(&sink),
                cursor: Arc::clone(&cursor),
                stop: Arc::clone(&stop),
                urgent,
            };
            let name = if urgent { "weir-ship-now" } else { "weir-ship" };
            threads.push(
                std::thread::Builder::new()
                    .name(name.into())
                    .spawn(move || worker.run())?,
            );
        }
        Ok(Self {
            stop,
            shared,
            threads,
        })
    }

    /// Ships what is in the spool, for at most `patience`, and ends. What stays behind is shipped
    /// by the next process.
    pub fn stop(mut self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut seen = 0;
        while Instant::now() < until && !self.is_drained() {
            self.shared
                .wait_to_ship(&mut seen, Duration::from_millis(20));
        }
        self.end();
    }

    fn is_drained(&self) -> bool {
        let status = self.shared.status();
        status.acknowledged_seq >= status.last_seq
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a shipping thread ended badly");
            }
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Default)]
struct Cursor {
    segment: u64,
    position: Option<(u64, Hash)>,
    file: Option<(u64, File)>,
}

struct Worker {
    shared: Arc<Shared>,
    sink: Arc<dyn CollectorSink>,
    cursor: Arc<Mutex<Cursor>>,
    stop: Arc<AtomicBool>,
    urgent: bool,
}

impl Worker {
    fn run(self) {
        if !self.urgent
            && let Err(error) = rustix::process::nice(19)
        {
            tracing::debug!(%error, "cannot lower the shipping thread's priority");
        }
        let mut backoff = BACKOFF;
        let mut seen = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.shared.pressing() != self.urgent {
                self.shared.wait_to_ship(&mut seen, IDLE);
                continue;
            }
            let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
            let shipped = cursor.ship(&self.shared, &*self.sink);
            drop(cursor);
            match shipped {
                Ok(true) => backoff = BACKOFF,
                Ok(false) => self.shared.wait_to_ship(&mut seen, IDLE),
                Err(error) => {
                    tracing::warn!(%error, "evidence waits in the spool");
                    std::thread::sleep(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }
}

impl Cursor {
    /// Ships one batch; false if there is nothing to ship.
    fn ship(&mut self, shared: &Shared, sink: &dyn CollectorSink) -> Result<bool, SinkError> {
        let Some(segment) = shared.segment_from(self.segment) else {
            return Ok(false);
        };
        if segment.id != self.segment {
            self.segment = segment.id;
            self.position = None;
        }
        let (offset, previous) = self.position.unwrap_or((segment.start, segment.previous));
        if offset >= segment.durable_len {
            if segment.sealed && shared.segment_from(segment.id + 1).is_some() {
                self.segment = segment.id + 1;
                self.position = None;
                return Ok(true);
            }
            return Ok(false);
        }
        let failed = |error: io::Error| SinkError(error.to_string().into());
        let bytes = self.read(&segment, offset).map_err(failed)?;
        let mut reader = FrameReader::new(&bytes, previous);
        let mut frames = Vec::new();
        // The last frame of what was read may be cut; it is read whole next time.
        while let Ok(Some(frame)) = reader.next_frame() {
            frames.push(frame);
        }
        if frames.is_empty() {
            return Err(SinkError("a synced frame cannot be read back".into()));
        }
        let batch = Batch {
            engine: shared.engine.clone(),
            frames,
        };
        let ack = sink.ingest(&batch)?;
        self.position = Some((offset + reader.offset() as u64, reader.previous()));
        shared.acknowledge(ack.epoch, ack.seq);
        Ok(true)
    }

    fn read(&mut self, segment: &Segment, offset: u64) -> io::Result<Vec<u8>> {
        if self.file.as_ref().is_none_or(|(id, _)| *id != segment.id) {
            self.file = Some((segment.id, File::open(&segment.path)?));
        }
        let Some((_, file)) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let available = segment.durable_len - offset;
        let mut length = available.min(BATCH_BYTES);
        let mut size = [0; 4];
        file.read_exact_at(&mut size, offset)?;
        // A frame larger than a batch is read whole.
        length = length.max(available.min(u64::from(u32::from_le_bytes(size)) + 36));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
