//! Connections that no Target covers: relayed and counted if they are not a governed protocol,
//! refused with a finding if they are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_audit::{ConnectionClosed, ConnectionOpened, Names, Record};

use crate::engine::{Shared, Unmatched};
use crate::incoming::Incoming;
use crate::place::Way;
use crate::sniff::{self, Sniffed};
use crate::wall_clock;

/// Most bytes that are looked at to tell what a connection speaks: a TLS hello in many records.
const MAX_SNIFF: usize = 256 * 1024;

/// How long more of a server's short answer is waited for: a greeting comes in one piece.
const GREETING: Duration = Duration::from_millis(250);

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
        Err(Refused::Closed) => First::default(),
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
        bytes_in: up + first.up + first.client.len() as u64,
        bytes_out: down + first.down + first.server.len() as u64,
        duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        reason: reason.into(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), session, closed));
}

/// What was read, and is still to be handed on; and how much was.
#[derive(Default)]
struct First {
    client: Vec<u8>,
    server: Vec<u8>,
    up: u64,
    down: u64,
}

enum Refused {
    Governed(&'static str),
    Closed,
}

/// Reads until it is clear that neither side speaks a governed protocol. Nothing of a side's is passed on before
/// that is clear of it.
async fn first_bytes(client: &mut TcpStream, server: &mut TcpStream) -> Result<First, Refused> {
    let mut first = First::default();
    // What has been handed on of each side, which is looked at no more.
    let (mut client_is_known, mut server_is_known) = (false, false);
    while !(client_is_known && server_is_known) {
        let answers = client_is_known && !first.server.is_empty();
        let (read, from_client) = tokio::select! {
            read = client.read_buf(&mut first.client) => (read, true),
            read = server.read_buf(&mut first.server) => (read, false),
            () = tokio::time::sleep(GREETING), if answers => break,
        };
        let told = [sniff::client(&first.client), sniff::server(&first.server)];
        let [of_client, of_server] = told;
        if !client_is_known && let Sniffed::Governed(name) = of_client {
            return Err(Refused::Governed(name));
        }
        if !server_is_known && let Sniffed::Governed(name) = of_server {
            return Err(Refused::Governed(name));
        }
        if !matches!(read, Ok(1..)) {
            // What the client has begun and never ends is no protocol; a server that has gone has no use for it.
            return if from_client || client_is_known {
                Ok(first)
            } else {
                Err(Refused::Closed)
            };
        }
        if first.client.len() > MAX_SNIFF {
            return Err(Refused::Governed("a TLS hello without an end"));
        }
        if from_client {
            client_is_known |= of_client == Sniffed::Other;
            if client_is_known {
                first.up += hand_on(&mut first.client, server).await?;
            }
        } else {
            // It may be what the client waits for before it speaks.
            server_is_known |= of_server == Sniffed::Other;
            if server_is_known {
                first.down += hand_on(&mut first.server, client).await?;
            }
        }
    }
    Ok(first)
}

async fn hand_on(bytes: &mut Vec<u8>, to: &mut TcpStream) -> Result<u64, Refused> {
    let bytes = std::mem::take(bytes);
    match to.write_all(&bytes).await {
        Ok(()) => Ok(bytes.len() as u64),
        Err(_) => Err(Refused::Closed),
    }
}
