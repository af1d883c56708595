//! `weir`: the command line for platform teams, developers, reviewers and auditors, and
//! `weir standalone`, the whole product in one process.

mod cluster;
mod commands;
mod explain;
mod policy;
mod run;
mod standalone;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use cluster::Home;
use weir_sidecar::data_path::{BLOCKING, STACK};
use weir_sidecar::probe;
use weir_telemetry::{LogFormat, logging};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Governs what flows out of a workload: PostgreSQL in the data path, by policy.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = true)]
struct Cli {
    /// What to log: a level, or a filter such as `weir_gateway=debug,info`
    #[arg(long, global = true, default_value = "warn", value_name = "FILTER")]
    log: String,
    /// Log as JSON, a line each
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve engine and collector in one process, from a configuration file
    Standalone {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = "weir.yaml")]
        config: PathBuf,
    },
    /// Run a command in a network namespace that only leads through Weir
    Run(run::RunArgs),
    /// Say whether connections made from here are captured by Weir: for a pod's second init container
    Probe(probe::ProbeArgs),
    /// Work on policy files
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say what would be decided on a statement, and by which rules
    Explain(explain::ExplainArgs),
    /// Say whether a cluster can take Weir, and whether an installed Weir does its work
    Check(cluster::check::CheckArgs),
    /// Write the sidecar into manifests, without a cluster
    Inject(cluster::inject::InjectArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Client(commands::ClientCommand),
}

fn main() -> ExitCode {
    if let Err(error) = weir_transport::names::use_built_in_lookups() {
        eprintln!("weir: names cannot be looked up: {error}");
        return ExitCode::FAILURE;
    }
    weir_transport::netns::stage2_if_asked();
    let plugin = Home::is_plugin(std::env::args_os().next().as_deref());
    let cli = match Cli::from_arg_matches(&interface(plugin).get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let home = match Home::new(plugin, std::env::var("WEIR_PLACE").ok().as_deref()) {
        Ok(home) => home,
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::from(2);
        }
    };
    let format = if cli.log_json {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    if let Err(error) = logging::init(&cli.log, format) {
        eprintln!("weir: {error}");
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .max_blocking_threads(BLOCKING)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("weir: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // A current-thread runtime serves on the thread that blocks on it, so that one needs the stack.
    let served = std::thread::Builder::new()
        .name("weir".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let code = runtime.block_on(dispatch(cli.command, home));
            runtime.shutdown_background();
            code
        });
    match served.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        _ => ExitCode::FAILURE,
    }
}

/// The command line: as a plugin it is called as kubectl calls it.
fn interface(plugin: bool) -> clap::Command {
    let command = Cli::command();
    if plugin {
        command.bin_name("kubectl weir")
    } else {
        command
    }
}

async fn dispatch(command: Command, home: Home) -> ExitCode {
    let result = match command {
        Command::Standalone { config } => {
            standalone::run(&config).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Run(args) => run::run(args).await,
        Command::Probe(args) => return probe::run(&args).await,
        Command::Policy(command) => return policy::run(&command),
        Command::Explain(args) => return explain::run(&args, home).await,
        Command::Check(args) => return cluster::check::run(args).await,
        Command::Inject(args) => return cluster::inject::run(&args),
        Command::Completions { shell } => {
            let mut out = std::io::stdout();
            clap_complete::generate(shell, &mut Cli::command(), "weir", &mut out);
            return ExitCode::SUCCESS;
        }
        Command::Client(command) => return commands::run(command, home).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("weir: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_completes() {
        for plugin in [false, true] {
            interface(plugin).debug_assert();
        }
        for shell in ["bash", "zsh", "fish"] {
            let cli = Cli::try_parse_from(["weir", "completions", shell]);
            assert!(cli.is_ok(), "{shell}");
        }
    }

    #[test]
    fn a_plugin_is_called_as_kubectl_calls_it() {
        let mut command = interface(true);
        let usage = command.render_usage().to_string();
        assert!(usage.contains("kubectl weir"), "{usage}");
    }
}
