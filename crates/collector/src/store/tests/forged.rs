//! Bundles that were not made by an honest collector: by somebody who has one on its way, and by somebody who has
//! the log's key.

mod forger;

use weir_audit::proof::{
    Checkpoint, Evidence, Leaf, Note, NoteSignature, RangeLeaf, RetentionLeaf, VerifierKey,
    cosigned_text, merkle,
};
use weir_audit::{Digest, link};

use super::*;
use crate::log::Signed;
use crate::{BundleError, BundleReport, LogKey, OwnKey, Selection, Status, Trusted, verify_bundle};

type Sections = Vec<(u8, Vec<u8>)>;

fn sections(bundle: &[u8]) -> Sections {
    let (mut at, mut out) = (16, Vec::new());
    while at < bundle.len() {
        let length = u32::from_be_bytes(bundle[at + 1..at + 5].try_into().unwrap()) as usize;
        out.push((bundle[at], bundle[at + 5..at + 5 + length].to_vec()));
        at += 5 + length;
    }
    out
}

fn joined(sections: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"weir-evidence/2\n".to_vec();
    for (tag, content) in sections {
        out.push(*tag);
        out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        out.extend_from_slice(content);
    }
    out
}

fn manifest(sections: &Sections) -> serde_json::Value {
    serde_json::from_slice(&sections[0].1).unwrap()
}

/// Signs what `sections` are now, which end with no `e`.
fn signed(mut sections: Sections, log: &LogKey) -> Vec<u8> {
    use sha2::Digest as _;
    let said = manifest(&sections);
    let content = Digest(sha2::Sha256::digest(joined(&sections)).into());
    let (_, checkpoint) = sections.iter().find(|(tag, _)| *tag == b'c').unwrap();
    let checkpoint = String::from_utf8(checkpoint.clone()).unwrap();
    let root = checkpoint.lines().nth(2).unwrap().as_bytes();
    let root = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, root).unwrap();
    let time = |name: &str| said[name].as_str().unwrap_or("-").to_owned();
    let text = format!(
        "weir-bundle/1\n{}\n{} {}\n{} {}\n{} {}\n{} {content}\n",
        said["origin"].as_str().unwrap(),
        said["size"],
        Digest(root.try_into().unwrap()),
        said["first"],
        said["end"],
        time("since"),
        time("until"),
        sections.len(),
    );
    sections.push((b'e', log.sign(&text).to_string().into_bytes()));
    joined(&sections)
}

fn export(store: &Collector, selection: &Selection) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.export(selection, &mut bytes).unwrap();
    bytes
}

fn own() -> OwnKey {
    OwnKey::load_or_create(keys(), &engine()).unwrap()
}

fn trusted(key: &VerifierKey) -> Trusted {
    Trusted {
        key: Some(key.clone()),
        roots: Some(own().roots().to_vec()),
        ..Trusted::default()
    }
}

/// Nothing that was made of it may pass.
fn refused(bundle: &[u8], trusted: &Trusted) -> Vec<String> {
    match verify_bundle(bundle, trusted) {
        Err(error) => vec![error.to_string()],
        Ok(report) => {
            assert!(!report.report.ok, "{:?}", report.bundle);
            report.report.log.problems
        }
    }
}

fn statuses(report: &BundleReport) -> Vec<(Status, u64, u64)> {
    let engines = &report.report.engines;
    let ours = engines.iter().find(|one| one.engine == engine()).unwrap();
    let ranges = ours.ranges.iter();
    ranges
        .map(|range| (range.status, range.first_seq, range.last_seq))
        .collect()
}

/// Frames of one event each, from a number on.
fn frames(from: u64, count: u64, previous: Hash, what: u64) -> Vec<Frame> {
    let mut previous = previous;
    let mut out = Vec::new();
    for seq in from..from + count {
        let mut builder = FrameBuilder::new(1, seq);
        let record = beat(what + seq);
        builder.push(&record);
        let frame = builder.seal(previous).unwrap();
        previous = frame.hash();
        out.push(frame);
    }
    out
}

fn ten_hours() -> (tempfile::TempDir, Collector) {
    const HOUR: u64 = 3_600_000_000;
    let (dir, store) = fresh();
    let records: Vec<Record> = (0..100)
        .map(|n| {
            let at = Timestamp::from_micros(T0 + n / 10 * HOUR + n);
            Record::engine(at, Heartbeat { open_sessions: n })
        })
        .collect();
    for frames in chain(1, genesis(&engine()), 5, &records).chunks(2) {
        send(&store, frames);
    }
    (dir, store)
}

#[test]
fn a_run_that_was_cut_short_is_noticed() {
    let (_dir, store) = ten_hours();
    let trusted = trusted(store.log_key().public());
    let whole = sections(&export(&store, &Selection::default()));
    let note = |sections: &Sections, tag: u8| {
        let (_, text) = sections.iter().find(|(at, _)| *at == tag).unwrap();
        String::from_utf8(text.clone()).unwrap()
    };
    let checkpoint: Note = note(&whole, b'c').parse().unwrap();
    let root = checkpoint.text.parse::<Checkpoint>().unwrap().root;
    // Nothing but what a checkpoint alone says: a run of no entries needs no more than the root.
    let mut said = manifest(&whole);
    said["first"] = 10.into();
    said["end"] = 10.into();
    let nothing = |end: &str| {
        joined(&[
            (b'm', serde_json::to_vec(&said).unwrap()),
            (b'c', checkpoint.to_string().into_bytes()),
            (b'p', root.0.to_vec()),
            (b'e', end.as_bytes().to_vec()),
        ])
    };
    let stranger = tempfile::tempdir().unwrap();
    let other = LogKey::load_or_create(&stranger.path().join("k"), store.log_key().name()).unwrap();
    let by_other = String::from_utf8(
        signed(
            vec![
                (b'm', serde_json::to_vec(&said).unwrap()),
                (b'c', checkpoint.to_string().into_bytes()),
                (b'p', root.0.to_vec()),
            ],
            &other,
        )
        .split_off(nothing("").len()),
    )
    .unwrap();
    let hour = |n: u64| Some(Timestamp::from_micros(T0 + n * 3_600_000_000));
    let part = Selection {
        since: hour(3),
        until: hour(5),
        ..Selection::default()
    };
    let part = export(&store, &part);
    let report = store
        .report_of(hour(0).unwrap(), hour(9).unwrap(), "amy")
        .unwrap();
    // No signature, another key's, and everything else that the log's key signs.
    for end in [
        String::new(),
        by_other,
        note(&whole, b'e'),
        note(&sections(&part), b'e'),
        checkpoint.to_string(),
        report.note,
    ] {
        refused(&nothing(&end), &trusted);
    }
    // A shorter run that is a bundle in itself, said to be of everything, or of another period.
    for (name, value) in [
        ("since", serde_json::Value::Null),
        ("until", serde_json::Value::Null),
        ("until", hour(9).unwrap().to_string().into()),
    ] {
        let mut sections = sections(&part);
        let mut said = manifest(&sections);
        said[name] = value;
        sections[0].1 = serde_json::to_vec(&said).unwrap();
        assert!(!refused(&joined(&sections), &trusted).is_empty());
    }
    assert!(verify_bundle(part.as_slice(), &trusted).unwrap().report.ok);
}

#[test]
fn nothing_can_be_taken_out_of_a_bundle_doubled_moved_or_put_behind_it() {
    let (_dir, store) = ten_hours();
    // A checkpoint that somebody else has is in it as well.
    store
        .vouch(
            "archive",
            &store.proof().unwrap().checkpoint.parse().unwrap(),
        )
        .unwrap();
    let trusted = trusted(store.log_key().public());
    let good = sections(&export(&store, &Selection::default()));
    assert!(good.iter().any(|(tag, _)| *tag == b'k'));
    for at in 0..good.len() {
        let mut less = good.clone();
        less.remove(at);
        refused(&joined(&less), &trusted);
        let mut twice = good.clone();
        twice.insert(at, good[at].clone());
        refused(&joined(&twice), &trusted);
        let mut moved = good.clone();
        if at + 1 < good.len() && moved[at] != moved[at + 1] {
            moved.swap(at, at + 1);
            refused(&joined(&moved), &trusted);
        }
    }
    // A second manifest, or a whole second bundle, behind the end.
    for more in [joined(&good), joined(&good[..1]).split_off(16), vec![0]] {
        let both = [joined(&good), more].concat();
        let problems = refused(&both, &trusted);
        assert!(problems[0].contains("behind its end"), "{problems:?}");
    }
    // A frame without its end, in a block whose length says so.
    let mut cut = good.clone();
    let block = cut.iter_mut().find(|(tag, _)| *tag == b'b').unwrap();
    let (head, data) = block.1.split_at(1 + 2 + 28);
    let frames = zstd::bulk::decompress(data, 1 << 20).unwrap();
    let short = &frames[..frames.len() - 1];
    let mut head = head.to_vec();
    let at = head.len() - 8;
    head[at..].copy_from_slice(&i64::try_from(short.len()).unwrap().to_be_bytes());
    block.1 = [head, zstd::bulk::compress(short, 0).unwrap()].concat();
    refused(&joined(&cut), &trusted);
    // Whoever can sign it again is found by the entry.
    cut.pop();
    let again = signed(cut, store.log_key());
    let report = verify_bundle(again.as_slice(), &trusted).unwrap();
    assert!(report.report.log.problems.is_empty(), "{report:?}");
    assert_eq!(statuses(&report)[0], (Status::Altered, 1, 10));
}

#[test]
fn what_a_bundle_says_of_itself_is_signed() {
    let (_dir, store) = ten_hours();
    let trusted = trusted(store.log_key().public());
    let period = Selection {
        entries: Some((3, 5)),
        ..Selection::default()
    };
    let good = sections(&export(&store, &period));
    let time = serde_json::to_value(Timestamp::from_micros(T0)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = LogKey::load_or_create(&other.path().join("k"), "weir.dev/log/other").unwrap();
    for (name, value) in [
        ("origin", "weir.dev/log/e1".into()),
        ("key", other.public().to_string().into()),
        ("size", 11.into()),
        ("first", 4.into()),
        ("first", 0.into()),
        ("end", 4.into()),
        ("end", 10.into()),
        ("since", time.clone()),
        ("until", time.clone()),
        ("made", time),
    ] {
        let mut changed = good.clone();
        let mut said = manifest(&changed);
        said[name] = value;
        changed[0].1 = serde_json::to_vec(&said).unwrap();
        let problems = refused(&joined(&changed), &trusted);
        assert!(!problems.is_empty(), "{name}");
        // Whoever does not say whom they trust is told that the bundle names its own key, and no more.
        let report = verify_bundle(joined(&changed).as_slice(), &Trusted::default());
        assert!(report.is_ok_and(|report| !report.report.ok), "{name}");
    }
    // A second field of the same name.
    let mut twice = good.clone();
    let text = String::from_utf8(twice[0].1.clone()).unwrap();
    twice[0].1 = text.replacen('{', "{\"first\":4,", 1).into_bytes();
    refused(&joined(&twice), &trusted);
}

/// Whoever exports is shown the key, to be pasted: it must be one.
#[test]
fn a_bundle_that_names_no_key_is_not_taken() {
    let (_dir, store) = ten_hours();
    let bundle = export(&store, &Selection::default());
    assert_eq!(
        crate::read_bundle(bundle.as_slice()).unwrap().key,
        store.log_key().public().to_string()
    );
    for key in ["", "x'; rm -rf ~ #", "weir.dev/\u{1b}[2J+00000000+AAAA"] {
        let mut sections = sections(&bundle);
        let mut said = manifest(&sections);
        said["key"] = key.into();
        sections[0].1 = serde_json::to_vec(&said).unwrap();
        sections.pop();
        let bundle = signed(sections, store.log_key());
        let refused = crate::read_bundle(bundle.as_slice());
        assert!(matches!(refused, Err(BundleError::Form(_))), "{refused:?}");
    }
    // Nor one that arrived with another byte than it was made of.
    let mut changed = bundle;
    let at = changed.len() / 2;
    changed[at] ^= 1;
    assert!(crate::read_bundle(changed.as_slice()).is_err());
}

#[test]
fn a_bundle_of_which_nobody_signed_the_extent_is_refused() {
    let (_dir, store) = ten_hours();
    let mut bundle = export(&store, &Selection::default());
    bundle[..16].copy_from_slice(b"weir-evidence/1\n");
    let refused = verify_bundle(bundle.as_slice(), &Trusted::default());
    assert!(matches!(refused, Err(BundleError::Unsigned)), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("complete"));
}

#[test]
fn several_kept_checkpoints_are_continued_and_what_is_not_shown_is_said() {
    let (_dir, store) = fresh();
    let mut kept = Vec::new();
    let mut previous = genesis(&engine());
    for n in 0..8 {
        let frame = frames(n + 1, 1, previous, 0).remove(0);
        previous = frame.hash();
        send(&store, &[frame]);
        kept.push(store.proof().unwrap().checkpoint.parse::<Note>().unwrap());
    }
    let newest = |old: &[u64]| {
        let selection = Selection {
            entries: Some((7, 8)),
            old: old.to_vec(),
            ..Selection::default()
        };
        export(&store, &selection)
    };
    let with = |checkpoints: &[Note]| Trusted {
        checkpoints: checkpoints.to_vec(),
        ..trusted(store.log_key().public())
    };
    let both = with(&[kept[2].clone(), kept[4].clone()]);
    let report = verify_bundle(newest(&[5, 3, 3]).as_slice(), &both).unwrap();
    assert!(report.report.ok, "{report:?}");
    // One proof only: nothing is wrong, and it does not count as shown.
    let report = verify_bundle(newest(&[5]).as_slice(), &both).unwrap();
    assert!(!report.report.ok && report.report.log.problems.is_empty());
    assert_eq!(report.not_shown.len(), 1);
    assert!(report.not_shown[0].contains("of 3 entries"), "{report:?}");
    // Another log of the same size, signed by the same key, is a contradiction, shown or not.
    let other = Checkpoint {
        origin: store.log_key().name().to_owned(),
        size: 3,
        root: Hash([7; 32]),
    };
    let other = store.log_key().sign(&other.to_string());
    let report = verify_bundle(newest(&[3]).as_slice(), &with(&[other])).unwrap();
    assert!(
        report.report.log.problems[0].contains("not those that were signed"),
        "{report:?}"
    );
}

#[test]
fn a_witness_counts_for_the_log_that_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let hand = LogKey::load_or_create(&dir.path().join("w"), "witness.example").unwrap();
    let witness = VerifierKey {
        cosigns: true,
        ..hand.public().clone()
    };
    let cosigned = |note: &Note| {
        let seconds = 1_700_000_000_u64;
        let text = cosigned_text(seconds, &note.text);
        let mut bytes = seconds.to_be_bytes().to_vec();
        bytes.extend_from_slice(&hand.sign(&text).signatures[0].bytes);
        let mut note = note.clone();
        note.signatures.push(NoteSignature {
            name: witness.name.clone(),
            id: witness.id(),
            bytes,
        });
        note
    };
    let (_dir, store) = ten_hours();
    let trusted = Trusted {
        witnesses: vec![witness.clone()],
        ..trusted(store.log_key().public())
    };
    let judge = || {
        let part = Selection {
            entries: Some((8, 10)),
            ..Selection::default()
        };
        verify_bundle(export(&store, &part).as_slice(), &trusted).unwrap()
    };
    let report = judge();
    assert!(!report.report.ok && report.report.log.problems.is_empty());
    assert!(
        report.not_shown[0].contains("witness.example"),
        "{report:?}"
    );
    // Another log's checkpoint, this log's before it had anything, and one of a fork: the witness saw none of this.
    let at = |size: u64, root: Hash| {
        Checkpoint {
            origin: store.log_key().name().to_owned(),
            size,
            root,
        }
        .to_string()
    };
    let (_other_dir, other) = ten_hours();
    let others: Note = other.proof().unwrap().checkpoint.parse().unwrap();
    let empty = store.log_key().sign(&at(0, merkle::empty_root()));
    for seen in [others, empty] {
        let seen = cosigned(&seen);
        let writer = store.writer();
        writer
            .store
            .execute(
                "INSERT OR REPLACE INTO log_checkpoints VALUES ('w', 0, 0, ?1)",
                [seen.to_string()],
            )
            .unwrap();
        drop(writer);
        let report = judge();
        assert!(
            !report.report.ok && report.report.log.vouched.is_empty(),
            "{report:?}"
        );
    }
    let fork = cosigned(&store.log_key().sign(&at(4, Hash([9; 32]))));
    store
        .writer()
        .store
        .execute(
            "INSERT OR REPLACE INTO log_checkpoints VALUES ('w', 4, 0, ?1)",
            [fork.to_string()],
        )
        .unwrap();
    let report = judge();
    assert!(report.report.log.vouched.is_empty());
    assert!(
        report.report.log.problems[0].contains("not those that were signed"),
        "{report:?}"
    );
    // A beginning of it: an older checkpoint, of which the bundle has the proof.
    let beginning = sections(&export(&store, &Selection::default()));
    let leaves = beginning.iter().filter(|(tag, _)| *tag == b'l');
    let mut tree = merkle::Frontier::default();
    leaves
        .take(4)
        .for_each(|(_, leaf)| tree.push(merkle::leaf_hash(&leaf[8..])));
    let seen = cosigned(&store.log_key().sign(&at(4, tree.root())));
    store
        .writer()
        .store
        .execute(
            "INSERT OR REPLACE INTO log_checkpoints VALUES ('w', 4, 0, ?1)",
            [seen.to_string()],
        )
        .unwrap();
    let report = judge();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(report.report.log.vouched[0].size, 4);
}

#[test]
fn runs_of_one_batch_stay_together_in_a_part() {
    let (_dir, store) = fresh();
    let all = frames(1, 6, genesis(&engine()), 0);
    // The middle is known already when the batch comes: it is three entries, and one signature over its end.
    send(&store, &all[2..4]);
    send(&store, &all);
    assert_eq!(store.proof().unwrap().size, 5, "with two findings about it");
    let trusted = trusted(store.log_key().public());
    for first in 0..5 {
        let part = Selection {
            entries: Some((first, first + 1)),
            ..Selection::default()
        };
        let report = verify_bundle(export(&store, &part).as_slice(), &trusted).unwrap();
        assert!(report.report.ok, "{first}: {report:?}");
    }
}

#[test]
fn a_part_from_the_beginning_ends_where_it_says() {
    let (_dir, store) = fresh();
    let mut previous = genesis(&engine());
    for n in 0..70 {
        let frame = frames(n + 1, 1, previous, 0).remove(0);
        previous = frame.hash();
        send(&store, &[frame]);
    }
    let blocks: u64 = store
        .writer()
        .store
        .query_row("SELECT count(*) FROM blocks", [], |row| row.get(0))
        .unwrap();
    assert!(blocks < 40, "they were merged: {blocks}");
    let part = Selection {
        entries: Some((0, 40)),
        ..Selection::default()
    };
    let report = verify_bundle(
        export(&store, &part).as_slice(),
        &trusted(store.log_key().public()),
    )
    .unwrap();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(statuses(&report), [(Status::Complete, 1, 40)]);
}
