use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const NOW: Duration = Duration::from_secs(1_764_000_000);

struct Bed {
    dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bed = Self { dir };
        for dir in ["source", "shown"] {
            fs::create_dir(bed.path(dir)).unwrap();
        }
        bed.kubelet("real.token.1");
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fills the volume as a kubelet does: the same way in which the other one is filled.
    fn kubelet(&self, token: &str) {
        let files = [
            (TOKEN, token.as_bytes()),
            (CA, b"CLUSTER\n"),
            (NAMESPACE, b"billing"),
        ];
        volume::write(&self.path("source"), files).unwrap();
    }

    fn account(&self, layouts: &str) -> Account {
        let places = Places {
            source: self.path("source"),
            shown: self.path("shown"),
            layouts: Layouts::parse(layouts).unwrap(),
        };
        Account::open(places, &self.path("key"), "POD\n".to_owned()).unwrap()
    }

    fn shown(&self, file: &str) -> String {
        fs::read_to_string(self.path("shown").join(file)).unwrap()
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

#[test]
fn programs_see_a_placeholder_the_authorities_and_the_namespace() {
    let bed = Bed::new();
    let account = bed.account("");
    account.publish(now()).unwrap();
    let token = bed.shown("token");
    assert!(account.is_placeholder(&token, now()));
    assert!(!account.is_placeholder("real.token.1", now()));
    assert_eq!(bed.shown("ca.crt"), "POD\nCLUSTER\n");
    assert_eq!(bed.shown("namespace"), "billing");
    assert_eq!(account.token().unwrap(), "real.token.1");
}

#[test]
fn nothing_of_the_real_token_is_written() {
    let bed = Bed::new();
    bed.account(r#"{"mine": {"a/b": "token"}}"#)
        .publish(now())
        .unwrap();
    let mut dirs = vec![bed.path("shown")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                dirs.push(path);
            } else if metadata.is_file() {
                files += 1;
                assert!(!fs::read_to_string(path).unwrap().contains("real.token"));
            }
        }
    }
    assert_eq!(files, 4);
}

#[test]
fn everybody_in_the_pod_may_read_it() {
    let bed = Bed::new();
    bed.account(r#"{"mine": {"a/b": "token"}}"#)
        .publish(now())
        .unwrap();
    let mode = |path: &str| {
        let path = bed.path("shown").join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    for file in ["token", "ca.crt", "namespace", "volumes/mine/a/b"] {
        assert_eq!(mode(file), 0o644, "{file}");
    }
    for dir in ["..data", "volumes", "volumes/mine", "volumes/mine/a"] {
        assert_eq!(mode(dir), 0o755, "{dir}");
    }
}

#[test]
fn a_token_that_kubernetes_replaced_is_read_anew() {
    let bed = Bed::new();
    let account = bed.account("");
    assert_eq!(account.token().unwrap(), "real.token.1");
    let before = account.stamps();
    bed.kubelet("real.token.2");
    assert_eq!(account.token().unwrap(), "real.token.2");
    assert_ne!(account.stamps(), before);
}

#[test]
fn a_token_that_cannot_be_had_is_an_error_and_none_is_used_twice() {
    let bed = Bed::new();
    let account = bed.account("");
    assert!(account.token().is_ok());
    for broken in ["", " \n", "two words", "new\nline", "h\u{e9}"] {
        bed.kubelet(broken);
        assert!(account.token().is_err(), "{broken:?}");
        assert!(account.publish(now()).is_err(), "{broken:?}");
    }
    fs::remove_file(bed.path("source").join(TOKEN)).unwrap();
    assert!(account.token().is_err());
}

#[test]
fn a_restarted_sidecar_knows_the_placeholders_of_the_one_before() {
    let bed = Bed::new();
    bed.account("").publish(now()).unwrap();
    let token = bed.shown("token");
    let account = bed.account("");
    assert!(account.is_placeholder(&token, now()));
    account.publish(now() + Duration::from_secs(60)).unwrap();
    assert_ne!(bed.shown("token"), token);
    assert!(account.is_placeholder(&token, now()));
}

#[test]
fn files_change_at_once_and_open_ones_stay() {
    let bed = Bed::new();
    let account = bed.account("");
    account.publish(now()).unwrap();
    let shown = bed.path("shown");
    let version = || fs::read_link(shown.join("..data")).unwrap();
    let (first, old) = (version(), bed.shown("token"));
    let mut open = fs::File::open(shown.join("token")).unwrap();
    for turn in 1..5u64 {
        let before = version();
        account.publish(now() + Duration::from_secs(turn)).unwrap();
        assert_ne!(version(), before);
        assert!(!shown.join(before).exists());
    }
    assert_eq!(version(), first);
    let mut text = String::new();
    io::Read::read_to_string(&mut open, &mut text).unwrap();
    assert_eq!(text, old);
    assert_eq!(
        fs::read_link(shown.join("token")).unwrap(),
        Path::new("..data/token")
    );
    let entries = fs::read_dir(&shown).unwrap().count();
    assert_eq!(
        entries, 5,
        "three files, the link, and the version it leads to"
    );
}

#[test]
fn what_a_crash_left_half_done_is_done_again() {
    let bed = Bed::new();
    let account = bed.account("");
    account.publish(now()).unwrap();
    let shown = bed.path("shown");
    let old = bed.shown("token");
    fs::create_dir(shown.join("..1")).unwrap();
    fs::write(shown.join("..1/token"), "half").unwrap();
    std::os::unix::fs::symlink("..1", shown.join("..data_tmp")).unwrap();
    assert_eq!(bed.shown("token"), old);
    account.publish(now() + Duration::from_secs(1)).unwrap();
    assert!(account.is_placeholder(&bed.shown("token"), now()));
    assert!(!shown.join("..data_tmp").exists());
}

#[test]
fn a_volume_of_the_authors_own_is_stood_in_for() {
    let bed = Bed::new();
    let layouts =
        r#"{"api": {"certs/ca.pem": "ca.crt", "tok": "token"}, "b": {"ns": "namespace"}}"#;
    let account = bed.account(layouts);
    account.publish(now()).unwrap();
    assert_eq!(bed.shown("volumes/api/tok"), bed.shown("token"));
    assert_eq!(bed.shown("volumes/api/certs/ca.pem"), bed.shown("ca.crt"));
    assert_eq!(bed.shown("volumes/b/ns"), "billing");
    account.publish(now() + Duration::from_secs(1)).unwrap();
    assert_eq!(bed.shown("volumes/api/tok"), bed.shown("token"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for text in [
        r#"{"..": {"a": "token"}}"#,
        r#"{"a/b": {"a": "token"}}"#,
        r#"{"": {"a": "token"}}"#,
        r#"{"a": {"/etc/passwd": "token"}}"#,
        r#"{"a": {"../b": "token"}}"#,
        r#"{"a": {"b/../../c": "token"}}"#,
        r#"{"a": {"..data": "token"}}"#,
        r#"{"a": {"b//c": "token"}}"#,
        r#"{"a": {".": "token"}}"#,
        r#"{"a": {"b\u0000": "token"}}"#,
        r#"{"a": {"b": "key"}}"#,
        r#"["a"]"#,
        "nonsense",
    ] {
        assert!(Layouts::parse(text).is_err(), "{text}");
    }
    let many = |count: usize| {
        let names = (0..count).map(|n| format!(r#""v{n}": {{"a": "token"}}"#));
        format!("{{{}}}", names.collect::<Vec<_>>().join(","))
    };
    assert!(Layouts::parse(&many(32)).is_ok() && Layouts::parse(&many(33)).is_err());
    let long = format!(r#"{{"a": {{"{}": "token"}}}}"#, "x".repeat(513));
    assert!(Layouts::parse(&long).is_err());
}

#[test]
fn a_file_that_is_far_too_large_is_not_read() {
    let bed = Bed::new();
    let long = "x".repeat(usize::try_from(MAX_FILE).unwrap() + 1);
    bed.kubelet(&long);
    assert!(bed.account("").token().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_placeholder_moves_and_a_new_token_of_the_cluster_is_seen() {
    let bed = Bed::new();
    let account = Arc::new(bed.account(""));
    account.publish(now()).unwrap();
    let published = || fs::metadata(bed.path("shown/..data/token")).unwrap().ino();
    let first = published();
    let keeping = tokio::spawn(Arc::clone(&account).keep());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(published(), first);
    tokio::time::sleep(REFRESH).await;
    let second = fs::read_link(bed.path("shown/..data")).unwrap();
    assert_eq!(second, Path::new("..1"));
    bed.kubelet("real.token.2");
    tokio::time::sleep(LOOK * 2).await;
    assert_eq!(
        fs::read_link(bed.path("shown/..data")).unwrap(),
        Path::new("..0")
    );
    keeping.abort();
}
