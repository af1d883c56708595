use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_audit::{
    Ack, Batch, Body, CollectorSink, ConnectionClosed, ConnectionOpened, Event, FrameReader,
    Heartbeat, Session, SinkError, Timestamp,
};

use super::*;
use crate::Shipper;

fn beat(n: u64) -> Record {
    Record::engine(Timestamp::from_micros(n), Heartbeat { open_sessions: n })
}

fn events_of(dir: &Path, engine: &EngineId) -> Vec<Event> {
    let mut events = Vec::new();
    let mut previous = None;
    for (_, path) in segment::list(dir).unwrap() {
        let bytes = std::fs::read(path).unwrap();
        let (head, start) = segment::Head::decode(&bytes).unwrap();
        if let Some(previous) = previous {
            assert_eq!(head.previous, previous, "segments continue each other");
        }
        let mut reader = FrameReader::new(&bytes[start..], head.previous);
        while let Some(frame) = reader.next_frame().unwrap() {
            events.extend(frame.events(engine).unwrap());
        }
        previous = Some(reader.previous());
    }
    events
}

fn findings(events: &[Event]) -> Vec<FindingCode> {
    let code = |event: &Event| match &event.body {
        Body::Finding(finding) => Some(finding.code),
        _ => None,
    };
    events.iter().filter_map(code).collect()
}

/// A collector that remembers, and can be told to refuse.
#[derive(Default)]
struct Memory {
    batches: Mutex<Vec<Batch>>,
    down: AtomicBool,
}

impl CollectorSink for Memory {
    fn ingest(&self, batch: &Batch) -> Result<Ack, SinkError> {
        if self.down.load(Ordering::Acquire) {
            return Err(SinkError("down".into()));
        }
        let last = batch.frames.last().unwrap();
        self.batches.lock().unwrap().push(batch.clone());
        Ok(Ack {
            epoch: last.epoch(),
            seq: last.last_seq(),
        })
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn an_orderly_life_leaves_no_finding_and_the_next_epoch_continues_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = None;
    for epoch in 1..=3 {
        let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
        let audit = spool.handle();
        let id = audit.append_durable(beat(1)).await.unwrap();
        assert_eq!((id.epoch, id.seq), (epoch, 2), "EngineStarted is the first");
        assert_eq!(*engine.get_or_insert(id.engine.clone()), id.engine);
        spool.close();
        assert_eq!(audit.record(beat(2)), Err(SpoolError::Closed));
    }
    let events = events_of(dir.path(), &engine.unwrap());
    assert_eq!(events.len(), 9);
    assert_eq!(findings(&events), []);
    let Body::EngineStarted(started) = &events[6].body else {
        panic!("{:?}", events[6])
    };
    let previous = started.previous.unwrap();
    assert!(previous.clean && previous.epoch == 2 && previous.last_seq == 3);
}

#[tokio::test]
async fn batch_events_are_on_disk_within_a_second_without_anybody_asking() {
    // The second is Weir's: how long a disk that others write to takes to sync is not measured.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let audit = spool.handle();
    let id = audit.record(beat(1)).unwrap();
    let began = Instant::now();
    until("durable", || audit.status().durable_seq >= id.seq);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_is_left_when_the_spool_closes_is_not_shipped_at_the_lowest_priority() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let audit = spool.handle();
    audit.append_durable(beat(1)).await.unwrap();
    assert!(!audit.shared.pressing());
    spool.close();
    assert!(audit.shared.pressing());
}

#[test]
fn two_processes_cannot_use_one_spool() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    assert!(matches!(
        Spool::open(SpoolConfig::new(dir.path())),
        Err(SpoolError::Open { .. })
    ));
}

/// What kill -9 can leave: the file cut at any byte of its last record.
#[tokio::test]
async fn a_tail_torn_at_any_byte_keeps_the_prefix_and_reports_the_gap() {
    let dir = tempfile::tempdir().unwrap();
    let engine = {
        let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
        let audit = spool.handle();
        let session = Arc::new(Session {
            id: audit.next_session(),
            ..Session::default()
        });
        let opened = Record::session(
            Timestamp::from_micros(1),
            session,
            ConnectionOpened::default(),
        );
        audit.append_durable(opened).await.unwrap();
        audit.append_durable(beat(1)).await.unwrap();
        audit.engine().clone()
        // Dropped without close: no orderly end is stated.
    };
    let path = segment::list(dir.path()).unwrap().pop().unwrap().1;
    let whole = std::fs::read(&path).unwrap();
    let (head, start) = segment::Head::decode(&whole).unwrap();
    let mut reader = FrameReader::new(&whole[start..], head.previous);
    let mut ends = vec![start];
    while reader.next_frame().unwrap().is_some() {
        ends.push(start + reader.offset());
    }
    let last_start = ends[ends.len() - 2];
    for length in last_start..=whole.len() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join("engine"), engine.as_str()).unwrap();
        std::fs::write(
            copy.path().join(path.file_name().unwrap()),
            &whole[..length],
        )
        .unwrap();
        let spool = Spool::open(SpoolConfig::new(copy.path())).unwrap();
        spool.close();
        let events = events_of(copy.path(), &engine);
        let kept = if length == whole.len() { 3 } else { 2 };
        let old: Vec<_> = events.iter().filter(|event| event.id.epoch == 1).collect();
        assert_eq!(old.len(), kept, "cut at {length}");
        let mut wanted = vec![FindingCode::UncleanShutdown, FindingCode::UnclosedSession];
        if length != whole.len() && length != last_start {
            wanted.insert(0, FindingCode::TornTail);
        }
        assert_eq!(findings(&events), wanted, "cut at {length}");
    }
}

#[tokio::test]
async fn a_changed_byte_is_found_and_nothing_before_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let engine = spool.handle().engine().clone();
    for n in 0..3 {
        spool.handle().append_durable(beat(n)).await.unwrap();
    }
    spool.close();
    let path = segment::list(dir.path()).unwrap().pop().unwrap().1;
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.len() - 60;
    bytes[place] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    Spool::open(SpoolConfig::new(dir.path())).unwrap().close();
    let events = events_of(dir.path(), &engine);
    assert!(findings(&events).contains(&FindingCode::TornTail));
    assert!(events.iter().any(|event| event.body == beat(0).body));
}

#[tokio::test]
async fn a_full_spool_refuses_until_the_collector_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        max_bytes: 100_000,
        segment_bytes: 20_000,
        ..SpoolConfig::new(dir.path())
    };
    let spool = Spool::open(config).unwrap();
    let audit = spool.handle();
    for n in 0..200 {
        let operator: Arc<str> = format!("{n:01000}").into();
        audit
            .record(Record::engine(
                Timestamp::default(),
                weir_audit::BudgetsReset { operator },
            ))
            .unwrap();
        if n % 10 == 0 {
            audit.append_durable(beat(n)).await.unwrap();
        }
    }
    until("full", || audit.healthy() == Err(SpoolError::Full));
    // The end of a statement that runs already is still kept.
    audit.append_durable(beat(1)).await.unwrap();
    let memory = Arc::new(Memory::default());
    let shipper = Shipper::start(&audit, Arc::clone(&memory) as Arc<dyn CollectorSink>).unwrap();
    until("healthy again", || audit.healthy().is_ok());
    let last = audit.status().last_seq;
    spool.close();
    shipper.stop(Duration::from_secs(10));
    let batches = memory.batches.lock().unwrap();
    let seqs: Vec<u64> = batches
        .iter()
        .flat_map(|batch| &batch.frames)
        .flat_map(|frame| frame.first_seq()..=frame.last_seq())
        .collect();
    assert_eq!(
        seqs,
        (1..=last + 1).collect::<Vec<_>>(),
        "all arrived, in order, once"
    );
    assert!(
        segment::list(dir.path()).unwrap().len() <= 2,
        "acknowledged segments are gone"
    );
}

#[tokio::test]
async fn a_full_queue_is_unhealthy_then_refuses_and_reports_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        queue_bytes: 20_000,
        ..SpoolConfig::new(dir.path())
    };
    let spool = Spool::open(config).unwrap();
    let audit = spool.handle();
    let (mut unhealthy, mut lost) = (false, 0);
    for n in 0..5_000 {
        lost += u64::from(audit.record(beat(n)) == Err(SpoolError::Backlog));
        unhealthy |= audit.healthy() == Err(SpoolError::Backlog);
    }
    assert!(unhealthy && lost > 0);
    audit.record_async(beat(9)).await.unwrap();
    until("the loss is reported", || {
        let _ = audit.record(beat(0));
        findings(&events_of(dir.path(), audit.engine())).contains(&FindingCode::EventsLost)
    });
    assert!(audit.status().lost >= lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_share_syncs_and_no_number_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let audit = spool.handle();
            tokio::spawn(async move {
                let mut given = Vec::new();
                for turn in 0..50 {
                    let record = beat(n * 100 + turn);
                    let id = match turn % 5 {
                        0 => audit.append_durable(record).await.unwrap(),
                        _ => audit.record(record).unwrap(),
                    };
                    given.push(id.seq);
                }
                given
            })
        })
        .collect();
    let mut given = vec![1];
    for task in tasks {
        given.extend(task.await.unwrap());
    }
    let engine = spool.handle().engine().clone();
    spool.close();
    given.sort_unstable();
    assert_eq!(given, (1..=801).collect::<Vec<_>>());
    let seqs: Vec<u64> = events_of(dir.path(), &engine)
        .iter()
        .map(|event| event.id.seq)
        .collect();
    assert_eq!(seqs, (1..=802).collect::<Vec<_>>());
}

#[tokio::test]
async fn strict_delivery_waits_for_the_collector_and_times_out_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        audit_timeout: Duration::from_millis(300),
        ..SpoolConfig::new(dir.path())
    };
    let spool = Spool::open(config).unwrap();
    let audit = spool.handle();
    let memory = Arc::new(Memory::default());
    memory.down.store(true, Ordering::Release);
    let shipper = Shipper::start(&audit, Arc::clone(&memory) as Arc<dyn CollectorSink>).unwrap();
    let refused = audit.deliver(Delivery::BlockingStrict, beat(1)).await;
    assert_eq!(refused, Err(SpoolError::Timeout));
    memory.down.store(false, Ordering::Release);
    until("delivered", || audit.status().acknowledged_seq >= 2);
    let id = audit
        .deliver(Delivery::BlockingStrict, beat(2))
        .await
        .unwrap();
    let batches = memory.batches.lock().unwrap();
    assert!(
        batches
            .iter()
            .flat_map(|batch| &batch.frames)
            .any(|frame| frame.last_seq() >= id.seq)
    );
    drop(batches);
    drop(shipper);
}

#[tokio::test]
async fn what_was_not_shipped_is_shipped_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    spool.handle().append_durable(beat(7)).await.unwrap();
    spool.close();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let memory = Arc::new(Memory::default());
    let shipper = Shipper::start(
        &spool.handle(),
        Arc::clone(&memory) as Arc<dyn CollectorSink>,
    )
    .unwrap();
    spool.handle().flush().await.unwrap();
    drop(shipper);
    let batches = memory.batches.lock().unwrap();
    let epochs: Vec<u32> = batches
        .iter()
        .flat_map(|batch| &batch.frames)
        .map(weir_audit::Frame::epoch)
        .collect();
    assert!(epochs.contains(&1) && epochs.contains(&2), "{epochs:?}");
}

#[tokio::test]
async fn sessions_closed_in_a_later_segment_are_not_called_unclosed() {
    let dir = tempfile::tempdir().unwrap();
    let config = || SpoolConfig {
        segment_bytes: 500,
        ..SpoolConfig::new(dir.path())
    };
    let spool = Spool::open(config()).unwrap();
    let audit = spool.handle();
    let [left, closed] = [0, 1].map(|_| {
        Arc::new(Session {
            id: audit.next_session(),
            ..Session::default()
        })
    });
    for session in [&left, &closed] {
        let opened = ConnectionOpened::default();
        audit
            .append_durable(Record::session(
                Timestamp::default(),
                Arc::clone(session),
                opened,
            ))
            .await
            .unwrap();
    }
    for n in 0..50 {
        audit.append_durable(beat(n)).await.unwrap();
    }
    // Only the newest segment is left, as after acknowledgement.
    let record = Record::session(Timestamp::default(), closed, ConnectionClosed::default());
    audit.append_durable(record).await.unwrap();
    drop(spool);
    let mut files = segment::list(dir.path()).unwrap();
    assert!(files.len() > 3);
    files.truncate(files.len() - 2);
    files
        .iter()
        .for_each(|(_, path)| std::fs::remove_file(path).unwrap());
    let spool = Spool::open(config()).unwrap();
    let engine = spool.handle().engine().clone();
    spool.close();
    let events = events_of(dir.path(), &engine);
    let unclosed: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Finding(finding) => finding.subject,
            _ => None,
        })
        .collect();
    assert_eq!(unclosed, [left.id]);
}

/// Needs root, as the test suite has: a real file system that is really full.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers_without_losing_an_acknowledged_event() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(
        mounted.success(),
        "this test mounts a file system: run it as root"
    );
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(self.0)
                .status();
        }
    }
    let _unmount = Unmount(dir.path());
    let spool = Spool::open(SpoolConfig::new(dir.path().join("spool"))).unwrap();
    let audit = spool.handle();
    let ballast = dir.path().join("ballast");
    let mut acknowledged = vec![audit.append_durable(beat(0)).await.unwrap().seq];
    let _ = std::fs::write(&ballast, vec![0; 500 << 10]);
    let mut refused = None;
    for n in 0..1_000 {
        let operator: Arc<str> = format!("{n:01000}").into();
        let record = Record::engine(Timestamp::default(), weir_audit::BudgetsReset { operator });
        match audit.append_durable(record).await {
            Ok(id) => acknowledged.push(id.seq),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(SpoolError::Disk(_))), "{refused:?}");
    assert!(matches!(audit.healthy(), Err(SpoolError::Disk(_))));
    std::fs::remove_file(&ballast).unwrap();
    until("room again", || audit.healthy().is_ok());
    acknowledged.push(audit.append_durable(beat(1)).await.unwrap().seq);
    let engine = audit.engine().clone();
    spool.close();
    let events = events_of(&dir.path().join("spool"), &engine);
    let seqs: Vec<u64> = events.iter().map(|event| event.id.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no hole");
    assert!(acknowledged.iter().all(|seq| seqs.contains(seq)));
}

#[tokio::test]
async fn an_idle_engine_says_that_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        heartbeat: Duration::from_millis(60),
        ..SpoolConfig::new(dir.path())
    };
    let spool = Spool::open(config).unwrap();
    until("a heartbeat", || {
        let events = events_of(dir.path(), spool.handle().engine());
        events
            .iter()
            .any(|event| matches!(event.body, Body::Heartbeat(_)))
    });
}

#[test]
fn session_ids_differ() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    let ids: std::collections::HashSet<_> =
        (0..1000).map(|_| spool.handle().next_session()).collect();
    assert_eq!(ids.len(), 1000);
    // Neither has the letter that `from_number` goes around.
    assert!(ids.iter().all(|id| !id.to_string().contains('x')));
}

#[test]
fn session_ids_without_a_letter_are_the_next_ones() {
    let shown = |number| SessionId::from_number(number).to_string();
    assert_eq!(shown(28), "000000000000w");
    assert_eq!(shown(29), "000000000000y");
    assert_eq!(shown(29 << 5 | 7), "00000000000y0");
    assert_eq!(shown(29 << 55 | 29), "0y00000000000");
    assert_eq!(shown(u64::MAX), "fzzzzzzzzzzzz");
}
