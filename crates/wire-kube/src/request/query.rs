//! Queries, as Go's `net/url` `ParseQuery` reads them and the server's conversions take them.

use std::time::Duration;

use super::path::unescape;
use super::{MAX_PARAMETERS, MAX_QUERY, Refused};

/// Parameters that are lists: every value counts.
const LISTS: &[&str] = &["command", "ports", "dryRun", "exclude", "verbose"];

/// The pairs of a query, decoded, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a query. One that belongs to a request which the server relays (`proxied`) is not its own:
    /// what it would drop is dropped here, and any name may stand there twice.
    pub(super) fn parse(query: &str, proxied: bool) -> Result<Query, Refused> {
        if query.len() > MAX_QUERY {
            return Err(Refused::TooLong("query"));
        }
        if !query.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Refused::Character("query"));
        }
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() >= MAX_PARAMETERS {
                return Err(Refused::Parameters);
            }
            match decode(pair) {
                Ok(pair) => pairs.push(pair),
                Err(_) if proxied => {}
                Err(refused) => return Err(refused),
            }
        }
        let query = Query { pairs };
        if !proxied {
            query.agrees()?;
        }
        Ok(query)
    }

    /// Refuses a parameter with two values, of which another reader might take the other one.
    fn agrees(&self) -> Result<(), Refused> {
        let mut first = std::collections::HashMap::new();
        for (name, value) in &self.pairs {
            let before = *first.entry(name.as_str()).or_insert(value);
            if before != value && !LISTS.contains(&name.as_str()) {
                let shown = name.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(Refused::Twice(shown));
            }
        }
        Ok(())
    }

    /// The first value of a parameter, which is the one that the server takes.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs()
            .filter(move |pair| pair.0 == name)
            .map(|pair| pair.1)
    }

    /// All pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter as a switch: on with any value but `false` and `0`, and off where it is missing.
    pub fn flag(&self, name: &str) -> bool {
        self.first(name)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A parameter as a count; one below zero is none.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Refused> {
        let Some(value) = self.first(name) else {
            return Ok(None);
        };
        let number: i64 = value.parse().map_err(|_| Refused::Number(name))?;
        Ok(u64::try_from(number).ok())
    }
}

fn decode(pair: &str) -> Result<(String, String), Refused> {
    if pair.contains(';') {
        return Err(Refused::Semicolon);
    }
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let plain = |text: &str| unescape(&text.replace('+', " "), "query");
    Ok((plain(name)?, plain(value)?))
}

/// A duration as Go writes it, `1h30m` or `1.5s`. None where it is none, or below zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() || total.is_zero() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let seconds = number.parse::<f64>().ok()? * unit;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    Some(total)
}
