//! The SFTP subsystem of one channel: each request is judged before the server sees it, each answer
//! is counted before the client does.
//!
//! Packets go on whole, so that an answer of Weir's stands between two of the server's. What belongs
//! to no whole packet yet is bounded by the window that was granted and by the longest packet. A file
//! that a limit refuses is answered with "permission denied" from then on; the connection lives on.
//! Where a limit on a file's bytes binds, the server is asked how large it is before the client learns
//! that it is open, so that a file above the limit is stopped before its first byte, whatever part of
//! it is read.

use std::collections::HashMap;
use std::sync::Arc;

use weir_audit::{Direction, FileDigest, FileTransferred, Outcome, Record, TransferProtocol};
use weir_policy::{Decision, Limit, Meter, SftpOperation, Verdict};
use weir_wire_ssh::ProtocolError;
use weir_wire_ssh::sftp::{self, Answer, File, FileId, Framer, HEADER, Operation, Tracker, What};

use super::asked::Asked;
use super::channel::{Lane, Request};
use super::data::Over;
use super::judge::{Refusal, durable};
use super::relay::{End, Relay, Subject};
use super::statement::Active;
use crate::wall_clock;

mod content;
mod moving;

/// What is known of one SFTP connection.
#[derive(Default)]
pub(super) struct Sftp {
    up: Framer,
    down: Framer,
    tracker: Tracker,
    /// The request that is being decided.
    pub(super) lane: Lane,
    /// Requests that the server has not answered, and leave a record.
    pending: HashMap<u32, Active>,
    files: HashMap<FileId, Open>,
    /// Files that the client is not told of until their size is known: the answers that tell it.
    unannounced: HashMap<FileId, Vec<u8>>,
    /// Limits that the subsystem's own rules set for each file.
    limits: Vec<Arc<Limit>>,
    /// A packet of the server's that is held back.
    held: Option<Held>,
    /// Whether its file has counted the next packet of the server's.
    counted: bool,
    /// The packet of the server's that goes on as it arrives.
    passing: content::Passing,
    /// A move that is judged once the server has said where its file leads.
    moving: Option<moving::Moving>,
    /// Why no more content is delivered at all.
    refused: Option<String>,
}

/// An open file.
struct Open {
    active: Active,
    read: FileDigest,
    written: FileDigest,
    /// Its size, as far as the server has said.
    size: u64,
    /// The client has read to its end.
    ended: bool,
    /// Why nothing of it is delivered any more.
    refused: Option<String>,
}

impl Open {
    /// Why none of it may be copied: the parts of what is too large need not be.
    fn may_not_go(&self) -> Option<Refusal> {
        let meter = self.active.meter.as_ref()?;
        let limit = meter.limits().get(meter.foresee(self.size)?)?;
        Some(Refusal::denied(&limit.rule, &limit.describe_size(), None))
    }
}

impl Sftp {
    /// A connection to each of whose files these limits apply.
    pub(super) fn new(limits: Vec<Arc<Limit>>) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The meters of open files.
    pub(super) fn meters(&mut self) -> impl Iterator<Item = &mut Meter> {
        let open = self.files.values_mut();
        open.filter_map(|open| open.active.meter.as_mut())
    }

    /// No more content is delivered at all.
    pub(super) fn refuse_all(&mut self, text: &str) {
        self.refused.get_or_insert_with(|| text.to_owned());
    }

    /// Whether something of the server's waits.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// An open file's statement.
    pub(super) fn active(&mut self, file: FileId) -> Option<&mut Active> {
        Some(&mut self.files.get_mut(&file)?.active)
    }

    /// Nothing of a file is delivered any more.
    pub(super) fn refuse_file(&mut self, file: FileId, text: &str, outcome: Outcome) {
        if let Some(open) = self.files.get_mut(&file) {
            open.refused.get_or_insert_with(|| text.to_owned());
            open.active.record.reason = Some(text.into());
            open.active.outcome.get_or_insert(outcome);
        }
    }
}

/// A packet of the server's that waits.
struct Held {
    packet: Vec<u8>,
    passed: Passed,
}

/// How far a packet has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    Nothing,
    /// Its file has counted it.
    Counted,
    /// The account knows it; only its evidence is waited for.
    Told,
}

/// What becomes of an answer.
enum Turn {
    /// It goes on.
    Goes,
    /// This goes on in its place.
    Replaced(Vec<u8>),
    /// It waits.
    Waits(Passed),
}

const fn operation(operation: Operation) -> SftpOperation {
    match operation {
        Operation::Read => SftpOperation::Read,
        Operation::Write => SftpOperation::Write,
        Operation::Append => SftpOperation::Append,
        Operation::List => SftpOperation::List,
        Operation::Stat => SftpOperation::Stat,
        Operation::Remove => SftpOperation::Remove,
        Operation::Rename => SftpOperation::Rename,
        Operation::MakeDirectory => SftpOperation::MakeDirectory,
        Operation::RemoveDirectory => SftpOperation::RemoveDirectory,
        Operation::SetStat => SftpOperation::SetStat,
        Operation::Symlink => SftpOperation::Symlink,
        Operation::HardLink => SftpOperation::HardLink,
        Operation::ReadLink => SftpOperation::ReadLink,
        Operation::RealPath => SftpOperation::RealPath,
        Operation::Statfs => SftpOperation::Statfs,
        Operation::Extended => SftpOperation::Extended,
    }
}

impl Relay {
    /// Bytes of the client's for the subsystem.
    pub(super) fn sftp_up(&mut self, key: u64, bytes: &[u8]) -> Result<(), End> {
        let channel = self.channels.get_mut(&key);
        if let Some(sftp) = channel.and_then(|channel| channel.sftp.as_mut()) {
            sftp.up.push(bytes);
        }
        self.sftp_requests(key)
    }

    /// Judges what the client asks, as far as it is there.
    pub(super) fn sftp_requests(&mut self, key: u64) -> Result<(), End> {
        loop {
            let Some(channel) = self.channels.get_mut(&key) else {
                return Ok(());
            };
            let Some(sftp) = channel.sftp.as_mut() else {
                return Ok(());
            };
            if sftp.lane.parked.is_some() || sftp.moving.is_some() {
                return Ok(());
            }
            let packet = match sftp.up.packet() {
                Ok(Some(packet)) => packet.to_vec(),
                Ok(None) => break,
                Err(error) => return self.sftp_broken(key, &error),
            };
            channel.up.release(packet.len());
            let asked = match sftp.tracker.request(&packet) {
                Ok(asked) => asked,
                Err(ProtocolError::UnknownHandle) => {
                    let answer =
                        sftp::status(number(&packet), sftp::code::FAILURE, "no such handle");
                    sftp.passing.answer(&mut channel.down, answer);
                    continue;
                }
                Err(error) => return self.sftp_broken(key, &error),
            };
            let id = asked.id.unwrap_or(0);
            let packet = asked.instead.unwrap_or(packet);
            match asked.what {
                What::Init { .. } => channel.up.send(None, sftp::INIT.to_vec()),
                What::Operation {
                    operations,
                    paths,
                    copies,
                    moves,
                } => {
                    let refusal = copies.and_then(|file| sftp.files.get(&file)?.may_not_go());
                    if let Some(refusal) = refusal {
                        let copy = Asked::Sftp(SftpOperation::Read, paths);
                        let request = Self::sftp_request(copy, id, packet);
                        self.refuse_unjudged(Subject::File(key), request, refusal)?;
                        continue;
                    }
                    if let Some(name) = moves
                        && self.sftp_moves(key, id, &operations, &paths, &packet, &name)
                    {
                        continue;
                    }
                    let all = asked_for(&operations, &paths);
                    self.sftp_asks(key, id, all, packet)?;
                }
                What::Read { file, .. } => {
                    let refused = sftp.files.get(&file).and_then(|open| open.refused.clone());
                    match refused {
                        Some(text) => {
                            sftp.tracker.refused(id);
                            let answer = sftp::denied(id, &text);
                            sftp.passing.answer(&mut channel.down, answer);
                        }
                        None => channel.up.send(None, packet),
                    }
                }
                What::Write { file, offset, data } => {
                    if let Some(open) = sftp.files.get_mut(&file) {
                        let written = packet.get(data).unwrap_or_default();
                        open.written.feed(offset, written);
                    }
                    channel.up.send(None, packet);
                }
                What::Close { .. } | What::Harmless => channel.up.send(None, packet),
            }
        }
        self.flush(key);
        Ok(())
    }

    /// Operations that rules may be about.
    fn sftp_asks(
        &mut self,
        key: u64,
        id: u32,
        mut all: Vec<Asked>,
        packet: Vec<u8>,
    ) -> Result<(), End> {
        let asked = match all.len() {
            0 => return Ok(()),
            1 => all.swap_remove(0),
            _ => match self.strictest(all) {
                Ok(asked) => asked,
                Err((asked, refusal)) => {
                    let request = Self::sftp_request(asked, id, packet);
                    return self.refuse_unjudged(Subject::File(key), request, refusal);
                }
            },
        };
        let request = Self::sftp_request(asked, id, packet);
        self.submit(Subject::File(key), request)
    }

    fn sftp_request(asked: Asked, id: u32, packet: Vec<u8>) -> Request {
        Request {
            asked,
            packet,
            want_reply: true,
            number: 0,
            opens: None,
            id,
        }
    }

    /// What is judged hardest of operations that come together; what people must be asked about twice
    /// is refused.
    fn strictest(&mut self, all: Vec<Asked>) -> Result<Asked, (Asked, Refusal)> {
        let mut held = None;
        let mut first = None;
        for asked in all {
            match self.judge.decide(&asked).map(|decision| decision.verdict) {
                Some(Verdict::Permit(_)) => first = first.or(Some(asked)),
                Some(Verdict::Hold(_)) if held.is_some() => {
                    let reason =
                        "it does two things that need an approval each: ask for one of them";
                    return Err((asked, Refusal::unjudged(reason)));
                }
                Some(Verdict::Hold(_)) => held = Some(asked),
                Some(Verdict::Deny(_)) | None => return Ok(asked),
            }
        }
        let none = || Asked::Unknown("sftp".into());
        Ok(held.or(first).unwrap_or_else(none))
    }

    /// An operation goes on to the server.
    pub(super) fn sftp_go(
        &mut self,
        key: u64,
        request: Request,
        decision: &Decision,
        record: weir_audit::Statement,
    ) {
        let mut active = Active::new(record, self.evidence.clone());
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let counted = channel.active.as_ref().and_then(|it| it.meter.as_ref());
        let Some(sftp) = channel.sftp.as_mut() else {
            return;
        };
        active.meter = self.judge.meter_of_file(decision, counted, &sftp.limits);
        active.delivery = durable(decision);
        sftp.pending.insert(request.id, active);
        channel.up.send(None, request.packet);
        self.flush(key);
    }

    /// An operation does not go on.
    pub(super) fn sftp_refuse(&mut self, key: u64, id: u32, text: &str) {
        self.say(key, text);
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if let Some(sftp) = channel.sftp.as_mut() {
            sftp.tracker.refused(id);
            let answer = sftp::denied(id, &format!("weir: {text}"));
            sftp.passing.answer(&mut channel.down, answer);
        }
        self.flush(key);
    }

    /// Counts what the server answers, as far as it is there, and passes it on.
    pub(super) fn sftp_answers(&mut self, key: u64) {
        loop {
            let Some(channel) = self.channels.get_mut(&key) else {
                return;
            };
            let (stopped, Some(sftp)) = (channel.stopped.is_some(), channel.sftp.as_mut()) else {
                return;
            };
            if stopped {
                break;
            }
            let Held { packet, passed } = match sftp.held.take() {
                Some(held) => held,
                None => match sftp.down.packet() {
                    Ok(Some(packet)) => Held {
                        packet: packet.to_vec(),
                        passed: match std::mem::take(&mut sftp.counted) {
                            true => Passed::Counted,
                            false => Passed::Nothing,
                        },
                    },
                    Ok(None) => {
                        self.sftp_begin(key);
                        break;
                    }
                    Err(error) => {
                        drop(self.sftp_broken(key, &error));
                        return;
                    }
                },
            };
            let turn = match passed {
                Passed::Told => Ok(Turn::Goes),
                passed => self.sftp_answer(key, &packet, passed == Passed::Counted),
            };
            let turn = match turn {
                Ok(turn) => turn,
                Err(error) => {
                    drop(self.sftp_broken(key, &error));
                    return;
                }
            };
            let Some(channel) = self.channels.get_mut(&key) else {
                return;
            };
            let length = packet.len();
            match turn {
                Turn::Goes => {
                    channel.down.release(length);
                    channel.down.send(None, packet);
                    self.totals.bytes_out += length as u64;
                }
                Turn::Replaced(other) => {
                    channel.down.release(length);
                    channel.down.send(None, other);
                }
                Turn::Waits(passed) => {
                    if let Some(sftp) = channel.sftp.as_mut() {
                        sftp.held = Some(Held { packet, passed });
                    }
                    break;
                }
            }
        }
        self.flush(key);
    }

    fn sftp_answer(
        &mut self,
        key: u64,
        packet: &[u8],
        counted: bool,
    ) -> Result<Turn, ProtocolError> {
        let length = packet.len();
        // A held packet is looked at twice and answered once: data is counted before it is told to
        // the account.
        let id = number(packet);
        if self.sftp_told_link(key, id, packet)? {
            return Ok(Turn::Replaced(Vec::new()));
        }
        let of = {
            let channel = self.channels.get(&key);
            let sftp = channel.and_then(|channel| channel.sftp.as_ref());
            sftp.and_then(|sftp| sftp.tracker.reads(id))
        };
        let channel = self.channels.get(&key);
        let refused = channel.and_then(|it| it.sftp.as_ref()).and_then(|sftp| {
            let file = of.and_then(|(file, _)| sftp.files.get(&file)?.refused.clone());
            file.or_else(|| sftp.refused.clone())
        });
        let carries = matches!(packet.get(4), Some(&(DATA | NAME | EXTENDED_REPLY)));
        if let (Some(text), true) = (&refused, carries) {
            self.sftp_account(key, packet)?;
            return Ok(Turn::Replaced(sftp::denied(id, text)));
        }
        if carries {
            if let Some((file, offset)) = of.filter(|_| !counted) {
                match self.sftp_count_file(key, file, offset, length) {
                    Content::On => {}
                    Content::Waits => return Ok(Turn::Waits(Passed::Nothing)),
                    Content::Refused(text) => {
                        self.sftp_account(key, packet)?;
                        return Ok(Turn::Replaced(sftp::denied(id, &text)));
                    }
                }
            }
            if let Some((file, _)) = of.filter(|_| !counted)
                && let Some(active) = self.counting(key, Over::File(file))
                && active.released
            {
                self.spare(key, length as u64);
            }
            match self.sftp_count(key, Over::Channel, length) {
                Content::On => {}
                Content::Waits => return Ok(Turn::Waits(Passed::Counted)),
                Content::Refused(text) => {
                    self.sftp_account(key, packet)?;
                    return Ok(Turn::Replaced(sftp::denied(id, &text)));
                }
            }
        }
        self.sftp_account(key, packet)
    }

    /// Counts content of a file that stands at `offset`; one that is larger than may be read is stopped
    /// before its first byte.
    fn sftp_count_file(&mut self, key: u64, file: FileId, offset: u64, length: usize) -> Content {
        let over = Over::File(file);
        let sftp = self.channels.get(&key).and_then(|it| it.sftp.as_ref());
        let told = sftp.and_then(|sftp| sftp.files.get(&file));
        // What grows, and what has no size, is as large as it turns out to be.
        let reached = offset.saturating_add(length.saturating_sub(HEADER) as u64);
        let size = told.map_or(0, |open| open.size).max(reached);
        match self.foresee(key, over, size) {
            Some(super::data::Counted::Waits) => Content::Waits,
            Some(super::data::Counted::Ended(text)) => Content::Refused(text),
            Some(super::data::Counted::Gone) | None => self.sftp_count(key, over, length),
        }
    }

    fn sftp_count(&mut self, key: u64, over: Over, length: usize) -> Content {
        let step = self.announce(key, over, length);
        match self.step(key, over, step, length) {
            super::data::Counted::Gone => Content::On,
            super::data::Counted::Waits => Content::Waits,
            super::data::Counted::Ended(text) => Content::Refused(text),
        }
    }

    /// Tells the account of an answer, and the record of what it means. What is to go on is the answer,
    /// or nothing yet, or one that has waited for it.
    fn sftp_account(&mut self, key: u64, packet: &[u8]) -> Result<Turn, ProtocolError> {
        let mut moved = Vec::new();
        let mut ends = None;
        let mut turn = Turn::Goes;
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(turn);
        };
        let Some(sftp) = channel.sftp.as_mut() else {
            return Ok(turn);
        };
        match sftp.tracker.response(packet)? {
            Answer::Opened { id, file } => {
                if let Some(active) = sftp.pending.remove(&id) {
                    let foresees = active.meter.as_ref().is_some_and(Meter::foresees);
                    let content = |file: &File| file.reads && !file.directory;
                    if foresees
                        && sftp.tracker.file(file).is_some_and(content)
                        && let Some(question) = sftp.tracker.ask_size(file)
                    {
                        channel.up.send(None, question);
                        sftp.unannounced.insert(file, packet.to_vec());
                        turn = Turn::Replaced(Vec::new());
                    }
                    let open = Open {
                        active,
                        read: FileDigest::default(),
                        written: FileDigest::default(),
                        size: 0,
                        ended: false,
                        refused: None,
                    };
                    sftp.files.insert(file, open);
                }
            }
            Answer::Size { file, size } => {
                if let Some(open) = sftp.files.get_mut(&file) {
                    open.size = size.unwrap_or(0);
                }
                turn = Turn::Replaced(sftp.unannounced.remove(&file).unwrap_or_default());
            }
            Answer::Data { file, offset, data } => {
                if let Some(open) = sftp.files.get_mut(&file) {
                    let bytes = packet.get(data).unwrap_or_default();
                    if open.refused.is_none() {
                        open.read.feed(offset, bytes);
                    }
                }
            }
            Answer::End { file } => {
                if let Some(open) = sftp.files.get_mut(&file) {
                    open.ended = true;
                }
            }
            Answer::Closed { id, file } => {
                if let Some(open) = sftp.files.remove(&id) {
                    moved = transfers(&open, &file, true);
                    let outcome = open.active.outcome.clone().unwrap_or(Outcome::Completed);
                    ends = Some((open.active, outcome));
                }
            }
            Answer::Done { id, done, .. } => {
                if let Some(active) = sftp.pending.remove(&id) {
                    let outcome = match done {
                        true => Outcome::Completed,
                        false => Outcome::Failed {
                            code: "sftp status".into(),
                        },
                    };
                    ends = Some((active, outcome));
                }
            }
            Answer::Version | Answer::Written { .. } | Answer::Link(_) => {}
        }
        self.record_files(moved);
        if let Some((active, outcome)) = ends
            && let Some(keeping) = active.finish_kept(outcome)
        {
            self.stop_for(key, keeping);
            turn = Turn::Waits(Passed::Told);
        }
        Ok(turn)
    }

    pub(super) fn record_files(&self, moved: Vec<FileTransferred>) {
        for file in moved {
            let session = Arc::clone(&self.evidence.session);
            let record = Record::session(wall_clock(), session, file);
            self.evidence.sink.record(record);
        }
    }

    /// The subsystem has ended: what is still open was moved in part.
    pub(super) fn sftp_ended(&mut self, key: u64) {
        let channel = self.channels.get_mut(&key);
        let Some(sftp) = channel.and_then(|channel| channel.sftp.take()) else {
            return;
        };
        let known: HashMap<FileId, File> = sftp
            .tracker
            .files()
            .map(|(id, file)| (id, file.clone()))
            .collect();
        for (id, open) in sftp.files {
            if let Some(file) = known.get(&id) {
                self.record_files(transfers(&open, file, false));
            }
        }
    }

    /// The client or the server does not speak SFTP as Weir knows it.
    fn sftp_broken(&mut self, key: u64, error: &ProtocolError) -> Result<(), End> {
        let refusal = Refusal::unjudged(&format!("what is sent is not SFTP: {error}"));
        self.sftp_ended(key);
        self.end_result(key, &refusal, Outcome::Denied);
        Ok(())
    }
}

/// What a request asks for.
fn asked_for(operations: &[Operation], paths: &[Vec<u8>]) -> Vec<Asked> {
    let operations = operations.iter();
    operations
        .map(|one| Asked::Sftp(operation(*one), paths.to_vec()))
        .collect()
}

/// The number of a request or of its answer.
fn number(packet: &[u8]) -> u32 {
    let id = packet.get(5..9).and_then(|id| id.first_chunk::<4>());
    id.map_or(0, |id| u32::from_be_bytes(*id))
}

/// Whether something may go on.
enum Content {
    On,
    Waits,
    Refused(String),
}

const DATA: u8 = 103;
const NAME: u8 = 104;
const EXTENDED_REPLY: u8 = 201;

/// What an open file moved.
fn transfers(open: &Open, file: &File, closed: bool) -> Vec<FileTransferred> {
    if file.directory {
        return Vec::new();
    }
    let ways = [
        (
            Direction::Download,
            &open.read,
            file.reads,
            open.ended && open.refused.is_none(),
        ),
        (Direction::Upload, &open.written, file.writes, true),
    ];
    ways.into_iter()
        .filter(|(direction, digest, may, _)| {
            let whole = *direction == Direction::Upload || file.reads && !file.writes;
            *may && (digest.bytes() > 0 || whole)
        })
        .map(|(direction, digest, _, ended)| FileTransferred {
            statement: open.active.record.number,
            path: String::from_utf8_lossy(&file.path).into(),
            direction,
            protocol: TransferProtocol::Sftp,
            offset: digest.offset(),
            bytes: digest.bytes(),
            sha256: digest.clone().finish(),
            complete: closed && ended,
            mode: None,
        })
        .collect()
}
