use super::stage2::Options;
use super::*;

#[test]
fn the_helper_reads_the_command_line_that_weir_writes() {
    let mut config = Config::new("sh", ["-c", "echo hide=/x -- y"]);
    config.uid = Some(1000);
    config.hide = vec![PathBuf::from("/var/lib/we ir=1")];
    config.known_hosts = Some(PathBuf::from("/tmp/known hosts"));
    config.cgroup = Some(PathBuf::from("/sys/fs/cgroup/x"));
    let written = Options::from_config(&config, 7).to_args();
    let read = Options::parse(written.clone().into_iter()).unwrap();
    assert_eq!(read.to_args(), written);
    assert_eq!(read.command, ["sh", "-c", "echo hide=/x -- y"]);
    assert!(read.view.hide.contains(&config.hide[0]));
}

#[test]
fn the_helper_refuses_a_command_line_without_a_command() {
    for words in [
        vec![],
        vec!["control=3", "--"],
        vec!["other=1", "--", "sh"],
        vec!["x", "--", "sh"],
    ] {
        let words = words.into_iter().map(OsString::from);
        assert!(Options::parse(words).is_err());
    }
}
