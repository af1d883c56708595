//! Pods that run and send no evidence.
//!
//! A sidecar that has nothing to say says so twice a minute. So a pod whose sidecar serves, by the
//! controller's word, and of which nothing was heard for a while, is one whose evidence goes nowhere: it was
//! never sent, or it does not arrive. (An engine that was heard and fell silent is another finding, too.)

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use weir_audit::{EngineId, Event, Finding, FindingCode, Timestamp};
use weir_uplink::control::RunningPod;

/// How long a pod may be silent.
const PATIENCE: Duration = Duration::from_secs(180);
/// Engines that are remembered.
const ENGINES: usize = 65_536;

/// The pods that run, once they are known.
pub type RunningPods<'a> = Pin<Box<dyn Future<Output = Option<Vec<RunningPod>>> + Send + 'a>>;

/// Knows which pods run.
pub trait Pods: Send + Sync {
    /// Those whose sidecar serves.
    fn running(&self) -> RunningPods<'_>;
}

#[derive(Default)]
pub(super) struct Streams {
    heard: HashMap<EngineId, Timestamp>,
    silent: HashMap<String, Silent>,
}

struct Silent {
    since: Timestamp,
    told: bool,
}

impl Streams {
    pub(super) fn hear(&mut self, event: &Event, now: Timestamp) {
        match self.heard.get_mut(&event.id.engine) {
            Some(heard) => *heard = now,
            None => {
                if self.heard.len() >= ENGINES {
                    let old = now.minus(PATIENCE);
                    self.heard.retain(|_, heard| *heard >= old);
                }
                if self.heard.len() < ENGINES {
                    self.heard.insert(event.id.engine.clone(), now);
                }
            }
        }
    }

    /// Which of the pods that run have been silent for too long, each once.
    pub(super) fn look(&mut self, pods: &[RunningPod], now: Timestamp) -> Vec<Finding> {
        let limit = now.minus(PATIENCE);
        self.heard.retain(|_, heard| *heard >= limit);
        let mut silent = HashMap::new();
        let mut found = Vec::new();
        for pod in pods {
            let Ok(engine) = EngineId::of_pod(&pod.uid) else {
                continue;
            };
            if self.heard.contains_key(&engine) {
                continue;
            }
            let known = self.silent.remove(&pod.uid);
            let mut known = known.unwrap_or(Silent {
                since: now,
                told: false,
            });
            if known.since <= limit && !known.told {
                known.told = true;
                found.push(Finding {
                    code: FindingCode::NoStream,
                    message: format!(
                        "pod {}/{} runs with Weir and sends no evidence",
                        pod.namespace, pod.name
                    )
                    .into(),
                    subject: None,
                    engine: Some(engine.as_str().into()),
                });
            }
            silent.insert(pod.uid.clone(), known);
        }
        self.silent = silent;
        found
    }
}
