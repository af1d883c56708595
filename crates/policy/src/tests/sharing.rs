//! Budgets of which only a part is here: more is asked for before a limit counts as reached.

use std::sync::Arc;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// A part of every budget.
struct Part {
    left: u64,
    withheld: bool,
}

impl Counters for Part {
    fn used(&self, _key: &BudgetKey, _now: Timestamp) -> Amount {
        Amount::default()
    }

    fn left(&self, _key: &BudgetKey, limit: Amount, _now: Timestamp) -> Amount {
        limit.least(Amount {
            rows: self.left,
            bytes: 8 * self.left,
            statements: self.left,
        })
    }

    fn is_withheld(&self, _key: &BudgetKey, _limit: Amount, _now: Timestamp) -> bool {
        self.withheld
    }
}

const fn part(left: u64) -> Part {
    Part {
        left,
        withheld: false,
    }
}

fn limit(scope: LimitScope, rows: u64, on_exceed: OnExceed) -> Arc<Limit> {
    Arc::new(Limit {
        rule: RuleName::new("p", "bulk"),
        scope,
        rows: Some(rows),
        bytes: None,
        statements: None,
        on_exceed,
    })
}

fn window(rows: u64, on_exceed: OnExceed) -> Arc<Limit> {
    let key = BudgetKey::new("reporter", "target:db", "*", HOUR);
    limit(LimitScope::Window(key), rows, on_exceed)
}

#[test]
fn a_row_beyond_the_part_is_delivered_once_there_is_more() {
    let limits = [window(10, OnExceed::Deny)];
    let mut meter = Meter::new(&limits, &part(2), NOW);
    assert!(meter.rows(2, 16));
    assert_eq!(meter.row(8), Step::Replenish);
    assert_eq!(meter.total().rows, 2, "it was not counted");
    let [wanted] = &meter.wanted(8)[..] else {
        panic!("one window is short")
    };
    assert_eq!((wanted.need.rows, wanted.need.bytes), (1, 0));
    assert_eq!((wanted.limit.rows, wanted.limit.bytes), (10, u64::MAX));
    meter.take_usage();
    meter.refresh(&part(1), NOW);
    assert_eq!(meter.row(8), Step::Continue);
    assert_eq!(meter.row(8), Step::Replenish);
}

#[test]
fn where_nothing_more_can_be_had_the_limit_is_reached() {
    let mut meter = Meter::new(&[window(10, OnExceed::Deny)], &part(0), NOW);
    assert_eq!(meter.row(8), Step::Replenish);
    meter.asked_in_vain();
    meter.refresh(&part(0), NOW);
    assert_eq!(meter.row(8), Step::Exceeded(0));
    meter.refresh(&part(1), NOW);
    assert!(meter.rows(1, 8), "there is more after all");
    assert_eq!(meter.row(8), Step::Replenish);
}

#[test]
fn nothing_is_asked_for_a_limit_of_one_statement_or_a_window_that_was_released() {
    let own = limit(LimitScope::Statement, 1, OnExceed::Deny);
    let mut meter = Meter::new(&[own], &part(9), NOW);
    assert!(meter.rows(1, 8));
    assert_eq!(meter.row(8), Step::Exceeded(0));
    let asks = window(10, OnExceed::RequireApproval(approval()));
    let mut meter = Meter::new(&[asks, window(20, OnExceed::Deny)], &part(0), NOW);
    meter.release(0, Release::ToEnd);
    assert_eq!(meter.row(8), Step::Replenish);
    let wanted = meter.wanted(8);
    assert_eq!(
        wanted.iter().map(|w| w.limit.rows).collect::<Vec<_>>(),
        [20]
    );
}

#[test]
fn a_throttled_statement_asks_once_and_is_free_again_when_there_is_more() {
    let slow = OnExceed::Throttle { rows_per_second: 9 };
    let mut meter = Meter::new(&[window(10, slow)], &part(0), NOW);
    assert_eq!(meter.row(8), Step::Replenish);
    meter.asked_in_vain();
    let throttled = Step::Throttle { rows_per_second: 9 };
    assert_eq!([meter.row(8), meter.row(8)], [throttled, throttled]);
    meter.take_usage();
    meter.refresh(&part(0), NOW);
    assert_eq!(meter.row(8), throttled);
    meter.take_usage();
    meter.refresh(&part(1), NOW);
    assert_eq!(
        [meter.row(8), meter.row(8)],
        [Step::Continue, Step::Replenish]
    );
}

fn counting(mode: Mode) -> Arc<Scope> {
    let lookups = Rule {
        limits: vec![LimitSpec {
            per: Some(HOUR),
            rows: None,
            bytes: None,
            statements: Some(5),
            on_exceed: Exceed::Deny,
        }],
        ..rule("lookups", None, Match::default())
    };
    let policy = Policy {
        mode,
        ..policy("p", vec![lookups])
    };
    scope(vec![policy])
}

fn decide(scope: &Scope, counters: &dyn Counters) -> Decision {
    scope.decide(&Operation::Sql(&SqlOperation::default()), counters, NOW)
}

#[test]
fn a_decision_names_what_it_lacks_and_is_another_once_there_is_more() {
    for (mode, short) in [(Mode::Enforce, "deny p/lookups"), (Mode::Observe, "permit")] {
        let scope = counting(mode);
        let decision = decide(&scope, &part(0));
        assert_eq!(outcome(&decision), short);
        let [wanted] = &decision.exhausted[..] else {
            panic!("one window is short")
        };
        assert_eq!((wanted.need.statements, wanted.need.rows), (1, 0));
        assert_eq!((wanted.limit.statements, wanted.limit.rows), (5, u64::MAX));
        let decision = decide(&scope, &part(1));
        assert_eq!(outcome(&decision), "permit");
        assert_eq!(decision.exhausted, []);
        assert!(decision.would_deny.is_empty());
    }
}

#[test]
fn a_budget_that_cannot_be_leased_says_so() {
    let nowhere = Part {
        left: 0,
        withheld: true,
    };
    let Verdict::Deny(denial) = decide(&counting(Mode::Enforce), &nowhere).verdict else {
        panic!("it is used up")
    };
    assert_eq!(
        denial.reason,
        "its part of the budget of 5 statements per 3600 s cannot be leased now"
    );
}
