//! Field order of each event in a frame. Adding a field or a kind is a new schema version. Kinds and
//! values that are added leave the older versions readable, and so do fields behind `since`: in a frame
//! of an older version they have their default. Changing a field does not.

use std::sync::Arc;

use super::{DecodeError, Reader, Wire, Writer};
use crate::bounds;
use crate::control::{
    AccessRequestClosed, AccessRequestCreated, AccessRequestDecided, AccessRequestRepeated,
    Binding, BudgetsReset, Closing, EngineStarted, EngineStopped, EvidenceRead, Finding,
    FindingCode, Heartbeat, LabelledColumns, PolicyChanged, Previous, QuarantineChanged, Ruling,
    Via,
};
use crate::event::{Body, ConnectionClosed, ConnectionOpened, ConnectionRefused};
use crate::file::{Digest, Direction, FileTransferred, TransferProtocol};
use crate::identity::{Identity, Session, SessionId};
use crate::kubernetes::KubernetesAnswered;
use crate::recording::{Column, RecordedRows, RecordingChunk, Stream};
use crate::seen::{Fingerprint, LabelledValuesSeen};
use crate::statement::{Decision, Outcome, Statement, StatementFinished, StatementStarted, Value};
use crate::text::{Names, Timestamp};

macro_rules! wire_struct {
    ($($name:ident { $($field:ident),* $(; since $version:literal: $($newer:ident),*)* })*) => {$(
        impl Wire for $name {
            fn put<'a>(&'a self, writer: &mut Writer<'a>) {
                let Self { $($field,)* $($($newer,)*)* } = self;
                $($field.put(writer);)*
                $($($newer.put(writer);)*)*
                let _ = writer;
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let _ = &reader;
                Ok(Self {
                    $($field: Wire::take(reader)?,)*
                    $($($newer: reader.since($version)?,)*)*
                })
            }
            fn weight(&self) -> usize {
                0 $(+ self.$field.weight())* $($(+ self.$newer.weight())*)*
            }
            fn is_bounded(&self) -> bool {
                true $(&& self.$field.is_bounded())* $($(&& self.$newer.is_bounded())*)*
            }
            fn bound(&mut self) {
                $(self.$field.bound();)*
                $($(self.$newer.bound();)*)*
            }
        }
    )*};
}

macro_rules! wire_enum {
    ($($name:ident { $($variant:ident = $tag:literal),* })*) => {$(
        impl Wire for $name {
            fn put<'a>(&'a self, writer: &mut Writer<'a>) {
                writer.out.push(match self { $(Self::$variant => $tag),* });
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match reader.byte()? {
                    $($tag => Ok(Self::$variant),)*
                    _ => Err(DecodeError::Unknown),
                }
            }
        }
    )*};
}

macro_rules! wire_number {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            fn put<'a>(&'a self, writer: &mut Writer<'a>) {
                writer.varint(u64::from(*self));
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::try_from(reader.varint()?).map_err(|_| DecodeError::Range)
            }
        }
    )*};
}

macro_rules! wire_shared {
    ($($name:ty = $method:ident: $weight:expr, $fits:expr, $cut:expr);*) => {$(
        impl Wire for $name {
            fn put<'a>(&'a self, writer: &mut Writer<'a>) {
                writer.$method(self);
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$method()
            }
            fn weight(&self) -> usize {
                let weight: fn(&Self) -> usize = $weight;
                weight(self)
            }
            fn is_bounded(&self) -> bool {
                let fits: fn(&Self) -> bool = $fits;
                fits(self)
            }
            fn bound(&mut self) {
                let cut: fn(&mut Self) = $cut;
                cut(self);
            }
        }
    )*};
}

wire_number!(u32, u64);
wire_shared!(
    Arc<str> = text: |text| text.len(), |_| true, |_| {};
    Names = names: Names::weight, bounds::fits, |names| bounds::cut(names, bounds::MAX_NAMES);
    Arc<Session> = session: |session| (**session).weight(), bounds::session_fits, bounds::cut_session;
    Arc<Identity> = identity: |identity| (**identity).weight(), |_| true, |_| {};
    Arc<[Column]> = columns: |columns| weight_of(columns), bounds::columns_fit, bounds::cut_columns
);

fn weight_of<T: Wire>(all: &[T]) -> usize {
    let weights = all.iter().map(Wire::weight);
    size_of_val(all) + weights.sum::<usize>()
}

wire_struct! {
    Identity {
        name, namespace, service_account, pod, uid, workload, node, images, issuer, subject, email,
        owner, groups
    }
    Session { id, identity, target, protocol, database, user, client, destination, application }
    ConnectionOpened { client_tls, upstream_tls, policies }
    ConnectionClosed { statements, rows, bytes_in, bytes_out, duration_us, reason }
    ConnectionRefused { reason, rules }
    Statement {
        number, text, parameters, fingerprint, command, decision, rules, would_deny,
        exceptions, reason, tables, labels, revision, request
    }
    StatementStarted { statement }
    StatementFinished { statement, outcome, rows, bytes, columns, masked, duration_us }
    RecordingChunk { statement, index, offset_ms, stream, columns, rows }
    Column { name, type_id, binary, masked }
    FileTransferred {
        statement, path, direction, protocol, offset, bytes, sha256, complete, mode
    }
    KubernetesAnswered {
        statement, verb, group, version, resource, subresource, namespace, name, dry_run, code,
        server_audit_id
    }
    LabelledValuesSeen { statement, label, values, beyond, uncertain }
    AccessRequestCreated {
        name, number, statement, parameters, fingerprint, rules, reason, labels, rows, estimate,
        groups, approvals, deadline;
        since 5: users, effects, tables, columns, bytes, summary, binding, max_minutes, shape,
        free_literals, detail
    }
    LabelledColumns { label, columns }
    AccessRequestDecided {
        name, approver, ruling, approvals, needed;
        since 5: binding, minutes, via, comment
    }
    AccessRequestRepeated { name, number, count }
    AccessRequestClosed { name, closing, held_ms }
    PolicyChanged { revision, digest, refused }
    BudgetsReset { operator }
    QuarantineChanged { name, subject, reason, by, on }
    Finding { code, message, subject, engine }
    EngineStarted { version, previous }
    Previous { epoch, last_seq, clean }
    EngineStopped {}
    Heartbeat { open_sessions }
    EvidenceRead { reader, address, path, query, namespace }
}

wire_enum! {
    Decision { Permit = 0, Deny = 1, Hold = 2 }
    Stream {
        Result = 0, CopyOut = 1, CopyIn = 2, Stdout = 3, Stderr = 4, Stdin = 5,
        TerminalOutput = 6, TerminalInput = 7, TerminalResize = 8
    }
    Direction { Download = 0, Upload = 1 }
    TransferProtocol { Sftp = 0, Scp = 1, Rsync = 2, Git = 3 }
    Closing { Approved = 0, Denied = 1, Expired = 2, ClientGone = 3, Stopped = 4, Superseded = 5 }
    Binding { Exact = 0, Shape = 1 }
    Via { Kubernetes = 0, Oidc = 1, Socket = 2, Slack = 3 }
    FindingCode {
        Gap = 0, GapClosed = 1, ChainBroken = 2, TornTail = 3, UncleanShutdown = 4,
        UnclosedSession = 5, EngineSilent = 6, SpoolFull = 7, EventsLost = 8,
        UngovernedProtocol = 9, UnmatchedRelayed = 10, Other = 11, HostKeyTrusted = 12,
        HostKeyRefused = 13, ClockSkew = 16, PolicyLoosened = 17, ExceptionExpired = 18,
        RepeatedDenials = 19, SecondKey = 20, UnprotectedPod = 21, NewShape = 22,
        HoneyRowRead = 23, NoStream = 24, Tampered = 25
    }
}

macro_rules! wire_body {
    ($($variant:ident = $tag:literal),*) => {
        impl Wire for Body {
            fn put<'a>(&'a self, writer: &mut Writer<'a>) {
                match self {$(
                    Self::$variant(body) => {
                        writer.out.push($tag);
                        body.put(writer);
                    }
                )*}
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match reader.byte()? {
                    $($tag => Wire::take(reader).map(Self::$variant),)*
                    _ => Err(DecodeError::Unknown),
                }
            }
            fn weight(&self) -> usize {
                match self { $(Self::$variant(body) => body.weight()),* }
            }
            fn is_bounded(&self) -> bool {
                match self { $(Self::$variant(body) => body.is_bounded()),* }
            }
            fn bound(&mut self) {
                match self { $(Self::$variant(body) => body.bound()),* }
            }
        }
    };
}

wire_body!(
    ConnectionOpened = 0,
    ConnectionClosed = 1,
    ConnectionRefused = 2,
    StatementStarted = 3,
    StatementFinished = 4,
    RecordingChunk = 5,
    AccessRequestCreated = 6,
    AccessRequestDecided = 7,
    AccessRequestClosed = 8,
    PolicyChanged = 9,
    BudgetsReset = 10,
    Finding = 11,
    EngineStarted = 12,
    EngineStopped = 13,
    Heartbeat = 14,
    FileTransferred = 15,
    KubernetesAnswered = 16,
    AccessRequestRepeated = 19,
    EvidenceRead = 20,
    LabelledValuesSeen = 21,
    QuarantineChanged = 22
);

impl Wire for bool {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.push(u8::from(*self));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Unknown),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(writer);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if bool::take(reader)? {
            T::take(reader).map(Some)
        } else {
            Ok(None)
        }
    }

    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Wire::weight)
    }

    fn is_bounded(&self) -> bool {
        self.as_ref().is_none_or(Wire::is_bounded)
    }

    fn bound(&mut self) {
        if let Some(value) = self {
            value.bound();
        }
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        (**self).put(writer);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::take(reader).map(Self::new)
    }

    fn weight(&self) -> usize {
        size_of::<T>() + (**self).weight()
    }

    fn is_bounded(&self) -> bool {
        (**self).is_bounded()
    }

    fn bound(&mut self) {
        (**self).bound();
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.varint(self.len() as u64);
        self.iter().for_each(|value| value.put(writer));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count()?;
        (0..count).map(|_| T::take(reader)).collect()
    }

    fn weight(&self) -> usize {
        weight_of(self)
    }

    fn is_bounded(&self) -> bool {
        self.iter().all(Wire::is_bounded)
    }

    fn bound(&mut self) {
        self.iter_mut().for_each(Wire::bound);
    }
}

impl Wire for Box<str> {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.bytes(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.str().map(Into::into)
    }

    fn weight(&self) -> usize {
        self.len()
    }
}

impl Wire for Timestamp {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.varint(self.as_micros());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.varint().map(Self::from_micros)
    }
}

impl Wire for SessionId {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.extend_from_slice(&self.as_u64().to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader
            .bytes(8)?
            .try_into()
            .map_err(|_| DecodeError::Short)?;
        Ok(Self::new(u64::from_le_bytes(bytes)))
    }
}

impl Wire for Fingerprint {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(8)?.try_into();
        bytes
            .map(|bytes| Self(u64::from_le_bytes(bytes)))
            .map_err(|_| DecodeError::Short)
    }
}

impl Wire for Digest {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.extend_from_slice(&self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(32)?.try_into();
        bytes.map(Self).map_err(|_| DecodeError::Short)
    }
}

impl Wire for Value {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        match self {
            Self::Null => writer.out.push(0),
            Self::Text(text) => {
                writer.out.push(1);
                writer.bytes(text.as_bytes());
            }
            Self::Binary(bytes) => {
                writer.out.push(2);
                writer.bytes(bytes);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(Self::Null),
            1 => reader.str().map(|text| Self::Text(text.into())),
            2 => {
                let length = reader.varint()?;
                reader.bytes(length).map(|bytes| Self::Binary(bytes.into()))
            }
            _ => Err(DecodeError::Unknown),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl Wire for Outcome {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        writer.out.push(match self {
            Self::Completed => 0,
            Self::Failed { .. } => 1,
            Self::Denied => 2,
            Self::Cancelled => 3,
            Self::Aborted => 4,
            Self::LimitExceeded => 5,
        });
        if let Self::Failed { code } = self {
            code.put(writer);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(Self::Completed),
            1 => Ok(Self::Failed {
                code: Wire::take(reader)?,
            }),
            2 => Ok(Self::Denied),
            3 => Ok(Self::Cancelled),
            4 => Ok(Self::Aborted),
            5 => Ok(Self::LimitExceeded),
            _ => Err(DecodeError::Unknown),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Failed { code } => code.len(),
            _ => 0,
        }
    }
}

impl Wire for Ruling {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        match self {
            Self::Approve { rows } => {
                writer.out.push(0);
                rows.put(writer);
            }
            Self::Deny { reason } => {
                writer.out.push(1);
                reason.put(writer);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(Self::Approve {
                rows: Wire::take(reader)?,
            }),
            1 => Ok(Self::Deny {
                reason: Wire::take(reader)?,
            }),
            _ => Err(DecodeError::Unknown),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Approve { .. } => 0,
            Self::Deny { reason } => reason.len(),
        }
    }
}

impl Wire for RecordedRows {
    fn put<'a>(&'a self, writer: &mut Writer<'a>) {
        self.rows.put(writer);
        self.truncated.put(writer);
        writer.bytes(&self.data);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let rows = u32::take(reader)?;
        let truncated = bool::take(reader)?;
        let length = reader.varint()?;
        let taken = Self {
            rows,
            truncated,
            data: reader.bytes(length)?.to_vec(),
        };
        taken.decode()?;
        Ok(taken)
    }

    fn weight(&self) -> usize {
        self.data.len()
    }
}
