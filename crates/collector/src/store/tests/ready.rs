//! What is made of a batch before the writer is waited for.

use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn statements(count: u64) -> Vec<Frame> {
    let who = session(7, "reporter");
    let records: Vec<Record> = (0..count)
        .map(|n| statement(n, &who, &format!("select {n}"), Decision::Permit))
        .collect();
    chain(1, genesis(&engine()), 2, &records)
}

fn batch(frames: &[Frame]) -> Batch {
    Batch {
        engine: engine(),
        frames: frames.to_vec(),
    }
}

/// Takes a batch in while the writer is busy; `meanwhile` runs once all of its events were checked.
fn beside_a_writer(store: &Collector, batch: &Batch, meanwhile: impl FnOnce()) {
    let events: u64 = batch.frames.iter().map(Frame::count).sum();
    let (checked, seen) = mpsc::channel();
    std::thread::scope(|scope| {
        let busy = store.writer();
        let taken = scope.spawn(move || {
            store.commit(batch, None, &mut |event| {
                let _ = checked.send(event.id.seq);
                Ok(())
            })
        });
        for _ in 0..events {
            seen.recv_timeout(LONG).unwrap();
        }
        meanwhile();
        drop(busy);
        taken.join().unwrap().unwrap();
    });
}

#[test]
fn events_are_read_and_checked_while_another_batch_is_written() {
    let (_dir, store) = fresh();
    beside_a_writer(&store, &batch(&statements(6)), || {});
    let found = store.query(&Filter::default()).unwrap().events;
    assert_eq!(found.iter().filter(|one| one.session.is_some()).count(), 6);
}

#[test]
fn whoever_begins_to_follow_while_a_batch_waits_is_given_its_events() {
    let (_dir, store) = fresh();
    let mut tail = None;
    beside_a_writer(&store, &batch(&statements(2)), || tail = Some(store.tail()));
    let events = tail.unwrap().try_recv().unwrap();
    let of_it = events.iter().filter(|event| event.id.engine == engine());
    assert_eq!(of_it.map(|event| event.id.seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_is_known_is_not_judged_again_and_what_is_refused_is_not_stored() {
    let (_dir, store) = fresh();
    let frames = statements(8);
    let mut refuse = |_: &Event| Err("not today".to_owned());
    store.ingest(&batch(&frames[..2])).unwrap();
    // Known as a whole.
    let again = store.commit(&batch(&frames[..2]), None, &mut refuse);
    assert_eq!(again.unwrap().ack, Ack { epoch: 1, seq: 4 });
    // Known in part: what is new is judged, and nothing else.
    let refused = store.commit(&batch(&frames[..3]), None, &mut refuse);
    assert!(matches!(refused, Err(CollectorError::Refused(why)) if why == "not today"));
    let stored = |store: &Collector| {
        let report = store.verify().unwrap();
        let of = report.engines.iter().find(|one| one.engine == engine());
        of.map(|one| one.events)
    };
    assert_eq!(stored(&store), Some(4));
    // The end came first: of all of them the middle is new.
    store.ingest(&batch(&frames[3..])).unwrap();
    let all = batch(&frames);
    let taken = store.commit(&all, None, &mut |_| Ok(()));
    assert_eq!(taken.unwrap().ack, Ack { epoch: 1, seq: 8 });
    assert_eq!(stored(&store), Some(8));
    assert!(store.commit(&all, None, &mut refuse).is_ok());
}
