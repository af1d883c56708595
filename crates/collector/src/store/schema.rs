//! The tables, and the form of a block.
//!
//! A block holds consecutive, linked frames of one engine and epoch as one zstd stream. `block_keys`
//! and `block_sessions` say which blocks can hold an answer (the newest blocks are not in them yet: `backlog`),
//! `block_index` which of their frames, and which texts.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{CollectorError, backlog, holds, migrate, pack, rollup, seen};

const VERSION: i32 = 7;
const MAX_BLOCK: usize = 256 << 20;

const TABLES: &str = "
CREATE TABLE keys(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, text TEXT NOT NULL,
  UNIQUE(kind, text));
CREATE TABLE blocks(id INTEGER PRIMARY KEY, engine INTEGER NOT NULL, epoch INTEGER NOT NULL,
  first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL, level INTEGER NOT NULL,
  raw INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX blocks_chain ON blocks(engine, epoch, first_seq);
CREATE INDEX blocks_time ON blocks(last_time);
CREATE INDEX blocks_level ON blocks(engine, level) WHERE level < 9;
CREATE TABLE block_keys(key INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY(key, block))
  WITHOUT ROWID;
CREATE TABLE block_sessions(session INTEGER NOT NULL, block INTEGER NOT NULL,
  PRIMARY KEY(session, block)) WITHOUT ROWID;
CREATE TABLE ranges(engine INTEGER NOT NULL, epoch INTEGER NOT NULL, first_seq INTEGER NOT NULL,
  last_seq INTEGER NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY(engine, epoch, first_seq)) WITHOUT ROWID;
CREATE TABLE pruned(engine INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  hash BLOB NOT NULL);
CREATE TABLE engines(engine INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seen INTEGER NOT NULL,
  stopped INTEGER NOT NULL, silent INTEGER NOT NULL);
CREATE TABLE sessions(id INTEGER PRIMARY KEY, engine INTEGER NOT NULL, epoch INTEGER NOT NULL,
  identity INTEGER NOT NULL, target INTEGER, namespace INTEGER, context TEXT NOT NULL, opened INTEGER NOT NULL,
  last INTEGER NOT NULL, closed INTEGER, statements INTEGER NOT NULL, rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL, denials INTEGER NOT NULL, holds INTEGER NOT NULL, outcome TEXT);
CREATE INDEX sessions_opened ON sessions(opened);
CREATE INDEX sessions_unclosed ON sessions(engine, epoch) WHERE closed IS NULL;
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// What each block's events are about, and which texts they can hold; how sessions are found by who.
const INDEX: &str = "
CREATE TABLE block_index(block INTEGER PRIMARY KEY, facets BLOB NOT NULL, texts BLOB NOT NULL);
CREATE INDEX sessions_identity ON sessions(identity, opened);
";

/// Version 1 did not know namespaces by name; they are in the sessions' context.
const FROM_1: &str = "
ALTER TABLE sessions ADD COLUMN namespace INTEGER;
INSERT OR IGNORE INTO keys(kind, text)
  SELECT DISTINCT 7, json_extract(context, '$.identity.namespace') FROM sessions
  WHERE json_extract(context, '$.identity.namespace') IS NOT NULL;
UPDATE sessions SET namespace = (SELECT id FROM keys
  WHERE kind = 7 AND text = json_extract(context, '$.identity.namespace'));
INSERT OR IGNORE INTO block_keys SELECT s.namespace, b.block FROM block_sessions b
  JOIN sessions s ON s.id = b.session WHERE s.namespace IS NOT NULL;
";

pub(super) fn open(path: &Path, cache: u32) -> Result<Connection, CollectorError> {
    let mut store = Connection::open(path)?;
    store.busy_timeout(Duration::from_secs(5))?;
    store.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;",
    )?;
    store.pragma_update(None, "cache_size", -i64::from(cache >> 10))?;
    // Or what is prepared is prepared again whenever it is asked about another number.
    store.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let version: i32 = store.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if !(0..=VERSION).contains(&version) {
        let message = format!("store version {version} is not known");
        return Err(std::io::Error::other(message).into());
    }
    if version < VERSION {
        let transaction = store.transaction()?;
        if version == 0 {
            transaction.execute_batch(TABLES)?;
        }
        if version == 1 {
            transaction.execute_batch(FROM_1)?;
        }
        if version < 3 {
            transaction.execute_batch(rollup::TABLES)?;
            transaction.execute_batch(holds::TABLES)?;
        }
        if version < 5 {
            migrate::add_received(&transaction)?;
            if version < 4 {
                transaction.execute_batch(INDEX)?;
                migrate::from_evidence(&transaction, version < 3)?;
            }
            migrate::received(&transaction)?;
            // Before version 5 there were no such events.
            transaction.execute_batch(seen::TABLES)?;
        }
        if version < 6 {
            backlog::nothing_is_behind(&transaction)?;
        } else {
            backlog::sessions_are_not_behind(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    store.set_prepared_statement_cache_capacity(64);
    Ok(store)
}

/// Unpacks a block.
pub(crate) fn unpack(block: i64, raw: i64, data: &[u8]) -> Result<Vec<u8>, CollectorError> {
    let size = usize::try_from(raw).ok().filter(|size| *size <= MAX_BLOCK);
    let size = size.ok_or(CollectorError::Damaged(block))?;
    let bytes = pack::decompress(data, size).map_err(|_| CollectorError::Damaged(block))?;
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(CollectorError::Damaged(block))
    }
}
