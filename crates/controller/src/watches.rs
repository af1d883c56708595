//! One open watch: snapshots as they change, rulings as they fall, heartbeats in between.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_uplink::control::{HEARTBEAT, Push, RequestRuling};

use crate::bundles::Current;
use crate::peer::Peer;
use crate::reports::Reports;
use crate::sessions::Session;
use crate::snapshot::Inputs;

/// How long a peer may take to read a line.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes to `out` until the peer, the pod or this process ends. `past` are rulings that the pod
/// may have missed; a pod may refuse what no Target covers by itself.
pub(crate) async fn run(
    mut current: Current,
    (peer, refuses): (Peer, bool),
    mut session: Session,
    past: Vec<RequestRuling>,
    reports: Reports,
    out: mpsc::Sender<Bytes>,
) {
    let mut told = String::new();
    let mut past = past.into_iter();
    loop {
        let inputs = current.borrow_and_update().clone();
        if let Some(inputs) = inputs
            && !tell(&inputs, (&peer, refuses), &mut told, &reports, &out).await
        {
            return;
        }
        let deadline = Instant::now() + HEARTBEAT;
        // Rulings come after the first snapshot.
        let missed = if told.is_empty() { None } else { past.next() };
        let push = if let Some(ruling) = missed {
            Push::Ruling(ruling)
        } else {
            tokio::select! {
                changed = current.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                ruling = session.next() => match ruling {
                    Some(ruling) => Push::Ruling(ruling),
                    None => return,
                },
                () = tokio::time::sleep_until(deadline) => Push::Heartbeat,
                () = out.closed() => return,
            }
        };
        let Some(line) = line(&push) else { return };
        if !send(&out, line).await {
            return;
        }
    }
}

async fn tell(
    inputs: &Arc<Inputs>,
    (peer, refuses): (&Peer, bool),
    told: &mut String,
    reports: &Reports,
    out: &mpsc::Sender<Bytes>,
) -> bool {
    let rendered = match inputs.rendered(peer, refuses) {
        Ok(rendered) => rendered,
        Err(error) => {
            tracing::error!(%error, "a snapshot cannot be written");
            return false;
        }
    };
    if rendered.digest == *told {
        return true;
    }
    reports.pushed(&peer.uid, &rendered.digest, inputs.since);
    told.clone_from(&rendered.digest);
    send(out, rendered.line.clone()).await
}

async fn send(out: &mpsc::Sender<Bytes>, line: Bytes) -> bool {
    matches!(
        tokio::time::timeout(PATIENCE, out.send(line)).await,
        Ok(Ok(()))
    )
}

fn line(value: &impl Serialize) -> Option<Bytes> {
    let mut bytes = serde_json::to_vec(value).ok()?;
    bytes.push(b'\n');
    Some(bytes.into())
}

#[cfg(test)]
mod tests;
