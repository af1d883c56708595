//! A collector on a disk that is really full: nothing that was acknowledged is lost, and what was not waits.
//!
//! `make netns` runs these: mounting a disk of a few megabytes needs root.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

#[expect(dead_code, reason = "each test binary uses its part")]
mod bed;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bed::{Bed, Pod, bed_on, send};
use weir_audit::{
    Batch, Body, CollectorSink as _, EngineId, FindingCode, Frame, FrameBuilder, Hash, Record,
    Session, Statement, StatementFinished, genesis,
};
use weir_collector::{
    ChainReport, Collector, CollectorConfig, EventPage, Filter, OwnSink, Proof, Quota,
};
use weir_uplink::{Delivery, Shipper, Spool, SpoolConfig};

const WRITABLE: &str = "\nweir_collector_store_writable 1\n";
const FULL: &str = "\nweir_collector_store_writable 0\n";

/// A disk in memory, unmounted at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self(dir);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    fn grow(&self, size: &str) {
        self.mount(&["-o", &format!("remount,size={size}")]);
    }

    fn mount(&self, options: &[&str]) {
        let mounted = Command::new("mount")
            .args(options)
            .arg(self.path())
            .status();
        assert!(mounted.unwrap().success(), "mounting needs root");
    }

    /// Leaves not one block.
    fn fill(&self) {
        let zeros = [0; 4096];
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A statement whose text does not compress.
fn noisy(session: &Arc<Session>, n: u64, length: usize) -> Record {
    let mut state = n + 1;
    let text: String = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    })
    .take(length)
    .collect();
    let finished = StatementFinished {
        statement: Statement {
            number: n,
            text: Some(text.into()),
            ..Statement::default()
        },
        ..StatementFinished::default()
    };
    Record::session(
        std::time::SystemTime::now().into(),
        Arc::clone(session),
        finished,
    )
}

fn chain(engine: &EngineId, records: &[Record]) -> Vec<Frame> {
    let mut previous: Hash = genesis(engine);
    let mut frames = Vec::new();
    for (n, record) in records.iter().enumerate() {
        let mut builder = FrameBuilder::new(1, n as u64 + 1);
        builder.push(record);
        let frame = builder.seal(previous).unwrap();
        previous = frame.hash();
        frames.push(frame);
    }
    frames
}

async fn until(bed: &Bed, path: &str, shows: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = bed.admin_says(path).await;
        if answer.contains(shows) {
            return answer;
        }
        assert!(Instant::now() < end, "{path} never shows {shows}: {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The numbers of a session's statements, each once.
async fn statements(bed: &Bed) -> HashSet<u64> {
    let path = "/v1/events?limit=10000&kind=statement_finished";
    let page: EventPage = bed.auditor("admin").get(path).await.unwrap();
    let numbers: Vec<u64> = page
        .events
        .iter()
        .filter_map(|event| match &event.body {
            Body::StatementFinished(finished) => Some(finished.statement.number),
            _ => None,
        })
        .collect();
    let once: HashSet<u64> = numbers.iter().copied().collect();
    assert_eq!(once.len(), numbers.len());
    once
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root: make netns"]
async fn sidecars_keep_their_evidence_while_the_collectors_disk_is_full_and_nothing_is_lost() {
    let disk = Disk::of("8m");
    let bed = bed_on(tempfile::tempdir_in(disk.path()).unwrap(), Quota::default()).await;
    until(&bed, "/readyz", "200 OK").await;
    let pod = Pod::new("billing", 1);
    let spooled = tempfile::tempdir().unwrap();
    let mut config = SpoolConfig::new(spooled.path().join("spool"));
    config.engine = Some(pod.engine());
    let spool = Spool::open(config).unwrap();
    let audit = spool.handle();
    let shipper = Shipper::start(&audit, bed.sidecar(&pod)).unwrap();
    let session = pod.session(7);
    let mut written = 0;
    while !bed.admin_says("/metrics").await.contains(FULL) {
        for _ in 0..10 {
            let record = noisy(&session, written, 20_000);
            audit.deliver(Delivery::Blocking, record).await.unwrap();
            written += 1;
        }
        assert!(
            written < 2000,
            "the disk is never full: {:?} {}",
            audit.status(),
            bed.admin_says("/metrics").await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It says so where operators look, and to those who hand in, who can try again.
    let report = until(&bed, "/readyz", "503").await;
    assert!(report.contains("store"), "{report}");
    until(&bed, "/metrics", FULL).await;
    let metrics = bed.admin_says("/metrics").await;
    assert!(
        !metrics.contains("weir_collector_refused_total{reason=\"store\"} 0"),
        "{metrics}"
    );
    // What the log of writes has given back may still take some.
    let mut taken: Vec<u64> = Vec::new();
    let (batch, from, numbers, refused) = loop {
        let first = 100_000 + taken.len() as u64;
        let from = Pod::new("billing", 2 + taken.len() as u32);
        let numbers = first..first + 20;
        let records: Vec<Record> = numbers
            .clone()
            .map(|n| noisy(&from.session(8), n, 40_000))
            .collect();
        let batch = Batch {
            engine: from.engine(),
            frames: chain(&from.engine(), &records),
        };
        match send(&bed.sidecar(&from), batch.clone()).await {
            Err(refused) => break (batch, from, numbers, refused),
            Ok(_) => taken.extend(numbers),
        }
        assert!(taken.len() < 400, "more than the disk holds was taken");
    };
    assert!(refused.0.contains("disk is full"), "{}", refused.0);
    for _ in 0..200 {
        audit
            .deliver(Delivery::Blocking, noisy(&session, written, 20_000))
            .await
            .unwrap();
        written += 1;
    }
    let acknowledged = audit.status().acknowledged_seq;
    assert!(
        acknowledged < audit.status().last_seq,
        "the spool keeps the rest"
    );
    // With room again everything arrives.
    disk.grow("200m");
    until(&bed, "/readyz", "200 OK").await;
    until(&bed, "/metrics", WRITABLE).await;
    send(&bed.sidecar(&from), batch).await.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while audit.status().acknowledged_seq < audit.status().last_seq {
        assert!(Instant::now() < end, "{:?}", audit.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    spool.close();
    shipper.stop(Duration::from_secs(20));
    let expected: HashSet<u64> = (0..written).chain(taken).chain(numbers).collect();
    assert_eq!(statements(&bed).await, expected);
    let report: ChainReport = bed.auditor("admin").get("/v1/verify").await.unwrap();
    assert!(report.ok, "{report:?}");
    assert!(
        report
            .engines
            .iter()
            .all(|engine| engine.problems.is_empty()),
        "{report:?}"
    );
    let found: EventPage = bed
        .auditor("admin")
        .get("/v1/events?kind=finding")
        .await
        .unwrap();
    assert!(found.events.is_empty(), "{:?}", found.events);
}

#[test]
#[ignore = "needs root: make netns"]
fn a_store_on_a_full_disk_opens_shows_what_it_has_and_goes_on_when_there_is_room() {
    let disk = Disk::of("5m");
    let dir = disk.path().join("store");
    let keys = tempfile::tempdir().unwrap();
    let engine: EngineId = "e1".parse().unwrap();
    let session = Arc::new(Session::default());
    let records: Vec<Record> = (0..400).map(|n| noisy(&session, n, 20_000)).collect();
    let frames = chain(&engine, &records);
    let open = || Collector::open(&dir, CollectorConfig::default()).unwrap();
    let hand_in = |store: &Collector, frames: &[Frame]| {
        let sink = OwnSink::open(store.clone(), keys.path(), &engine).unwrap();
        sink.ingest(&Batch {
            engine: engine.clone(),
            frames: frames.to_vec(),
        })
    };
    let all = Filter {
        kind: Some("statement_finished".into()),
        limit: Some(10_000),
        ..Filter::default()
    };
    let store = open();
    let mut taken = 0;
    let refused = frames.chunks(5).find_map(|some| {
        let refused = hand_in(&store, some).err();
        taken += if refused.is_none() { some.len() } else { 0 };
        refused
    });
    assert!(refused.unwrap().0.contains("full") && taken > 10);
    // Upkeep fails as well, with the checkpoint beside the store, and breaks nothing.
    disk.fill();
    assert!(store.maintain().unwrap_err().is_full());
    drop(store);
    disk.fill();
    let store = open();
    let size: Proof = store.proof().unwrap();
    assert_eq!(store.query(&all).unwrap().events.len(), taken);
    assert!(store.verify().unwrap().ok);
    assert!(hand_in(&store, &frames).is_err());
    assert_eq!(store.proof().unwrap(), size);
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    disk.grow("100m");
    hand_in(&store, &frames).unwrap();
    store.maintain().unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.query(&all).unwrap().events.len(), 400);
    let report = store.verify().unwrap();
    assert!(report.ok, "{report:?}");
    let findings = Filter {
        kind: Some("finding".into()),
        ..Filter::default()
    };
    let found = store.query(&findings).unwrap().events;
    let tampered = |event: &weir_audit::Event| matches!(&event.body, Body::Finding(finding) if finding.code == FindingCode::Tampered);
    assert!(!found.iter().any(tampered), "{found:?}");
}
