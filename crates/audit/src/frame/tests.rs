use std::sync::Arc;

use super::*;
use crate::*;

fn engine() -> EngineId {
    "e1".parse().unwrap()
}

fn session() -> Arc<Session> {
    Arc::new(Session {
        id: SessionId::new(77),
        identity: Arc::new(Identity {
            namespace: Some("billing".into()),
            groups: ["a", "b"].into_iter().collect(),
            ..Identity::named("reporter")
        }),
        target: Some("orders-db".into()),
        protocol: Some("postgresql".into()),
        database: Some("orders".into()),
        user: Some("app".into()),
        client: Some("127.0.0.1:4711".into()),
        destination: None,
        application: Some("psql".into()),
    })
}

fn statement() -> Statement {
    Statement {
        number: 3,
        text: Some("select ssn from customers where id = $1".into()),
        parameters: vec![
            Value::text(b"42"),
            Value::Null,
            Value::Binary([0, 255].into()),
        ],
        fingerprint: Some(0x00ab),
        command: Some("SELECT".into()),
        decision: Decision::Permit,
        rules: ["reporting/hide-pii"].into_iter().collect(),
        would_deny: Names::empty(),
        exceptions: Names::empty(),
        reason: None,
        tables: ["public.customers"].into_iter().collect(),
        labels: ["pii.ssn"].into_iter().collect(),
        revision: 9,
        request: Some("weir-abcde".into()),
    }
}

/// One record of each kind.
pub(crate) fn every_kind() -> Vec<Record> {
    let session = session();
    let at = |micros| Timestamp::from_micros(1_700_000_000_000_000 + micros);
    let mut rows = ChunkBuilder::new(1024);
    rows.push_row([Some(b"1".as_slice()), None, Some(b"\xff\x00".as_slice())]);
    let columns: Arc<[Column]> = ["a", "b", "c"]
        .map(|name| Column {
            name: name.into(),
            type_id: 25,
            binary: name == "c",
            masked: false,
        })
        .into();
    let chunk = RecordingChunk {
        statement: 3,
        index: 0,
        offset_ms: 12,
        stream: Stream::Result,
        columns: Some(columns),
        rows: rows.take(),
    };
    let request = AccessRequestCreated {
        name: "weir-abcde".into(),
        number: 3,
        statement: "select 1".into(),
        parameters: vec![Value::text(b"x")],
        fingerprint: Some(1),
        rules: ["p/r"].into_iter().collect(),
        reason: "too many rows".into(),
        labels: Names::empty(),
        rows: 10_000,
        estimate: Some(50_000),
        groups: ["stewards"].into_iter().collect(),
        approvals: 2,
        deadline: at(9),
        ..AccessRequestCreated::default()
    };
    let finished = StatementFinished {
        statement: statement(),
        outcome: Outcome::Failed {
            code: "42501".into(),
        },
        rows: 7,
        bytes: 900,
        columns: ["ssn"].into_iter().collect(),
        masked: ["ssn"].into_iter().collect(),
        duration_us: 1234,
    };
    let bodies: Vec<Body> = vec![
        EngineStarted {
            version: "0.1.0".into(),
            previous: Some(Previous {
                epoch: 1,
                last_seq: 5,
                clean: false,
            }),
        }
        .into(),
        ConnectionOpened {
            client_tls: true,
            upstream_tls: false,
            policies: Names::empty(),
        }
        .into(),
        ConnectionRefused {
            reason: "no policy".into(),
            rules: Names::empty(),
        }
        .into(),
        StatementStarted {
            statement: statement(),
        }
        .into(),
        chunk.into(),
        finished.into(),
        request.into(),
        AccessRequestDecided {
            name: "weir-abcde".into(),
            approver: "root".into(),
            ruling: Ruling::Approve { rows: Some(5) },
            approvals: 1,
            needed: 2,
            binding: Binding::Exact,
            minutes: None,
            via: None,
            comment: None,
        }
        .into(),
        AccessRequestDecided {
            name: "weir-abcde".into(),
            approver: "root".into(),
            ruling: Ruling::Deny {
                reason: "no".into(),
            },
            approvals: 1,
            needed: 2,
            binding: Binding::Exact,
            minutes: None,
            via: None,
            comment: None,
        }
        .into(),
        AccessRequestClosed {
            name: "weir-abcde".into(),
            closing: Closing::Denied,
            held_ms: 5,
        }
        .into(),
        PolicyChanged {
            revision: 2,
            digest: "ab".into(),
            refused: Some("bad".into()),
        }
        .into(),
        BudgetsReset {
            operator: "root".into(),
        }
        .into(),
        Finding {
            code: FindingCode::UnclosedSession,
            message: "never ended".into(),
            subject: Some(SessionId::new(5)),
            engine: Some("e1".into()),
        }
        .into(),
        Heartbeat { open_sessions: 4 }.into(),
        ConnectionClosed {
            reason: "client closed".into(),
            ..ConnectionClosed::default()
        }
        .into(),
        EngineStopped {}.into(),
    ];
    let mut bodies = bodies;
    bodies.extend(channels());
    let mut records = Vec::new();
    for (place, body) in bodies.into_iter().enumerate() {
        // Times that go back are kept as they are.
        let at = at(if place == 4 { 1 } else { place as u64 * 10 });
        records.push(Record {
            at,
            session: Some(Arc::clone(&session)),
            body,
        });
    }
    records
}

/// What schema 5 says of access requests.
fn requests() -> Vec<Body> {
    let created = AccessRequestCreated {
        name: "weir-abcde".into(),
        users: ["jane"].into_iter().collect(),
        effects: ["Read"].into_iter().collect(),
        tables: ["public.customers"].into_iter().collect(),
        columns: vec![LabelledColumns {
            label: "pii.ssn".into(),
            columns: ["public.customers.ssn"].into_iter().collect(),
        }],
        bytes: 9,
        summary: vec!["who".into(), "what".into()],
        binding: Binding::Shape,
        max_minutes: Some(30),
        shape: Some("select ?".into()),
        free_literals: vec!["1".into()],
        detail: Some("as app".into()),
        ..AccessRequestCreated::default()
    };
    let decided = |via| AccessRequestDecided {
        name: "weir-abcde".into(),
        approver: "jane".into(),
        ruling: Ruling::Approve { rows: None },
        approvals: 1,
        needed: 1,
        binding: Binding::Shape,
        minutes: Some(10),
        via: Some(via),
        comment: Some("month end".into()),
    };
    let closed = AccessRequestClosed {
        name: "weir-abcde".into(),
        closing: Closing::Superseded,
        held_ms: 5,
    };
    let repeated = AccessRequestRepeated {
        name: "weir-abcde".into(),
        number: 4,
        count: 2,
    };
    let mut bodies: Vec<Body> = vec![created.into(), closed.into(), repeated.into()];
    let via = [Via::Kubernetes, Via::Oidc, Via::Socket, Via::Slack];
    bodies.extend(via.map(decided).map(Body::from));
    bodies
}

/// What sessions with channels and files add: kinds of schema 3, behind all of schema 2.
fn channels() -> Vec<Body> {
    let mut channel = ChannelRecorder::new(4, 100, true);
    channel.resize(0, 80, 24);
    channel.input(10, b"ls\r");
    channel.output(12, b"ls\r\n\xff");
    let mut bodies: Vec<Body> = channel.finish().into_iter().map(Body::from).collect();
    let mut channel = ChannelRecorder::new(5, 100, false);
    channel.input(1, b"a");
    channel.output(2, b"b");
    channel.errors(3, b"c");
    bodies.extend(channel.finish().into_iter().map(Body::from));
    let mut digest = FileDigest::default();
    digest.feed(0, b"abc");
    for (direction, protocol) in [
        (Direction::Download, TransferProtocol::Sftp),
        (Direction::Upload, TransferProtocol::Scp),
        (Direction::Download, TransferProtocol::Rsync),
        (Direction::Upload, TransferProtocol::Git),
    ] {
        let known = protocol == TransferProtocol::Sftp;
        let file = FileTransferred {
            statement: 6,
            path: "/srv/dump.sql".into(),
            direction,
            protocol,
            offset: if known { 4096 } else { 0 },
            bytes: 3,
            sha256: known.then(|| digest.clone().finish()).flatten(),
            complete: known,
            mode: known.then_some(0o640),
        };
        bodies.push(file.into());
    }
    bodies.extend(requests());
    for code in FindingCode::ALL.iter().copied() {
        let finding = Finding {
            code,
            message: "SHA256:x".into(),
            subject: None,
            engine: None,
        };
        bodies.push(finding.into());
    }
    bodies
}

fn seal(records: &[Record], previous: Hash, first: u64) -> Frame {
    let mut builder = FrameBuilder::new(3, first);
    records.iter().for_each(|record| builder.push(record));
    builder.seal(previous).unwrap()
}

/// The schema version as a frame begins with it.
const SCHEMA_BYTE: u8 = crate::SCHEMA.to_le_bytes()[0];

#[test]
fn every_kind_survives_the_frame() {
    let records = every_kind();
    let frame = seal(&records, genesis(&engine()), 1);
    let events = frame.events(&engine()).unwrap();
    assert_eq!(events.len(), records.len());
    for (place, (event, record)) in events.iter().zip(&records).enumerate() {
        assert_eq!(event.id.seq, place as u64 + 1);
        assert_eq!(event.id.epoch, 3);
        assert_eq!(
            (event.time, &event.session, &event.body),
            (record.at, &record.session, &record.body)
        );
    }
}

#[test]
fn every_kind_survives_json() {
    let frame = seal(&every_kind(), genesis(&engine()), 1);
    for event in frame.events(&engine()).unwrap() {
        let json = serde_json::to_string(&event).unwrap();
        assert!(
            json.contains(&format!("\"kind\":\"{}\"", event.body.kind())),
            "{json}"
        );
        let back: Event = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
        assert_eq!(back, event, "{json}");
    }
}

#[test]
fn shared_values_are_written_once() {
    let records: Vec<Record> = every_kind()
        .into_iter()
        .skip(5)
        .take(1)
        .cycle()
        .take(100)
        .collect();
    let one = seal(&records[..1], genesis(&engine()), 1).payload().len();
    let all = seal(&records, genesis(&engine()), 1).payload().len();
    assert!(all < one + 99 * 50, "{one} then {all}");
    assert_eq!(
        seal(&records, genesis(&engine()), 1)
            .events(&engine())
            .unwrap()
            .len(),
        100
    );
}

#[test]
fn a_changed_dropped_or_swapped_frame_breaks_the_chain() {
    let records = every_kind();
    let first = seal(&records[..4], genesis(&engine()), 1);
    let second = seal(&records[4..8], first.hash(), 5);
    let third = seal(&records[8..], second.hash(), 9);
    let read = |frames: &[&Frame]| {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write_to(&mut bytes));
        let mut reader = FrameReader::new(&bytes, genesis(&engine()));
        let mut count = 0;
        loop {
            match reader.next_frame() {
                Ok(Some(_)) => count += 1,
                Ok(None) => return Ok(count),
                Err(error) => return Err((count, error)),
            }
        }
    };
    assert_eq!(read(&[&first, &second, &third]), Ok(3));
    assert_eq!(read(&[&first, &third]), Err((1, FrameError::Broken)));
    assert_eq!(read(&[&second, &first]), Err((0, FrameError::Broken)));
    let mut changed = second.clone();
    changed.payload[20] ^= 1;
    assert_eq!(
        read(&[&first, &changed, &third]),
        Err((1, FrameError::Broken))
    );
}

#[test]
fn a_truncated_frame_is_torn_at_every_length() {
    let records = every_kind();
    let first = seal(&records[..4], genesis(&engine()), 1);
    let second = seal(&records[4..], first.hash(), 5);
    let mut bytes = Vec::new();
    first.write_to(&mut bytes);
    let whole = bytes.len();
    second.write_to(&mut bytes);
    for length in whole + 1..bytes.len() {
        let mut reader = FrameReader::new(&bytes[..length], genesis(&engine()));
        assert_eq!(reader.next_frame().unwrap().unwrap().hash(), first.hash());
        assert_eq!(reader.next_frame(), Err(FrameError::Torn), "at {length}");
        assert_eq!(reader.offset(), whole);
    }
}

#[test]
fn damaged_payloads_never_panic() {
    let frame = seal(&every_kind(), genesis(&engine()), 1);
    let payload = frame.payload().to_vec();
    for place in 0..payload.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = payload.clone();
            bad[place] = value;
            let hash = link(&frame.previous(), &bad);
            if let Ok(frame) = Frame::verify(frame.previous(), hash, bad) {
                let _ = frame.events(&engine());
            }
        }
        let cut = payload[..place].to_vec();
        let hash = link(&frame.previous(), &cut);
        if let Ok(frame) = Frame::verify(frame.previous(), hash, cut) {
            assert!(frame.events(&engine()).is_err());
        }
    }
}

#[test]
fn refuses_a_schema_version_that_it_does_not_know() {
    for version in [crate::OLDEST_SCHEMA - 1, crate::SCHEMA + 1] {
        let payload = vec![version.to_le_bytes()[0], 1, 1, 1, 0];
        let previous = genesis(&engine());
        let hash = link(&previous, &payload);
        assert_eq!(
            Frame::verify(previous, hash, payload),
            Err(FrameError::Decode(DecodeError::Version(version)))
        );
    }
}

#[test]
fn a_frame_that_was_sealed_by_version_2_is_read_as_it_was_written() {
    let stored = include_bytes!("testdata/version-2.bin");
    let mut reader = FrameReader::new(stored, genesis(&engine()));
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(reader.next_frame(), Ok(None));
    let events = frame.events(&engine()).unwrap();
    assert_eq!(events.len(), 16);
    for (event, record) in events.iter().zip(every_kind()) {
        assert_eq!(event.schema, 2);
        assert_eq!(
            (event.time, &event.session, &event.body),
            (record.at, &record.session, &record.body)
        );
    }
}

#[test]
fn fields_that_a_version_added_have_their_default_in_older_frames() {
    let bytes = |body: &AccessRequestDecided| {
        let mut writer = crate::codec::Writer::default();
        crate::codec::Wire::put(body, &mut writer);
        writer.out
    };
    let decided = AccessRequestDecided {
        name: "n".into(),
        approver: "a".into(),
        ruling: Ruling::Approve { rows: None },
        approvals: 1,
        needed: 1,
        binding: Binding::Exact,
        minutes: None,
        via: None,
        comment: None,
    };
    let new = bytes(&decided);
    // Four fields of one byte each.
    let (old, _) = new.split_at(new.len() - 4);
    let read = |bytes: &[u8], version| {
        let mut reader = crate::codec::Reader::new(bytes);
        reader.written_in(version);
        let read: Result<AccessRequestDecided, _> = crate::codec::Wire::take(&mut reader);
        read.map(|read| (read, reader.is_empty()))
    };
    assert_eq!(read(&new, 5), Ok((decided.clone(), true)));
    assert_eq!(read(old, 4), Ok((decided.clone(), true)));
    assert_eq!(read(&new, 4), Ok((decided, false)));
    assert_eq!(read(old, 5), Err(DecodeError::Short));
}

#[test]
fn moments_are_two_cells_and_nothing_else() {
    let mut builder = ChunkBuilder::new(1024);
    builder.push_moment(7, b"x");
    assert_eq!(
        builder.take().moments().unwrap(),
        [Moment {
            at_ms: 7,
            bytes: b"x"
        }]
    );
    let cells: [&[Cell<'_>]; 5] = [
        &[Some(b"7")],
        &[Some(b"7"), None],
        &[Some(b"-7"), Some(b"x")],
        &[Some(b"\xff"), Some(b"x")],
        &[Some(b"7"), Some(b"x"), Some(b"y")],
    ];
    for cells in cells {
        builder.push_row(cells.iter().copied());
        assert_eq!(builder.take().moments(), Err(DecodeError::Unknown));
    }
}

#[test]
fn a_moment_larger_than_a_chunk_is_split_and_not_cut() {
    let mut builder = ChunkBuilder::new(200);
    let large: Vec<u8> = (0..1000_u32).map(|n| n.to_le_bytes()[0]).collect();
    builder.push_moment(u64::MAX, &large);
    let rows = builder.take();
    assert!(!rows.is_truncated());
    let moments = rows.moments().unwrap();
    assert!(moments.iter().all(|moment| moment.at_ms == u64::MAX));
    let bytes: Vec<u8> = moments.iter().flat_map(|m| m.bytes).copied().collect();
    assert_eq!(bytes, large);
}

#[test]
fn data_rows_are_taken_as_the_client_saw_them() {
    let mut builder = ChunkBuilder::new(1024);
    assert!(builder.push_data_row(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"));
    for bad in [
        &b""[..],
        b"\0",
        b"\0\x01",
        b"\0\x01\0\0\0\x02a",
        b"\0\x01\0\0\0\x01ab",
        b"\0\x01\xff\xff\xff\xfe",
    ] {
        assert!(!builder.push_data_row(bad), "{bad:?}");
    }
    let rows = builder.take();
    assert_eq!(
        rows.decode().unwrap(),
        vec![vec![Some(b"a".as_slice()), None]]
    );
    assert!(builder.is_empty());
}

#[test]
fn bytes_behind_the_last_recorded_row_are_damage() {
    let rows = RecordedRows {
        data: vec![1, 2, b'a', 7],
        rows: 1,
        truncated: false,
    };
    assert_eq!(rows.decode(), Err(DecodeError::Unknown));
}

#[test]
fn a_frame_whose_time_does_not_fit_is_refused() {
    for (first, expected) in [(i64::MAX.unsigned_abs(), true), (1 << 63, false)] {
        let mut payload = vec![SCHEMA_BYTE, 1, 1, 1];
        crate::codec::put_varint(&mut payload, first);
        payload.extend([0, 0, 13]);
        let previous = genesis(&engine());
        let hash = link(&previous, &payload);
        let frame = Frame::verify(previous, hash, payload).unwrap();
        assert_eq!(frame.events(&engine()).is_ok(), expected, "{first}");
    }
}

#[test]
fn the_last_number_there_is_can_be_given_and_none_after_it() {
    let most = i64::MAX.unsigned_abs();
    for (first, count, expected) in [
        (most, 0, None),
        (most, 1, Some(most)),
        (most, 2, None),
        (most - 1, 2, Some(most)),
        (most + 1, 1, None),
        (u64::MAX, 1, None),
        (u64::MAX, 2, None),
    ] {
        let mut payload = vec![SCHEMA_BYTE, 1];
        crate::codec::put_varint(&mut payload, first);
        payload.extend([count, 0, 0, 0, 13]);
        let previous = genesis(&engine());
        let hash = link(&previous, &payload);
        let frame = Frame::verify(previous, hash, payload);
        assert_eq!(
            frame.ok().map(|frame| frame.last_seq()),
            expected,
            "{first} {count}"
        );
    }
}

#[test]
fn a_row_larger_than_the_chunk_is_cut_and_marked() {
    let mut builder = ChunkBuilder::new(100);
    let big = vec![b'x'; 10_000];
    builder.push_row([Some(big.as_slice()), Some(b"ok".as_slice())]);
    let rows = builder.take();
    assert!(rows.is_truncated() && rows.byte_len() <= 110);
    assert_eq!(rows.decode().unwrap()[0][1], Some(b"ok".as_slice()));
}

#[test]
fn ids_and_times_survive_their_text() {
    for number in [0, 1, 31, 32, u64::MAX] {
        let id = SessionId::new(number);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().len(), 13);
    }
    assert!("zzzzzzzzzzzzz".parse::<SessionId>().is_err());
    let id = EventId {
        engine: engine(),
        epoch: 2,
        seq: 99,
    };
    assert_eq!(id.to_string(), "e1-2-99");
    assert_eq!("e1-2-99".parse(), Ok(id));
    assert!("E1-2-99".parse::<EventId>().is_err());
    let time = Timestamp::from_micros(1_700_000_000_123_456);
    assert_eq!(time.to_string(), "2023-11-14T22:13:20.123456Z");
    assert_eq!(time.to_string().parse(), Ok(time));
    // Behind the year 9999, where a damaged or hostile frame can put an event.
    for micros in [253_402_300_800_000_000, i64::MAX.unsigned_abs(), u64::MAX] {
        let time = Timestamp::from_micros(micros);
        assert_eq!(time.to_string().parse(), Ok(time));
    }
}

#[test]
fn a_finding_is_named_as_it_is_written_and_each_is_listed_once() {
    let mut names = Vec::new();
    for code in FindingCode::ALL {
        let written = serde_json::to_value(code).unwrap();
        assert_eq!(written, code.as_str());
        let severity = serde_json::to_value(code.severity()).unwrap();
        assert_eq!(severity, code.severity().as_str());
        names.push(code.as_str());
    }
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!((names.len(), all), (24, 24));
}
