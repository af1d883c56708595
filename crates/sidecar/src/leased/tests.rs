//! Leased budgets against the controller's own ledger.

use std::sync::atomic::AtomicU64;

use weir_policy::{Limit, LimitScope, Meter, OnExceed, RuleName, Step};
use weir_uplink::LeaseLedger;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Numbers that look random and are the same in every run.
struct Dice(AtomicU64);

impl Dice {
    fn below(&self, end: u64) -> u64 {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x, Ordering::Relaxed);
        (x >> 11) % end
    }

    async fn pause(&self, up_to: Duration) {
        let millis = u64::try_from(up_to.as_millis()).unwrap();
        tokio::time::sleep(Duration::from_millis(self.below(millis + 1))).await;
    }
}

/// A controller with one budget, and all that was delivered of it.
struct World {
    key: BudgetKey,
    ledger: Mutex<LeaseLedger>,
    began: Instant,
    dice: Dice,
    /// Answers are lost, requests come late.
    trouble: AtomicBool,
    away: AtomicBool,
    asked: AtomicU64,
    delivered: Mutex<Vec<(Instant, u64)>>,
}

impl World {
    fn new(seed: u64, per: Duration) -> Arc<Self> {
        Arc::new(Self {
            key: BudgetKey::new("s", "target:t", "*", per),
            ledger: Mutex::default(),
            began: Instant::now(),
            dice: Dice(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
            trouble: AtomicBool::new(false),
            away: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            delivered: Mutex::default(),
        })
    }

    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp(1_700_000_000_000 + elapsed)
    }

    fn limit(&self, rows: u64, on_exceed: OnExceed) -> Arc<Limit> {
        Arc::new(Limit {
            rule: RuleName::new("p", "bulk"),
            scope: LimitScope::Window(self.key.clone()),
            rows: Some(rows),
            bytes: None,
            statements: None,
            on_exceed,
        })
    }

    fn apply(&self, holder: &str, asked: &LeaseRequest) -> Leases {
        let mut ledger = self.ledger.lock().unwrap();
        let lease = |ask| ledger.lease(holder, ask, self.now());
        Leases {
            budgets: asked.budgets.iter().map(lease).collect(),
        }
    }

    fn total(&self) -> u64 {
        self.delivered.lock().unwrap().iter().map(|(_, n)| n).sum()
    }

    /// The most that was delivered within one window.
    fn peak(&self) -> u64 {
        let delivered = self.delivered.lock().unwrap();
        let sum = |(last, (now, _)): (usize, &(Instant, u64))| {
            let within = delivered.iter().take(last + 1).rev();
            within
                .take_while(|(at, _)| now.duration_since(*at) < self.key.per())
                .map(|(_, n)| n)
                .sum()
        };
        delivered.iter().enumerate().map(sum).max().unwrap_or(0)
    }
}

/// One pod's line to the controller.
struct Line(Arc<World>, String);

impl Leasing for Line {
    fn lease<'a>(&'a self, asked: &'a LeaseRequest) -> Pending<'a, Result<Leases, NotLeased>> {
        let Line(world, holder) = self;
        Box::pin(async move {
            let failed = |unsent| NotLeased {
                reason: "trouble".to_owned(),
                unsent,
            };
            world.asked.fetch_add(1, Ordering::Relaxed);
            world.dice.pause(Duration::from_millis(20)).await;
            if world.away.load(Ordering::Relaxed) {
                return Err(failed(true));
            }
            let fate = if world.trouble.load(Ordering::Relaxed) {
                world.dice.below(8)
            } else {
                8
            };
            match fate {
                0 => return Err(failed(true)),
                // It is done, and the answer comes late or never.
                1 => {
                    world.apply(holder, asked);
                    world.dice.pause(Duration::from_secs(5)).await;
                    return Err(failed(false));
                }
                // It is done long after nobody waits for it.
                2 => {
                    let (late, holder, asked) = (Arc::clone(world), holder.clone(), asked.clone());
                    tokio::spawn(async move {
                        late.dice.pause(Duration::from_secs(8)).await;
                        late.apply(&holder, &asked);
                    });
                    world.dice.pause(Duration::from_secs(5)).await;
                    return Err(failed(false));
                }
                _ => {}
            }
            let leases = world.apply(holder, asked);
            world.dice.pause(Duration::from_millis(30)).await;
            Ok(leases)
        })
    }
}

/// One sidecar; dropping it is kill -9.
struct Pod {
    world: Arc<World>,
    dir: tempfile::TempDir,
    name: String,
    budgets: Arc<LeasedBudgets>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Pod {
    fn start(world: &Arc<World>, name: &str) -> Self {
        Self::run(world, name, tempfile::tempdir().unwrap())
    }

    fn run(world: &Arc<World>, name: &str, dir: tempfile::TempDir) -> Self {
        let line = Arc::new(Line(Arc::clone(world), name.to_owned()));
        let budgets = Arc::new(LeasedBudgets::open(dir.path(), line).unwrap());
        let keeping = Arc::clone(&budgets);
        Self {
            world: Arc::clone(world),
            dir,
            name: name.to_owned(),
            budgets,
            keeper: tokio::spawn(async move { keeping.keep().await }),
        }
    }

    async fn restart(self) -> Self {
        self.keeper.abort();
        drop(self.keeper.await);
        drop(self.budgets);
        Self::run(&self.world, &self.name, self.dir)
    }

    /// Runs a statement that returns so many rows, as the engine does. What was delivered.
    async fn statement(&self, limit: &Arc<Limit>, rows: u64) -> u64 {
        let mut meter = None;
        self.budgets.read(&mut |counters| {
            meter = Some(Meter::new(
                std::slice::from_ref(limit),
                counters,
                self.world.now(),
            ));
        });
        let mut meter = meter.unwrap();
        loop {
            let batch = self.world.dice.below(40) + 1;
            let batch = batch.min(rows - meter.total().rows);
            let step = self.batch(&mut meter, batch);
            match step {
                Step::Continue if meter.total().rows == rows => break,
                Step::Continue => self.world.dice.pause(Duration::from_millis(3)).await,
                Step::Replenish => {
                    let wanted = meter.wanted(8);
                    let more = self.budgets.replenish(&wanted).await;
                    let now = self.world.now();
                    self.budgets
                        .read(&mut |counters| meter.refresh(counters, now));
                    if !more {
                        meter.asked_in_vain();
                    }
                }
                Step::Exceeded(_) | Step::Throttle { .. } => break,
            }
        }
        meter.total().rows
    }

    /// What happens between two reads of the server's socket.
    fn batch(&self, meter: &mut Meter, rows: u64) -> Step {
        let now = self.world.now();
        self.budgets
            .read(&mut |counters| meter.refresh(counters, now));
        let before = meter.total().rows;
        let mut step = Step::Continue;
        for _ in 0..rows {
            step = meter.row(8);
            if step != Step::Continue {
                break;
            }
        }
        self.budgets.charge(now, &meter.take_usage());
        let delivered = (Instant::now(), meter.total().rows - before);
        self.world.delivered.lock().unwrap().push(delivered);
        step
    }

    fn left(&self, limit: &Limit) -> u64 {
        let mut left = 0;
        let (amount, now) = (limit.amount(), self.world.now());
        self.budgets
            .read(&mut |counters| left = counters.left(&self.world.key, amount, now).rows);
        left
    }
}

/// What a pod goes through until the time is over.
async fn live(world: Arc<World>, name: String, limit: Arc<Limit>, length: Duration) {
    let mut pod = Pod::start(&world, &name);
    while world.began.elapsed() < length {
        world.dice.pause(Duration::from_secs(2)).await;
        match world.dice.below(40) {
            0 => pod = pod.restart().await,
            1 => {
                pod.budgets.close().await;
                pod = pod.restart().await;
            }
            2 => world.dice.pause(Duration::from_secs(45)).await,
            3 => world.away.store(true, Ordering::Relaxed),
            4..=9 => world.away.store(false, Ordering::Relaxed),
            _ => {
                let rows = world.dice.below(120) + 1;
                let both = async {
                    tokio::join!(pod.statement(&limit, rows), pod.statement(&limit, rows))
                };
                // Some clients go away in the middle.
                let patience = Duration::from_millis(world.dice.below(10_000));
                drop(tokio::time::timeout(patience, both).await);
            }
        }
    }
}

async fn five_live(world: &Arc<World>, limit: &Arc<Limit>, length: Duration) {
    let mut pods = tokio::task::JoinSet::new();
    for name in ["a", "b", "c", "d", "e"] {
        pods.spawn(live(
            Arc::clone(world),
            name.to_owned(),
            Arc::clone(limit),
            length,
        ));
    }
    while let Some(ended) = pods.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_or_restarted_five_pods_stay_within_the_limit() {
    for seed in 1..=12 {
        let world = World::new(seed, HOUR);
        world.trouble.store(true, Ordering::Relaxed);
        let limit = world.limit(5_000, OnExceed::Deny);
        five_live(&world, &limit, 5 * MINUTE).await;
        let total = world.total();
        assert!(total <= 5_000, "seed {seed}: {total}");
        assert!(total > 1_000, "seed {seed}: {total}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_window_ever_holds_more_than_the_limit() {
    for seed in 1..=8 {
        let world = World::new(seed, MINUTE);
        world.trouble.store(true, Ordering::Relaxed);
        let limit = world.limit(600, OnExceed::Deny);
        five_live(&world, &limit, 6 * MINUTE).await;
        let (peak, total) = (world.peak(), world.total());
        assert!(peak <= 600, "seed {seed}: {peak}");
        assert!(total > 600, "seed {seed}: {total}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_everybody_reachable_the_limit_can_be_used() {
    for (seed, rows) in [(1, 100), (2, 1_000), (3, 20_000)] {
        let world = World::new(seed, HOUR);
        let limit = world.limit(rows, OnExceed::Deny);
        let pods = ["a", "b", "c", "d", "e"].map(|name| Pod::start(&world, name));
        // All begin, one goes on alone.
        for pod in &pods {
            pod.statement(&limit, 3).await;
        }
        tokio::time::sleep(2 * SETTLED).await;
        pods[0].statement(&limit, rows).await;
        let total = world.total();
        assert!(total <= rows && total * 10 >= rows * 9, "{total} of {rows}");
    }
}

/// Until what was taken is settled, and what is hardly used went back.
const SETTLED: Duration = Duration::from_secs(6);

#[tokio::test(start_paused = true)]
async fn within_a_lease_nothing_is_asked_and_half_of_it_renews_it() {
    let world = World::new(1, HOUR);
    let limit = world.limit(8_000, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    assert_eq!(pod.statement(&limit, 400).await, 400);
    assert_eq!(world.asked.load(Ordering::Relaxed), 1);
    assert_eq!(pod.statement(&limit, 200).await, 200);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.asked.load(Ordering::Relaxed), 2);
    assert!(pod.left(&limit) > 800);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_used_goes_back() {
    let world = World::new(1, HOUR);
    let limit = world.limit(800, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    pod.statement(&limit, 1).await;
    assert_eq!(pod.left(&limit), 99);
    tokio::time::sleep(SETTLED).await;
    assert_eq!(pod.left(&limit), 12);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(pod.left(&limit), 0);
    let asked = world.asked.load(Ordering::Relaxed);
    tokio::time::sleep(HOUR / 2).await;
    assert_eq!(world.asked.load(Ordering::Relaxed), asked);
    let other = Pod::start(&world, "b");
    assert_eq!(other.statement(&limit, 900).await, 799);
}

#[tokio::test(start_paused = true)]
async fn without_the_controller_a_lease_is_used_until_it_ends_and_then_nothing() {
    let world = World::new(1, HOUR);
    let limit = world.limit(800, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    assert_eq!(pod.statement(&limit, 10).await, 10);
    world.away.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(pod.statement(&limit, 20).await, 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    assert_eq!(pod.statement(&limit, 20).await, 0);
    assert!(began.elapsed() <= PATIENCE);
    let mut withheld = false;
    let (amount, now) = (limit.amount(), world.now());
    pod.budgets
        .read(&mut |counters| withheld = counters.is_withheld(&world.key, amount, now));
    assert!(withheld);
    world.away.store(false, Ordering::Relaxed);
    tokio::time::sleep(book::RETRY).await;
    assert_eq!(pod.statement(&limit, 20).await, 20);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_sidecar_settles_first_and_asks_for_nothing_twice() {
    let world = World::new(1, HOUR);
    let limit = world.limit(800, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    pod.statement(&limit, 90).await;
    let pod = pod.restart().await;
    assert_eq!(pod.left(&limit), 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = Pod::start(&world, "b");
    assert_eq!(other.statement(&limit, 900).await, 710);
}

#[tokio::test(start_paused = true)]
async fn a_smaller_limit_that_is_reached_does_not_withhold_a_larger_one() {
    let world = World::new(1, HOUR);
    let small = world.limit(10, OnExceed::Deny);
    let large = world.limit(100, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    assert_eq!(pod.statement(&small, 20).await, 10);
    assert_eq!(pod.statement(&large, 20).await, 20);
    assert_eq!(pod.statement(&small, 20).await, 0);
    let pod = pod.restart().await;
    let both = [small.as_ref(), large.as_ref()].map(|limit| Wanted {
        key: world.key.clone(),
        limit: limit.amount(),
        need: Amount {
            rows: 1,
            ..Amount::default()
        },
    });
    assert!(
        pod.budgets.replenish(&both).await,
        "the larger one has changed"
    );
    assert!(!pod.budgets.replenish(&both[..1]).await);
    assert!(pod.left(&large) > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_at_the_end_is_there_for_others_at_once() {
    let world = World::new(1, HOUR);
    let limit = world.limit(100, OnExceed::Deny);
    let pod = Pod::start(&world, "a");
    pod.statement(&limit, 3).await;
    pod.budgets.close().await;
    assert_eq!(pod.left(&limit), 0);
    let other = Pod::start(&world, "b");
    assert_eq!(other.statement(&limit, 200).await, 97);
}
