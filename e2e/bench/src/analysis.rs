//! What it costs to understand a statement (B7), without a server: short text, a kilobyte, and
//! a text that is already known, as the engine's statement cache compares it (whole, never by
//! hash alone).

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_sql::{Analysis, LexSettings, analyze};

use crate::Fail;

const SHORT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;  ";

/// Microseconds per statement, the median of batches.
pub(crate) fn run() -> Result<(), Fail> {
    std::thread::Builder::new()
        .stack_size(weir_sql::STACK + (1 << 20))
        .spawn(measure)?
        .join()
        .map_err(|_| "the analysis ended early")?
}

fn measure() -> Result<(), Fail> {
    let settings = LexSettings::default();
    let kilobyte = kilobyte();
    for sql in [SHORT, &kilobyte] {
        if !matches!(analyze(sql, &settings), Analysis::Parsed(_)) {
            return Err(format!("not understood: {sql}").into());
        }
    }
    let short = median(2000, || {
        black_box(analyze(black_box(SHORT), &settings));
    });
    let long = median(200, || {
        black_box(analyze(black_box(&kilobyte), &settings));
    });
    let mut cache: HashMap<Arc<str>, Arc<Analysis>> = HashMap::new();
    for n in 0..500 {
        let text: Arc<str> =
            format!("SELECT abalance FROM pgbench_accounts WHERE aid = {n}").into();
        let analysis = Arc::new(analyze(&text, &settings));
        cache.insert(text, analysis);
    }
    cache.insert(SHORT.into(), Arc::new(analyze(SHORT, &settings)));
    let cached = median(100_000, || {
        black_box(cache.get(black_box(SHORT)).map(Arc::clone));
    });
    println!("{}", json!({"cached": cached, "short": short, "1k": long}));
    Ok(())
}

/// The median, over eleven batches, of the time per call in microseconds.
fn median(calls: u32, mut call: impl FnMut()) -> f64 {
    let mut batches: Vec<Duration> = (0..11)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed() / calls
        })
        .collect();
    batches.sort_unstable();
    batches
        .get(batches.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// A report query of a kilobyte, as applications send them.
fn kilobyte() -> String {
    let mut sql = String::from(
        "SELECT c.id, c.name, o.order_no, o.total, o.status, date_trunc('month', o.created_at) AS month, \
         sum(l.quantity * l.price) OVER (PARTITION BY c.id ORDER BY o.created_at) AS running, \
         coalesce(a.city, 'unknown') AS city FROM customers AS c JOIN orders AS o ON o.customer_id = c.id \
         LEFT JOIN addresses AS a ON a.customer_id = c.id AND a.kind = 'delivery' \
         JOIN lines AS l ON l.order_id = o.id WHERE o.status IN ('new', 'paid', 'shipped') \
         AND o.created_at BETWEEN $1 AND $2 AND EXISTS (SELECT 1 FROM payments p WHERE p.order_id = o.id \
         AND p.state = 'settled') AND c.region = ANY ($3)",
    );
    let mut n = 0;
    while sql.len() < 960 {
        n += 1;
        sql.push_str(&format!(" AND l.sku <> 'sku-{n:04}'"));
    }
    sql.push_str(" ORDER BY c.id, month LIMIT 100");
    sql
}
