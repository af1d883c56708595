//! Files and channels are found and replayed; what an older version sealed is, too.

use weir_audit::{ChannelRecorder, Digest, FileTransferred, FrameReader, Stream};

use super::*;

fn file(n: u64, session: &Arc<Session>, path: &str, sha256: Option<Digest>) -> Record {
    let file = FileTransferred {
        statement: n,
        path: path.into(),
        bytes: n,
        sha256,
        complete: true,
        ..FileTransferred::default()
    };
    Record::session(Timestamp::from_micros(T0 + n), Arc::clone(session), file)
}

fn paths(store: &Collector, filter: &Filter) -> Vec<String> {
    let events = store.query(filter).unwrap().events;
    let path = |event: &Event| match &event.body {
        Body::FileTransferred(file) => file.path.to_string(),
        other => other.kind().to_owned(),
    };
    events.iter().map(path).collect()
}

#[test]
fn files_are_found_by_digest_path_and_kind() {
    let (_dir, store) = fresh();
    let session = session(7, "deployer");
    let digest = |byte| Some(Digest([byte; 32]));
    let mut records = vec![
        file(1, &session, "/srv/dump.sql", digest(b'A')),
        file(2, &session, "/srv/Dump.SQL.gz", digest(b'a')),
        file(3, &session, "/etc/passwd", None),
        statement(4, &session, "cat /srv/dump.sql", Decision::Permit),
    ];
    records.extend((5..40).map(beat));
    send(&store, &chain(1, genesis(&engine()), 4, &records));
    let filter = |sha256, text: Option<&str>, kind: Option<&str>| Filter {
        sha256,
        text: text.map(str::to_owned),
        kind: kind.map(str::to_owned),
        ..Filter::default()
    };
    let by_digest = filter(digest(b'A'), None, None);
    assert_eq!(paths(&store, &by_digest), ["/srv/dump.sql"]);
    assert_eq!(paths(&store, &filter(digest(b'z'), None, None)), [""; 0]);
    let mixed = filter(digest(b'A'), None, Some("statement_finished"));
    assert_eq!(paths(&store, &mixed), [""; 0]);
    let files = Some("file_transferred");
    assert_eq!(
        paths(&store, &filter(None, Some("dump.sql"), files)),
        ["/srv/Dump.SQL.gz", "/srv/dump.sql"]
    );
    assert_eq!(paths(&store, &filter(None, None, files)).len(), 3);
}

#[test]
fn a_terminal_is_replayed_as_it_was_recorded() {
    let (_dir, store) = fresh();
    let session = session(9, "deployer");
    let mut channel = ChannelRecorder::new(1, 1 << 20, true);
    channel.resize(0, 80, 24);
    channel.output(5, b"$ \xff\x1b[1m");
    let chunks = channel.finish();
    let records: Vec<Record> = chunks
        .iter()
        .map(|chunk| {
            let at = Timestamp::from_micros(T0);
            Record::session(at, Arc::clone(&session), chunk.clone())
        })
        .collect();
    send(&store, &chain(1, genesis(&engine()), 1, &records));
    let mut replayed = Vec::new();
    let take = &mut |event: Event| {
        if let Body::RecordingChunk(chunk) = event.body {
            replayed.push(chunk);
        }
        true
    };
    store.replay(SessionId::new(9), None, take).unwrap();
    assert_eq!(replayed, chunks);
    assert!(replayed.iter().any(|c| c.stream == Stream::TerminalOutput));
}

#[test]
fn events_that_version_2_sealed_are_taken_and_found() {
    let (_dir, store) = fresh();
    let stored = include_bytes!("../../../../audit/src/frame/testdata/version-2.bin");
    let mut reader = FrameReader::new(stored, genesis(&engine()));
    let frame = reader.next_frame().unwrap().unwrap();
    let ack = send(&store, &[frame]);
    assert_eq!((ack.epoch, ack.seq), (3, 16));
    let found = store.query(&Filter::default()).unwrap().events;
    assert!(
        found
            .iter()
            .filter(|event| event.id.engine == engine())
            .count()
            == 16
    );
    assert!(store.verify().unwrap().ok);
}
