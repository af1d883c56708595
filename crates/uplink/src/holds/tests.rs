use weir_api::kinds::RequestDecision;
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
        holds: Holds::new(
            spool.handle(),
            Grants::open(&dir.path().join("approvals")).unwrap(),
        ),
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
        shape: None,
        apart: "".into(),
        patience: Duration::from_secs(900),
    }
}

fn approve(rows: Option<u64>) -> Ruling {
    Ruling::Approve { rows }
}

impl Fixture {
    /// Raises a hold that has to wait.
    async fn raise(&self, hold: NewHold) -> HoldTicket {
        match self.holds.create(hold).await.unwrap() {
            Opened::Waits(ticket) => ticket,
            _ => panic!("it does not wait"),
        }
    }

    async fn decide(
        &self,
        name: &str,
        who: &str,
        groups: Option<&Names>,
        ruling: Ruling,
    ) -> Result<HoldView, DecideError> {
        let by = Approving {
            name: who,
            groups,
            via: Via::Socket,
        };
        self.holds.decide(name, None, by, &ruling.into()).await
    }
}

#[tokio::test]
async fn an_approval_releases_for_the_rows_it_names() {
    let f = fixture();
    let mut ticket = f.raise(hold(1, &[])).await;
    let name = ticket.name().to_string();
    assert!(name.starts_with("weir-") && name.len() == 11, "{name}");
    assert_eq!(f.holds.list().len(), 1);
    f.decide(&name, "root", None, approve(Some(500)))
        .await
        .unwrap();
    assert_eq!(ticket.answer().await, Answer::Approved { rows: Some(500) });
    assert!(f.holds.list().is_empty());
    let again = f.decide(&name, "anna", None, approve(None)).await;
    assert!(matches!(
        again.unwrap_err(),
        DecideError::Over {
            phase: "approved",
            ..
        }
    ));
}

#[tokio::test]
async fn one_denial_denies_with_its_reason() {
    let f = fixture();
    let mut ticket = f.raise(hold(2, &[])).await;
    let name = ticket.name().to_string();
    f.decide(&name, "anna", None, approve(None)).await.unwrap();
    f.decide(
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
    let ticket = f.raise(hold(1, &[])).await;
    for own in ["reporter", "Reporter", "olga", "rep@corp.example"] {
        for ruling in [approve(None), Ruling::Deny { reason: "x".into() }] {
            let refused = f
                .decide(ticket.name(), own, None, ruling)
                .await
                .unwrap_err();
            assert!(matches!(refused, DecideError::Requester(name) if name == own));
        }
    }
    // The database user is an attribute: it says nothing about the approver.
    f.decide(ticket.name(), "root", None, approve(None))
        .await
        .unwrap();
}

#[tokio::test]
async fn several_approvals_come_from_different_people_and_the_smallest_limit_counts() {
    let f = fixture();
    let mut ticket = f.raise(hold(3, &[])).await;
    let name = ticket.name().to_string();
    f.decide(&name, "anna", None, approve(Some(100)))
        .await
        .unwrap();
    let again = f
        .decide(&name, "ANNA", None, approve(None))
        .await
        .unwrap_err();
    assert!(matches!(again, DecideError::Again(name) if name == "ANNA"));
    let view = f.decide(&name, "ben", None, approve(None)).await.unwrap();
    assert_eq!(view.approvers().count(), 2);
    f.decide(&name, "cleo", None, approve(Some(50)))
        .await
        .unwrap();
    assert_eq!(ticket.answer().await, Answer::Approved { rows: Some(50) });
}

#[tokio::test]
async fn only_members_of_the_rules_groups_decide_where_groups_are_known() {
    let f = fixture();
    let ticket = f.raise(hold(1, &["stewards"])).await;
    let outside: Names = ["dev"].into_iter().collect();
    let inside: Names = ["dev", "stewards"].into_iter().collect();
    let refused = f
        .decide(ticket.name(), "a", Some(&outside), approve(None))
        .await;
    assert!(matches!(refused, Err(DecideError::Group(name)) if name == "a"));
    f.decide(ticket.name(), "a", Some(&inside), approve(None))
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_deciding_until_the_deadline_is_a_no() {
    let f = fixture();
    let mut ticket = f.raise(hold(1, &[])).await;
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
    assert!(f.decide(&name, "root", None, approve(None)).await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let f = fixture();
    let ticket = f.raise(hold(1, &[])).await;
    drop(ticket);
    assert!(f.holds.list().is_empty());
}

#[tokio::test]
async fn every_step_is_evidence_before_it_counts() {
    let f = fixture();
    let before = f._spool.handle().status().last_seq;
    let mut ticket = f.raise(hold(1, &[])).await;
    f.decide(ticket.name(), "root", None, approve(None))
        .await
        .unwrap();
    assert_eq!(f._spool.handle().status().durable_seq, before + 2);
    ticket.answer().await;
    drop(ticket);
    assert_eq!(f._spool.handle().status().last_seq, before + 3);
}

#[tokio::test]
async fn two_decisions_at_once_count_once_and_one_is_evidence() {
    let f = fixture();
    let before = f._spool.handle().status().last_seq;
    let mut ticket = f.raise(hold(1, &[])).await;
    let name = ticket.name().to_string();
    let (a, b) = tokio::join!(
        f.decide(&name, "anna", None, approve(Some(1))),
        f.decide(
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
    // That it was raised, decided, and is over.
    assert_eq!(f._spool.handle().status().last_seq, before + 3);
}

fn ruling(name: &str, ending: Ending, approvers: &[&str]) -> RequestRuling {
    let (yes, reason) = match &ending {
        Ending::Denied { reason } => (RequestDecision::Deny, Some(reason.clone())),
        _ => (RequestDecision::Approve, None),
    };
    let said = |name: &&str| ApproverDecision {
        approver: (*name).to_owned(),
        decision: yes,
        at: "2026-11-28T00:00:00Z".to_owned(),
        reason: reason.clone(),
        rows: None,
        binding: None,
        minutes: None,
        via: None,
    };
    RequestRuling {
        name: name.to_owned(),
        ending,
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
        decisions: approvers.iter().map(said).collect(),
    }
}

#[tokio::test]
async fn a_hold_waits_under_the_controllers_name_and_each_approver_is_evidence() {
    let f = fixture();
    let opened = f.holds.open(hold(2, &["stewards"])).await.unwrap();
    let Opened::Leads(leading) = opened else {
        panic!("nobody asked before");
    };
    let mut ticket = leading.raise("weir-q7x2m".into()).await.unwrap();
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
    assert!(matches!(again, DecideError::Over { .. }));
}

#[tokio::test]
async fn the_controllers_denial_and_expiry_end_a_hold() {
    let f = fixture();
    let mut ticket = f.raise(hold(1, &[])).await;
    let reason = "not today".to_owned();
    let denied = ruling(ticket.name(), Ending::Denied { reason }, &["anna"]);
    f.holds.conclude(&denied).await.unwrap();
    let answer = Answer::Denied {
        approver: "anna".into(),
        reason: "not today".into(),
    };
    assert_eq!(ticket.answer().await, answer);
    let mut ticket = f.raise(hold(1, &[])).await;
    let expired = ruling(ticket.name(), Ending::Expired, &[]);
    f.holds.conclude(&expired).await.unwrap();
    assert_eq!(ticket.answer().await, Answer::Expired);
}

/// A statement with a shape, which people may approve for half an hour.
fn shaped(id: u32) -> NewHold {
    let mut hold = hold(1, &[]);
    hold.request.statement = format!("select * from customers where id = {id}").into();
    hold.request.binding = Binding::Shape;
    hold.request.max_minutes = Some(30);
    hold.request.rules = ["reporting/bulk"].into_iter().collect();
    hold.shape = Some("select * from customers where id = ?".into());
    hold
}

fn of_shape(minutes: Option<u32>) -> Decision {
    Decision {
        binding: Binding::Shape,
        minutes,
        ..Decision::from(approve(None))
    }
}

const JANE: Approving<'_> = Approving {
    name: "jane",
    groups: None,
    via: Via::Socket,
};

#[tokio::test]
async fn what_asks_for_the_same_waits_for_one_request_with_a_count() {
    let f = fixture();
    let mut first = f.raise(shaped(1)).await;
    let mut same = f.raise(shaped(1)).await;
    let mut other = f.raise(shaped(2)).await;
    assert_eq!(same.name(), first.name());
    assert_eq!(other.name(), first.name());
    let waiting = f.holds.list();
    assert_eq!((waiting.len(), waiting[0].repeats), (1, 2));
    f.decide(first.name(), "jane", None, approve(None))
        .await
        .unwrap();
    assert_eq!(first.answer().await, Answer::Approved { rows: None });
    assert_eq!(same.answer().await, Answer::Other);
    // It was approved for one statement: neither for the same once more nor for customer 2.
    assert_eq!(other.answer().await, Answer::Other);
}

#[tokio::test]
async fn whoever_left_hands_the_approval_to_one_that_equals_it() {
    let f = fixture();
    let shown = f.raise(shaped(1)).await;
    let mut other = f.raise(shaped(2)).await;
    let mut equal = f.raise(shaped(1)).await;
    let mut late = f.raise(shaped(1)).await;
    let name = shown.name().clone();
    drop(shown);
    f.decide(&name, "jane", None, approve(None)).await.unwrap();
    assert_eq!(other.answer().await, Answer::Other);
    assert_eq!(equal.answer().await, Answer::Approved { rows: None });
    assert_eq!(late.answer().await, Answer::Other);
}

#[tokio::test]
async fn whoever_is_shown_is_served_though_others_waited_before() {
    let f = fixture();
    let Opened::Leads(leading) = f.holds.open(shaped(1)).await.unwrap() else {
        panic!("nobody asked before");
    };
    let holds = f.holds.clone();
    let joining = tokio::spawn(async move { holds.open(shaped(1)).await });
    tokio::task::yield_now().await;
    let mut shown = leading.raise("weir-q7x2m".into()).await.unwrap();
    let Opened::Waits(mut joined) = joining.await.unwrap().unwrap() else {
        panic!("it does not wait");
    };
    f.decide("weir-q7x2m", "jane", None, approve(None))
        .await
        .unwrap();
    assert_eq!(shown.answer().await, Answer::Approved { rows: None });
    assert_eq!(joined.answer().await, Answer::Other);
}

#[tokio::test]
async fn a_denial_is_for_everybody_who_waits_for_it() {
    let f = fixture();
    let mut tickets = Vec::new();
    for id in 0..3 {
        tickets.push(f.raise(shaped(id)).await);
    }
    let name = tickets[0].name().to_string();
    let no = Ruling::Deny {
        reason: "no".into(),
    };
    f.decide(&name, "jane", None, no).await.unwrap();
    for ticket in &mut tickets {
        assert!(matches!(ticket.answer().await, Answer::Denied { .. }));
    }
}

#[tokio::test]
async fn other_identities_logins_targets_rules_and_approvers_are_no_repetition() {
    let f = fixture();
    let _first = f.raise(shaped(1)).await;
    let edits: [fn(&mut NewHold); 7] = [
        |hold| Arc::make_mut(&mut hold.session).user = Some("other".into()),
        |hold| Arc::make_mut(&mut hold.session).target = Some("other".into()),
        |hold| Arc::make_mut(&mut hold.session).identity = Arc::new(Identity::named("other")),
        |hold| hold.request.rules = ["reporting/other"].into_iter().collect(),
        |hold| hold.request.groups = ["other"].into_iter().collect(),
        |hold| hold.apart = "another search path".into(),
        |hold| hold.shape = Some("select 1".into()),
    ];
    let mut tickets = Vec::new();
    for (place, edit) in edits.into_iter().enumerate() {
        let mut hold = shaped(1);
        edit(&mut hold);
        tickets.push(f.raise(hold).await);
        assert_eq!(f.holds.list().len(), place + 2);
    }
}

#[tokio::test]
async fn the_last_who_waits_closes_the_request_and_not_the_first() {
    let f = fixture();
    let first = f.raise(shaped(1)).await;
    let mut second = f.raise(shaped(1)).await;
    drop(first);
    assert_eq!(f.holds.list().len(), 1);
    f.decide(second.name(), "jane", None, approve(None))
        .await
        .unwrap();
    assert_eq!(second.answer().await, Answer::Approved { rows: None });
    let third = f.raise(shaped(1)).await;
    drop(third);
    assert!(f.holds.list().is_empty());
    let phases: Vec<_> = f.holds.closed().iter().map(|view| view.phase).collect();
    let expected = [AccessRequestPhase::Approved, AccessRequestPhase::Withdrawn];
    assert_eq!(phases, expected);
}

#[tokio::test]
async fn an_approved_shape_lets_the_same_shape_go_on_and_nothing_else() {
    let f = fixture();
    let mut first = f.raise(shaped(1)).await;
    let mut other = f.raise(shaped(2)).await;
    let name = first.name().clone();
    f.holds
        .decide(&name, None, JANE, &of_shape(Some(10)))
        .await
        .unwrap();
    // All that waited share it.
    for ticket in [&mut first, &mut other] {
        assert_eq!(ticket.answer().await, Answer::Approved { rows: None });
    }
    let granted = |hold: NewHold| async {
        match f.holds.create(hold).await.unwrap() {
            Opened::Granted { name, .. } => Some(name),
            _ => None,
        }
    };
    assert_eq!(granted(shaped(3)).await, Some(name));
    let edits: [fn(&mut NewHold); 10] = [
        |hold| Arc::make_mut(&mut hold.session).user = Some("other".into()),
        |hold| Arc::make_mut(&mut hold.session).target = Some("other".into()),
        |hold| Arc::make_mut(&mut hold.session).identity = Arc::new(Identity::named("other")),
        |hold| hold.request.rules = ["reporting/other"].into_iter().collect(),
        |hold| hold.shape = Some("select 1".into()),
        |hold| hold.apart = "another search path".into(),
        // The policy asks others, or more of them.
        |hold| hold.request.groups = ["other"].into_iter().collect(),
        |hold| hold.request.users = ["alice"].into_iter().collect(),
        |hold| hold.request.approvals = 2,
        // The policy does not let shapes be approved any more.
        |hold| hold.request.max_minutes = None,
    ];
    for edit in edits {
        let mut hold = shaped(3);
        edit(&mut hold);
        assert_eq!(granted(hold).await, None);
    }
}

#[tokio::test]
async fn a_shape_is_approved_within_the_policys_bound_or_not_at_all() {
    let f = fixture();
    let ticket = f.raise(shaped(1)).await;
    for minutes in [None, Some(0), Some(31)] {
        let refused = f
            .holds
            .decide(ticket.name(), None, JANE, &of_shape(minutes))
            .await;
        assert!(matches!(refused, Err(DecideError::Terms(_))), "{refused:?}");
    }
    let plain = f.raise(hold(1, &[])).await;
    let refused = f
        .holds
        .decide(plain.name(), None, JANE, &of_shape(Some(1)))
        .await;
    assert!(matches!(refused, Err(DecideError::Terms(_))), "{refused:?}");
}

#[tokio::test]
async fn a_decision_about_another_request_of_the_name_does_not_count() {
    let f = fixture();
    let ticket = f.raise(hold(1, &[])).await;
    let yes = Decision::from(approve(None));
    let uid = f.holds.list()[0].uid.to_string();
    let replayed = f.holds.decide(ticket.name(), Some("1"), JANE, &yes).await;
    assert!(matches!(replayed, Err(DecideError::OtherRequest(_))));
    f.holds
        .decide(ticket.name(), Some(&uid), JANE, &yes)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restart_neither_loses_an_approved_shape_nor_makes_it_last_longer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("approvals");
    let hold = shaped(1);
    let shape = hold.shape.clone().unwrap();
    let key = grants::Key::of(&hold.session, &hold.request, &shape, "public");
    let at = |minutes: u64| Timestamp::from_micros(1_000_000_000 + minutes * 60_000_000);
    let grant = grants::Grant {
        request: "weir-a".into(),
        rows: Some(5),
        granted: at(10),
        minutes: 20,
    };
    Grants::open(&path)
        .unwrap()
        .add(key.clone(), grant)
        .unwrap();
    let grants = Grants::open(&path).unwrap();
    let found = |most, minute| grants.find(&key, most, at(minute)).map(|(_, rows)| rows);
    assert_eq!(found(30, 10), Some(Some(5)));
    assert_eq!(found(30, 29), Some(Some(5)));
    assert_eq!(found(30, 30), None);
    // The policy became stricter.
    assert_eq!(found(5, 16), None);
    // The clock was set back.
    assert_eq!(found(30, 9), None);
    // What an older Weir kept says not who was asked: it is read, and good for nothing.
    let old = r#"{"who":"reporter","target":null,"database":null,"login":"root","rules":["reporting/bulk"],"shape":"select * from customers where id = ?","request":"weir-a","rows":null,"granted":"1970-01-01T00:26:40Z","minutes":20}"#;
    std::fs::write(&path, old).unwrap();
    let grants = Grants::open(&path).unwrap();
    assert!(grants.find(&key, 30, at(10)).is_none());
    std::fs::write(&path, "{").unwrap();
    assert!(Grants::open(&path).is_err());
}

#[tokio::test]
async fn whoever_leads_and_goes_away_refuses_those_who_would_wait() {
    let f = fixture();
    let Opened::Leads(leading) = f.holds.open(shaped(1)).await.unwrap() else {
        panic!("nobody asked before");
    };
    let holds = f.holds.clone();
    let joining = tokio::spawn(async move { holds.open(shaped(1)).await.map(|_| ()) });
    tokio::task::yield_now().await;
    drop(leading);
    assert!(matches!(
        joining.await.unwrap(),
        Err(OpenError::NotRaised(_))
    ));
    assert!(f.holds.list().is_empty());
}

#[tokio::test]
async fn a_superseded_request_ends_without_a_decision_and_the_hook_is_told() {
    let f = fixture();
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    f.holds.on_end(move |name, closing| {
        telling.lock().unwrap().push((name.to_owned(), closing));
    });
    let mut ticket = f.raise(shaped(1)).await;
    let name = ticket.name().to_string();
    f.holds.supersede("the policy changed", |view| {
        view.request.rules.contains("reporting/bulk")
    });
    let reason = "the policy changed".into();
    assert_eq!(ticket.answer().await, Answer::Superseded { reason });
    drop(f.raise(hold(1, &[])).await);
    let told = told.lock().unwrap().clone();
    assert_eq!(told[0], (name, Closing::Superseded));
    assert_eq!(told[1].1, Closing::ClientGone);
}
