//! A folder, and a witness that does as the specification says.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use weir_audit::proof::{NoteSignature, VerifierKey, cosigned_text, merkle};
use weir_audit::{Finding, FindingCode, Hash};

use super::*;
use crate::{CollectorConfig, LogKey, Trusted, verify_bundle};

fn open(dir: &Path) -> Collector {
    Collector::open(dir, CollectorConfig::default()).unwrap()
}

/// Each is an entry of the log.
fn grow(store: &Collector, entries: u64) {
    for n in 0..entries {
        let finding = Finding {
            code: FindingCode::Other,
            message: format!("number {n}").into(),
            subject: None,
            engine: None,
        };
        store.report(finding).unwrap();
    }
}

fn findings(store: &Collector, code: FindingCode) -> usize {
    let filter = crate::Filter {
        kind: Some("finding".into()),
        limit: Some(10_000),
        ..crate::Filter::default()
    };
    let events = store.query(&filter).unwrap().events;
    let is = |event: &&weir_audit::Event| match &event.body {
        weir_audit::Body::Finding(finding) => finding.code == code,
        _ => false,
    };
    events.iter().filter(is).count()
}

fn to(folder: &Path) -> Keepers {
    let config = ArchiveConfig {
        to: folder.display().to_string(),
        ..ArchiveConfig::default()
    };
    Keepers::new(Some(config), Vec::new()).unwrap()
}

#[tokio::test]
async fn an_archive_holds_all_that_proves_the_log_and_grows_with_it() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let keepers = to(folder.path());
    let mut sizes = Vec::new();
    for more in [3, 0, 70, 200] {
        grow(&store, more);
        keepers.round(&store).await;
        sizes.push(store.proof().unwrap().size);
    }
    assert_eq!(sizes, [3, 3, 73, 273]);
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let note = String::from_utf8(read("checkpoint")).unwrap();
    let checkpoint = parsed(&note).unwrap().1;
    assert_eq!(checkpoint.size, 273);
    // The root from the tiles alone.
    let mut hashes = read("tile/0/000");
    hashes.extend(read("tile/0/001.p/17"));
    let mut tree = merkle::Frontier::default();
    hashes
        .as_chunks::<32>()
        .0
        .iter()
        .for_each(|hash| tree.push(Hash(*hash)));
    assert_eq!(tree.root(), checkpoint.root);
    assert_eq!(read("tile/1/000.p/1").len(), 32);
    // Every entry is in one bundle, and each verifies by itself.
    let mut next = 0;
    let mut names: Vec<_> = std::fs::read_dir(folder.path().join("bundles"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    for name in &names {
        let trusted = Trusted {
            key: Some(store.log_key().public().clone()),
            ..Trusted::default()
        };
        let report = verify_bundle(std::fs::read(name).unwrap().as_slice(), &trusted).unwrap();
        assert!(report.report.ok, "{report:?}");
        assert_eq!(report.bundle.first, next);
        next = report.bundle.end;
    }
    assert_eq!(next, 273);
    let vouched = store.proof().unwrap().vouched;
    assert_eq!((vouched[0].by.as_str(), vouched[0].size), ("archive", 273));
    assert!(store.verify().unwrap().ok);
}

#[tokio::test]
async fn a_store_that_is_older_than_its_archive_is_found() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    grow(&store, 5);
    drop(store);
    let path = dir.path().join("evidence.db");
    let copy = std::fs::read(&path).unwrap();
    let store = open(dir.path());
    grow(&store, 5);
    to(folder.path()).round(&store).await;
    drop(store);
    // Whoever puts the copy back knows of the file beside it.
    std::fs::write(&path, copy).unwrap();
    std::fs::remove_file(dir.path().join("log.checkpoint")).unwrap();
    let store = open(dir.path());
    assert!(store.verify().unwrap().ok);
    for _ in 0..3 {
        to(folder.path()).round(&store).await;
    }
    assert_eq!(findings(&store, FindingCode::Tampered), 1);
    let report = store.verify().unwrap();
    assert!(
        !report.ok && report.log.problems[0].contains("archive, at 10"),
        "{report:?}"
    );
    // Nothing of the archive was written over.
    let note = std::fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    assert_eq!(parsed(&note).unwrap().1.size, 10);
    // It grows past the old size, and is another log all the same.
    grow(&store, 20);
    to(folder.path()).round(&store).await;
    let problems = store.verify().unwrap().log.problems;
    assert!(
        problems.iter().any(|problem| problem.contains("not those")),
        "{problems:?}"
    );
}

#[tokio::test]
async fn an_archive_of_another_log_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(one.path());
    grow(&store, 2);
    to(folder.path()).round(&store).await;
    let before = std::fs::read(folder.path().join("checkpoint")).unwrap();
    let stranger = open(other.path());
    grow(&stranger, 9);
    to(folder.path()).round(&stranger).await;
    assert_eq!(
        std::fs::read(folder.path().join("checkpoint")).unwrap(),
        before
    );
    assert!(stranger.proof().unwrap().vouched.is_empty());
}

/// A witness of one log, as C2SP tlog-witness says: it remembers what it cosigned last.
struct Fake {
    key: LogKey,
    log: VerifierKey,
    seen: Mutex<(u64, Hash)>,
}

impl Fake {
    fn answer(&self, body: &str) -> (StatusCode, String) {
        let (proof, note) = body.split_once("\n\n").unwrap();
        let mut lines = proof.lines();
        let old: u64 = lines
            .next()
            .unwrap()
            .strip_prefix("old ")
            .unwrap()
            .parse()
            .unwrap();
        let note: Note = note.parse().unwrap();
        if verify_note(&note, &self.log).is_err() {
            return (StatusCode::FORBIDDEN, String::new());
        }
        let checkpoint: Checkpoint = note.text.parse().unwrap();
        let mut seen = self.seen.lock().unwrap();
        if old != seen.0 || old > checkpoint.size {
            return (StatusCode::CONFLICT, format!("{}\n", seen.0));
        }
        let proof: Vec<Hash> = lines
            .map(|line| {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(line)
                    .unwrap();
                Hash(bytes.try_into().unwrap())
            })
            .collect();
        let now = (checkpoint.size, checkpoint.root);
        if !merkle::is_consistent(*seen, now, &proof) {
            return (StatusCode::UNPROCESSABLE_ENTITY, String::new());
        }
        *seen = now;
        let seconds = 1_700_000_000_u64;
        let signed = self.key.sign(&cosigned_text(seconds, &note.text));
        let mut bytes = seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(&signed.signatures[0].bytes);
        let key = self.public();
        let line = NoteSignature {
            id: key.id(),
            name: key.name,
            bytes,
        };
        (StatusCode::OK, format!("{line}\n"))
    }

    fn public(&self) -> VerifierKey {
        VerifierKey {
            cosigns: true,
            ..self.key.public().clone()
        }
    }
}

async fn serve(fake: Arc<Fake>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let fake = Arc::clone(&fake);
            let service = service_fn(move |request: Request<Incoming>| {
                let fake = Arc::clone(&fake);
                async move {
                    assert_eq!(request.uri().path(), "/w/add-checkpoint");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (status, text) = fake.answer(std::str::from_utf8(&body).unwrap());
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() = status;
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn a_witness_cosigns_what_only_grows_and_a_log_that_was_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    grow(&store, 4);
    let keys = tempfile::tempdir().unwrap();
    let key = LogKey::load_or_create(&keys.path().join("w"), "witness.example.org/w1").unwrap();
    let fake = Arc::new(Fake {
        key,
        log: store.log_key().public().clone(),
        seen: Mutex::new((0, merkle::empty_root())),
    });
    let address = serve(Arc::clone(&fake)).await;
    let keepers = || {
        let witness = WitnessConfig {
            key: fake.public().to_string(),
            url: format!("http://{address}/w/"),
            ca_file: None,
        };
        Keepers::new(None, vec![witness]).unwrap()
    };
    keepers().round(&store).await;
    assert_eq!(fake.seen.lock().unwrap().0, 4);
    let vouched = store.proof().unwrap().vouched;
    assert_eq!(vouched[0].by, "witness witness.example.org/w1");
    // What it cosigned is in a bundle, and a reader may insist on it.
    let mut bundle = Vec::new();
    store.export(&Selection::default(), &mut bundle).unwrap();
    let mut trusted = Trusted {
        key: Some(store.log_key().public().clone()),
        witnesses: vec![fake.public()],
        ..Trusted::default()
    };
    let report = verify_bundle(bundle.as_slice(), &trusted).unwrap();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(report.report.log.vouched[0].size, 4);
    trusted.witnesses[0].name.push('x');
    let report = verify_bundle(bundle.as_slice(), &trusted).unwrap();
    assert!(!report.report.ok);
    // It was asked from elsewhere in the meantime: the collector goes on from what it has seen.
    grow(&store, 6);
    keepers().round(&store).await;
    store
        .vouch("witness witness.example.org/w1", &parsed_note(&store))
        .unwrap();
    grow(&store, 1);
    *fake.seen.lock().unwrap() = (0, merkle::empty_root());
    keepers().round(&store).await;
    assert_eq!(fake.seen.lock().unwrap().0, 11);
    assert_eq!(findings(&store, FindingCode::Tampered), 0);
    // It has seen more than there is.
    let root = fake.seen.lock().unwrap().1;
    *fake.seen.lock().unwrap() = (40, root);
    grow(&store, 1);
    keepers().round(&store).await;
    keepers().round(&store).await;
    assert_eq!(findings(&store, FindingCode::Tampered), 1);
}

fn parsed_note(store: &Collector) -> Note {
    store.proof().unwrap().checkpoint.parse().unwrap()
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let archive = |to: &str| {
        let config = ArchiveConfig {
            to: to.into(),
            ..ArchiveConfig::default()
        };
        Keepers::new(Some(config), Vec::new())
    };
    for wrong in ["", "gs://bucket", "s3://", "s3://bucket"] {
        assert!(archive(wrong).is_err(), "{wrong}");
    }
    let key = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    let witness = WitnessConfig {
        key: key.into(),
        url: "https://witness.example.org".into(),
        ca_file: None,
    };
    let error = Keepers::new(None, vec![witness]).unwrap_err().to_string();
    assert!(error.contains("one that cosigns"), "{error}");
}
