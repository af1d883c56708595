//! Listening to the controller: one stream that is opened again whenever it ends.
//!
//! Invariants: what is handed on as a snapshot has the digest that it claims; a line is bounded
//! before it is kept; three missed heartbeats end the stream.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::client::ControlClient;
use super::digest::content_digest;
use super::line::{broken, request, send};
use super::{ControlError, HEARTBEAT, Push, RequestRuling, Snapshot, WATCH};

/// Heartbeats that may be missed.
const MISSED: u32 = 3;
/// Most bytes of one line.
const MAX_LINE: usize = 32 << 20;
/// Between two tries, first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// What was heard.
#[derive(Debug)]
pub enum Heard {
    /// The controller is there.
    Alive,
    /// Take this over.
    Snapshot(Box<Snapshot>),
    /// A snapshot came that cannot be used.
    Unusable(String),
    /// Somebody ruled.
    Ruling(RequestRuling),
    /// The line ended, or there is none; it is tried again.
    Lost(ControlError),
}

impl ControlClient {
    /// Listens for as long as somebody takes what is heard.
    pub async fn watch(&self, heard: mpsc::Sender<Heard>) {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            let ended = tokio::select! {
                () = heard.closed() => return,
                ended = self.listen(&heard, &mut backoff) => ended,
            };
            *self.watching.lock().await = None;
            // A renewed certificate is a reason to dial, not a loss.
            let Err(error) = ended else { continue };
            self.hang_up().await;
            if heard.send(Heard::Lost(error)).await.is_err() {
                return;
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// One stream, to its end.
    async fn listen(
        &self,
        heard: &mpsc::Sender<Heard>,
        backoff: &mut Backoff,
    ) -> Result<(), ControlError> {
        let mut renewals = self.identity.renewals();
        renewals.mark_unchanged();
        let mut sender = self.sender().await?;
        let asked = request(&self.endpoint, Method::GET, WATCH, None::<&()>)?;
        let mut body = send(&mut sender, asked).await?.into_body();
        *self.watching.lock().await = Some(sender);
        let mut lines = Lines::default();
        loop {
            let more = tokio::select! {
                more = tokio::time::timeout(HEARTBEAT * MISSED, read(&mut body, &mut lines)) => more,
                Ok(()) = renewals.changed() => return Ok(()),
            };
            match more {
                Ok(more) => more?,
                Err(_) => return Err(ControlError::Timeout),
            }
            while let Some(line) = lines.next() {
                if line.is_empty() {
                    continue;
                }
                let Some(push) = understand(&line) else {
                    continue;
                };
                backoff.reset();
                if heard.send(push).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn read(body: &mut Incoming, lines: &mut Lines) -> Result<(), ControlError> {
    match body.frame().await {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => lines.feed(&data),
            Err(_) => Ok(()),
        },
        Some(Err(error)) => Err(broken(&error)),
        None => Err(ControlError::Broken("the controller hung up".to_owned())),
    }
}

/// What a line says; nothing if this version does not know its type.
fn understand(line: &[u8]) -> Option<Heard> {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return Some(Heard::Unusable(error.to_string())),
    };
    let is_snapshot = value.get("type").and_then(Value::as_str) == Some("snapshot");
    let digest = is_snapshot.then(|| content_digest(&value));
    match (serde_json::from_value(value), digest) {
        (Ok(Push::Heartbeat), _) => Some(Heard::Alive),
        (Ok(Push::Ruling(ruling)), _) => Some(Heard::Ruling(ruling)),
        (Ok(Push::Snapshot(snapshot)), Some(digest)) if snapshot.digest == digest => {
            Some(Heard::Snapshot(snapshot))
        }
        (Ok(Push::Snapshot(snapshot)), _) => Some(Heard::Unusable(format!(
            "revision {} is not what its digest says",
            snapshot.revision
        ))),
        (Err(error), Some(_)) => Some(Heard::Unusable(error.to_string())),
        (Err(error), None) => {
            tracing::debug!(%error, "the controller said something that this version ignores");
            None
        }
    }
}

/// Cuts a stream into lines.
#[derive(Debug, Default)]
struct Lines {
    kept: Vec<u8>,
    /// How much of it was searched in vain.
    searched: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), ControlError> {
        if self.kept.len() + bytes.len() > MAX_LINE {
            return Err(ControlError::Answer(format!(
                "a line is longer than {MAX_LINE} bytes"
            )));
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let new = self.kept.get(self.searched..)?;
        match new.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let rest = self.kept.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.kept, rest);
                line.pop();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.kept.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot {
            revision: 3,
            ..Snapshot::default()
        };
        snapshot.digest = snapshot.content_digest().unwrap();
        snapshot
    }

    fn line(push: &Push) -> Vec<u8> {
        serde_json::to_vec(push).unwrap()
    }

    #[test]
    fn lines_arrive_whole_however_they_are_cut() {
        let text = b"one\n\ntwo\nthr";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.feed(part).unwrap();
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, [&b"one"[..], b"", b"two"], "{cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; MAX_LINE]).unwrap();
        assert!(lines.feed(b"x").is_err());
    }

    #[test]
    fn a_snapshot_is_taken_only_with_its_digest() {
        let good = line(&Push::Snapshot(Box::new(snapshot())));
        assert!(matches!(understand(&good), Some(Heard::Snapshot(_))));
        let mut changed = snapshot();
        changed.settings.keep_seconds += 1;
        let bad = line(&Push::Snapshot(Box::new(changed)));
        assert!(matches!(understand(&bad), Some(Heard::Unusable(_))));
    }

    #[test]
    fn a_newer_controller_is_understood() {
        let mut value = serde_json::to_value(Push::Snapshot(Box::new(snapshot()))).unwrap();
        value["settings"]["newer"] = serde_json::json!(1);
        value["digest"] = content_digest(&value).into();
        let good = serde_json::to_vec(&value).unwrap();
        assert!(matches!(understand(&good), Some(Heard::Snapshot(_))));
        assert!(understand(br#"{"type":"news"}"#).is_none());
    }

    #[test]
    fn a_broken_snapshot_says_so() {
        let broken = br#"{"type":"snapshot","revision":"x"}"#;
        assert!(matches!(understand(broken), Some(Heard::Unusable(_))));
    }
}
