//! `weir-sidecar`: the engine in a pod, and the probe that proves it is in the way.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir_sidecar::config::SidecarArgs;
use weir_sidecar::probe::{self, ProbeArgs};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Governs what flows out of this pod.
#[derive(Debug, Parser)]
#[command(
    name = "weir-sidecar",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(flatten)]
    args: Option<SidecarArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether connections made from here are captured by Weir: for a pod's second init container
    Probe(ProbeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.args) {
        (Some(Command::Probe(args)), _) => probe_alone(&args),
        (None, Some(args)) => sidecar(args),
        (None, None) => {
            eprintln!("weir-sidecar: --controller and --trust-domain are needed");
            ExitCode::from(2)
        }
    }
}

fn sidecar(args: SidecarArgs) -> ExitCode {
    let configured = args
        .start_log()
        .and_then(|()| args.config(|name| std::env::var(name).ok()));
    match configured {
        Ok(config) => weir_sidecar::sidecar::run(config),
        Err(error) => {
            eprintln!("weir-sidecar: {error}");
            ExitCode::from(2)
        }
    }
}

fn probe_alone(args: &ProbeArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(probe::run(args)),
        Err(error) => {
            eprintln!("weir-sidecar: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
