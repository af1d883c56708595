//! One store, two collectors: the real program.

#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Started on a store; its log comes on its standard error or output.
fn start(dir: &Path) -> Child {
    let roots = dir.join("roots.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    std::fs::write(&roots, root.pem()).unwrap();
    let script = "exec \"$0\" \"$@\" 2>&1";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_weir-collector")]);
    for port in ["ingest", "auditors", "admin"] {
        command.arg(format!("--{port}-address=127.0.0.1:0"));
    }
    command
        .arg("--controller=localhost")
        .arg(format!("--data-dir={}", dir.join("store").display()))
        .arg(format!("--ca-file={}", roots.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until it has the store open.
fn opened(child: &mut Child) {
    let out = child.stdout.as_mut().unwrap();
    let mut lines = BufReader::new(out).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("the log of proofs is signed by")));
}

#[test]
fn a_second_collector_on_a_store_ends_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start(dir.path());
    opened(&mut first);
    let mut second = start(dir.path());
    let mut said = String::new();
    second
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("is in use by another collector"), "{said}");
    // kill -9 leaves no lock behind.
    first.kill().unwrap();
    first.wait().unwrap();
    let mut third = start(dir.path());
    opened(&mut third);
    third.kill().unwrap();
    third.wait().unwrap();
}
