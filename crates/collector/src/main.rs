//! `weir-collector`: the collector of a cluster.

mod args;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use weir_collector::{Controller, Service};
use weir_telemetry::logging;
use weir_uplink::control::{Enroller, Key};

use args::Args;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong arguments or environment.
const USAGE: u8 = 2;
/// Findings that wait for the controller.
const ALERTS: usize = 256;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = logging::init(&args.log, args.log_format) {
        eprintln!("weir-collector: {error}");
        return ExitCode::from(USAGE);
    }
    let config = match args.config(std::env::var("WEIR_CA").ok()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(USAGE);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the collector cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: args::Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let controller = Arc::new(Controller::new(config.control));
    let (reviewer, desk) = (Arc::clone(&controller), Arc::clone(&controller));
    // A process that starts again in the same pod has the same key: another one would be a finding.
    let key = config.service.data_dir.join("identity.key");
    let service = Service::bind(config.service, controller.credentials(), reviewer, desk).await?;
    let (alerts, told) = tokio::sync::mpsc::channel(ALERTS);
    let service = service.with_cluster(alerts, Arc::clone(&controller) as _);
    let telling = Arc::clone(&controller);
    let alarm = tokio::spawn(async move { telling.pass_on(told).await });
    let enroller = Enroller::new(config.enrol, Key::load_or_create(&key)?)?;
    let enrolled = tokio::spawn(async move { controller.stay_enrolled(&enroller).await });
    service
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    enrolled.abort();
    alarm.abort();
    Ok(())
}
