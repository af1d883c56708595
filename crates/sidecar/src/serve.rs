//! Serving what listeners accept, until it is time to stop.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use weir_gateway::Engine;
use weir_transport::listen::{Acceptor, Drained, Limits, Mode};
use weir_transport::selftest;

use crate::data_path::DataPath;
use crate::metrics::EngineMetrics;
use crate::part::{PartError, part};

/// What every listener of a process has in common.
pub struct Serving {
    /// Serves connections.
    pub engine: Engine,
    /// Where it does.
    pub path: DataPath,
    /// Bounds of each listener.
    pub limits: Limits,
    /// Says when to stop accepting.
    pub drained: Drained,
    /// Counts.
    pub metrics: Arc<EngineMetrics>,
    /// Addresses of this process that a captured connection must not reach.
    pub forbidden: Vec<SocketAddr>,
}

impl Serving {
    /// Serves what a listener accepts; one that stands for a Target names it.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub fn accept(
        &self,
        socket: TcpListener,
        mode: Mode,
        target: Option<String>,
    ) -> Result<(), PartError> {
        let path = self.path.handle();
        let _registers = path.enter();
        let mut acceptor = Acceptor::new(socket, mode, self.limits, self.drained.clone())
            .map_err(part("listeners"))?
            .forbid(self.forbidden.iter().copied());
        self.metrics.watch(acceptor.counters());
        let engine = self.engine.clone();
        let target: Option<Arc<str>> = target.map(Into::into);
        path.spawn(async move {
            while let Some(accepted) = acceptor.accept().await {
                if accepted.destination.is_some_and(selftest::is_probe) {
                    tokio::spawn(selftest::answer(accepted.stream));
                    continue;
                }
                let (engine, target) = (engine.clone(), target.clone());
                tokio::spawn(async move { engine.serve(accepted, target.as_deref()).await });
            }
        });
        Ok(())
    }
}

/// Resolves when the process is asked to stop.
///
/// # Errors
/// Signals cannot be taken.
pub async fn stop_asked() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
