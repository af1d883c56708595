use tokio::sync::watch;
use weir_telemetry::Registry;
use weir_uplink::control::{Ending, Settings};

use super::*;
use crate::bundle::Accepted;
use crate::sessions::Sessions;
use crate::snapshot::Content;

struct Fixture {
    inputs: watch::Sender<Option<Arc<Inputs>>>,
    sessions: Sessions,
    lines: mpsc::Receiver<Bytes>,
}

fn peer() -> Peer {
    Peer::new("cluster.local", "billing", "sa", "p", "1")
}

fn ruling(name: &str) -> RequestRuling {
    RequestRuling {
        name: name.to_owned(),
        ending: Ending::Approved { rows: Some(5) },
        approvers: vec!["jane".to_owned()],
        decisions: Vec::new(),
    }
}

fn inputs(revision: u64, keep_seconds: u64) -> Option<Arc<Inputs>> {
    let settings = Settings {
        keep_seconds,
        ..Settings::default()
    };
    let content = Content {
        settings,
        ..Content::default()
    };
    let accepted = Arc::new(Accepted::default());
    Some(Arc::new(Inputs::new(
        revision,
        Now::now(),
        accepted,
        content,
    )))
}

fn fixture(past: Vec<RequestRuling>) -> Fixture {
    let registry = Registry::default();
    let sessions = Sessions::new(&registry).unwrap();
    let reports = Reports::new(&registry).unwrap();
    let (sender, current) = watch::channel(None);
    let (out, lines) = mpsc::channel(4);
    let session = sessions.open("1");
    tokio::spawn(run(current, (peer(), false), session, past, reports, out));
    Fixture {
        inputs: sender,
        sessions,
        lines,
    }
}

impl Fixture {
    async fn next(&mut self) -> Option<Push> {
        let line = self.lines.recv().await?;
        Some(serde_json::from_slice(&line).unwrap())
    }

    async fn revision(&mut self) -> u64 {
        match self.next().await {
            Some(Push::Snapshot(snapshot)) => snapshot.revision,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_starts_with_the_snapshot_in_force_and_says_only_what_changed() {
    let mut fixture = fixture(Vec::new());
    fixture.inputs.send_replace(inputs(1, 300));
    assert_eq!(fixture.revision().await, 1);
    // Equal content is not sent again.
    fixture.inputs.send_replace(inputs(2, 300));
    assert!(matches!(fixture.next().await, Some(Push::Heartbeat)));
    fixture.inputs.send_replace(inputs(3, 60));
    assert_eq!(fixture.revision().await, 3);
}

#[tokio::test(start_paused = true)]
async fn rulings_that_may_have_been_missed_come_after_the_snapshot_and_new_ones_at_once() {
    let mut fixture = fixture(vec![ruling("old")]);
    fixture.inputs.send_replace(inputs(1, 300));
    assert_eq!(fixture.revision().await, 1);
    assert!(matches!(fixture.next().await, Some(Push::Ruling(r)) if r == ruling("old")));
    fixture.sessions.tell("1", &ruling("new"));
    assert!(matches!(fixture.next().await, Some(Push::Ruling(r)) if r == ruling("new")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_its_pod() {
    let mut fixture = fixture(Vec::new());
    fixture.inputs.send_replace(inputs(1, 300));
    fixture.revision().await;
    fixture.sessions.end("1");
    assert!(fixture.next().await.is_none());
}
