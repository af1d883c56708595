//! Limits, the meter and the ledger: exact to the row, and never early.

use std::sync::Arc;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE_MS: u64 = 60_000;

fn key() -> BudgetKey {
    BudgetKey::new("reporter", "target:db", "*", HOUR)
}

fn limit(rows: Option<u64>, bytes: Option<u64>, on_exceed: OnExceed) -> Arc<Limit> {
    let rule = RuleName::new("p", "bulk");
    Arc::new(Limit {
        rule,
        scope: LimitScope::Statement,
        rows,
        bytes,
        statements: None,
        on_exceed,
    })
}

fn window(rows: u64) -> Arc<Limit> {
    Arc::new(Limit {
        scope: LimitScope::Window(key()),
        ..(*limit(Some(rows), None, OnExceed::Deny)).clone()
    })
}

fn meter(limits: &[Arc<Limit>]) -> Meter {
    Meter::new(limits, &NoCounters, NOW)
}

/// What a row meets where nobody has more of a window to give.
fn last_row(meter: &mut Meter) -> Step {
    assert_eq!(meter.row(1), Step::Replenish);
    meter.asked_in_vain();
    meter.row(1)
}

fn rows(rows: u64) -> Amount {
    Amount {
        rows,
        ..Amount::default()
    }
}

#[test]
fn what_is_asked_of_a_meter_is_not_counted() {
    let ledger = WindowLedger::new();
    let mut meter = Meter::new(&[window(5)], &ledger, NOW);
    assert!(meter.fits(5, 1) && meter.fits(5, 1) && !meter.fits(6, 1));
    let usage = meter.take_usage();
    assert!(usage.iter().all(|usage| usage.amount.rows == 0));
    assert!(meter.rows(5, 1) && !meter.fits(1, 1));
}

#[test]
fn exactly_the_limit_is_delivered_and_the_crossing_row_is_not() {
    let mut meter = meter(&[limit(
        Some(10_000),
        None,
        OnExceed::RequireApproval(approval()),
    )]);
    for _ in 0..10_000 {
        assert_eq!(meter.row(8), Step::Continue);
    }
    assert_eq!(meter.row(8), Step::Exceeded(0));
    assert_eq!(meter.row(8), Step::Exceeded(0), "it was not counted");
    assert_eq!(meter.total().rows, 10_000);
}

#[test]
fn the_row_that_would_pass_the_byte_limit_is_not_delivered() {
    let mut meter = meter(&[limit(None, Some(100), OnExceed::Deny)]);
    assert_eq!(meter.row(60), Step::Continue);
    assert_eq!(meter.row(41), Step::Exceeded(0));
    assert_eq!(meter.row(40), Step::Continue);
    assert_eq!(meter.row(0), Step::Continue);
    assert_eq!(meter.row(1), Step::Exceeded(0));
    let mut meter = super::counting::meter(&[limit(None, Some(100), OnExceed::Deny)]);
    assert_eq!(meter.row(u64::MAX), Step::Exceeded(0));
}

#[test]
fn many_rows_are_counted_at_once_or_not_at_all() {
    let mut meter = meter(&[limit(Some(10), None, OnExceed::Deny)]);
    assert!(meter.rows(9, 900));
    assert!(!meter.rows(2, 200));
    assert_eq!((meter.total().rows, meter.total().bytes), (9, 900));
    assert!(meter.rows(1, 100));
    assert_eq!(meter.row(1), Step::Exceeded(0));
}

#[test]
fn an_approval_reaches_as_far_as_it_says() {
    let asks = limit(Some(2), Some(1000), OnExceed::RequireApproval(approval()));
    let mut meter = meter(std::slice::from_ref(&asks));
    assert!(meter.rows(2, 10));
    assert_eq!(meter.row(5), Step::Exceeded(0));
    meter.release(0, Release::Rows(3));
    for _ in 0..3 {
        assert_eq!(
            meter.row(5000),
            Step::Continue,
            "bytes are released with the rows"
        );
    }
    assert_eq!(meter.row(5), Step::Exceeded(0));
    meter.release(0, Release::ToEnd);
    assert!(meter.rows(1_000_000, 1 << 40));
}

#[test]
fn every_limit_that_asks_must_be_released() {
    let asks = || limit(Some(1), None, OnExceed::RequireApproval(approval()));
    let mut meter = meter(&[asks(), asks()]);
    assert_eq!(meter.row(1), Step::Continue);
    assert_eq!(meter.row(1), Step::Exceeded(0));
    meter.release(0, Release::ToEnd);
    assert_eq!(meter.row(1), Step::Exceeded(1));
    meter.release(1, Release::ToEnd);
    assert_eq!(meter.row(1), Step::Continue);
}

#[test]
fn deny_goes_before_approval_and_approval_before_throttle() {
    let throttle = limit(Some(1), None, OnExceed::Throttle { rows_per_second: 9 });
    let asks = limit(Some(1), None, OnExceed::RequireApproval(approval()));
    let deny = limit(Some(1), None, OnExceed::Deny);
    let mut all = meter(&[throttle.clone(), asks.clone(), deny]);
    all.row(1);
    assert_eq!(all.row(1), Step::Exceeded(2));
    let mut two = meter(&[throttle.clone(), asks]);
    two.row(1);
    assert_eq!(two.row(1), Step::Exceeded(1));
    two.release(1, Release::ToEnd);
    assert_eq!(two.row(1), Step::Throttle { rows_per_second: 9 });
}

#[test]
fn a_throttled_statement_goes_on_at_the_slowest_rate() {
    let fast = limit(
        Some(1),
        None,
        OnExceed::Throttle {
            rows_per_second: 100,
        },
    );
    let slow = limit(
        Some(3),
        None,
        OnExceed::Throttle {
            rows_per_second: 10,
        },
    );
    let mut meter = meter(&[fast, slow]);
    assert_eq!(meter.row(1), Step::Continue);
    assert_eq!(
        meter.row(1),
        Step::Throttle {
            rows_per_second: 100
        }
    );
    assert_eq!(
        meter.row(1),
        Step::Throttle {
            rows_per_second: 100
        }
    );
    assert_eq!(
        meter.row(1),
        Step::Throttle {
            rows_per_second: 10
        }
    );
    assert!(!meter.rows(2, 2), "throttled rows go one by one");
    assert_eq!(meter.total().rows, 4);
}

#[test]
fn a_window_is_shared_by_statements_and_released_rows_count_in_it() {
    let mut ledger = WindowLedger::new();
    let limits = [window(10)];
    let mut first = Meter::new(&limits, &ledger, NOW);
    assert!(first.rows(7, 70));
    for usage in first.take_usage() {
        ledger.charge(&usage.key, NOW, usage.amount);
    }
    assert_eq!(first.take_usage(), []);
    let mut second = Meter::new(&limits, &ledger, NOW);
    assert!(second.rows(3, 30));
    assert_eq!(last_row(&mut second), Step::Exceeded(0));
    second.release(0, Release::ToEnd);
    assert!(second.rows(5, 50));
    for usage in second.take_usage() {
        ledger.charge(&usage.key, NOW, usage.amount);
    }
    assert_eq!(ledger.used(&key(), NOW).rows, 15);
    assert_eq!(ledger.used(&key(), NOW).statements, 2);
    let mut third = Meter::new(&limits, &ledger, NOW);
    assert_eq!(last_row(&mut third), Step::Exceeded(0));
}

#[test]
fn a_running_statement_sees_what_others_took_when_it_refreshes() {
    let mut ledger = WindowLedger::new();
    let limits = [window(10)];
    let mut running = Meter::new(&limits, &ledger, NOW);
    assert!(running.rows(4, 40));
    ledger.charge(&key(), NOW, rows(5));
    running.refresh(&ledger, NOW);
    assert_eq!(running.row(1), Step::Continue);
    assert_eq!(last_row(&mut running), Step::Exceeded(0));
    for usage in running.take_usage() {
        ledger.charge(&usage.key, NOW, usage.amount);
    }
    running.refresh(&ledger, NOW);
    assert_eq!(
        running.row(1),
        Step::Exceeded(0),
        "charged rows are not counted twice, nor lost"
    );
    assert_eq!(ledger.used(&key(), NOW).rows, 10);
}

#[test]
fn limits_that_share_a_budget_charge_it_once() {
    let mut meter = meter(&[window(10), window(20)]);
    meter.rows(3, 30);
    assert_eq!(meter.take_usage().len(), 1);
}

#[test]
fn a_window_never_refills_early() {
    let mut ledger = WindowLedger::new();
    let start = NOW.0 - NOW.0 % MINUTE_MS;
    let late = Timestamp(start + MINUTE_MS - 1);
    ledger.charge(&key(), late, rows(10));
    let end_of_window = late.0 + 60 * MINUTE_MS;
    assert_eq!(ledger.used(&key(), Timestamp(end_of_window - 1)).rows, 10);
    assert_eq!(ledger.used(&key(), Timestamp(end_of_window)).rows, 10);
    assert_eq!(ledger.used(&key(), Timestamp(end_of_window + 1)).rows, 0);
    // At most a sixtieth late: the first moment of the bucket is freed with its last.
    let early = Timestamp(start);
    let mut ledger = WindowLedger::new();
    ledger.charge(&key(), early, rows(10));
    assert_eq!(
        ledger
            .used(&key(), Timestamp(start + 61 * MINUTE_MS - 1))
            .rows,
        10
    );
    assert_eq!(
        ledger.used(&key(), Timestamp(start + 61 * MINUTE_MS)).rows,
        0
    );
}

#[test]
fn a_window_slides_bucket_by_bucket() {
    let mut ledger = WindowLedger::new();
    let start = NOW.0 - NOW.0 % MINUTE_MS;
    for minute in 0..90 {
        ledger.charge(&key(), Timestamp(start + minute * MINUTE_MS), rows(1));
    }
    let at = |minute: u64| {
        ledger
            .used(&key(), Timestamp(start + minute * MINUTE_MS))
            .rows
    };
    assert_eq!(at(89), 61);
    assert_eq!(at(100), 50);
    assert_eq!(at(149), 1);
    assert_eq!(at(150), 0);
}

#[test]
fn a_clock_that_steps_back_frees_nothing() {
    let mut ledger = WindowLedger::new();
    ledger.charge(&key(), NOW, rows(10));
    let before = Timestamp(NOW.0 - 10 * 60 * MINUTE_MS);
    assert_eq!(ledger.used(&key(), before).rows, 10);
    ledger.charge(&key(), before, rows(5));
    assert_eq!(ledger.used(&key(), NOW).rows, 15);
    assert_eq!(ledger.rows().count(), 1);
}

#[test]
fn a_ledger_survives_being_stored_row_by_row() {
    let mut ledger = WindowLedger::new();
    let mut stored = std::collections::BTreeMap::new();
    let start = NOW.0 - NOW.0 % MINUTE_MS;
    for minute in [0, 0, 3, 7, 7, 7] {
        let row = ledger.charge(&key(), Timestamp(start + minute * MINUTE_MS), rows(2));
        stored.insert((row.key.clone(), row.bucket_ms), row);
    }
    assert_eq!(stored.len(), 3);
    let restored = WindowLedger::from_rows(stored.into_values().rev());
    let now = Timestamp(start + 8 * MINUTE_MS);
    assert_eq!(restored.used(&key(), now), ledger.used(&key(), now));
    assert_eq!(restored.used(&key(), now).rows, 12);
    assert!(restored.rows().eq(ledger.rows()));
}

#[test]
fn pruning_forgets_only_what_no_longer_counts() {
    let mut ledger = WindowLedger::new();
    let start = NOW.0 - NOW.0 % MINUTE_MS;
    ledger.charge(&key(), Timestamp(start), rows(1));
    ledger.charge(&key(), Timestamp(start + MINUTE_MS), rows(2));
    let now = Timestamp(start + 61 * MINUTE_MS);
    let gone = ledger.prune(now);
    assert_eq!(
        gone.iter().map(|row| row.amount.rows).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(ledger.used(&key(), now).rows, 2);
    ledger.reset();
    assert_eq!(ledger.used(&key(), now), Amount::default());
}

#[test]
fn amounts_stop_at_the_largest_number() {
    let mut ledger = WindowLedger::new();
    ledger.charge(&key(), NOW, rows(u64::MAX));
    ledger.charge(&key(), NOW, rows(5));
    assert_eq!(ledger.used(&key(), NOW).rows, u64::MAX);
    let mut meter = Meter::new(&[window(u64::MAX)], &ledger, NOW);
    assert_eq!(last_row(&mut meter), Step::Exceeded(0));
}

fn counted(per_hour: u64, on_exceed: Exceed) -> Policy {
    let matches = Match {
        uses: [Use::EqualsConstant].into_iter().collect(),
        ..labels(&["pii.*"])
    };
    let lookups = Rule {
        limits: vec![LimitSpec {
            per: Some(HOUR),
            rows: None,
            bytes: None,
            statements: Some(per_hour),
            on_exceed,
        }],
        approval: Some(approval()),
        ..rule("lookups", None, matches)
    };
    policy("p", vec![lookups])
}

#[test]
fn lookups_by_equality_are_rate_limited_per_label() {
    let scope = scope(vec![counted(2, Exceed::Deny)]);
    let mut ledger = WindowLedger::new();
    let mut ask = |label| {
        let uses = [LabelUse {
            label,
            how: Use::EqualsConstant,
        }];
        let sql = SqlOperation {
            label_uses: &uses,
            ..SqlOperation::default()
        };
        let decision = scope.decide(&Operation::Sql(&sql), &ledger, NOW);
        let mut meter = Meter::new(&decision.obligations.limits, &ledger, NOW);
        for usage in meter.take_usage() {
            ledger.charge(&usage.key, NOW, usage.amount);
        }
        outcome(&decision)
    };
    assert_eq!(ask(SSN), "permit");
    assert_eq!(ask(SSN), "permit");
    assert_eq!(ask(SSN), "deny p/lookups");
    assert_eq!(ask(CARD), "permit");
}

#[test]
fn a_decision_that_read_a_budget_does_not_stand() {
    let scope = scope(vec![counted(2, Exceed::Deny)]);
    let decide = |how| {
        let uses = [LabelUse { label: SSN, how }];
        let sql = SqlOperation {
            label_uses: &uses,
            ..SqlOperation::default()
        };
        scope.decide(&Operation::Sql(&sql), &WindowLedger::new(), NOW)
    };
    assert!(!decide(Use::EqualsConstant).is_standing());
    assert!(decide(Use::Output).is_standing());
}

#[test]
fn an_exhausted_budget_of_statements_can_ask_for_approval() {
    let scope = scope(vec![counted(0, Exceed::RequireApproval)]);
    let uses = [LabelUse {
        label: SSN,
        how: Use::EqualsConstant,
    }];
    let sql = SqlOperation {
        label_uses: &uses,
        ..SqlOperation::default()
    };
    let decision = scope.decide(&Operation::Sql(&sql), &NoCounters, NOW);
    assert_eq!(outcome(&decision), "hold p/lookups");
}

#[test]
fn budgets_are_keyed_by_what_is_counted_and_not_by_the_rules_name() {
    let bulk = |name: &str, matches: Match| Rule {
        limits: vec![LimitSpec {
            per: Some(HOUR),
            rows: Some(1),
            bytes: None,
            statements: None,
            on_exceed: Exceed::Deny,
        }],
        ..rule(name, None, matches)
    };
    let keys = |rules: Vec<Rule>| -> Vec<String> {
        let sql = SqlOperation {
            effects: EffectSet::of(&[Effect::Select]),
            outputs: &[Output::Labelled(&[CARD, SSN])],
            ..SqlOperation::default()
        };
        let decision = decide(vec![policy("p", rules)], &Operation::Sql(&sql));
        let limits = decision.obligations.limits.iter();
        limits
            .map(|limit| match &limit.scope {
                LimitScope::Window(key) => key.to_string(),
                LimitScope::Statement => "statement".into(),
            })
            .collect()
    };
    let all = keys(vec![bulk("a", Match::default())]);
    assert_eq!(all, ["reporter|target:db|*|3600000ms"]);
    assert_eq!(all, keys(vec![bulk("renamed", Match::default())]));
    assert_eq!(
        keys(vec![bulk("a", labels(&["pii.*"]))]),
        [
            "reporter|label:pii.card|*|3600000ms",
            "reporter|label:pii.ssn|*|3600000ms"
        ]
    );
    assert_ne!(all, keys(vec![bulk("a", effects(&[Effect::Select]))]));
}

#[test]
fn a_row_that_may_hold_many_records_counts_by_its_size() {
    let limits = [limit(Some(100), None, OnExceed::Deny)];
    let mut plain = meter(&limits);
    assert_eq!(plain.row(160_000), Step::Continue);
    let mut small = meter(&limits).of_collected(true);
    for _ in 0..100 {
        assert_eq!(small.row(9), Step::Continue);
    }
    assert_eq!(small.row(9), Step::Exceeded(0));
    let mut large = meter(&limits).of_collected(true);
    assert_eq!(large.row(800), Step::Continue);
    assert_eq!(large.total().rows, 100);
    assert_eq!(large.row(1), Step::Exceeded(0));
    let mut packed = meter(&limits).of_collected(true);
    assert_eq!(packed.row(900), Step::Exceeded(0));
    assert!(!packed.rows(2, 1_600) && packed.rows(2, 800));
}

#[test]
fn records_that_are_stored_in_one_row_are_not_left_to_the_meter() {
    let decided = |exceed: Exceed| {
        let spec = LimitSpec {
            per: None,
            rows: Some(100),
            bytes: None,
            statements: None,
            on_exceed: exceed,
        };
        let bulk = Rule {
            limits: vec![spec],
            approval: Some(approval()),
            ..rule("bulk", None, Match::default())
        };
        let sql = SqlOperation {
            stores_collected: true,
            ..SqlOperation::default()
        };
        verdict(vec![policy("p", vec![bulk])], &Operation::Sql(&sql))
    };
    assert_eq!(decided(Exceed::Deny), "deny p/bulk");
    assert_eq!(decided(Exceed::RequireApproval), "hold p/bulk");
    let slow = Exceed::Throttle { rows_per_second: 1 };
    assert_eq!(decided(slow), "permit");
}

#[test]
fn what_is_known_to_pass_a_limit_is_stopped_before_its_first_byte() {
    let bytes = |most| limit(None, Some(most), OnExceed::RequireApproval(approval()));
    let mut meter = meter(&[bytes(100), bytes(200), window(5)]);
    assert!(meter.foresees());
    assert_eq!(meter.foresee(100), None);
    assert_eq!(meter.foresee(101), Some(0));
    meter.release(0, Release::ToEnd);
    assert_eq!(meter.foresee(101), None);
    assert_eq!(meter.foresee(201), Some(1));
}

#[test]
fn a_limit_that_denies_is_foreseen_before_one_that_asks_and_a_rate_never() {
    let asks = limit(None, Some(1), OnExceed::RequireApproval(approval()));
    let denies = limit(None, Some(10), OnExceed::Deny);
    let slows = limit(None, Some(1), OnExceed::Throttle { rows_per_second: 1 });
    let both = meter(&[asks, denies]);
    assert_eq!(both.foresee(5), Some(0));
    assert_eq!(both.foresee(11), Some(1));
    let slow = meter(&[slows, window(1)]);
    assert!(!slow.foresees());
    assert_eq!(slow.foresee(u64::MAX), None);
}

#[test]
fn spared_bytes_count_in_windows_alone() {
    let mut ledger = WindowLedger::new();
    let over_all = Arc::new(Limit {
        scope: LimitScope::Window(key()),
        ..(*limit(None, Some(1000), OnExceed::Deny)).clone()
    });
    let own = limit(None, Some(100), OnExceed::Deny);
    let mut meter = Meter::new(&[own, over_all], &ledger, NOW);
    assert_eq!(meter.row(60), Step::Continue);
    meter.spare(60);
    meter.spare(500);
    assert_eq!(meter.row(500), Step::Continue);
    for usage in meter.take_usage() {
        ledger.charge(&usage.key, NOW, usage.amount);
    }
    meter.refresh(&ledger, NOW);
    assert_eq!(meter.row(100), Step::Continue);
    assert_eq!(meter.row(1), Step::Exceeded(0));
    assert_eq!(meter.total().bytes, 660);
}

/// What is decided on a comparison with so many values, after so much was taken.
fn compare(scope: &Scope, comparisons: u64, taken: &[Usage]) -> Decision {
    let uses = [LabelUse {
        label: SSN,
        how: Use::EqualsConstant,
    }];
    let sql = SqlOperation {
        label_uses: &uses,
        comparisons,
        ..SqlOperation::default()
    };
    let ahead = Ahead {
        counters: &NoCounters,
        taken,
    };
    scope.decide(&Operation::Sql(&sql), &ahead, NOW)
}

#[test]
fn statements_of_one_message_count_before_any_has_run() {
    let scope = scope(vec![counted(2, Exceed::Deny)]);
    let mut taken = Vec::new();
    for _ in 0..2 {
        let decision = compare(&scope, 1, &taken);
        assert_eq!(outcome(&decision), "permit");
        taken.extend(decision.takes);
    }
    let decision = compare(&scope, 1, &taken);
    assert_eq!(outcome(&decision), "deny p/lookups");
    let ahead = Ahead {
        counters: &NoCounters,
        taken: &taken,
    };
    let wanted = ahead.wanted(&decision.exhausted);
    let needs: Vec<u64> = wanted.iter().map(|one| one.need.statements).collect();
    assert_eq!(needs, [3]);
}

#[test]
fn each_value_that_is_compared_with_counts_as_a_statement() {
    let scope = scope(vec![counted(3, Exceed::Deny)]);
    assert_eq!(outcome(&compare(&scope, 3, &[])), "permit");
    let decision = compare(&scope, 4, &[]);
    assert_eq!(outcome(&decision), "deny p/lookups");
    let Verdict::Deny(denial) = &decision.verdict else {
        panic!("{:?}", decision.verdict);
    };
    assert!(
        denial.reason.contains("up to 4 values"),
        "{}",
        denial.reason
    );
    let taken = compare(&scope, 2, &[]).takes;
    assert_eq!(outcome(&compare(&scope, 1, &taken)), "permit");
    assert_eq!(outcome(&compare(&scope, 2, &taken)), "deny p/lookups");
}

#[test]
fn the_start_of_a_statement_is_charged_once() {
    let scope = scope(vec![counted(9, Exceed::Deny)]);
    let decision = compare(&scope, 4, &[]);
    let mut meter = Meter::new(&decision.obligations.limits, &NoCounters, NOW);
    let started = meter.take_start(&decision.takes);
    let statements: Vec<u64> = started.iter().map(|one| one.amount.statements).collect();
    assert_eq!(statements, [4]);
    assert!(meter.take_start(&decision.takes).is_empty());
    assert!(meter.take_usage().is_empty());
    assert_eq!(meter.row(5), Step::Continue);
    let usage = meter.take_usage();
    assert_eq!((usage[0].amount.rows, usage[0].amount.statements), (1, 0));
}
