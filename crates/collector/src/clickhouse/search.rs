//! Events, sessions and replays.

use serde::Deserialize;
use weir_audit::{Event, EventId, SessionId, Timestamp};

use super::{ClickHouse, Values};
use crate::store::parts::{DEFAULT_LIMIT, MAX_LIMIT, parse_cursor, parse_session_cursor};
use crate::{CollectorError, EventPage, Filter, SessionFilter, SessionPage, SessionSummary};

/// Events of a replay per request: recordings are large.
const REPLAYED: usize = 256;

#[derive(Deserialize)]
struct Found {
    event: String,
}

#[derive(Deserialize)]
struct Summary {
    summary: String,
}

/// Conditions of a query, and their values.
struct Where {
    sql: String,
    values: Values,
}

impl Where {
    fn new() -> Self {
        Self {
            sql: "1".to_owned(),
            values: Values::default(),
        }
    }

    fn and(&mut self, condition: &str, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.sql.push_str(" AND ");
            self.sql.push_str(condition);
            self.values.set(name, value);
        }
    }
}

/// `%text%`, with what LIKE would read as a pattern told apart.
fn within(text: &str) -> String {
    let mut out = String::from("%");
    for c in text.to_ascii_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('%');
    out
}

fn conditions(filter: &Filter) -> Result<Where, CollectorError> {
    let mut at = Where::new();
    at.and(
        "time >= {since:UInt64}",
        "since",
        filter.since.map(Timestamp::as_micros),
    );
    at.and(
        "time < {until:UInt64}",
        "until",
        filter.until.map(Timestamp::as_micros),
    );
    at.and(
        "identity = {identity:String}",
        "identity",
        filter.identity.as_ref(),
    );
    at.and(
        "namespace = {namespace:String}",
        "namespace",
        filter.namespace.as_ref(),
    );
    at.and("target = {target:String}", "target", filter.target.as_ref());
    at.and(
        "has(tables, {table:String})",
        "table",
        filter.table.as_ref(),
    );
    if let Some(label) = &filter.label {
        match label.strip_suffix('*') {
            Some(start) => {
                let any = "arrayExists(l -> startsWith(l, {label:String}), labels)";
                at.and(any, "label", Some(start));
            }
            None => at.and("has(labels, {label:String})", "label", Some(label)),
        }
    }
    at.and(
        "decision = {decision:String}",
        "decision",
        filter.decision.as_ref(),
    );
    at.and(
        "approver = {approver:String}",
        "approver",
        filter.approver.as_ref(),
    );
    at.and("kind = {kind:String}", "kind", filter.kind.as_ref());
    let text = filter.text.as_deref().map(within);
    at.and("lower(text) LIKE {text:String}", "text", text);
    let digest = filter.sha256.map(|digest| digest.to_string());
    at.and("sha256 = {sha256:String}", "sha256", digest);
    at.and(
        "session = {session:UInt64}",
        "session",
        filter.session.map(SessionId::as_u64),
    );
    if let Some(cursor) = filter.cursor.as_deref() {
        let (time, EventId { engine, epoch, seq }) = parse_cursor(cursor)?;
        let before = "time <= {ctime:UInt64} AND (time, engine, epoch, seq)
             < ({ctime:UInt64}, {cengine:String}, {cepoch:UInt32}, {cseq:UInt64})";
        at.and(before, "ctime", Some(time.as_micros()));
        at.values.set("cengine", engine);
        at.values.set("cepoch", epoch);
        at.values.set("cseq", seq);
    }
    Ok(at)
}

impl ClickHouse {
    /// Events that match, newest first.
    pub(crate) fn query(&self, filter: &Filter) -> Result<EventPage, CollectorError> {
        let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let Where { sql, values } = conditions(filter)?;
        let found: Vec<Found> = self.rows(
            &format!(
                "SELECT event FROM events WHERE {sql}
                 ORDER BY time DESC, engine DESC, epoch DESC, seq DESC
                 LIMIT 1 BY engine, epoch, seq LIMIT {}",
                limit + 1
            ),
            &values,
        )?;
        let events = found.iter().map(|found| serde_json::from_str(&found.event));
        let mut events: Vec<Event> = events.collect::<Result<_, _>>()?;
        let more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().filter(|_| more);
        let next = next.map(|event| format!("{}.{}", event.time.as_micros(), event.id));
        Ok(EventPage { events, next })
    }

    /// Sessions that match, newest first.
    pub(crate) fn sessions(&self, filter: &SessionFilter) -> Result<SessionPage, CollectorError> {
        let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let mut at = Where::new();
        at.and(
            "last >= {since:UInt64}",
            "since",
            filter.since.map(Timestamp::as_micros),
        );
        at.and(
            "opened < {until:UInt64}",
            "until",
            filter.until.map(Timestamp::as_micros),
        );
        at.and(
            "identity = {identity:String}",
            "identity",
            filter.identity.as_ref(),
        );
        at.and(
            "namespace = {namespace:String}",
            "namespace",
            filter.namespace.as_ref(),
        );
        at.and("target = {target:String}", "target", filter.target.as_ref());
        if let Some(cursor) = filter.cursor.as_deref() {
            let (opened, id) = parse_session_cursor(cursor)?;
            let before = "(opened, id) < ({copened:Int64}, {cid:Int64})";
            at.and(before, "copened", Some(opened));
            at.values.set("cid", id);
        }
        let found: Vec<Summary> = self.rows(
            &format!(
                "SELECT summary FROM sessions FINAL WHERE {} ORDER BY opened DESC, id DESC LIMIT {}",
                at.sql,
                limit + 1
            ),
            &at.values,
        )?;
        let sessions = found
            .iter()
            .map(|found| serde_json::from_str(&found.summary));
        let mut sessions: Vec<SessionSummary> = sessions.collect::<Result<_, _>>()?;
        let more = sessions.len() > limit;
        sessions.truncate(limit);
        let next = sessions.last().filter(|_| more);
        let next = next.map(|last| format!("{}.{}", last.opened.as_micros(), last.session.id));
        Ok(SessionPage { sessions, next })
    }

    /// Every event of a session in order, of the engine that it is of.
    pub(crate) fn replay(
        &self,
        session: SessionId,
        namespace: Option<&str>,
        take: &mut dyn FnMut(Event) -> bool,
    ) -> Result<(), CollectorError> {
        let mut at = Where::new();
        at.and(
            "id = {id:Int64}",
            "id",
            Some(session.as_u64().cast_signed()),
        );
        at.and("namespace = {namespace:String}", "namespace", namespace);
        let sql = format!("SELECT summary FROM sessions FINAL WHERE {}", at.sql);
        let known: Vec<Summary> = self.rows(&sql, &at.values)?;
        let unknown = || CollectorError::NoSession(session.to_string());
        let known = known.first().ok_or_else(unknown)?;
        let known: SessionSummary = serde_json::from_str(&known.summary)?;
        let mut place = (0, 0);
        loop {
            let mut at = Where::new();
            at.and(
                "session = {session:UInt64}",
                "session",
                Some(session.as_u64()),
            );
            at.and("engine = {engine:String}", "engine", Some(&known.engine));
            at.and("namespace = {namespace:String}", "namespace", namespace);
            let after = "(epoch, seq) > ({epoch:UInt32}, {seq:UInt64})";
            at.and(after, "epoch", Some(place.0));
            at.values.set("seq", place.1);
            let found: Vec<Found> = self.rows(
                &format!(
                    "SELECT event FROM events WHERE {} ORDER BY epoch, seq
                     LIMIT 1 BY epoch, seq LIMIT {REPLAYED}",
                    at.sql
                ),
                &at.values,
            )?;
            let last = found.len() < REPLAYED;
            for found in found {
                let event: Event = serde_json::from_str(&found.event)?;
                place = (event.id.epoch, event.id.seq);
                if !take(event) {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_searched_is_no_pattern() {
        assert_eq!(within("50%_OFF\\"), "%50\\%\\_off\\\\%");
    }
}
