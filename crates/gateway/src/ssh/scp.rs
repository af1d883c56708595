//! scp in its own protocol, as the files that it moves: each is judged when the side that sends it
//! announces its name and size, and nothing of what it is goes on before that.
//!
//! A file is a statement of its own, as inside SFTP: rules about paths, approvals and limits on its bytes
//! hold for it, and it leaves an event with size and digest. What is not scp ends the channel. Only what
//! the sending side says is read; the other one acknowledges.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_audit::{Direction, FileDigest, FileTransferred, Outcome, TransferProtocol};
use weir_policy::{Decision, Limit, LimitScope, Meter, SftpOperation, Verdict};
use weir_wire_ssh::ProtocolError;
use weir_wire_ssh::scp::{self, Event, Sender};

use super::asked::Asked;
use super::channel::{Lane, Request, Stream};
use super::data::{Counted, Over, content};
use super::judge::{Refusal, durable, is_implicit};
use super::packet::{self, Fields};
use super::relay::{End, Event as Happens, Relay, Subject};
use super::sftp::Sftp;
use super::statement::{Active, Keeping};

/// What is known of one transfer.
pub(super) struct Scp {
    /// The server sends.
    sends: bool,
    /// The paths of the command.
    asked: Vec<String>,
    sender: Sender,
    /// What the message that is looked at says, as far as it was not acted on; none: it was not read.
    events: Option<VecDeque<Event>>,
    /// How many bytes of that message were read: the rest waits for an answer of the server's.
    read: usize,
    /// A message of the client's that waits to be acted on.
    front: Option<Vec<u8>>,
    /// The file that begins: it is being decided.
    pub(super) lane: Lane,
    begins: Option<Begins>,
    file: Option<Moving>,
    /// Limits that the command's own rules set for each file.
    limits: Vec<Arc<Limit>>,
}

/// A file that was announced.
struct Begins {
    path: Vec<u8>,
    mode: u32,
    size: u64,
}

/// A file on its way.
struct Moving {
    active: Active,
    path: Vec<u8>,
    mode: u32,
    size: u64,
    digest: FileDigest,
    /// Its size was compared with what it may have.
    measured: bool,
}

impl Scp {
    fn new(sends: bool, asked: Vec<String>, limits: Vec<Arc<Limit>>) -> Self {
        Self {
            sends,
            asked,
            sender: Sender::new(!sends),
            events: None,
            read: 0,
            front: None,
            lane: Lane::default(),
            begins: None,
            file: None,
            limits,
        }
    }

    /// Whether something of the server's waits for a file to be decided.
    pub(super) fn holds_results(&self) -> bool {
        self.sends && self.lane.parked.is_some()
    }

    /// Whether something of the client's does, or waits for what the server answers.
    pub(super) fn holds_requests(&self) -> bool {
        !self.sends && (self.lane.parked.is_some() || self.front.is_some())
    }

    /// The statement of the file on its way.
    pub(super) fn active(&mut self) -> Option<&mut Active> {
        Some(&mut self.file.as_mut()?.active)
    }

    /// Its meter.
    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        self.active()?.meter.as_mut()
    }

    /// Reads a message, once.
    fn read(&mut self, data: &[u8]) -> Result<(), ProtocolError> {
        if self.events.is_none() {
            let mut events = Vec::new();
            self.read = self.sender.feed(data, &mut events)?;
            self.events = Some(events.into());
        }
        Ok(())
    }
}

/// The limits of a decision that bind one file or channel by itself, or all others.
pub(super) fn limits_of(decision: &Decision, own: bool) -> Vec<Arc<Limit>> {
    let limits = decision.obligations.limits.iter();
    limits
        .filter(|limit| matches!(limit.scope, LimitScope::Statement) == own)
        .map(Arc::clone)
        .collect()
}

impl Relay {
    /// A command begins: what it moves is looked at from here on.
    pub(super) fn begin_files(&mut self, key: u64, asked: &Asked, limits: Vec<Arc<Limit>>) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if asked.is_sftp() {
            channel.sftp = Some(Box::new(Sftp::new(limits)));
        } else if let Some((sends, paths)) = asked.scp() {
            channel.scp = Some(Box::new(Scp::new(sends, paths, limits)));
        } else if let Some((protocol, direction, paths)) = asked.stream() {
            channel.stream = Some(Stream {
                protocol,
                direction,
                path: paths.join(" "),
                sent: 0,
            });
        }
    }

    /// A command that moves files is also what rules about these files are about.
    pub(super) fn with_implied(&self, asked: &Asked, mut decision: Decision) -> Decision {
        for implied in asked.implied() {
            let Some(other) = self.judge.decide(&implied) else {
                continue;
            };
            let stricter = match (&decision.verdict, &other.verdict) {
                (Verdict::Permit(_) | Verdict::Hold(_), Verdict::Deny(denial)) => {
                    !is_implicit(&denial.rule)
                }
                (Verdict::Permit(_), Verdict::Hold(_)) => true,
                _ => false,
            };
            for limit in &other.obligations.limits {
                if !decision.obligations.limits.contains(limit) {
                    decision.obligations.limits.push(Arc::clone(limit));
                }
            }
            if stricter {
                decision.verdict = other.verdict;
                decision.why = other.why;
            }
        }
        decision
    }

    /// Data of the server's that is about to be counted. None: nothing holds it.
    pub(super) fn scp_down(&mut self, key: u64, data: &[u8]) -> Option<Counted> {
        let channel = self.channels.get_mut(&key)?;
        if !channel.scp.as_ref()?.sends {
            return None;
        }
        self.scp_acts(key, data)
    }

    /// Data of the server's that was looked at goes on. What it ends, if it does not.
    pub(super) fn scp_passes(&mut self, key: u64, data: &[u8]) -> Option<Counted> {
        let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
        if scp.sends {
            scp.events = None;
            return None;
        }
        if let Err(error) = scp.sender.answers(data) {
            return Some(self.scp_broken(key, &error));
        }
        if scp.front.is_some() && scp.lane.parked.is_none() && !scp.sender.is_waiting() {
            drop(self.inbox.put(Happens::GoOn(key)));
        }
        None
    }

    /// What the client sends may go on: the server has answered.
    pub(super) fn scp_answered(&mut self, key: u64) -> Result<(), End> {
        let channel = self.channels.get(&key);
        let parked = channel.and_then(|channel| channel.scp.as_ref());
        if parked.is_none_or(|scp| scp.lane.parked.is_some()) {
            return Ok(());
        }
        self.scp_goes_up(key)?;
        self.resume_lane(Subject::Channel(key))
    }

    /// Data of the client's, whose turn it is.
    pub(super) fn scp_up(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        let channel = self.channels.get_mut(&key);
        let Some(scp) = channel.and_then(|channel| channel.scp.as_mut()) else {
            return Ok(());
        };
        if scp.sends {
            let answer = content(&message, None);
            let length = answer.len();
            if let Err(error) = scp.sender.answers(answer) {
                self.scp_broken(key, &error);
                self.scp_drop(key, length);
                return Ok(());
            }
            return self.data_up(key, None, length, message);
        }
        scp.front = Some(message);
        self.scp_goes_up(key)
    }

    /// Data of the client's goes no further.
    fn scp_drop(&mut self, key: u64, length: usize) {
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.up.release(length);
        }
    }

    fn scp_goes_up(&mut self, key: u64) -> Result<(), End> {
        let channel = self.channels.get_mut(&key);
        let scp = channel.and_then(|channel| channel.scp.as_mut());
        let Some(mut message) = scp.and_then(|scp| scp.front.take()) else {
            return Ok(());
        };
        let mut length = content(&message, None).len();
        let acts = self.scp_acts(key, content(&message, None));
        let channel = self.channels.get_mut(&key);
        let scp = channel.and_then(|channel| channel.scp.as_mut());
        match acts {
            None | Some(Counted::Gone) => {
                if let Some(scp) = scp {
                    scp.events = None;
                    let data = content(&message, None);
                    if let Some((read, rest)) = data.split_at_checked(scp.read)
                        && !rest.is_empty()
                    {
                        length = read.len();
                        let number = message_number(&message);
                        let read = packet::data(number, None, read);
                        scp.front = Some(packet::data(number, None, rest));
                        message = read;
                    }
                }
                if length == 0 {
                    return Ok(());
                }
                self.data_up(key, None, length, message)
            }
            Some(Counted::Waits) => {
                if let Some(scp) = scp {
                    scp.front = Some(message);
                }
                Ok(())
            }
            Some(Counted::Ended(_)) => {
                self.scp_drop(key, length);
                Ok(())
            }
        }
    }

    /// What is sent is not scp: the channel ends.
    fn scp_broken(&mut self, key: u64, error: &ProtocolError) -> Counted {
        let refusal = Refusal::unjudged(&format!("what is sent is not scp: {error}"));
        self.end_result(key, &refusal, Outcome::Denied);
        Counted::Ended(refusal.text)
    }

    /// Acts on what a message of the sending side says. None: it goes on.
    fn scp_acts(&mut self, key: u64, data: &[u8]) -> Option<Counted> {
        let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
        if let Err(error) = scp.read(data) {
            return Some(self.scp_broken(key, &error));
        }
        loop {
            if let Some(counted) = self.scp_measures(key) {
                return Some(counted);
            }
            let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
            match scp.events.as_mut()?.pop_front()? {
                Event::File { path, mode, size } => {
                    let places = scp::places(&scp.asked, scp.sends, &path);
                    let operation = match scp.sends {
                        true => SftpOperation::Read,
                        false => SftpOperation::Write,
                    };
                    scp.begins = Some(Begins { path, mode, size });
                    if let Some(counted) = self.scp_asks(key, Asked::Scp(operation, places)) {
                        return Some(counted);
                    }
                }
                Event::Data(range) => {
                    if scp.sends {
                        let length = range.len();
                        let step = self.announce(key, Over::Copy, length);
                        match self.step(key, Over::Copy, step, length) {
                            Counted::Gone => {}
                            other => {
                                let channel = self.channels.get_mut(&key);
                                if let Some(scp) = channel.and_then(|it| it.scp.as_mut())
                                    && let Some(events) = scp.events.as_mut()
                                {
                                    events.push_front(Event::Data(range));
                                }
                                return Some(other);
                            }
                        }
                    }
                    let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
                    let released = scp.active().is_some_and(|active| active.released);
                    let length = range.len() as u64;
                    if let Some(file) = scp.file.as_mut() {
                        let piece = data.get(range).unwrap_or_default();
                        file.digest.feed(file.digest.bytes(), piece);
                    }
                    if released {
                        self.spare(key, length);
                    }
                }
                Event::FileEnd { complete } => {
                    if let Some(file) = scp.file.take() {
                        let sends = scp.sends;
                        if let Some(keeping) = self.scp_moved(file, sends, complete) {
                            // What tells the client of the end comes from the server in both directions.
                            self.stop_for(key, keeping);
                            if sends {
                                return Some(Counted::Waits);
                            }
                        }
                    }
                }
                Event::Directory { .. }
                | Event::DirectoryEnd
                | Event::Times
                | Event::Message { .. }
                | Event::Ack => {}
            }
        }
    }

    /// A file that was announced is judged. None: it may begin.
    fn scp_asks(&mut self, key: u64, asked: Asked) -> Option<Counted> {
        let request = Request {
            asked,
            packet: Vec::new(),
            want_reply: false,
            number: 0,
            opens: None,
            id: 0,
        };
        if self.submit(Subject::Copy(key), request).is_err() {
            return Some(Counted::Ended("it cannot be judged".to_owned()));
        }
        match self.channels.get(&key) {
            Some(channel) if !channel.closing.to_client => {
                let scp = channel.scp.as_ref();
                let parked = scp.is_some_and(|scp| scp.lane.parked.is_some());
                parked.then_some(Counted::Waits)
            }
            _ => Some(Counted::Ended("it was refused".to_owned())),
        }
    }

    /// Stops a file that is larger than may be sent, before its first byte. None: nothing stops it.
    fn scp_measures(&mut self, key: u64) -> Option<Counted> {
        let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
        let sends = scp.sends;
        let file = scp.file.as_mut()?;
        if std::mem::replace(&mut file.measured, true) || !sends {
            return None;
        }
        let size = file.size;
        self.foresee(key, Over::Copy, size)
    }

    /// A file begins.
    pub(super) fn scp_go(&mut self, key: u64, decision: &Decision, record: weir_audit::Statement) {
        let mut active = Active::new(record, self.evidence.clone());
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let counted = channel.active.as_ref().and_then(|it| it.meter.as_ref());
        let Some(scp) = channel.scp.as_mut() else {
            return;
        };
        active.meter = self.judge.meter_of_file(decision, counted, &scp.limits);
        active.delivery = durable(decision);
        if let Some(Begins { path, mode, size }) = scp.begins.take() {
            let mut places = scp::places(&scp.asked, scp.sends, &path);
            scp.file = Some(Moving {
                active,
                path: places.pop().unwrap_or(path),
                mode,
                size,
                digest: FileDigest::default(),
                measured: false,
            });
        }
    }

    /// A file does not begin: the transfer ends.
    pub(super) fn scp_refuse(&mut self, key: u64, refusal: &Refusal, text: &str) {
        self.end_told(key, &refusal.text, text, Outcome::Denied);
    }

    /// What was waited for has come: the transfer goes on.
    pub(super) fn scp_resume(&mut self, key: u64) -> Result<(), End> {
        let channel = self.channels.get(&key);
        let Some(scp) = channel.and_then(|channel| channel.scp.as_ref()) else {
            return Ok(());
        };
        if scp.sends {
            self.resume_results(key);
            return Ok(());
        }
        self.scp_goes_up(key)
    }

    fn scp_moved(&self, file: Moving, sends: bool, complete: bool) -> Option<Keeping> {
        let direction = match sends {
            true => Direction::Download,
            false => Direction::Upload,
        };
        let moved = FileTransferred {
            statement: file.active.record.number,
            path: String::from_utf8_lossy(&file.path).into(),
            direction,
            protocol: TransferProtocol::Scp,
            offset: 0,
            bytes: file.digest.bytes(),
            sha256: file.digest.clone().finish(),
            complete: complete && file.digest.bytes() == file.size,
            mode: Some(file.mode),
        };
        self.record_files(vec![moved]);
        let outcome = match complete {
            true => Outcome::Completed,
            false => Outcome::Aborted,
        };
        let outcome = file.active.outcome.clone().unwrap_or(outcome);
        file.active.finish_kept(outcome)
    }

    /// The transfer has ended: a file that is still on its way was moved in part.
    pub(super) fn scp_ended(&mut self, key: u64) {
        let channel = self.channels.get_mut(&key);
        let Some(scp) = channel.and_then(|channel| channel.scp.take()) else {
            return;
        };
        if let Some(file) = scp.file
            && let Some(keeping) = self.scp_moved(file, scp.sends, false)
        {
            tokio::spawn(keeping);
        }
    }

    /// What a command moved as a whole leaves an event, too.
    pub(super) fn record_stream(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let Some((stream, active)) = channel.stream.take().zip(channel.active.as_ref()) else {
            return;
        };
        let bytes = match stream.direction {
            Direction::Download => active.bytes(),
            Direction::Upload => stream.sent,
        };
        let moved = FileTransferred {
            statement: active.record.number,
            path: stream.path.into(),
            direction: stream.direction,
            protocol: stream.protocol,
            offset: 0,
            bytes,
            sha256: None,
            complete: active.outcome == Some(Outcome::Completed),
            mode: None,
        };
        self.record_files(vec![moved]);
    }
}

/// The channel's number in a message of data.
fn message_number(message: &[u8]) -> u32 {
    let mut fields = Fields(message.get(1..).unwrap_or_default());
    fields.u32().unwrap_or(0)
}
