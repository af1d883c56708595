//! What a pod may say, and what only the collector or the controller can know.

use weir_audit::ConnectionOpened;

use super::*;

/// The first events of a pod's chain.
fn batch_with(pod: &Pod, records: &[Record]) -> Batch {
    let mut builder = FrameBuilder::new(1, 1);
    records.iter().for_each(|record| builder.push(record));
    Batch {
        engine: pod.engine(),
        frames: vec![builder.seal(genesis(&pod.engine())).unwrap()],
    }
}

fn finding(code: FindingCode, engine: Option<&Pod>) -> Body {
    let finding = Finding {
        code,
        message: "they did it".into(),
        subject: None,
        engine: engine.map(|pod| pod.engine().as_str().into()),
    };
    finding.into()
}

fn cut_off(subject: &str) -> Body {
    let changed = QuarantineChanged {
        name: "stop".into(),
        subject: subject.into(),
        reason: "all is well".into(),
        by: "admin".into(),
        on: false,
    };
    changed.into()
}

const FOUND_BY_THE_COLLECTOR: [FindingCode; 9] = [
    FindingCode::Gap,
    FindingCode::GapClosed,
    FindingCode::EngineSilent,
    FindingCode::NoStream,
    FindingCode::ClockSkew,
    FindingCode::Tampered,
    FindingCode::RepeatedDenials,
    FindingCode::NewShape,
    FindingCode::Other,
];

const FOUND_BY_THE_CONTROLLER: [FindingCode; 4] = [
    FindingCode::SecondKey,
    FindingCode::UnprotectedPod,
    FindingCode::PolicyLoosened,
    FindingCode::ExceptionExpired,
];

/// Words that only the collector or the controller can have said, in the mouth of a pod.
#[tokio::test]
async fn what_a_pod_cannot_know_is_refused_and_trying_is_a_finding() {
    let bed = bed().await;
    let other = Pod::new("billing", 99);
    let read = EvidenceRead {
        reader: "alice".into(),
        path: "/v1/events".into(),
        ..EvidenceRead::default()
    };
    let reset = BudgetsReset {
        operator: "alice".into(),
    };
    let mut forged = vec![
        Body::from(read),
        reset.into(),
        cut_off("spiffe://cluster.local/ns/billing/sa/root"),
        cut_off(&QuarantineChanged::order("of namespace billing")),
        finding(FindingCode::ChainBroken, Some(&other)),
    ];
    forged.extend(FOUND_BY_THE_COLLECTOR.map(|code| finding(code, None)));
    forged.extend(FOUND_BY_THE_CONTROLLER.map(|code| finding(code, None)));
    for (number, body) in (1..).zip(forged) {
        let (pod, kind) = (Pod::new("billing", number), format!("{body:?}"));
        let record = Record::engine(Timestamp::from_micros(1), body);
        let why = refused(send(&bed.sidecar(&pod), batch_with(&pod, &[record])).await);
        assert!(why.contains("403"), "{kind}: {why}");
        let found = findings(&bed).await;
        let said = format!("(pod {})", pod.uid);
        let complaint = found.iter().find(|message| message.contains(&said));
        assert!(complaint.unwrap().contains("not its own"), "{found:?}");
    }
    let stored = events(&bed, "").await;
    let theirs = |event: &&Event| event.id.engine.as_str().starts_with("pod_");
    assert_eq!(stored.iter().filter(theirs).count(), 0, "{stored:?}");
}

/// What a sidecar says of itself, its sessions and its identity, and a controller of the cluster.
#[tokio::test]
async fn what_a_pod_does_know_is_taken() {
    let bed = bed().await;
    let (pod, controller) = (Pod::new("billing", 1), Pod::new(bed::OWN_NAMESPACE, 2));
    let own = [
        FindingCode::TornTail,
        FindingCode::ChainBroken,
        FindingCode::UncleanShutdown,
        FindingCode::UnclosedSession,
        FindingCode::EventsLost,
        FindingCode::SpoolFull,
        FindingCode::HostKeyTrusted,
        FindingCode::HostKeyRefused,
        FindingCode::UngovernedProtocol,
        FindingCode::UnmatchedRelayed,
        FindingCode::HoneyRowRead,
    ];
    let known = own.len() + FOUND_BY_THE_CONTROLLER.len() + FOUND_BY_THE_COLLECTOR.len();
    assert_eq!(known, FindingCode::ALL.len());
    let at = Timestamp::from(std::time::SystemTime::now());
    let mut said = vec![
        Record::engine(at, EngineStarted::default()),
        Record::engine(at, Heartbeat::default()),
        Record::engine(at, PolicyChanged::default()),
        Record::engine(at, cut_off(&pod.spiffe())),
        Record::engine(at, finding(FindingCode::EventsLost, Some(&pod))),
        Record::session(at, pod.session(1), AccessRequestCreated::default()),
        Record::session(
            at,
            pod.session(1),
            AccessRequestDecided {
                name: "ar-1".into(),
                approver: "alice".into(),
                ruling: Ruling::Approve { rows: None },
                approvals: 1,
                needed: 1,
                binding: Binding::Exact,
                minutes: None,
                via: None,
                comment: None,
            },
        ),
        Record::session(at, pod.session(1), LabelledValuesSeen::default()),
    ];
    said.extend(own.map(|code| Record::session(at, pod.session(1), finding(code, None))));
    let count = u64::try_from(said.len()).unwrap();
    let ack = send(&bed.sidecar(&pod), batch_with(&pod, &said)).await;
    assert_eq!(
        ack.unwrap(),
        Ack {
            epoch: 1,
            seq: count
        }
    );
    let found = FOUND_BY_THE_CONTROLLER.iter().chain(&own);
    let mut found: Vec<Record> = found
        .map(|code| Record::engine(at, finding(*code, None)))
        .collect();
    let order = QuarantineChanged::order("of namespace billing");
    found.push(Record::engine(at, cut_off(&order)));
    send(&bed.sidecar(&controller), batch_with(&controller, &found))
        .await
        .unwrap();
    // A controller finds much, and still nothing of what the collector sees.
    for code in FOUND_BY_THE_COLLECTOR {
        let other = Pod::new(bed::OWN_NAMESPACE, 3);
        let record = Record::engine(at, finding(code, None));
        let why = refused(send(&bed.sidecar(&other), batch_with(&other, &[record])).await);
        assert!(why.contains("403"), "{code:?}: {why}");
    }
}

/// Half a megabyte of frames would be gigabytes wherever each event is written out.
#[tokio::test]
async fn what_is_shared_and_longer_than_engines_write_it_is_refused_and_is_a_finding() {
    let bed = bed().await;
    let pod = Pod::new("billing", 1);
    let session = Arc::new(Session {
        application: Some("a".repeat(400 << 10).into()),
        ..(*pod.session(1)).clone()
    });
    let at = Timestamp::from(std::time::SystemTime::now());
    let many = |record: Record| vec![record; 20_000];
    let names: Vec<Arc<str>> = (0..40_000).map(|n| format!("t{n}").into()).collect();
    let refusal = ConnectionRefused {
        reason: "no".into(),
        rules: names.into(),
    };
    for swollen in [
        many(Record::session(at, session, Heartbeat::default())),
        many(Record::engine(at, refusal)),
    ] {
        let why = refused(send(&bed.sidecar(&pod), batch_with(&pod, &swollen)).await);
        assert!(why.contains("413") && why.contains("longer"), "{why}");
        // What the engine itself makes of it before it is sealed.
        let mut cut: Vec<Record> = swollen.into_iter().take(3).collect();
        cut.iter_mut().for_each(Record::bound);
        let other = Pod::new("billing", 2 + u32::from(cut[0].session.is_some()));
        let cut = cut.into_iter().map(|record| Record {
            session: record.session.map(|session| {
                let identity = Arc::new(other.identity());
                Arc::new(Session {
                    identity,
                    ..(*session).clone()
                })
            }),
            ..record
        });
        let cut: Vec<Record> = cut.collect();
        send(&bed.sidecar(&other), batch_with(&other, &cut))
            .await
            .unwrap();
    }
    let found = findings(&bed).await;
    assert_eq!(found.len(), 1, "one complaint, not two: {found:?}");
    assert!(found[0].contains("no engine writes") && found[0].contains(&pod.uid));
}

/// A frame says little of each session, and the store keeps a line of each.
#[tokio::test]
async fn more_sessions_than_engines_write_at_once_are_refused_and_lines_of_sessions_count_against_the_quota()
 {
    let bed = bed_with(Quota {
        bytes: 1 << 20,
        events: 1 << 30,
    })
    .await;
    let pod = Pod::new("billing", 1);
    let at = Timestamp::from(std::time::SystemTime::now());
    let open = |number| Record::session(at, pod.session(number), ConnectionOpened::default());
    let most: Vec<Record> = (1..=16_385).map(open).collect();
    let why = refused(send(&bed.sidecar(&pod), batch_with(&pod, &most)).await);
    assert!(why.contains("413") && why.contains("sessions"), "{why}");
    let found = findings(&bed).await;
    assert!(found[0].contains("no engine writes"), "{found:?}");
    // What a sidecar sends at once is taken, and its lines are paid for before the next.
    let other = Pod::new("billing", 2);
    let open = |number| Record::session(at, other.session(number), ConnectionOpened::default());
    let records: Vec<Record> = (20_001..23_001).map(open).collect();
    let batch = batch_with(&other, &records);
    let bytes: usize = batch.frames.iter().map(|frame| frame.stored_len()).sum();
    assert!(bytes < 512 << 10, "{bytes}");
    let sidecar = bed.sidecar(&other);
    send(&sidecar, batch.clone()).await.unwrap();
    let why = refused(send(&sidecar, batch).await);
    assert!(why.contains("429") && why.contains("quota"), "{why}");
}

/// Without it, one connection in the time without a certificate would keep all later evidence in the spool.
#[tokio::test]
async fn that_a_connection_was_refused_for_want_of_an_identity_is_taken_and_nothing_else_without_one()
 {
    let bed = bed().await;
    let (pod, other) = (Pod::new("billing", 1), Pod::new("billing", 2));
    let nobody = Arc::new(Session {
        client: Some("10.0.0.7:4711".into()),
        ..Session::default()
    });
    let at = Timestamp::from(std::time::SystemTime::now());
    let refusal = ConnectionRefused {
        reason: "identity: the certificate has expired".into(),
        ..ConnectionRefused::default()
    };
    let records = [Record::session(at, Arc::clone(&nobody), refusal)];
    send(&bed.sidecar(&pod), batch_with(&pod, &records))
        .await
        .unwrap();
    assert_eq!(events(&bed, "kind=connection_refused").await.len(), 1);
    let records = [Record::session(at, nobody, StatementFinished::default())];
    let why = refused(send(&bed.sidecar(&other), batch_with(&other, &records)).await);
    assert!(why.contains("403"), "{why}");
}
