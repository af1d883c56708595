//! Tables: events as rows, and what is added up from them as they come.
//!
//! Times are microseconds since 1970, so that every time that evidence can have has a place. Sums are
//! materialised views into tables that add up equal keys; access requests have a table of their own.
//!
//! What is kept for how long goes by when it was forwarded, by the server's clock alone: neither an engine's nor a
//! collector's has a say.

use std::time::Duration;

use super::ClickHouse;
use crate::CollectorError;

/// How many inserts are remembered, so that one that comes again is left out.
const REMEMBERED: u32 = 100_000;

const EVENTS: &str = "CREATE TABLE IF NOT EXISTS events (
  time UInt64 CODEC(Delta, ZSTD(1)), engine LowCardinality(String), epoch UInt32,
  seq UInt64 CODEC(Delta, ZSTD(1)), day UInt32, kind LowCardinality(String),
  session UInt64, identity LowCardinality(String), namespace LowCardinality(String),
  target LowCardinality(String), decision LowCardinality(String), approver LowCardinality(String),
  tables Array(LowCardinality(String)), labels Array(LowCardinality(String)),
  rules Array(LowCardinality(String)), would_deny Array(LowCardinality(String)), revision UInt64,
  rows UInt64, bytes UInt64, masked UInt8, text String CODEC(ZSTD(3)), sha256 String,
  code LowCardinality(String), request String, ruling LowCardinality(String), reason String,
  closing LowCardinality(String), held_ms UInt64, event String CODEC(ZSTD(3)), received DateTime DEFAULT now(),
  INDEX by_session session TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX by_text lower(text) TYPE ngrambf_v1(5, 32768, 2, 0) GRANULARITY 1,
  INDEX by_kind kind TYPE set(32) GRANULARITY 1,
  INDEX by_identity identity TYPE set(1000) GRANULARITY 1,
  INDEX by_decision decision TYPE set(8) GRANULARITY 1
) ENGINE = ReplacingMergeTree ORDER BY (time, engine, epoch, seq)";

/// Name, columns, what they are ordered by, what they are made of, whether rows add up.
struct View {
    name: &'static str,
    columns: &'static str,
    order: &'static str,
    from: &'static str,
    engine: &'static str,
}

const VIEWS: [View; 6] = [
    View {
        name: "daily",
        columns: "day UInt32, namespace LowCardinality(String), identity LowCardinality(String),
          target LowCardinality(String), statements UInt64, rows UInt64, bytes UInt64,
          denials UInt64, holds UInt64",
        order: "day, namespace, identity, target",
        from: "SELECT day, namespace, identity, target, countIf(kind = 'statement_finished') statements,
          sum(e.rows) rows, sum(e.bytes) bytes,
          countIf(kind = 'statement_finished' AND decision = 'deny') denials,
          countIf(kind = 'access_request_created') holds
          FROM events e WHERE session != 0 AND kind IN ('statement_finished', 'access_request_created')
          GROUP BY day, namespace, identity, target",
        engine: "SummingMergeTree",
    },
    View {
        name: "daily_labels",
        columns: "day UInt32, namespace LowCardinality(String), identity LowCardinality(String),
          target LowCardinality(String), name LowCardinality(String), statements UInt64, rows UInt64,
          other UInt64, last SimpleAggregateFunction(max, UInt64)",
        order: "day, namespace, identity, target, name",
        from: "SELECT day, namespace, identity, target, arrayJoin(labels) name, count() statements,
          sum(e.rows) rows, sumIf(e.rows, masked) other, max(time) last FROM events e
          WHERE session != 0 AND kind = 'statement_finished'
          GROUP BY day, namespace, identity, target, name",
        engine: "SummingMergeTree",
    },
    View {
        name: "daily_tables",
        columns: "day UInt32, namespace LowCardinality(String), identity LowCardinality(String),
          target LowCardinality(String), name LowCardinality(String), statements UInt64, rows UInt64,
          other UInt64, last SimpleAggregateFunction(max, UInt64)",
        order: "day, namespace, identity, target, name",
        from: "SELECT day, namespace, identity, target,
          arrayJoin(if(empty(tables), [''], tables)) name, count() statements,
          sum(e.rows) rows, sum(bytes) other, max(time) last FROM events e
          WHERE session != 0 AND kind = 'statement_finished'
          GROUP BY day, namespace, identity, target, name",
        engine: "SummingMergeTree",
    },
    View {
        name: "daily_rules",
        columns: "day UInt32, namespace LowCardinality(String), identity LowCardinality(String),
          target LowCardinality(String), rule LowCardinality(String), revision UInt64,
          denied UInt64, held UInt64, masked UInt64, would_deny UInt64,
          last SimpleAggregateFunction(max, UInt64)",
        order: "day, namespace, identity, target, rule, revision",
        from: "SELECT day, namespace, identity, target, did.1 rule, revision,
          countIf(did.2 = 1) denied, countIf(did.2 = 2) held, countIf(did.2 = 3) masked,
          countIf(did.2 = 4) would_deny, max(time) last FROM (
            SELECT day, namespace, identity, target, revision, time, arrayJoin(arrayConcat(
              if(decision = 'deny' OR kind = 'connection_refused', arrayMap(r -> (r, 1), if(empty(rules), [''], rules)), []),
              if(decision = 'hold', arrayMap(r -> (r, 2), if(empty(rules), [''], rules)), []),
              if(masked != 0, arrayMap(r -> (r, 3), if(empty(rules), [''], rules)), []),
              arrayMap(r -> (r, 4), would_deny))) did
            FROM events WHERE session != 0 AND (kind = 'statement_finished'
              OR (kind = 'connection_refused' AND notEmpty(rules))))
          GROUP BY day, namespace, identity, target, rule, revision",
        engine: "SummingMergeTree",
    },
    View {
        name: "daily_findings",
        columns: "day UInt32, namespace LowCardinality(String), code LowCardinality(String),
          count UInt64, last SimpleAggregateFunction(max, UInt64)",
        order: "day, namespace, code",
        from: "SELECT day, namespace, code, count() count, max(time) last FROM events
          WHERE kind = 'finding' GROUP BY day, namespace, code",
        engine: "SummingMergeTree",
    },
    View {
        name: "requests",
        columns: "engine LowCardinality(String), epoch UInt32, seq UInt64, time UInt64,
          kind LowCardinality(String), request String, session UInt64,
          identity LowCardinality(String), namespace LowCardinality(String),
          target LowCardinality(String), approver LowCardinality(String), rules Array(String),
          labels Array(String), text String, ruling LowCardinality(String), reason String,
          closing LowCardinality(String), held_ms UInt64, received DateTime",
        order: "engine, request, epoch, seq",
        from: "SELECT engine, epoch, seq, time, kind, request, session, identity, namespace, target,
          approver, rules, labels, text, ruling, reason, closing, held_ms, received FROM events
          WHERE request != '' AND kind IN ('access_request_created', 'access_request_decided',
            'access_request_closed')",
        engine: "ReplacingMergeTree",
    },
];

const SESSIONS: &str = "CREATE TABLE IF NOT EXISTS sessions (id Int64, opened UInt64, last UInt64,
  identity LowCardinality(String), namespace LowCardinality(String), target LowCardinality(String),
  summary String CODEC(ZSTD(3)), version UInt64,
  received DateTime DEFAULT now())
  ENGINE = ReplacingMergeTree(version) ORDER BY id";

impl ClickHouse {
    /// Makes what is not there, and sets how long it is kept.
    ///
    /// # Errors
    /// When the server refuses, or cannot be reached.
    pub(super) fn prepare(&self, max_age: Option<Duration>) -> Result<(), CollectorError> {
        let window = format!("non_replicated_deduplication_window = {REMEMBERED}");
        self.run(&format!("{EVENTS} SETTINGS {window}"))?;
        self.run(SESSIONS)?;
        for table in ["events", "sessions"] {
            self.run(&format!(
                "ALTER TABLE {table} MODIFY COLUMN received DateTime DEFAULT now()"
            ))?;
        }
        for view in &VIEWS {
            let View {
                name,
                columns,
                order,
                from,
                engine,
            } = view;
            self.run(&format!(
                "CREATE TABLE IF NOT EXISTS {name} ({columns}) ENGINE = {engine}
                 ORDER BY ({order}) SETTINGS {window}"
            ))?;
            // Of sums, when something last counted into them. It is the server's own clock that makes old, too.
            self.run(&format!(
                "ALTER TABLE {name} ADD COLUMN IF NOT EXISTS
                 received SimpleAggregateFunction(max, DateTime) DEFAULT now()"
            ))?;
            self.run(&format!(
                "CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_view TO {name} AS {from}"
            ))?;
        }
        let Some(age) = max_age else {
            return Ok(());
        };
        let seconds = age.as_secs();
        let views = VIEWS.iter().map(|view| view.name);
        for table in ["events", "sessions"].into_iter().chain(views) {
            self.run(&format!(
                "ALTER TABLE {table} MODIFY TTL received + INTERVAL {seconds} SECOND"
            ))?;
        }
        Ok(())
    }
}
