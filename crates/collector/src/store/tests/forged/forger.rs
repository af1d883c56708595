//! Logs that are made by whoever has their key.

use super::*;

/// A whole log made by whoever has its key.
struct Forger {
    log: LogKey,
    leaves: Vec<(Leaf, Option<Signed>)>,
    blocks: Vec<Frame>,
}

impl Forger {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            log: LogKey::load_or_create(&dir.path().join("log.key"), name).unwrap(),
            leaves: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Says that frames of an engine were accepted.
    fn accept(&mut self, frames: &[Frame], evidence: Evidence, signed: Option<Signed>) {
        self.accept_as(frames, frames[0].previous(), evidence, signed);
    }

    fn accept_as(
        &mut self,
        frames: &[Frame],
        previous: Hash,
        evidence: Evidence,
        signed: Option<Signed>,
    ) {
        let (first, last) = (&frames[0], frames.last().unwrap());
        let now: Timestamp = SystemTime::now().into();
        let leaf = Leaf::Range(RangeLeaf {
            engine: engine(),
            epoch: first.epoch(),
            first_seq: first.first_seq(),
            last_seq: last.last_seq(),
            previous,
            hash: last.hash(),
            first_time: Timestamp::from_micros(T0),
            last_time: Timestamp::from_micros(T0),
            received: now,
            evidence,
        });
        self.leaves.push((leaf, signed));
    }

    /// With the engine's own signature over the end of these, or of what `over` ends with.
    fn accept_signed(&mut self, frames: &[Frame], over: &[Frame]) {
        let signed = sign(over);
        self.accept(frames, Evidence::Signed(signed.evidence()), Some(signed));
    }

    fn delete(&mut self, up_to: &Frame) {
        let leaf = Leaf::Retention(RetentionLeaf {
            engine: engine(),
            epoch: up_to.epoch(),
            last_seq: up_to.last_seq(),
            hash: up_to.hash(),
            newest: Timestamp::from_micros(T0),
            at: SystemTime::now().into(),
            reason: "age 3600s".into(),
        });
        self.leaves.push((leaf, None));
    }

    fn sections(&self) -> Sections {
        let size = self.leaves.len();
        let mut tree = merkle::Frontier::default();
        for (leaf, _) in &self.leaves {
            tree.push(merkle::leaf_hash(leaf.to_string().as_bytes()));
        }
        let checkpoint = Checkpoint {
            origin: self.log.name().to_owned(),
            size: size as u64,
            root: tree.root(),
        };
        let said = serde_json::json!({
            "origin": self.log.name(), "key": self.log.public().to_string(),
            "size": size, "first": 0, "end": size, "made": "2026-11-28T00:00:00.000000Z",
        });
        let chain = own();
        let der = chain.roots()[0].as_ref();
        let packed = [&u32::try_from(der.len()).unwrap().to_be_bytes(), der].concat();
        let mut out = vec![
            (b'm', serde_json::to_vec(&said).unwrap()),
            (b'R', der.to_vec()),
            (b'C', packed),
            (
                b'c',
                self.log
                    .sign(&checkpoint.to_string())
                    .to_string()
                    .into_bytes(),
            ),
        ];
        for (number, (leaf, signed)) in self.leaves.iter().enumerate() {
            let text = leaf.to_string();
            out.push((
                b'l',
                [&(number as u64).to_be_bytes(), text.as_bytes()].concat(),
            ));
            if let Some(signed) = signed {
                let head = signed.head();
                let parts: [&[u8]; 6] = [
                    &head.epoch.to_be_bytes(),
                    &head.seq.to_be_bytes(),
                    &head.hash.0,
                    &head.time.as_micros().to_be_bytes(),
                    &0_u32.to_be_bytes(),
                    signed.signature(),
                ];
                out.push((b's', parts.concat()));
            }
        }
        out.push((b'p', Vec::new()));
        for frame in &self.blocks {
            let mut bytes = Vec::new();
            frame.write_to(&mut bytes);
            let parts: [&[u8]; 7] = [
                &[2],
                b"e1",
                &1_i64.to_be_bytes(),
                &frame.epoch().to_be_bytes(),
                &frame.first_seq().to_be_bytes(),
                &i64::try_from(bytes.len()).unwrap().to_be_bytes(),
                &zstd::bulk::compress(&bytes, 0).unwrap(),
            ];
            out.push((b'b', parts.concat()));
        }
        out
    }

    /// What an auditor finds who knows this log's key and Weir's roots.
    fn judged(&self) -> BundleReport {
        let bundle = signed(self.sections(), &self.log);
        verify_bundle(bundle.as_slice(), &trusted(self.log.public())).unwrap()
    }
}

fn sign(frames: &[Frame]) -> Signed {
    let batch = Batch {
        engine: engine(),
        frames: frames.to_vec(),
    };
    own().sign(&batch).unwrap()
}

#[test]
fn an_honest_log_made_by_hand_verifies() {
    let mut log = Forger::new("weir.dev/log/collector_1");
    let all = frames(1, 6, genesis(&engine()), 0);
    // The signature over the end of a batch vouches for what comes before it in the batch.
    log.accept_signed(&all[..2], &all[..6]);
    log.accept_signed(&all[2..6], &all[..6]);
    log.blocks = all;
    let report = log.judged();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(statuses(&report), [(Status::Complete, 1, 6)]);
}

#[test]
fn whoever_has_the_logs_key_cannot_speak_for_a_sidecar_in_the_logs_own_name() {
    let invented = frames(1, 4, genesis(&engine()), 0);
    // As itself, under the name of the sidecar, and as a log that is named like one.
    for (name, said) in [
        ("weir.dev/log/collector_1", "weir.dev/log/collector_1"),
        ("weir.dev/log/collector_1", "a/e1"),
        ("weir.dev/log/collector_1", "e1"),
        ("a/e1", "a/e1"),
        ("e1", "e1"),
    ] {
        let mut log = Forger::new(name);
        log.accept(&invented, Evidence::Own, None);
        log.blocks.clone_from(&invented);
        let mut sections = log.sections();
        let mut manifest = manifest(&sections);
        manifest["origin"] = said.into();
        sections[0].1 = serde_json::to_vec(&manifest).unwrap();
        let bundle = signed(sections, &log.log);
        let own_word = Trusted {
            key: None,
            ..trusted(log.log.public())
        };
        for trusted in [trusted(log.log.public()), own_word] {
            let report = verify_bundle(bundle.as_slice(), &trusted).unwrap();
            assert!(!report.report.ok);
            assert_eq!(
                statuses(&report),
                [(Status::Unsigned, 1, 4)],
                "{name} {said}"
            );
        }
    }
    // Nor as something that was there before there was a log.
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept(&invented, Evidence::Own, None);
    log.blocks.clone_from(&invented);
    let mut sections = log.sections();
    let leaf = &mut sections.iter_mut().find(|(tag, _)| *tag == b'l').unwrap().1;
    let text = String::from_utf8(leaf.split_off(8)).unwrap();
    let text = text.replace("\nown\n", "\nadopted\n");
    leaf.extend_from_slice(text.as_bytes());
    let checkpoint = Checkpoint {
        origin: log.log.name().to_owned(),
        size: 1,
        root: merkle::leaf_hash(text.as_bytes()),
    };
    sections[3].1 = log
        .log
        .sign(&checkpoint.to_string())
        .to_string()
        .into_bytes();
    refused(&signed(sections, &log.log), &trusted(log.log.public()));
}

/// The link before a claim is the log's word until its frames were read.
#[test]
fn a_signature_vouches_for_nothing_across_frames_that_are_gone() {
    let honest = frames(1, 8, genesis(&engine()), 0);
    let invented = frames(1, 4, genesis(&engine()), 1000);
    let forged_link = invented[3].hash();
    // What follows the invented is real and signed, but for the link that it is said to continue, and is said to
    // have been deleted; what was invented came after that.
    let mut log = Forger::new("weir.dev/log/collector_1");
    let signed = sign(&honest[4..]);
    let evidence = Evidence::Signed(signed.evidence());
    log.accept_as(&honest[4..], forged_link, evidence, Some(signed.clone()));
    log.delete(&honest[7]);
    log.accept(&invented, Evidence::None, None);
    log.blocks.clone_from(&invented);
    let report = log.judged();
    assert!(!report.report.ok, "{report:?}");
    assert_eq!(
        statuses(&report),
        [(Status::Unsigned, 1, 4), (Status::Deleted, 5, 8)]
    );
    // The same with the signature put to what was invented.
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept_as(&honest[4..], forged_link, evidence, Some(signed.clone()));
    log.delete(&honest[7]);
    log.accept(&invented, evidence, Some(signed.clone()));
    log.blocks.clone_from(&invented);
    let report = log.judged();
    assert!(!report.report.ok, "{report:?}");
    assert_eq!(statuses(&report)[0], (Status::Unsigned, 1, 4));
    // And without anything deleted: the real frames do not continue what was invented.
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept(&invented, evidence, Some(signed.clone()));
    log.accept_as(&honest[4..], forged_link, evidence, Some(signed));
    log.blocks = [&invented[..], &honest[4..]].concat();
    let report = log.judged();
    assert!(!report.report.ok, "{report:?}");
    assert_eq!(
        statuses(&report),
        [(Status::Unsigned, 1, 4), (Status::Altered, 5, 8)]
    );
}

/// The end that is signed is gone with the rest: nothing binds what is shown as its beginning.
#[test]
fn nothing_is_shown_of_what_retention_deleted() {
    let honest = frames(1, 8, genesis(&engine()), 0);
    let invented = frames(1, 4, genesis(&engine()), 1000);
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept_signed(&honest, &honest);
    log.delete(&honest[7]);
    log.blocks.clone_from(&invented);
    let report = log.judged();
    assert!(!report.report.ok, "{report:?}");
    assert_eq!(statuses(&report)[0].0, Status::Altered);
    // Nor before a cut in the middle, nor at it: the frame behind it must continue it.
    for shown in [&invented[3..4], &[][..]] {
        let mut log = Forger::new("weir.dev/log/collector_1");
        log.accept_signed(&honest, &honest);
        log.delete(&honest[3]);
        let other = frames(5, 1, invented[3].hash(), 1000);
        let others = if shown.is_empty() {
            &other[..]
        } else {
            &honest[4..5]
        };
        log.blocks = [shown, others, &honest[5..]].concat();
        let report = log.judged();
        assert!(!report.report.ok, "{report:?}");
    }
    // As it was meant: the rest is there.
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept_signed(&honest, &honest);
    log.delete(&honest[3]);
    log.blocks = honest[4..].to_vec();
    let report = log.judged();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(
        statuses(&report),
        [(Status::Deleted, 1, 4), (Status::Complete, 5, 8)]
    );
}

#[test]
fn a_deletion_does_not_excuse_what_came_after_it() {
    let all = frames(1, 8, genesis(&engine()), 0);
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept_signed(&all[4..], &all[4..]);
    log.delete(&all[7]);
    // Late, and then gone without a word.
    log.accept_signed(&all[..4], &all[..4]);
    assert_eq!(
        statuses(&log.judged()),
        [(Status::Truncated, 1, 4), (Status::Deleted, 5, 8)]
    );
    // Late and there.
    log.blocks = all[..4].to_vec();
    let report = log.judged();
    assert!(report.report.ok, "{report:?}");
    // Late and deleted in its turn.
    log.blocks.clear();
    log.delete(&all[3]);
    let report = log.judged();
    assert!(report.report.ok, "{report:?}");
    assert_eq!(
        statuses(&report),
        [(Status::Deleted, 1, 4), (Status::Deleted, 5, 8)]
    );
}

#[test]
fn a_frame_is_not_counted_twice_under_a_link_of_the_logs_making() {
    let all = frames(1, 4, genesis(&engine()), 0);
    let again = frames(3, 2, all[3].hash(), 1000);
    let mut log = Forger::new("weir.dev/log/collector_1");
    log.accept_signed(&all, &all);
    log.accept_signed(&again, &again);
    log.blocks = [&all[..], &again[..]].concat();
    assert!(!log.judged().report.ok);
    assert_eq!(link(&all[3].hash(), again[0].payload()), again[0].hash());
}
