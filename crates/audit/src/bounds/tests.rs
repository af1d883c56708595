use super::*;
use crate::event::{Body, Record};
use crate::recording::RecordingChunk;
use crate::statement::{Statement, StatementFinished};
use crate::text::Timestamp;
use crate::{ConnectionRefused, SessionId};

fn names(count: usize, length: usize) -> Names {
    let padding = "0".repeat(length);
    let name = |n: usize| {
        let digits = n.to_string();
        let padding = padding.get(digits.len()..).unwrap_or_default();
        format!("{padding}{digits}")
    };
    (0..count).map(name).collect()
}

fn session(change: impl FnOnce(&mut Session)) -> Arc<Session> {
    let mut session = Session {
        id: SessionId::new(7),
        identity: Arc::new(Identity {
            namespace: Some("billing".into()),
            uid: Some("u".repeat(36).into()),
            ..Identity::named("spiffe://cluster.local/ns/billing/sa/reporter")
        }),
        ..Session::default()
    };
    change(&mut session);
    Arc::new(session)
}

fn bounded(session: Arc<Session>, body: impl Into<Body>) -> Record {
    let mut bounded = Record::session(Timestamp::default(), session, body);
    bounded.bound();
    assert!(bounded.session.is_bounded() && bounded.body.is_bounded());
    bounded
}

#[test]
fn what_real_sessions_and_statements_say_is_left_as_it_is_and_stays_shared() {
    // Each of these is as long as PostgreSQL takes it in a startup packet, all three together.
    let session = session(|session| {
        session.database = Some("d".repeat(63).into());
        session.user = Some("u".repeat(63).into());
        session.application = Some("a".repeat(9_800).into());
        let mut identity = (*session.identity).clone();
        identity.images = names(50, 120);
        session.identity = Arc::new(identity).for_sessions();
    });
    let tables = names(5_000, 80);
    let statement = Statement {
        text: Some("s".repeat(10 << 20).into()),
        tables: tables.clone(),
        ..Statement::default()
    };
    let finished = StatementFinished {
        statement,
        columns: names(1_664, 63),
        ..StatementFinished::default()
    };
    let record = bounded(Arc::clone(&session), finished.clone());
    assert_eq!(record.body, finished.into());
    assert!(Arc::ptr_eq(record.session.as_ref().unwrap(), &session));
    let Body::StatementFinished(kept) = &record.body else {
        panic!("{:?}", record.body.kind());
    };
    let (kept, was) = (kept.statement.tables.as_slice(), tables.as_slice());
    assert!(std::ptr::eq(kept, was));
    assert_eq!(session.identity.images.len(), 50);
}

#[test]
fn a_list_that_is_too_long_has_its_first_names_and_how_many_are_not_there() {
    for (count, length) in [(40_000, 30), (600_000, 1), (3, MAX_NAMES)] {
        let refused = ConnectionRefused {
            reason: "no".into(),
            rules: names(count, length),
        };
        let Body::ConnectionRefused(kept) = bounded(session(|_| ()), refused.clone()).body else {
            panic!("another kind");
        };
        let kept = kept.rules.as_slice();
        let (last, first) = kept.split_last().unwrap();
        assert_eq!(first, &refused.rules.as_slice()[..first.len()]);
        assert_eq!(**last, format!("… and {} more", count - first.len()));
    }
}

#[test]
fn a_session_that_is_too_long_is_cut_but_for_whose_it_is() {
    let long = session(|session| {
        session.application = Some("é".repeat(200 << 10).into());
        let mut identity = (*session.identity).clone();
        identity.groups = names(10_000, 40);
        identity.owner = Some("o".repeat(9 << 10).into());
        session.identity = Arc::new(identity);
    });
    let cut = bounded(Arc::clone(&long), ConnectionRefused::default())
        .session
        .unwrap();
    let application = cut.application.as_deref().unwrap();
    assert!(application.starts_with("éé") && application.ends_with('…'));
    assert!(application.len() < 2 * TEXT);
    let (was, is) = (&long.identity, &cut.identity);
    assert_eq!(
        (&was.name, &was.namespace, &was.uid),
        (&is.name, &is.namespace, &is.uid)
    );
    assert!(is.groups.iter().last().unwrap().ends_with(" more"));
    assert_eq!((long.id, 10_000), (cut.id, long.identity.groups.len()));
    // Once for all its sessions, where the identity alone is too long.
    let identity = Arc::clone(&long.identity).for_sessions();
    assert!(identity.groups.len() < 10_000 && identity.owner.as_deref().unwrap().ends_with('…'));
    assert!(Arc::ptr_eq(
        &identity,
        &Arc::clone(&identity).for_sessions()
    ));
}

#[test]
fn columns_keep_their_number() {
    let columns: Arc<[Column]> = (0..MAX_COLUMNS)
        .map(|n| Column {
            name: format!("{n:0100}").into(),
            type_id: 25,
            binary: false,
            masked: n % 2 == 0,
        })
        .collect();
    let chunk = RecordingChunk {
        columns: Some(Arc::clone(&columns)),
        ..RecordingChunk::default()
    };
    let Body::RecordingChunk(cut) = bounded(session(|_| ()), chunk).body else {
        panic!("another kind");
    };
    let cut = cut.columns.unwrap();
    assert_eq!(cut.len(), columns.len());
    assert!(
        cut.iter()
            .zip(&*columns)
            .all(|(cut, was)| { cut.masked == was.masked && was.name.starts_with(&*cut.name) })
    );
}

#[test]
fn what_events_share_counts_for_each_of_them() {
    let session = session(|session| session.application = Some("a".repeat(20_000).into()));
    for record in crate::frame::tests::every_kind() {
        let mut event = crate::Event {
            schema: crate::SCHEMA,
            id: "e1-1-1".parse().unwrap(),
            time: Timestamp::default(),
            session: None,
            body: record.body,
        };
        let alone = event.weight();
        let written = serde_json::to_string(&event.body).unwrap().len();
        assert!(
            alone * 4 > written,
            "{} {alone} {written}",
            event.body.kind()
        );
        event.session = Some(Arc::clone(&session));
        assert!(event.weight() > alone + 20_000);
    }
}
