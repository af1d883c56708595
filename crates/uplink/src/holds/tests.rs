use weir_audit::Identity;

use super::*;
use crate::spool::{Spool, SpoolConfig};

struct Fixture {
    holds: Holds,
    _spool: Spool,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(SpoolConfig::new(dir.path())).unwrap();
    Fixture {
        holds: Holds::new(spool.handle()),
        _spool: spool,
        _dir: dir,
    }
}

fn hold(approvals: u32, groups: &[&str]) -> NewHold {
    let identity = Identity {
        owner: Some("olga".into()),
        email: Some("Rep@corp.example".into()),
        ..Identity::named("reporter")
    };
    NewHold {
        session: Arc::new(Session {
            id: SessionId::new(4),
            identity: Arc::new(identity),
            user: Some("root".into()),
            ..Session::default()
        }),
        request: AccessRequestCreated {
            statement: "select * from customers".into(),
            approvals,
            groups: groups.iter().copied().collect(),
            ..AccessRequestCreated::default()
        },
        patience: Duration::from_secs(900),
    }
}

fn approve(rows: Option<u64>) -> Ruling {
    Ruling::Approve { rows }
}

#[tokio::test]
async fn an_approval_releases_for_the_rows_it_names() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    let name = ticket.name().to_string();
    assert!(name.starts_with("weir-") && name.len() == 11, "{name}");
    assert_eq!(f.holds.list().len(), 1);
    f.holds
        .decide(&name, "root", None, approve(Some(500)))
        .await
        .unwrap();
    assert_eq!(ticket.answer().await, Answer::Approved { rows: Some(500) });
    assert!(f.holds.list().is_empty());
    let again = f.holds.decide(&name, "anna", None, approve(None)).await;
    assert_eq!(again.unwrap_err(), DecideError::Unknown(name));
}

#[tokio::test]
async fn one_denial_denies_with_its_reason() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(2, &[])).await.unwrap();
    let name = ticket.name().to_string();
    f.holds
        .decide(&name, "anna", None, approve(None))
        .await
        .unwrap();
    f.holds
        .decide(
            &name,
            "root",
            None,
            Ruling::Deny {
                reason: "no".into(),
            },
        )
        .await
        .unwrap();
    let denied = Answer::Denied {
        approver: "root".into(),
        reason: "no".into(),
    };
    assert_eq!(ticket.answer().await, denied);
}

#[tokio::test]
async fn the_requester_and_its_owner_cannot_decide() {
    let f = fixture();
    let ticket = f.holds.create(hold(1, &[])).await.unwrap();
    for own in ["reporter", "Reporter", "olga", "rep@corp.example"] {
        for ruling in [approve(None), Ruling::Deny { reason: "x".into() }] {
            let refused = f
                .holds
                .decide(ticket.name(), own, None, ruling)
                .await
                .unwrap_err();
            assert_eq!(refused, DecideError::Requester(own.to_owned()));
        }
    }
    // The database user is an attribute: it says nothing about the approver.
    f.holds
        .decide(ticket.name(), "root", None, approve(None))
        .await
        .unwrap();
}

#[tokio::test]
async fn several_approvals_come_from_different_people_and_the_smallest_limit_counts() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(3, &[])).await.unwrap();
    let name = ticket.name().to_string();
    f.holds
        .decide(&name, "anna", None, approve(Some(100)))
        .await
        .unwrap();
    let again = f
        .holds
        .decide(&name, "ANNA", None, approve(None))
        .await
        .unwrap_err();
    assert_eq!(again, DecideError::Again("ANNA".into()));
    let view = f
        .holds
        .decide(&name, "ben", None, approve(None))
        .await
        .unwrap();
    assert_eq!(view.approvers.len(), 2);
    f.holds
        .decide(&name, "cleo", None, approve(Some(50)))
        .await
        .unwrap();
    assert_eq!(ticket.answer().await, Answer::Approved { rows: Some(50) });
}

#[tokio::test]
async fn only_members_of_the_rules_groups_decide_where_groups_are_known() {
    let f = fixture();
    let ticket = f.holds.create(hold(1, &["stewards"])).await.unwrap();
    let outside: Names = ["dev"].into_iter().collect();
    let inside: Names = ["dev", "stewards"].into_iter().collect();
    let refused = f
        .holds
        .decide(ticket.name(), "a", Some(&outside), approve(None))
        .await;
    assert_eq!(refused.unwrap_err(), DecideError::Group("a".into()));
    f.holds
        .decide(ticket.name(), "a", Some(&inside), approve(None))
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_deciding_until_the_deadline_is_a_no() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    let name = ticket.name().to_string();
    tokio::time::pause();
    let before = Instant::now();
    assert_eq!(ticket.answer().await, Answer::Expired);
    let waited = before.elapsed();
    assert!(
        waited > Duration::from_secs(890) && waited < Duration::from_secs(910),
        "{waited:?}"
    );
    drop(ticket);
    tokio::time::resume();
    assert!(
        f.holds
            .decide(&name, "root", None, approve(None))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let f = fixture();
    let ticket = f.holds.create(hold(1, &[])).await.unwrap();
    drop(ticket);
    assert!(f.holds.list().is_empty());
}

#[tokio::test]
async fn every_step_is_evidence_before_it_counts() {
    let f = fixture();
    let before = f._spool.handle().status().last_seq;
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    f.holds
        .decide(ticket.name(), "root", None, approve(None))
        .await
        .unwrap();
    assert_eq!(f._spool.handle().status().durable_seq, before + 2);
    ticket.answer().await;
    drop(ticket);
    assert_eq!(f._spool.handle().status().last_seq, before + 3);
}

#[tokio::test]
async fn two_decisions_at_once_count_once() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    let name = ticket.name().to_string();
    let (a, b) = tokio::join!(
        f.holds.decide(&name, "anna", None, approve(Some(1))),
        f.holds.decide(
            &name,
            "ben",
            None,
            Ruling::Deny {
                reason: "no".into()
            }
        ),
    );
    assert!(a.is_ok() ^ b.is_ok(), "{a:?} {b:?}");
    let approved = matches!(ticket.answer().await, Answer::Approved { .. });
    assert_eq!(approved, a.is_ok());
}

fn ruling(name: &str, ending: Ending, approvers: &[&str]) -> RequestRuling {
    RequestRuling {
        name: name.to_owned(),
        ending,
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_hold_waits_under_the_controllers_name_and_each_approver_is_evidence() {
    let f = fixture();
    let mut asked = hold(2, &["stewards"]);
    asked.request.name = "weir-q7x2m".into();
    let mut ticket = f.holds.create(asked).await.unwrap();
    assert_eq!(&**ticket.name(), "weir-q7x2m");
    assert!(f.holds.waits("weir-q7x2m"));
    let before = f._spool.handle().status().last_seq;
    let approved = Ending::Approved { rows: Some(9) };
    let approved = ruling("weir-q7x2m", approved, &["anna", "ben"]);
    f.holds.conclude(&approved).await.unwrap();
    assert_eq!(ticket.answer().await, Answer::Approved { rows: Some(9) });
    drop(ticket);
    assert_eq!(f._spool.handle().status().last_seq, before + 3);
    let again = f.holds.conclude(&approved).await.unwrap_err();
    assert_eq!(again, DecideError::Unknown("weir-q7x2m".to_owned()));
}

#[tokio::test]
async fn the_controllers_denial_and_expiry_end_a_hold() {
    let f = fixture();
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    let reason = "not today".to_owned();
    let denied = ruling(ticket.name(), Ending::Denied { reason }, &["anna"]);
    f.holds.conclude(&denied).await.unwrap();
    let answer = Answer::Denied {
        approver: "anna".into(),
        reason: "not today".into(),
    };
    assert_eq!(ticket.answer().await, answer);
    let mut ticket = f.holds.create(hold(1, &[])).await.unwrap();
    let expired = ruling(ticket.name(), Ending::Expired, &[]);
    f.holds.conclude(&expired).await.unwrap();
    assert_eq!(ticket.answer().await, Answer::Expired);
}
