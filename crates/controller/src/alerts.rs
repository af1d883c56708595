//! People are told of findings: those that the collector passes on, whichever replica it reached.
//!
//! Invariants: what matters less than the configuration asks for is told to nobody; a receiver that does not
//! answer delays nobody but itself.
//! Refuses: to wait for a receiver. What finds no room is dropped, and counted.

use tokio::sync::mpsc;
use weir_audit::Severity;
use weir_notify::{Channel, Courier, Message, NotifyMetrics, WAITING};
use weir_uplink::control::Alert;

/// Takes findings. Clones are one.
#[derive(Clone)]
pub(crate) struct Alerts {
    minimum: Severity,
    metrics: NotifyMetrics,
    queues: Vec<(Channel, mpsc::Sender<Message>)>,
}

impl Alerts {
    /// Findings go to these couriers, from now on.
    pub(crate) fn start(couriers: &[Courier], minimum: Severity, metrics: NotifyMetrics) -> Self {
        let start = |courier: &Courier| {
            let (queue, messages) = mpsc::channel(WAITING);
            let courier = courier.clone();
            let channel = courier.channel();
            tokio::spawn(async move { courier.run(messages, |_| {}).await });
            (channel, queue)
        };
        Self {
            minimum,
            metrics,
            queues: couriers.iter().map(start).collect(),
        }
    }

    /// Has people told of a finding.
    pub(crate) fn tell(&self, alert: Alert) {
        if alert.severity < self.minimum {
            return;
        }
        let message = Message::of_finding(alert);
        for (channel, queue) in &self.queues {
            if queue.try_send(message.clone()).is_err() {
                self.metrics.dropped(*channel);
                tracing::error!(id = %message.id(), "no room for a finding's message");
            }
        }
    }
}
