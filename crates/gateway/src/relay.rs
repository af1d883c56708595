//! Connections that no Target covers: relayed and counted if they are not a governed protocol,
//! refused with a finding if they are.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_audit::{ConnectionClosed, ConnectionOpened, Names, Record};

use crate::engine::{Shared, Unmatched};
use crate::incoming::Incoming;
use crate::place::Way;
use crate::sniff::{self, Sniffed};
use crate::wall_clock;

/// Most bytes that are looked at to tell what a connection speaks: one TLS record.
const MAX_SNIFF: usize = 16 * 1024 + 5;

pub(crate) async fn unmatched(shared: &Shared, incoming: Incoming, way: &Way) {
    let session = Arc::new(incoming.session(shared.next_session(), None, None));
    let Incoming {
        mut stream,
        place: Some(destination),
        leash,
        ..
    } = incoming
    else {
        return;
    };
    if let Some(reason) = shared.barred() {
        return shared.refused(session, &reason, Names::empty());
    }
    let led = way.is_led();
    if shared.policies.unmatched() == Unmatched::Refuse && !led {
        shared.refused(session, "no target covers this destination", Names::empty());
        return;
    }
    let mut upstream = match way.dial().await {
        Ok(upstream) => upstream,
        Err(error) => return shared.refused(session, &error.to_string(), Names::empty()),
    };
    let started = Instant::now();
    let first = match first_bytes(&mut stream, &mut upstream).await {
        Ok(first) => first,
        Err(Refused::Governed(protocol)) => {
            let reason = format!("{protocol} to a destination that no target covers");
            tracing::warn!(%destination, %reason, "connection refused");
            return shared.ungoverned(session, &reason);
        }
        Err(Refused::Closed) => First {
            client: Vec::new(),
            server: Vec::new(),
        },
    };
    let opened = ConnectionOpened {
        client_tls: false,
        upstream_tls: false,
        policies: Names::empty(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), Arc::clone(&session), opened));
    let relayed = async {
        upstream.write_all(&first.client).await?;
        stream.write_all(&first.server).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut upstream).await
    };
    let (reason, (up, down)) = tokio::select! {
        pulled = leash.pulled() => (pulled.recorded(), (0, 0)),
        result = relayed => match result {
            Ok(moved) => ("closed".to_owned(), moved),
            Err(error) => (error.to_string(), (0, 0)),
        },
    };
    let closed = ConnectionClosed {
        statements: 0,
        rows: 0,
        bytes_in: up + first.client.len() as u64,
        bytes_out: down + first.server.len() as u64,
        duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        reason: reason.into(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), session, closed));
}

struct First {
    client: Vec<u8>,
    server: Vec<u8>,
}

enum Refused {
    Governed(&'static str),
    Closed,
}

/// Reads until it is clear that neither side speaks a governed protocol. Nothing of the client's is
/// passed on before that; nothing of the server's either.
async fn first_bytes(client: &mut TcpStream, server: &mut TcpStream) -> Result<First, Refused> {
    let mut first = First {
        client: Vec::new(),
        server: Vec::new(),
    };
    loop {
        let (read, from_client) = tokio::select! {
            read = client.read_buf(&mut first.client) => (read, true),
            read = server.read_buf(&mut first.server) => (read, false),
        };
        if !matches!(read, Ok(1..)) {
            return match (sniff::client(&first.client), sniff::server(&first.server)) {
                (Sniffed::Governed(name), _) | (_, Sniffed::Governed(name)) => {
                    Err(Refused::Governed(name))
                }
                _ => Err(Refused::Closed),
            };
        }
        let (bytes, sniffed) = if from_client {
            (&first.client, sniff::client(&first.client))
        } else {
            (&first.server, sniff::server(&first.server))
        };
        match sniffed {
            Sniffed::Governed(name) => return Err(Refused::Governed(name)),
            Sniffed::More if bytes.len() < MAX_SNIFF => {}
            Sniffed::More | Sniffed::Other if from_client => return Ok(first),
            _ => {
                // The server spoke first and is not governed; what the client says may still be.
                let server_first = std::mem::take(&mut first.server);
                if client.write_all(&server_first).await.is_err() {
                    return Err(Refused::Closed);
                }
            }
        }
    }
}
