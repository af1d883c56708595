//! Measures the store at size: ingest of traffic as it is, then the searches of auditors.
//!
//! `taskset -c 0 cargo run --release -p weir-collector --example search_bench [EVENTS] [DIR]`
//! `... --example search_bench EVENTS --rate [AT_ONCE]` measures ingest only.
//!
//! Eight engines with 48 sessions at a time, 3,000 identities in 40 namespaces, 40 targets, 400 tables, 2,000
//! statement shapes of which half carry their literals in the text and each identity has forty; labels, masks,
//! denials, holds with their rulings, findings, changes of policy. A day has as many events as ten million have
//! in thirty days. Prints a line for each figure, then the searches, each the median over different values.
//!
//! `B9.size` is what an event takes beyond its statement's text: as much as a store takes of the same traffic
//! without texts. `size.whole` has them. `cpu.whole` and `cpu.bare` say how many events of either a second of
//! CPU time takes in, whatever else the machine does.

mod traffic;

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use traffic::{Engine, NEEDLE, Sealed, World, mixed};
use weir_audit::{Batch, CollectorSink as _, EngineId, Frame, FrameReader, Hash, Timestamp};
use weir_collector::{About, Collector, CollectorConfig, Filter, OwnSink, Question, SessionFilter};

type Fail = Box<dyn std::error::Error>;

// As in the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ENGINES: u64 = 8;
/// So many frames come in one request, one transaction and one sync: about 256 KiB.
const BATCH: usize = 3;
/// So many requests are taken in at once, as by the port that sidecars send to.
const AT_ONCE: usize = 2;
/// Requests of an engine that are made before they are sent.
const AHEAD: usize = 8;
/// Events of a day.
const DENSITY: u64 = 10_000_000 / 30;
/// Events that come after the store was opened again: less than 64 blocks, so that no row leads to them yet when
/// searches begin.
const NEWEST: u64 = 70_000;
/// Values per search.
const VALUES: u64 = 9;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn engines() -> Vec<Engine> {
    (0..ENGINES).map(Engine::new).collect()
}

/// One request of an engine.
struct Sent {
    engine: usize,
    previous: Hash,
    sealed: Sealed,
}

fn ingest(
    store: &Collector,
    dir: &Path,
    world: &World,
    engines: &mut [Engine],
    (events, at_once): (u64, usize),
) -> Result<Ingested, Fail> {
    let mut sinks = Vec::new();
    for engine in engines.iter() {
        sinks.push((
            engine.id(),
            OwnSink::open(store.clone(), dir, &engine.id())?,
        ));
    }
    let (mut spent, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let (mut made, mut bytes) = (0, 0);
    while made < events {
        // Who sends at the same time; an engine sends one request after the other.
        let mut senders: Vec<Vec<Sent>> = (0..at_once).map(|_| Vec::new()).collect();
        for _ in 0..AHEAD {
            for (number, engine) in engines.iter_mut().enumerate() {
                if made < events {
                    let previous = engine.previous();
                    let sealed = engine.frames(world, BATCH);
                    made += sealed.events;
                    bytes += sealed.bytes.len();
                    let sender = senders.get_mut(number % at_once).ok_or("no sender")?;
                    sender.push(Sent {
                        engine: number,
                        previous,
                        sealed,
                    });
                }
            }
        }
        let (began, sinks) = (Instant::now(), &sinks);
        std::thread::scope(|scope| {
            let start =
                |sent| scope.spawn(move || send(sinks, sent).map_err(|error| error.to_string()));
            let senders: Vec<_> = senders.into_iter().map(start).collect();
            for sender in senders {
                cpu += sender.join().map_err(|_| "a sender failed")??;
            }
            Ok::<_, Fail>(())
        })?;
        spent += began.elapsed();
    }
    Ok(Ingested {
        events: made as f64,
        sealed: bytes as f64,
        seconds: spent.as_secs_f64(),
        cpu: cpu.as_secs_f64(),
    })
}

/// Takes requests in as they arrive: each link and the signature are verified, then they are stored with a sync.
/// Says what it took of the CPU.
fn send(sinks: &[(EngineId, OwnSink)], sent: Vec<Sent>) -> Result<Duration, Fail> {
    for one in sent {
        let (engine, sink) = sinks.get(one.engine).ok_or("no engine")?;
        let mut reader = FrameReader::new(&one.sealed.bytes, one.previous);
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        sink.ingest(&Batch {
            engine: engine.clone(),
            frames,
        })?;
    }
    Ok(cpu_time())
}

/// What this thread took of the CPU so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

struct Ingested {
    events: f64,
    sealed: f64,
    seconds: f64,
    cpu: f64,
}

/// How many bytes an event takes in a store of such traffic.
fn size_of(world: &World, amount: (u64, usize), config: &CollectorConfig) -> Result<f64, Fail> {
    let dir = tempfile::tempdir_in(".")?;
    let store = Collector::open(dir.path(), config.clone())?;
    let done = ingest(&store, dir.path(), world, &mut engines(), amount)?;
    drop(store);
    println!("cpu.bare {:.0} events/s", done.events / done.cpu);
    Ok(size(dir.path())? as f64 / done.events)
}

/// The median over several values, and the worst.
fn search(name: &str, mut ask: impl FnMut(u64) -> Result<usize, Fail>) -> Result<(), Fail> {
    let mut took = Vec::new();
    let mut found = 0;
    for value in 0..VALUES {
        let began = Instant::now();
        found += ask(value)?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |place: usize| took.get(place).copied().unwrap_or_default();
    println!(
        "C.search.{name} {:.1} ms (worst {:.1}, found {found})",
        at(took.len() / 2),
        at(took.len() - 1)
    );
    Ok(())
}

fn searches(store: &Collector, world: &World) -> Result<(), Fail> {
    let events = |name: &str, filter: &dyn Fn(u64) -> Filter| {
        search(name, |value| Ok(store.query(&filter(value))?.events.len()))
    };
    let any = Filter::default;
    let end = world.end();
    let pick = |value: u64, of: u64| mixed(value * 31 + of) % of;
    events("newest", &|_| any())?;
    events("time", &|value| {
        let from = end.minus(DAY * u32::try_from(pick(value, 29) + 1).unwrap_or(1));
        Filter {
            since: Some(from),
            until: Some(from.plus(Duration::from_secs(60))),
            ..any()
        }
    })?;
    events("identity", &|value| Filter {
        identity: Some(world.identity(pick(value, World::IDENTITIES))),
        ..any()
    })?;
    events("target", &|value| Filter {
        target: Some(world.target(pick(value, World::TARGETS))),
        ..any()
    })?;
    events("table", &|value| Filter {
        table: Some(world.table(pick(value, World::TABLES))),
        ..any()
    })?;
    events("label", &|value| Filter {
        label: Some(world.label(pick(value, World::LABELS))),
        ..any()
    })?;
    events("decision", &|value| Filter {
        decision: Some(
            if value.is_multiple_of(2) {
                "deny"
            } else {
                "hold"
            }
            .into(),
        ),
        ..any()
    })?;
    events("approver", &|value| Filter {
        approver: Some(world.approver(pick(value, World::APPROVERS))),
        ..any()
    })?;
    events("text_common", &|_| Filter {
        text: Some("order by created_at".into()),
        ..any()
    })?;
    events("text_shape", &|value| Filter {
        text: Some(format!(
            "where {}",
            world.column(pick(value, World::SHAPES))
        )),
        ..any()
    })?;
    events("text_rare", &|value| Filter {
        text: Some(NEEDLE[usize::try_from(value % 4).unwrap_or_default()..].to_owned()),
        ..any()
    })?;
    events("text_absent", &|value| Filter {
        text: Some(format!("nobody{value}@example.org")),
        ..any()
    })?;
    events("text_number", &|value| Filter {
        text: Some(format!("= {}", 1_000_000 + pick(value, 8_999_999))),
        ..any()
    })?;
    events("conjunction", &|value| Filter {
        identity: Some(world.identity(pick(value, World::IDENTITIES))),
        table: Some(world.table(pick(value, World::TABLES))),
        decision: Some("deny".into()),
        since: Some(end.minus(20 * DAY)),
        ..any()
    })?;
    events("page_1000", &|value| Filter {
        identity: Some(world.identity(pick(value, World::IDENTITIES))),
        limit: Some(1000),
        ..any()
    })?;
    let sessions = |identity: Option<String>, target: Option<String>, limit: usize| {
        store.sessions(&SessionFilter {
            identity,
            target,
            limit: Some(limit),
            ..SessionFilter::default()
        })
    };
    search("sessions", |value| {
        let identity = world.identity(pick(value, World::IDENTITIES));
        Ok(sessions(Some(identity), None, 100)?.sessions.len())
    })?;
    search("sessions_target", |value| {
        let target = world.target(pick(value, World::TARGETS));
        Ok(sessions(None, Some(target), 100)?.sessions.len())
    })?;
    let known = sessions(None, None, 10_000)?.sessions;
    let session = |value: u64| {
        let place = usize::try_from(pick(value, known.len().max(1) as u64)).unwrap_or_default();
        known.get(place).map(|known| known.session.id)
    };
    events("session", &|value| Filter {
        session: session(value),
        ..any()
    })?;
    search("replay", |value| {
        let mut count = 0;
        if let Some(session) = session(value) {
            store.replay(session, None, &mut |_| {
                count += 1;
                true
            })?;
        }
        Ok(count)
    })?;
    search("overview", |value| {
        let days = u32::try_from(1 + value * 29 / (VALUES - 1)).unwrap_or(30);
        Ok(store
            .overview(end.minus(days * DAY), end, None)?
            .traffic
            .len())
    })?;
    for about in About::ALL {
        search(
            &format!("ask_{}", about.name().replace('-', "_")),
            |value| {
                let mut question = Question::new(about);
                match about {
                    About::WhoReadLabel => {
                        question.label = Some(world.label(pick(value, World::LABELS)));
                    }
                    About::WhatDidIdentityTouch => {
                        question.identity = Some(world.identity(pick(value, World::IDENTITIES)));
                    }
                    About::HoldsByApprover => {
                        question.approver = Some(world.approver(pick(value, World::APPROVERS)));
                    }
                    _ => {}
                }
                Ok(store.ask(&question)?.rows.len())
            },
        )?;
    }
    Ok(())
}

fn size(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

fn main() -> Result<(), Fail> {
    let mut args = std::env::args().skip(1);
    let events: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let made = tempfile::tempdir_in(".")?;
    let dir = args.next();
    let only_rate = dir.as_deref() == Some("--rate");
    let dir = dir.filter(|_| !only_rate);
    let at_once = args.next().map_or(Ok(AT_ONCE), |text| text.parse())?.max(1);
    let dir = dir.map_or(made.path().to_owned(), Into::into);
    let end = Timestamp::from(std::time::SystemTime::now());
    let seconds = events.saturating_mul(24 * 3600) / DENSITY;
    let span = Duration::from_secs(seconds.max(3600));
    let world = World::new(end, span, events);
    // As in the program for clusters.
    let config = CollectorConfig {
        max_age: None,
        cache: 32 << 20,
        ..CollectorConfig::default()
    };
    let mut engines = engines();
    let new = !dir.join("evidence.db").exists();
    if new {
        let store = Collector::open(&dir, config.clone())?;
        let done = ingest(&store, &dir, &world, &mut engines, (events, at_once))?;
        drop(store);
        println!("events {}", done.events);
        println!("frames {:.1} B/event as sealed", done.sealed / done.events);
        println!("B9.rate {:.0} events/s", done.events / done.seconds);
        println!("cpu.whole {:.0} events/s", done.events / done.cpu);
        println!("size.whole {:.1} B/event", size(&dir)? as f64 / done.events);
        let bare = World::new(end, span, events).without_text();
        println!(
            "B9.size {:.1} B/event",
            size_of(&bare, (events, at_once), &config)?
        );
    }
    if only_rate {
        return Ok(());
    }
    let began = Instant::now();
    let store = Collector::open(&dir, config)?;
    println!("open {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    if new {
        ingest(&store, &dir, &world, &mut engines, (NEWEST, at_once))?;
    }
    searches(&store, &world)?;
    let began = Instant::now();
    let report = store.verify()?;
    let (events, took) = (
        report
            .engines
            .iter()
            .map(|engine| engine.events)
            .sum::<u64>(),
        began.elapsed().as_secs_f64(),
    );
    println!("verify ok={} {events} events in {took:.1} s", report.ok);
    Ok(())
}
