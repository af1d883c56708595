//! Claims about exit codes, against a served API.

use clap::Parser as _;
use weir_collector::api::{Api, serve_socket};
use weir_collector::{Collector, CollectorConfig};

use super::super::{ClientCommand, run};
use crate::cluster::Home;

#[derive(clap::Parser)]
struct Cli {
    #[command(subcommand)]
    command: ClientCommand,
}

async fn code(args: &[&str]) -> String {
    let words = std::iter::once(&"weir").chain(args);
    format!(
        "{:?}",
        run(Cli::try_parse_from(words).unwrap().command, Home::Local).await
    )
}

#[test]
fn commands_that_make_no_sense_are_refused_before_anybody_is_asked() {
    for bad in [
        &["deny", "weir-1"][..],
        &["query", "--decision", "perhaps"],
        &["query", "--limit", "0"],
        &["query", "--since", "yesterday"],
        &["query", "--session", "x"],
        &["replay", "x", "--speed", "0"],
        &["status", "--collector", "http://h:1"],
        &["status", "--collector", "https://h:1", "--token-file", "t"],
        &["status", "--socket", "s", "--state-dir", "d"],
        &["status", "--cluster", "--state-dir", "d"],
        &[
            "query",
            "--cluster",
            "--collector",
            "http://h:1",
            "--token-file",
            "t",
        ],
        &["budgets"],
    ] {
        let words = std::iter::once(&"weir").chain(bad);
        let error = Cli::try_parse_from(words).err();
        assert!(error.is_some_and(|error| error.exit_code() == 2), "{bad:?}");
    }
}

#[tokio::test]
async fn exit_codes_say_whether_it_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let (good, bad) = (
        "ExitCode(unix_exit_status(0))",
        "ExitCode(unix_exit_status(1))",
    );
    assert_eq!(
        code(&["status", "--state-dir", state]).await,
        bad,
        "nobody there"
    );
    let store = Collector::open(&dir.path().join("store"), CollectorConfig::default());
    let socket = dir.path().join("weir.sock");
    let (api, at) = (Api::new(store.unwrap()), socket.clone());
    tokio::spawn(async move { serve_socket(api, &at).await.unwrap() });
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    for form in ["table", "json", "yaml"] {
        for command in [&["sessions"][..], &["query", "--kind", "all"], &["verify"]] {
            let args = [command, &["--state-dir", state, "--output", form]].concat();
            assert_eq!(code(&args).await, good, "{args:?}");
        }
    }
    for command in [
        &["replay", "0000000000009"][..],
        &["replay", "no such/thing"],
        &["approve", "weir-1"],
        &["requests"],
    ] {
        let args = [command, &["--state-dir", state]].concat();
        assert_eq!(code(&args).await, bad, "{args:?}");
    }
}
