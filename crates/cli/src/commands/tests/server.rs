//! Claims about exit codes, against a served API.

use clap::Parser as _;
use weir_audit::proof::Checkpoint;
use weir_collector::api::{Api, serve_socket};
use weir_collector::{Collector, CollectorConfig, LogKey};

use super::super::report::Folder;
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
    serve(dir.path()).await;
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

/// Serves a store in a state directory; says what key signs its log.
async fn serve(state: &std::path::Path) -> String {
    let store = Collector::open(&state.join("store"), CollectorConfig::default()).unwrap();
    let socket = state.join("weir.sock");
    let key = store.log_key().public().to_string();
    let (api, at) = (Api::new(store), socket.clone());
    tokio::spawn(async move { serve_socket(api, &at).await.unwrap() });
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    key
}

#[tokio::test]
async fn a_bundle_is_written_whole_and_verify_says_by_its_code_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let key = serve(dir.path()).await;
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, file, broken) = (path(""), path("all.weir"), path("broken.weir"));
    let status = |code: u8| format!("ExitCode(unix_exit_status({code}))");
    // A question is recorded: then there is something to export.
    for command in [&["sessions"][..], &["export", "--file", &file]] {
        let args = [command, &["--state-dir", &state]].concat();
        assert_eq!(code(&args).await, status(0), "{args:?}");
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600, "evidence is for whoever asked");
    for form in ["table", "json", "yaml"] {
        let judged = ["verify", &file, "-o", form, "--log-key", &key];
        assert_eq!(code(&judged).await, status(0));
        // By the key that it brings itself, it is whole in itself: nothing is proved.
        assert_eq!(code(&judged[..4]).await, status(3));
    }
    // One bit of it, in every part.
    let whole = std::fs::read(&file).unwrap();
    let mut codes = std::collections::BTreeSet::new();
    for at in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&broken, bytes).unwrap();
        codes.insert(code(&["verify", &broken, "--log-key", &key]).await);
        assert_ne!(code(&["verify", &broken]).await, status(0));
    }
    assert!(codes.remove(&status(1)), "altered");
    codes.remove(&status(3));
    assert_eq!(codes, [].into(), "nothing of it may be changed");
    std::fs::write(&broken, &whole[..whole.len() - 9]).unwrap();
    assert_eq!(code(&["verify", &broken]).await, status(3), "cut off");
    assert_eq!(code(&["verify", &path("none")]).await, status(3));
    let nobody = ["verify", "--state-dir", &path("nowhere")];
    assert_eq!(code(&nobody).await, status(3), "nobody answers");
    let other = LogKey::load_or_create(&dir.path().join("other.key"), "weir.dev/log/other");
    let other = other.unwrap().public().to_string();
    let typed = ["weir", "verify", &file, "--log-key", "no-key"];
    let error = Cli::try_parse_from(typed).err().unwrap();
    assert_eq!(error.exit_code(), 2, "wrongly typed");
    assert_eq!(
        code(&["verify", &file, "--log-key", &other]).await,
        status(1),
        "another log"
    );
    let elsewhere = path("no/such/folder/f");
    let args = ["export", "--file", &elsewhere, "--state-dir", &state];
    assert_eq!(code(&args).await, status(1));
}

#[tokio::test]
async fn a_report_is_a_folder_that_verifies_and_no_file_of_it_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let key = serve(dir.path()).await;
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, folder) = (path(""), path("report"));
    let status = |code: u8| format!("ExitCode(unix_exit_status({code}))");
    let judged = ["verify", &folder, "--log-key", &key];
    let make = [
        "report",
        "--from",
        "1d",
        "--dir",
        &folder,
        "--state-dir",
        &state,
    ];
    assert_eq!(code(&make).await, status(0));
    assert_eq!(code(&make).await, status(1), "nothing is written over");
    assert_eq!(code(&judged).await, status(0));
    assert_eq!(code(&judged[..2]).await, status(3), "by its own word");
    let backwards = path("backwards");
    let args = [
        "report",
        "--from",
        "2026-02-01",
        "--to",
        "2026-01-01",
        "--dir",
        &backwards,
    ];
    let args = [&args[..], &["--state-dir", &state]].concat();
    assert_eq!(code(&args).await, status(1));
    for name in ["backwards", "backwards.part", "report.part"] {
        assert!(!dir.path().join(name).exists(), "{name} is left");
    }
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "checkpoint",
            "evidence.weir",
            "report.html",
            "report.json",
            "report.note"
        ]
    );
    for name in names {
        let file = dir.path().join("report").join(&name);
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let changed = code(&judged).await;
        assert!(
            [status(1), status(3)].contains(&changed),
            "{name}: {changed}"
        );
        std::fs::remove_file(&file).unwrap();
        assert_eq!(code(&judged).await, status(3), "{name} is gone");
        std::fs::write(&file, whole).unwrap();
    }
    assert_eq!(code(&judged).await, status(0));
}

/// A report is evidence of its own period, all of it: other evidence of the same log, whole and signed as it is, does
/// not do in its place.
#[tokio::test]
async fn evidence_cannot_be_taken_out_of_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let key = serve(dir.path()).await;
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, folder) = (path(""), path("report"));
    let status = |code: u8| format!("ExitCode(unix_exit_status({code}))");
    let at = ["--state-dir", &state];
    for _ in 0..3 {
        assert_eq!(code(&["sessions", at[0], at[1]]).await, status(0));
    }
    let make = ["report", "--from", "1d", "--dir", &folder];
    assert_eq!(code(&[&make[..], &at].concat()).await, status(0));
    let judged = ["verify", &folder, "--log-key", &key];
    assert_eq!(code(&judged).await, status(0));
    let evidence = dir.path().join("report/evidence.weir");
    let whole = std::fs::read(&evidence).unwrap();
    // Of a later and of an earlier period, in which there is less, and of everything.
    let (tomorrow, long_ago) = ("2099-01-01T00:00:00Z", "2001-01-01T00:00:00Z");
    for period in [&["--from", tomorrow][..], &["--to", long_ago], &[]] {
        let other = path("other.weir");
        let args = [&["export", "--file", &other], &at[..], period].concat();
        assert_eq!(code(&args).await, status(0));
        assert_eq!(
            code(&["verify", &other, "--log-key", &key]).await,
            status(0)
        );
        std::fs::copy(&other, &evidence).unwrap();
        assert_eq!(code(&judged).await, status(1), "{period:?}");
    }
    // Nothing at all, as a checkpoint alone proves it: the entries are gone, and the end is as it was or missing.
    for keep_end in [false, true] {
        std::fs::write(&evidence, emptied(&whole, keep_end)).unwrap();
        let got = code(&judged).await;
        assert!([status(1), status(3)].contains(&got), "{got}");
    }
    // Of a form that nobody signed.
    let older = [b"weir-evidence/1\n", &whole[16..]].concat();
    std::fs::write(&evidence, older).unwrap();
    assert_eq!(code(&judged).await, status(3));
    std::fs::write(&evidence, &whole).unwrap();
    assert_eq!(code(&judged).await, status(0));
    // What else lies there is not verified, and changes nothing.
    std::fs::write(dir.path().join("report/summary.html"), "all is well").unwrap();
    assert_eq!(code(&judged).await, status(0));
    let read = Folder::read(std::path::Path::new(&folder)).unwrap();
    assert_eq!(read.others, ["summary.html"], "and it is named");
}

/// The bundle of no entries that a checkpoint alone proves.
fn emptied(bundle: &[u8], keep_end: bool) -> Vec<u8> {
    let (mut at, mut out) = (16, bundle[..16].to_vec());
    let mut put = |tag: u8, content: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        out.extend_from_slice(content);
    };
    while at < bundle.len() {
        let length = u32::from_be_bytes(bundle[at + 1..at + 5].try_into().unwrap()) as usize;
        let content = &bundle[at + 5..at + 5 + length];
        match bundle[at] {
            b'm' => {
                let mut said: serde_json::Value = serde_json::from_slice(content).unwrap();
                said["first"] = said["size"].clone();
                said["end"] = said["size"].clone();
                put(b'm', &serde_json::to_vec(&said).unwrap());
            }
            b'c' => {
                put(b'c', content);
                let text = std::str::from_utf8(content).unwrap();
                let checkpoint = text.split_once("\n\n").unwrap().0;
                let checkpoint: Checkpoint = format!("{checkpoint}\n").parse().unwrap();
                put(b'p', &checkpoint.root.0);
            }
            b'e' if keep_end => put(b'e', content),
            _ => {}
        }
        at += 5 + length;
    }
    out
}

#[tokio::test]
async fn a_report_continues_a_checkpoint_that_was_kept_or_says_that_this_was_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = serve(dir.path()).await;
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, october, november) = (path(""), path("october"), path("november"));
    let status = |code: u8| format!("ExitCode(unix_exit_status({code}))");
    for _ in 0..3 {
        assert_eq!(code(&["sessions", "--state-dir", &state]).await, status(0));
    }
    let report = |dir: String, more: Vec<String>| {
        let state = state.clone();
        async move {
            let mut words = vec!["report", "--from", "2099-01-01", "--to", "2099-02-01"];
            words.extend(["--dir", &dir, "--state-dir", &state]);
            words.extend(more.iter().map(String::as_str));
            code(&words).await
        }
    };
    // The checkpoint is kept; the log goes on.
    assert_eq!(report(october.clone(), Vec::new()).await, status(0));
    let kept = path("october/checkpoint");
    for _ in 0..3 {
        assert_eq!(code(&["sessions", "--state-dir", &state]).await, status(0));
    }
    assert_eq!(report(november.clone(), Vec::new()).await, status(0));
    let judged = [
        "verify",
        &november,
        "--log-key",
        &key,
        "--checkpoint",
        &kept,
    ];
    assert_eq!(code(&judged[..4]).await, status(0));
    assert_eq!(code(&judged).await, status(3), "it is not shown");
    std::fs::remove_dir_all(&november).unwrap();
    let with = vec!["--checkpoint".to_owned(), kept.clone()];
    assert_eq!(report(november.clone(), with).await, status(0));
    assert_eq!(code(&judged).await, status(0));
    // And a bundle continues several.
    let (file, second) = (path("all.weir"), path("november/checkpoint"));
    let both = ["--checkpoint", &kept, "--checkpoint", &second];
    let make = ["export", "--from", "2099-01-01", "--file", &file];
    let state_dir = ["--state-dir", &state];
    assert_eq!(code(&[&make[..], &state_dir].concat()).await, status(0));
    let judged = [&["verify", &file, "--log-key", &key][..], &both].concat();
    assert_eq!(code(&judged).await, status(3));
    let make = [&make[..], &state_dir, &both].concat();
    assert_eq!(code(&make).await, status(0));
    assert_eq!(code(&judged).await, status(0));
    // Another log's checkpoint is something else than one that was not shown.
    let other = LogKey::load_or_create(&dir.path().join("other.key"), "weir.dev/log/other");
    let text = std::fs::read_to_string(&kept).unwrap();
    let (text, _) = text.split_once("\n\n").unwrap();
    let foreign = other.unwrap().sign(&format!("{text}\n")).to_string();
    std::fs::write(&kept, foreign).unwrap();
    assert_eq!(code(&judged).await, status(1));
}
