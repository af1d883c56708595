//! What handles, the writer and the shipper share: the queue, the progress, the state.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use weir_audit::{Body, EngineId, Record, SessionId};

use super::recover::Recovered;
use super::segment::Segment;
use super::{SpoolConfig, SpoolError, SpoolStatus};

/// Above this many queued events the writer is woken instead of waiting for its turn.
const MANY: usize = 1024;
/// How long the writer waits for its turn.
const TURN: Duration = Duration::from_millis(50);

pub(crate) struct Shared {
    pub(crate) engine: EngineId,
    pub(crate) epoch: u32,
    queue: Mutex<Queue>,
    wake: Condvar,
    queue_limit: usize,
    audit_timeout: Duration,
    backlog: AtomicBool,
    problem: AtomicBool,
    why: Mutex<Option<SpoolError>>,
    room: Notify,
    progress: watch::Sender<Progress>,
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) disk_limit: u64,
    sessions: AtomicU64,
    segments: Mutex<VecDeque<Segment>>,
    ship_turn: Mutex<u64>,
    ship: Condvar,
    strict: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    bytes: usize,
    last_seq: u64,
    lost: u64,
    lost_unreported: u64,
    urgent: bool,
    closed: bool,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    durable: u64,
    acknowledged: u64,
    failed: bool,
    closed: bool,
}

/// What the writer takes in one turn.
pub(super) struct Turn {
    pub(super) records: Vec<Record>,
    pub(super) first_seq: u64,
    pub(super) urgent: bool,
    pub(super) closed: bool,
    pub(super) lost: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(config: &SpoolConfig, recovered: &Recovered) -> Self {
        Self {
            engine: recovered.engine.clone(),
            epoch: recovered.epoch,
            queue: Mutex::default(),
            wake: Condvar::new(),
            queue_limit: config.queue_bytes,
            audit_timeout: config.audit_timeout,
            backlog: AtomicBool::new(false),
            problem: AtomicBool::new(false),
            why: Mutex::default(),
            room: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            disk_bytes: AtomicU64::new(0),
            disk_limit: config.max_bytes,
            sessions: AtomicU64::new(recovered.session_base),
            segments: Mutex::new(recovered.segments.iter().cloned().collect()),
            ship_turn: Mutex::new(0),
            ship: Condvar::new(),
            strict: AtomicUsize::new(0),
        }
    }

    pub(super) fn push(&self, record: Record, urgent: bool) -> Result<u64, SpoolError> {
        let weight = record.weight();
        let mut queue = locked(&self.queue);
        if queue.closed {
            return Err(SpoolError::Closed);
        }
        if queue.bytes + weight > self.queue_limit {
            self.backlog.store(true, Ordering::Release);
            if queue.bytes + weight > self.queue_limit.saturating_mul(2) {
                queue.lost += 1;
                queue.lost_unreported += 1;
                return Err(SpoolError::Backlog);
            }
        }
        // Nothing comes after an engine's end.
        queue.closed = matches!(record.body, Body::EngineStopped(_));
        queue.bytes += weight;
        queue.last_seq += 1;
        queue.records.push(record);
        let seq = queue.last_seq;
        let wake = queue.records.len() == MANY || (urgent && !queue.urgent);
        queue.urgent |= urgent;
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        Ok(seq)
    }

    /// Makes the writer sync now; returns the last sequence number given.
    pub(super) fn hurry(&self) -> u64 {
        let mut queue = locked(&self.queue);
        queue.urgent = true;
        let seq = queue.last_seq;
        drop(queue);
        self.wake.notify_one();
        seq
    }

    pub(super) fn stop(&self) {
        locked(&self.queue).closed = true;
        self.wake.notify_one();
    }

    pub(super) fn turn(&self) -> Turn {
        let queue = locked(&self.queue);
        let waits =
            |queue: &mut Queue| !queue.urgent && !queue.closed && queue.records.len() < MANY;
        let (mut queue, _) = self
            .wake
            .wait_timeout_while(queue, TURN, waits)
            .unwrap_or_else(PoisonError::into_inner);
        let spare = queue.records.len().min(MANY);
        let records = if queue.records.is_empty() {
            Vec::new()
        } else {
            std::mem::replace(&mut queue.records, Vec::with_capacity(spare))
        };
        queue.bytes = 0;
        let turn = Turn {
            first_seq: queue.last_seq + 1 - records.len() as u64,
            records,
            urgent: std::mem::take(&mut queue.urgent),
            closed: queue.closed,
            lost: std::mem::take(&mut queue.lost_unreported),
        };
        if self.backlog.swap(false, Ordering::AcqRel) {
            self.room.notify_waiters();
        }
        turn
    }

    pub(super) fn healthy(&self) -> Result<(), SpoolError> {
        if self.problem.load(Ordering::Acquire) {
            return Err(locked(&self.why).clone().unwrap_or(SpoolError::Full));
        }
        if self.backlog.load(Ordering::Acquire) {
            Err(SpoolError::Backlog)
        } else {
            Ok(())
        }
    }

    /// The writer's word on its state. `blocked`: it cannot write at all, so nobody should wait.
    pub(super) fn report(&self, problem: Option<SpoolError>, blocked: bool) {
        let failed = problem.is_some();
        {
            let mut why = locked(&self.why);
            if *why != problem {
                match &problem {
                    Some(problem) => tracing::error!(%problem, "evidence cannot be kept"),
                    None => tracing::info!("evidence can be kept again"),
                }
                *why = problem;
            }
        }
        let changed = self.problem.swap(failed, Ordering::AcqRel) != failed;
        self.progress.send_if_modified(|progress| {
            std::mem::replace(&mut progress.failed, blocked) != blocked
        });
        if changed {
            self.room.notify_waiters();
        }
    }

    pub(super) async fn room(&self) -> Result<(), SpoolError> {
        loop {
            let notified = self.room.notified();
            match self.healthy() {
                Err(SpoolError::Backlog) => notified.await,
                other => return other,
            }
        }
    }

    pub(super) async fn durable(&self, seq: u64) -> Result<(), SpoolError> {
        self.reached(|progress| progress.durable >= seq).await
    }

    pub(super) async fn acknowledged(&self, seq: u64) -> Result<(), SpoolError> {
        struct Strict<'a>(&'a Shared);
        impl Drop for Strict<'_> {
            fn drop(&mut self) {
                self.0.strict.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.strict.fetch_add(1, Ordering::AcqRel);
        let _strict = Strict(self);
        self.ship_now();
        let reached = self.reached(|progress| progress.acknowledged >= seq);
        tokio::time::timeout(self.audit_timeout, reached)
            .await
            .unwrap_or(Err(SpoolError::Timeout))
    }

    async fn reached(&self, goal: impl Fn(&Progress) -> bool) -> Result<(), SpoolError> {
        let mut progress = self.progress.subscribe();
        let now = progress
            .wait_for(|progress| goal(progress) || progress.failed || progress.closed)
            .await
            .map_err(|_| SpoolError::Closed)?;
        if goal(&now) {
            return Ok(());
        }
        drop(now);
        self.healthy().and(Err(SpoolError::Closed))
    }

    /// The writer ended; nothing more becomes durable.
    pub(super) fn ended(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
        self.ship_now();
    }

    pub(super) fn set_durable(&self, seq: u64) {
        self.progress
            .send_modify(|progress| progress.durable = progress.durable.max(seq));
        self.ship_now();
    }

    pub(super) fn next_session(&self) -> SessionId {
        let next = |number| SessionId::from_number(number).as_u64().checked_add(1);
        let taken = self
            .sessions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        SessionId::from_number(taken.unwrap_or_else(|last| last))
    }

    pub(super) fn with_segments<T>(&self, act: impl FnOnce(&mut VecDeque<Segment>) -> T) -> T {
        act(&mut locked(&self.segments))
    }

    /// Whether shipping must not wait for a quiet moment: somebody waits for it, there is much of it, or
    /// the process is about to end.
    pub(crate) fn pressing(&self) -> bool {
        self.strict.load(Ordering::Acquire) > 0
            || self.disk_bytes.load(Ordering::Relaxed) > self.disk_limit / 4
            || self.progress.borrow().closed
    }

    fn ship_now(&self) {
        *locked(&self.ship_turn) += 1;
        self.ship.notify_all();
    }

    /// Waits until there may be something to ship. `seen` is the turn that the caller knows, so
    /// that one which comes while it works is not missed.
    pub(crate) fn wait_to_ship(&self, seen: &mut u64, at_most: Duration) {
        let turn = locked(&self.ship_turn);
        let (turn, _) = self
            .ship
            .wait_timeout_while(turn, at_most, |turn| *turn == *seen)
            .unwrap_or_else(PoisonError::into_inner);
        *seen = *turn;
    }

    /// The segment at or after `id`, as far as it is durable.
    pub(crate) fn segment_from(&self, id: u64) -> Option<Segment> {
        locked(&self.segments)
            .iter()
            .find(|segment| segment.id >= id)
            .cloned()
    }

    /// The collector has committed everything up to here: whole segments may go.
    pub(crate) fn acknowledge(&self, epoch: u32, seq: u64) {
        let gone: Vec<Segment> = self.with_segments(|segments| {
            let mut gone = Vec::new();
            while let Some(segment) = segments.front()
                && segment.sealed
                && segment.last <= (epoch, seq)
            {
                gone.extend(segments.pop_front());
            }
            gone
        });
        for segment in gone {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(%error, "cannot delete an acknowledged segment");
            }
            self.disk_bytes
                .fetch_sub(segment.durable_len, Ordering::Relaxed);
        }
        if epoch == self.epoch {
            self.progress.send_modify(|progress| {
                progress.acknowledged = progress.acknowledged.max(seq);
            });
        }
    }

    pub(crate) fn status(&self) -> SpoolStatus {
        let progress = *self.progress.borrow();
        let queue = locked(&self.queue);
        SpoolStatus {
            engine: self.engine.clone(),
            epoch: self.epoch,
            last_seq: queue.last_seq,
            durable_seq: progress.durable,
            acknowledged_seq: progress.acknowledged,
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            queued_bytes: queue.bytes,
            lost: queue.lost,
            problem: self.healthy().err(),
        }
    }
}
