//! ClickHouse as the search engine of collectors that outgrow one node.
//!
//! The embedded store goes on taking evidence: it chains, proves and acknowledges. Its blocks are
//! forwarded, in order, and searches are answered from there; so an outage of ClickHouse delays
//! searches and loses nothing.
//!
//! Invariants
//! - A block is forwarded before it is merged or deleted, at least once. What comes twice counts once:
//!   inserts carry a token that their materialised views share, and events are told apart by engine,
//!   epoch and sequence number.
//! - Values go in parameters, never in the text of a query.
//!
//! It refuses to prove anything: the log of proofs stays with the embedded store.

mod answers;
mod forward;
mod overview;
mod schema;
mod search;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_fetch::{Endpoint, Fetcher};

use crate::CollectorError;
use crate::api::encode;

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 256 << 20;

/// Where ClickHouse is.
#[derive(Clone, Debug)]
pub struct ClickHouseConfig {
    /// Its HTTP interface; `http` for loopback and names of the cluster only.
    pub url: String,
    /// The database, which exists.
    pub database: String,
    /// As whom; without one as `default`.
    pub user: Option<String>,
    /// File with the password, read for each request.
    pub password_file: Option<PathBuf>,
    /// File with the only authorities that count, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// The engine, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) struct ClickHouse {
    config: ClickHouseConfig,
    endpoint: Endpoint,
    fetcher: Fetcher,
    /// Whether the tables are there.
    ready: Arc<AtomicBool>,
}

/// Parameters of a query: name, and value as text.
#[derive(Default)]
pub(super) struct Values(Vec<(&'static str, String)>);

impl Values {
    pub(super) fn set(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }
}

impl ClickHouse {
    /// The engine at an address; nothing is asked yet.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(crate) fn new(config: ClickHouseConfig) -> Result<Self, CollectorError> {
        let endpoint = Endpoint::parse(&config.url, true).map_err(failed)?;
        let fetcher = Fetcher::new(config.ca_file.clone()).bounded(PATIENCE, MAX_ANSWER);
        Ok(Self {
            config,
            endpoint,
            fetcher,
            ready: Arc::default(),
        })
    }

    /// Makes the tables, once.
    fn prepare_once(&self, max_age: Option<Duration>) -> Result<(), CollectorError> {
        if !self.ready.load(Ordering::Acquire) {
            self.prepare(max_age)?;
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Runs a statement that answers nothing.
    pub(super) fn run(&self, sql: &str) -> Result<(), CollectorError> {
        self.send(&[], sql.to_owned().into()).map(drop)
    }

    /// The rows of a query.
    pub(super) fn rows<T: DeserializeOwned>(
        &self,
        sql: &str,
        values: &Values,
    ) -> Result<Vec<T>, CollectorError> {
        let names: Vec<(String, &str)> = values
            .0
            .iter()
            .map(|(name, value)| (format!("param_{name}"), value.as_str()))
            .collect();
        let mut settings: Vec<(&str, String)> = names
            .iter()
            .map(|(name, value)| (name.as_str(), escaped(value)))
            .collect();
        settings.push(("output_format_json_quote_64bit_integers", "0".to_owned()));
        let body = self.send(&settings, format!("{sql} FORMAT JSONEachRow").into())?;
        let lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let rows = lines.map(serde_json::from_slice);
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Inserts rows, once for each `token`.
    pub(super) fn insert<T: Serialize>(
        &self,
        table: &str,
        token: &str,
        rows: &[T],
    ) -> Result<(), CollectorError> {
        let mut body = format!("INSERT INTO {table} FORMAT JSONEachRow\n").into_bytes();
        for row in rows {
            serde_json::to_writer(&mut body, row)?;
            body.push(b'\n');
        }
        let settings = [
            ("insert_deduplication_token", token.to_owned()),
            ("insert_deduplicate", "1".to_owned()),
            (
                "deduplicate_blocks_in_dependent_materialized_views",
                "1".to_owned(),
            ),
            // One insert is one block, however long.
            ("max_insert_block_size", "10000000".to_owned()),
            ("min_insert_block_size_rows", "0".to_owned()),
            ("min_insert_block_size_bytes", "0".to_owned()),
            ("async_insert", "0".to_owned()),
        ];
        self.send(&settings, body.into()).map(drop)
    }

    /// One request. It is made from threads that may wait, on a runtime of its own.
    fn send(&self, settings: &[(&str, String)], body: Bytes) -> Result<Bytes, CollectorError> {
        let mut path = format!("/?database={}", encode(&self.config.database));
        for (name, value) in settings {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
        let endpoint = self.endpoint.at(path);
        let mut request = endpoint.request(Method::POST);
        if let Some(user) = &self.config.user {
            request = request.header("x-clickhouse-user", user);
        }
        if let Some(file) = &self.config.password_file {
            let password = std::fs::read_to_string(file)
                .map_err(|error| failed(format!("{}: {error}", file.display())))?;
            request = request.header("x-clickhouse-key", password.trim_end());
        }
        let request = request.body(body).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime
            .block_on(self.fetcher.send(&endpoint, request))
            .map_err(failed)?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let said = String::from_utf8_lossy(&answer.body);
        let said: String = said.chars().take(400).collect();
        Err(failed(format!("status {}: {}", answer.status, said.trim())))
    }
}

/// Text in a parameter is in the form of tab-separated values.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            other => out.push(other),
        }
    }
    out
}

fn failed(error: impl ToString) -> CollectorError {
    CollectorError::Engine(error.to_string())
}
