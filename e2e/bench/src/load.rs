//! The loads: one row many times, many rows once, many connections that wait.

use std::io::Read;
use std::time::Instant;

use serde_json::json;

use crate::client::{Client, message, query};
use crate::{Fail, Peer};

/// One statement after the other; percentiles of their round trips.
pub(crate) fn latency(
    peer: &Peer,
    sql: &str,
    prepared: bool,
    count: usize,
    warmup: usize,
) -> Result<(), Fail> {
    let mut client = Client::connect(peer)?;
    let statement = if prepared {
        let mut parse = b"s\0".to_vec();
        parse.extend(sql.as_bytes());
        parse.extend([0, 0, 0]);
        let mut set_up = message(b'P', &parse)?;
        set_up.extend(message(b'D', b"Ss\0")?);
        set_up.extend(message(b'S', b"")?);
        client.run(&set_up)?;
        let mut bytes = message(b'B', b"\0s\0\0\0\0\0\0\0")?;
        bytes.extend(message(b'E', b"\0\0\0\0\0")?);
        bytes.extend(message(b'S', b"")?);
        bytes
    } else {
        query(sql)?
    };
    for _ in 0..warmup {
        client.run(&statement)?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let counted = client.run(&statement)?;
        times.push(start.elapsed());
        if counted.rows == 0 {
            return Err("no row came back".into());
        }
    }
    times.sort_unstable();
    let at = |percent: usize| {
        let place = times.len() * percent / 100;
        times
            .get(place.min(times.len().saturating_sub(1)))
            .map_or(0.0, |t| t.as_secs_f64() * 1e6)
    };
    println!(
        "{}",
        json!({"p50": at(50), "p90": at(90), "p99": at(99), "count": count})
    );
    Ok(())
}

/// One large result.
pub(crate) fn bulk(peer: &Peer, sql: &str) -> Result<(), Fail> {
    let mut client = Client::connect(peer)?;
    let statement = query(sql)?;
    let start = Instant::now();
    let counted = client.run(&statement)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({"rows": counted.rows, "bytes": counted.bytes, "seconds": seconds})
    );
    Ok(())
}

/// Connections that have worked and now wait, until stdin closes.
pub(crate) fn hold(peer: &Peer, count: usize, sql: &str) -> Result<(), Fail> {
    let statement = query(sql)?;
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::connect(peer)?;
        client.run(&statement)?;
        clients.push(client);
    }
    println!("{}", json!({"open": clients.len()}));
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}
