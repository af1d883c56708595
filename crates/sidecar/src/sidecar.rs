//! `weir-sidecar`: from root in a fresh container to an ordinary process that serves.
//!
//! The order is the design, and every step fails closed: rules and Weir's own half of the
//! self-test; privileges given up for good; keys and trust; an identity; a first snapshot; and only
//! then are connections accepted. Until then they are refused.
//!
//! Refuses: to serve without an identity, without a policy, or as root.

mod prepare;
mod start;

use std::process::ExitCode;
use std::time::Duration;

pub use prepare::Prepared;

use crate::config::Config;
use crate::data_path::{BLOCKING, STACK};
use crate::part::{PartError, part};
use crate::serve::stop_asked;
use start::Sidecar;

/// How long the last evidence may take to reach the collector at the end.
const SHIP: Duration = Duration::from_secs(5);

/// Runs to the end of the process.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    let done = Prepared::new(config).and_then(serve_here);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-sidecar: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything but sessions runs on this thread: a pod has a share of a core.
fn serve_here(prepared: Prepared) -> Result<(), PartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .max_blocking_threads(BLOCKING)
        .build()
        .map_err(part("the runtime"))?;
    let done = runtime.block_on(serve(prepared));
    runtime.shutdown_background();
    done
}

async fn serve(prepared: Prepared) -> Result<(), PartError> {
    let stop = stop_asked();
    tokio::pin!(stop);
    let sidecar = tokio::select! {
        started = Sidecar::start(prepared) => started?,
        stopped = &mut stop => return stopped.map_err(part("signals")),
    };
    stop.await.map_err(part("signals"))?;
    sidecar.stop().await;
    Ok(())
}
