//! Measures evidence end to end: B8 (cost in the data path) and B9 (the collector).
//!
//! `taskset -c 0 cargo run --release -p weir-collector --example ingest_bench [EVENTS]`

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_audit::{
    Batch, CollectorSink as _, ConnectionOpened, Decision, EngineId, Frame, FrameBuilder,
    FrameReader, Identity, Names, Outcome, Record, Session, SessionId, Statement,
    StatementFinished, Timestamp, Value, genesis,
};
use weir_collector::{Collector, CollectorConfig, Filter, OwnSink};
use weir_uplink::{AuditHandle, Delivery, Shipper, Spool, SpoolConfig};

type Fail = Box<dyn std::error::Error>;

/// What differs from event to event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mix {
    /// Prepared statements, record level `Metadata` for values.
    Shared,
    /// Prepared statements with two parameter values each.
    Parameters,
    /// Simple protocol: every text is different.
    Literals,
}

/// What an engine keeps per connection and per statement text.
struct Shape {
    sessions: Vec<Arc<Session>>,
    texts: Vec<Arc<str>>,
    commands: Vec<Arc<str>>,
    tables: Vec<Names>,
    columns: Names,
    rules: Names,
    labels: Names,
}

impl Shape {
    fn new() -> Self {
        let identity = Arc::new(Identity::named("reporter"));
        let sessions = (0..16).map(|n| {
            Arc::new(Session {
                id: SessionId::new(0x5eed_0000 + n),
                identity: Arc::clone(&identity),
                target: Some("orders-db".into()),
                protocol: Some("postgresql".into()),
                database: Some("orders".into()),
                user: Some("app".into()),
                client: Some(format!("10.1.2.3:{}", 40_000 + n).into()),
                destination: Some("10.9.9.9:5432".into()),
                application: Some("pgbench".into()),
            })
        });
        let texts = [
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;",
            "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
            "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;",
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, now());",
        ];
        Self {
            sessions: sessions.collect(),
            texts: texts.iter().map(|text| (*text).into()).collect(),
            commands: ["UPDATE", "SELECT", "UPDATE", "INSERT"]
                .map(Into::into)
                .to_vec(),
            tables: ["accounts", "accounts", "tellers", "history"]
                .map(|name| [format!("public.pgbench_{name}")].into_iter().collect())
                .to_vec(),
            columns: ["abalance"].into_iter().collect(),
            rules: ["reporting/record"].into_iter().collect(),
            labels: Names::empty(),
        }
    }

    fn record(&self, n: u64, at: Timestamp, mix_of: Mix) -> Record {
        let mix = mixed(n);
        let pick = usize::try_from(mix >> 8 & 3).unwrap_or_default();
        let session = usize::try_from(mix >> 10 & 15).unwrap_or_default();
        let mix = mix >> 14;
        let finished = StatementFinished {
            statement: Statement {
                number: n / 16 + 1,
                text: if mix_of == Mix::Literals {
                    let (aid, delta) = (mix % 100_000, mix % 5_000);
                    Some(format!("UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {aid};").into())
                } else {
                    self.texts.get(pick).cloned()
                },
                parameters: if mix_of == Mix::Parameters {
                    vec![
                        Value::Text((mix % 10_000).to_string().into()),
                        Value::Text((mix % 1_000_000).to_string().into()),
                    ]
                } else {
                    Vec::new()
                },
                fingerprint: Some(mixed(pick as u64)),
                command: self.commands.get(pick).cloned(),
                decision: Decision::Permit,
                rules: self.rules.clone(),
                would_deny: Names::empty(),
                exceptions: Names::empty(),
                reason: None,
                tables: self.tables.get(pick).cloned().unwrap_or_default(),
                labels: self.labels.clone(),
                revision: 3,
                request: None,
            },
            outcome: Outcome::Completed,
            rows: u64::from(pick == 1),
            bytes: mix % 40,
            columns: self.columns.clone(),
            masked: Names::empty(),
            duration_us: 90 + mix % 400,
        };
        Record::session(
            at,
            self.sessions.get(session).cloned().unwrap_or_default(),
            finished,
        )
    }
}

/// A fixed, incompressible number for each `n` (splitmix64), so that sizes are honest.
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn frames(engine: &EngineId, shape: &Shape, events: u64, mix: Mix) -> (Vec<u8>, Duration) {
    let mut out = Vec::new();
    let mut hash = genesis(engine);
    let mut spent = Duration::ZERO;
    let mut first = 1;
    let start = now();
    while first <= events {
        let count = 1500.min(events - first + 1);
        let records: Vec<Record> = (first..first + count)
            .map(|n| {
                shape.record(
                    n,
                    start.plus(Duration::from_micros(n * 33 + mixed(n) % 60)),
                    mix,
                )
            })
            .collect();
        let began = Instant::now();
        let mut builder = FrameBuilder::new(1, first);
        records.iter().for_each(|record| builder.push(record));
        if let Some(frame) = builder.seal(hash) {
            hash = frame.hash();
            frame.write_to(&mut out);
        }
        drop(records);
        spent += began.elapsed();
        first += count;
    }
    (out, spent)
}

fn size(dir: &std::path::Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

fn collector(events: u64, mix: Mix) -> Result<(), Fail> {
    let dir = tempfile::tempdir_in(".")?;
    let engine: EngineId = "bench".parse()?;
    let shape = Shape::new();
    let (bytes, sealing) = frames(&engine, &shape, events, mix);
    println!(
        "sealing: {:.2} us/event, {:.1} B/event in frames ({mix:?})",
        sealing.as_secs_f64() * 1e6 / events as f64,
        bytes.len() as f64 / events as f64
    );
    let store = Collector::open(dir.path(), CollectorConfig::default())?;
    let sink = OwnSink::open(store.clone(), dir.path(), &engine)?;
    let began = Instant::now();
    // As it arrives: each link and each signature verified, batches of about 256 KiB, one sync each.
    let mut reader = FrameReader::new(&bytes, genesis(&engine));
    let mut batch: Vec<Frame> = Vec::new();
    let mut held = 0;
    loop {
        let frame = reader.next_frame()?;
        let end = frame.is_none();
        if let Some(frame) = frame {
            held += frame.stored_len();
            batch.push(frame);
        }
        if (end || held >= 256 << 10) && !batch.is_empty() {
            sink.ingest(&Batch {
                engine: engine.clone(),
                frames: std::mem::take(&mut batch),
            })?;
            held = 0;
        }
        if end {
            break;
        }
    }
    let took = began.elapsed();
    println!(
        "B9.rate {:.0} events/s durable, verified, indexed",
        events as f64 / took.as_secs_f64()
    );
    let began = Instant::now();
    let report = store.verify()?;
    println!(
        "verify: ok={} in {:.2} s",
        report.ok,
        began.elapsed().as_secs_f64()
    );
    for filter in [
        Filter {
            text: Some("tellers set".into()),
            ..Filter::default()
        },
        Filter {
            text: Some("no such text".into()),
            ..Filter::default()
        },
        Filter {
            decision: Some("deny".into()),
            ..Filter::default()
        },
        Filter {
            table: Some("public.pgbench_history".into()),
            ..Filter::default()
        },
    ] {
        let began = Instant::now();
        let found = store.query(&filter)?.events.len();
        println!(
            "query {:?} {:?} {:?}: {found} in {:.1} ms",
            filter.text,
            filter.table,
            filter.decision,
            began.elapsed().as_secs_f64() * 1e3
        );
    }
    drop(store);
    println!(
        "B9.size {:.1} B/event at rest, index included",
        size(dir.path())? as f64 / events as f64
    );
    Ok(())
}

fn hot_path(rate: u64, seconds: u64) -> Result<(), Fail> {
    let dir = tempfile::tempdir_in(".")?;
    let spool = Spool::open(SpoolConfig::new(dir.path().join("spool")))?;
    let store = Collector::open(&dir.path().join("store"), CollectorConfig::default())?;
    let audit = spool.handle();
    let sink = OwnSink::open(store.clone(), dir.path(), audit.engine())?;
    let shipper = Shipper::start(&audit, Arc::new(sink))?;
    let shape = Shape::new();
    audit.record(Record::engine(now(), ConnectionOpened::default()))?;
    let began = Instant::now();
    let mut spent = Duration::ZERO;
    let mut sent = 0;
    let mut refused = 0u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) * rate / 1_000_000;
        let start = Instant::now();
        let burst = due.saturating_sub(sent);
        for n in 0..burst {
            refused += u64::from(
                audit
                    .record(shape.record(sent + n, now(), Mix::Shared))
                    .is_err(),
            );
        }
        spent += start.elapsed();
        sent += burst;
        std::thread::sleep(Duration::from_micros(500));
    }
    let cost = spent.as_secs_f64() * 1e6 / sent as f64;
    println!("B8.cost {cost:.3} us/event: build and queue at {rate}/s");
    println!("memory after it: {}", memory());
    waits(&audit)?;
    spool.close();
    shipper.stop(Duration::from_secs(20));
    let stored: u64 = store
        .verify()?
        .engines
        .iter()
        .map(|engine| engine.events)
        .sum();
    // EngineStarted, the first record and EngineStopped besides.
    println!(
        "B8.lost {} of {sent} (refused {refused})",
        (sent + 3).saturating_sub(stored)
    );
    Ok(())
}

/// What the two stricter deliveries wait, with one caller.
fn waits(audit: &AuditHandle) -> Result<(), Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for delivery in [Delivery::Blocking, Delivery::BlockingStrict] {
        let mut took = Vec::new();
        for _ in 0..200 {
            let record = Record::engine(now(), ConnectionOpened::default());
            let began = Instant::now();
            runtime.block_on(audit.deliver(delivery, record))?;
            took.push(began.elapsed().as_micros());
        }
        took.sort_unstable();
        let at = |place: usize| took.get(place).copied().unwrap_or_default();
        println!("{delivery:?} p50 {} us, p99 {} us", at(100), at(198));
    }
    Ok(())
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn main() -> Result<(), Fail> {
    let events = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    for mix in [Mix::Shared, Mix::Parameters, Mix::Literals] {
        if events > 0 {
            collector(events, mix)?;
        }
    }
    hot_path(30_000, 5)
}
