//! Requests from their message to their verdict, and what happens then.
//!
//! A request that needs time is parked: what its client sends on the same channel waits behind it, in
//! order, and everything else goes on. Answers to requests keep the order in which they were asked,
//! whoever gives them.

use std::sync::Arc;

use weir_audit::{Decision as Recorded, Outcome, Record, StatementStarted};
use weir_policy::{Decision, ForwardKind, Verdict};

use super::asked::Asked;
use super::channel::{Channel, Lane, Reply, Request, Side};
use super::judge::{Refusal, durable, exhausted, full, is_implicit, names};
use super::packet::{self, Build, Fields, Message, STDERR};
use super::relay::{End, Relay, Subject};
use super::scp::limits_of;
use super::statement::Active;
use crate::ports::Ruled;
use crate::wall_clock;

/// Variables of a channel that are remembered.
const MAX_VARIABLES: usize = 256;

/// What was waited for.
pub(super) enum Answer {
    /// Whether more may be had of the windows that were used up.
    Replenished(bool),
    /// Whether the start was kept.
    Kept(Result<(), String>),
    /// People are asked, under this name.
    Waiting(Arc<str>),
    /// They have said.
    Ruled(Result<Ruled, String>),
    /// A pause is over.
    Rested,
}

impl Relay {
    pub(super) fn lane(&mut self, subject: Subject) -> Option<&mut Lane> {
        match subject {
            Subject::Connection => Some(&mut self.lane),
            Subject::Channel(key) => Some(&mut self.channels.get_mut(&key)?.lane),
            Subject::File(key) => {
                let sftp = self.channels.get_mut(&key)?.sftp.as_mut()?;
                Some(&mut sftp.lane)
            }
            Subject::Copy(key) => {
                let scp = self.channels.get_mut(&key)?.scp.as_mut()?;
                Some(&mut scp.lane)
            }
        }
    }

    /// A request of the client's about the connection.
    pub(super) fn global_of_client(&mut self, message: Vec<u8>) -> Result<(), End> {
        if self.lane.parked.is_some() {
            let kept = self.lane.wait(message);
            return kept.map_err(|reason| End::Client(reason.to_owned()));
        }
        let Ok(Message::Global {
            name,
            want_reply,
            rest,
        }) = Message::parse(&message)
        else {
            return Ok(());
        };
        match Asked::global(name, rest) {
            Some(asked) => {
                let request = Request {
                    asked,
                    packet: message,
                    want_reply,
                    number: 0,
                    opens: None,
                    id: 0,
                };
                self.submit(Subject::Connection, request)
            }
            None => {
                if name == b"no-more-sessions@openssh.com" {
                    self.is_of_use()?;
                }
                if want_reply {
                    self.lane.replies.push_back(Reply::Server);
                }
                self.to_server(message);
                Ok(())
            }
        }
    }

    /// Whether a connection on which no session will be opened is good for anything.
    ///
    /// # Errors
    /// It has no session, and rules deny every way to forward: it ends.
    fn is_of_use(&mut self) -> Result<(), End> {
        let forwards = [
            ForwardKind::TcpipForward,
            ForwardKind::DirectStreamlocal,
            ForwardKind::StreamlocalForward,
            ForwardKind::DirectTcpip,
        ];
        if self.channels.values().any(|channel| channel.is_session) || self.judge.refresh().is_err()
        {
            return Ok(());
        }
        let mut last = None;
        for kind in forwards {
            // Nowhere in particular: a rule about some destinations is not meant.
            let asked = Asked::Forward(kind, Some("".into()));
            let decided = self.judge.decide(&asked);
            let Some(Verdict::Deny(denial)) = decided.map(|decision| decision.verdict) else {
                return Ok(());
            };
            if is_implicit(&denial.rule) {
                return Ok(());
            }
            last = Some(denial);
        }
        let Some(denial) = last else {
            return Ok(());
        };
        let reason = format!("{}, and this connection gave up sessions", denial.reason);
        let refusal = Refusal::denied(&denial.rule, &reason, denial.hint.as_deref());
        self.totals.statements += 1;
        let record = weir_audit::Statement {
            number: self.totals.statements,
            command: Some("connection".into()),
            decision: Recorded::Deny,
            rules: names(&refusal.rules),
            reason: Some(refusal.text.as_str().into()),
            revision: self.judge.revision(),
            ..weir_audit::Statement::default()
        };
        let id = self.audit_id(record.number);
        Active::new(record, self.evidence.clone()).finish(Outcome::Denied);
        Err(End::Refused(format!("{} (audit id {id})", refusal.text)))
    }

    /// Gives the answers of Weir's whose turn it is.
    pub(super) fn answer_globals(&mut self) {
        while self.lane.replies.front() == Some(&Reply::Refused) {
            self.lane.replies.pop_front();
            self.to_client(vec![packet::REQUEST_FAILURE]);
        }
    }

    /// A message of the client's about a channel.
    pub(super) fn channel_of_client(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        if channel.pipe.is_some() {
            return self.of_peer(key, &message).map_err(End::Client);
        }
        let parsed = Message::parse(&message).map_err(|error| End::Client(error.to_string()))?;
        if channel.closing.by_client {
            return Err(End::Client(
                "a message on a channel that it closed".to_owned(),
            ));
        }
        let taken = match parsed {
            Message::Data { data, .. } | Message::ExtendedData { data, .. } => data.len(),
            _ => 0,
        };
        channel
            .up
            .take(taken)
            .map_err(|error| End::Client(error.to_string()))?;
        self.totals.bytes_in += taken as u64;
        if matches!(parsed, Message::Close { .. }) {
            return self.closed_by_client(key, message);
        }
        if matches!(parsed, Message::Request { .. }) && channel.down.is_long() {
            let why = "asks for more answers than it reads";
            return Err(End::Client(why.to_owned()));
        }
        if channel.closing.to_client {
            // It has ended for the client, who does not know yet.
            channel.up.release(taken);
            return Ok(());
        }
        if channel.lane.parked.is_some() || channel.holds_requests() {
            let kept = channel.lane.wait(message);
            return kept.map_err(|reason| End::Client(reason.to_owned()));
        }
        self.pass_up(key, message)
    }

    /// A message of the client's whose turn it is; its data was taken from the window already.
    pub(super) fn pass_up(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        let parsed = Message::parse(&message).map_err(|error| End::Client(error.to_string()))?;
        match parsed {
            Message::Data { data, .. } | Message::ExtendedData { data, .. }
                if channel.closing.to_client
                    || channel.closing.by_server
                    || channel.is_session && !channel.started =>
            {
                // The other side does not listen: any more, or yet.
                channel.up.release(data.len());
                self.flush(key);
                Ok(())
            }
            Message::Data { data, .. } if channel.sftp.is_some() => self.sftp_up(key, data),
            Message::Data { .. } if channel.scp.is_some() => self.scp_up(key, message),
            Message::Data { data, .. } => self.data_up(key, None, data.len(), message),
            Message::ExtendedData { data, code, .. } => {
                self.data_up(key, Some(code), data.len(), message)
            }
            Message::Request {
                name,
                want_reply,
                rest,
                ..
            } => match Asked::request(name, rest, &channel.sent) {
                Some(asked) => {
                    let second = asked.is_program() && !channel.may_start();
                    let many =
                        matches!(asked, Asked::Env(..)) && channel.sent.len() >= MAX_VARIABLES;
                    let request = Request {
                        asked,
                        packet: message,
                        want_reply,
                        number: 0,
                        opens: None,
                        id: 0,
                    };
                    let why = match (second, many) {
                        // What counts and masks the first would be gone.
                        (true, _) => "a channel runs one program",
                        (_, true) => "too many variables are set",
                        _ => return self.submit(Subject::Channel(key), request),
                    };
                    let refusal = Refusal::unjudged(why);
                    self.refuse_unjudged(Subject::Channel(key), request, refusal)
                }
                None => {
                    if want_reply {
                        channel.lane.replies.push_back(Reply::Server);
                    }
                    if name == b"window-change"
                        && let Some((columns, rows)) = size(Fields(rest))
                    {
                        channel.terminal = channel.terminal.and(Some((columns, rows)));
                        if let Some(active) = channel.active.as_mut() {
                            active.keep(|recorder, at| recorder.resize(at, columns, rows));
                        }
                    }
                    channel.up.message(message);
                    self.flush(key);
                    Ok(())
                }
            },
            _ => {
                channel.up.message(message);
                self.flush(key);
                Ok(())
            }
        }
    }

    fn closed_by_client(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        channel.closing.by_client = true;
        let file = channel.sftp.as_mut().and_then(|it| it.lane.parked.take());
        let copy = channel.scp.as_mut().and_then(|it| it.lane.parked.take());
        let held = channel.lane.parked.take().or(file).or(copy);
        channel.lane.waiting.clear();
        channel.stopped = None;
        let outcome = held.is_some() || !channel.arrivals.is_empty();
        if outcome && let Some(active) = channel.active.as_mut() {
            active.outcome.get_or_insert(Outcome::Cancelled);
        }
        if let Some((_, record)) = held.and_then(|mut held| held.decided.take()) {
            Active::new(record, self.evidence.clone()).finish(Outcome::Cancelled);
            self.totals.statements += 1;
        }
        if !channel.closing.to_server {
            channel.closing.to_server = true;
            channel.up.message(message);
        }
        // What the client does not want any more is not waited for.
        self.drop_arrivals(key);
        self.flush(key);
        self.free(key);
        Ok(())
    }

    /// Judges a request.
    pub(super) fn submit(&mut self, subject: Subject, mut request: Request) -> Result<(), End> {
        if request.asked.is_statement() {
            self.totals.statements += 1;
            request.number = self.totals.statements;
        }
        self.consider(subject, request, true)
    }

    pub(super) fn consider(
        &mut self,
        subject: Subject,
        request: Request,
        ask: bool,
    ) -> Result<(), End> {
        if let Err(refusal) = self.judge.refresh() {
            return self.refuse_unjudged(subject, request, refusal);
        }
        let Some(decision) = self.judge.decide(&request.asked) else {
            let refusal = Refusal::unjudged("budgets could not be read");
            return self.refuse_unjudged(subject, request, refusal);
        };
        let decision = self.with_implied(&request.asked, decision);
        let wanted = exhausted(&decision);
        if ask && !wanted.is_empty() {
            let shared = Arc::clone(&self.judge.shared);
            return self.park(subject, request, None, None, |answer| async move {
                answer(Answer::Replenished(shared.budgets.replenish(&wanted).await));
            });
        }
        let record = self.judge.record(&request.asked, request.number, &decision);
        self.apply(subject, request, decision, record)
    }

    fn apply(
        &mut self,
        subject: Subject,
        request: Request,
        decision: Decision,
        mut record: weir_audit::Statement,
    ) -> Result<(), End> {
        match &decision.verdict {
            Verdict::Permit(_) => self.start(subject, request, decision, record),
            // What a permitted command moves needs no Allow rule of its own.
            Verdict::Deny(denial)
                if matches!(subject, Subject::Copy(_)) && is_implicit(&denial.rule) =>
            {
                self.start(subject, request, decision, record)
            }
            Verdict::Deny(denial) => {
                let hint = denial.hint.as_deref();
                let refusal = Refusal::denied(&denial.rule, &denial.reason, hint);
                record.decision = Recorded::Deny;
                self.refuse(subject, request, record, refusal)
            }
            Verdict::Hold(hold) => {
                record.decision = Recorded::Hold;
                let hold = hold.afresh();
                self.hold(subject, request, decision, record, hold)
            }
        }
    }

    /// Keeps the start, where it must be kept first, and lets it go on.
    pub(super) fn start(
        &mut self,
        subject: Subject,
        request: Request,
        decision: Decision,
        record: weir_audit::Statement,
    ) -> Result<(), End> {
        let counts = request.asked.is_statement();
        let Some(strict) = durable(&decision).filter(|_| counts) else {
            return self.go(subject, request, &decision, record);
        };
        let started = StatementStarted {
            statement: record.clone(),
        };
        let event = Record::session(wall_clock(), Arc::clone(&self.evidence.session), started);
        let sink = Arc::clone(&self.evidence.sink);
        let decided = Some((decision, record));
        self.park(subject, request, decided, None, |answer| async move {
            answer(Answer::Kept(sink.record_durable(event, strict).await));
        })
    }

    /// It goes on to where it was meant to go.
    pub(super) fn go(
        &mut self,
        subject: Subject,
        request: Request,
        decision: &Decision,
        record: weir_audit::Statement,
    ) -> Result<(), End> {
        if let Subject::File(key) = subject {
            self.sftp_go(key, request, decision, record);
            return Ok(());
        }
        if let Subject::Copy(key) = subject {
            self.scp_go(key, decision, record);
            return Ok(());
        }
        let Request {
            asked,
            packet,
            want_reply,
            opens,
            ..
        } = request;
        let active = asked.is_statement().then(|| {
            let mut active = Active::new(record, self.evidence.clone());
            active.delivery = durable(decision);
            active.masking = self.judge.masking(&asked, decision);
            active.meter = self.judge.meter(decision);
            active
        });
        if matches!(asked, Asked::Session) {
            // It leaves no record of its own, and counts.
            drop(self.judge.meter(decision));
        }
        match (subject, opens) {
            (Subject::Connection, _) => {
                if want_reply {
                    self.lane.replies.push_back(Reply::Server);
                }
                self.to_server(packet);
                if let Some(active) = active {
                    active.finish(Outcome::Completed);
                }
            }
            (Subject::File(_) | Subject::Copy(_), _) => {}
            (Subject::Channel(key), Some(opener)) => {
                if let Some(channel) = self.channels.get_mut(&key) {
                    channel.active = active;
                }
                let led = opener == Side::Client && self.lead(key, &asked, &packet).is_some();
                if let Some(channel) = self.channels.get_mut(&key) {
                    channel.asked = !led;
                }
                match opener {
                    _ if led => {}
                    Side::Client => self.to_server(packet),
                    Side::Server => self.to_client(packet),
                }
            }
            // The session of a login by an agent is open already.
            (Subject::Channel(_), None) if matches!(asked, Asked::Session) => {}
            (Subject::Channel(key), None) => {
                let recorded = full(decision) && !matches!(asked, Asked::Subsystem(_));
                self.begin_files(key, &asked, limits_of(decision, true));
                self.go_on_channel(key, &asked, packet, want_reply, active, recorded);
            }
        }
        Ok(())
    }

    fn go_on_channel(
        &mut self,
        key: u64,
        asked: &Asked,
        packet: Vec<u8>,
        want_reply: bool,
        active: Option<Active>,
        recorded: bool,
    ) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if want_reply {
            let reply = match asked.is_program() {
                true => Reply::Started,
                false => Reply::Server,
            };
            channel.lane.replies.push_back(reply);
        }
        match asked {
            Asked::Exec(_) | Asked::Shell | Asked::Subsystem(_) => {
                channel.started = true;
                channel.active = active;
                if !asked.moves_files()
                    && let Some(active) = channel.active.as_mut()
                    && recorded
                {
                    active.record_streams(channel.terminal);
                }
            }
            Asked::Pty => channel.terminal = terminal_size(&packet),
            Asked::Env(name, value) => channel.sent.push((name.to_string(), value.to_string())),
            _ => {
                if let Some(active) = active {
                    active.finish(Outcome::Completed);
                }
            }
        }
        channel.up.message(packet);
        self.flush(key);
    }

    /// A line on the client's standard error.
    pub(super) fn say(&mut self, key: u64, text: &str) {
        self.settle(key);
        if let Some(channel) = self.channels.get_mut(&key) {
            let line = format!("weir: {text}\r\n");
            channel.down.send(Some(STDERR), line.into_bytes());
            self.flush(key);
        }
    }

    pub(super) fn refuse_unjudged(
        &mut self,
        subject: Subject,
        request: Request,
        refusal: Refusal,
    ) -> Result<(), End> {
        let record = weir_audit::Statement {
            number: request.number,
            command: Some(request.asked.command().into()),
            decision: Recorded::Deny,
            revision: self.judge.revision(),
            ..weir_audit::Statement::default()
        };
        self.refuse(subject, request, record, refusal)
    }

    /// Where the evidence is.
    pub(super) fn audit_id(&self, number: u64) -> String {
        format!("{}/{number}", self.evidence.session.id)
    }

    /// It does not go on: the record says so, and the client is told.
    pub(super) fn refuse(
        &mut self,
        subject: Subject,
        mut request: Request,
        mut record: weir_audit::Statement,
        refusal: Refusal,
    ) -> Result<(), End> {
        if request.number == 0 {
            self.totals.statements += 1;
            request.number = self.totals.statements;
            record.number = request.number;
        }
        let text = format!(
            "{} (audit id {})",
            refusal.text,
            self.audit_id(request.number)
        );
        if record.decision != Recorded::Hold {
            record.decision = Recorded::Deny;
        }
        record.reason = Some(refusal.text.as_str().into());
        if record.rules.is_empty() {
            record.rules = names(&refusal.rules);
        }
        Active::new(record, self.evidence.clone()).finish(Outcome::Denied);
        match (subject, request.opens) {
            (Subject::Connection, _) => {
                if request.want_reply {
                    self.lane.replies.push_back(Reply::Refused);
                    self.answer_globals();
                }
            }
            (Subject::File(key), _) => self.sftp_refuse(key, request.id, &text),
            (Subject::Copy(key), _) => self.scp_refuse(key, &refusal, &text),
            (Subject::Channel(key), Some(opener)) => {
                let sender = self.channels.get(&key).and_then(|channel| match opener {
                    Side::Client => channel.client,
                    Side::Server => channel.server,
                });
                self.forget(key);
                let message = packet::open_failure(
                    sender.unwrap_or(0),
                    packet::PROHIBITED,
                    &format!("weir: {text}"),
                );
                match opener {
                    Side::Client => self.to_client(message),
                    Side::Server => self.to_server(message),
                }
            }
            (Subject::Channel(key), None) => {
                let channel = self.channels.get(&key);
                let program = request.asked.is_program() && channel.is_some_and(Channel::may_start);
                if !program {
                    self.say(key, &text);
                }
                if let Some(channel) = self.channels.get_mut(&key) {
                    let want_reply = request.want_reply;
                    if matches!(request.asked, Asked::Session) {
                        channel.end();
                    } else if program {
                        let reply = Reply::Ended { want_reply, text };
                        channel.lane.replies.push_back(reply);
                    } else if want_reply {
                        channel.lane.replies.push_back(Reply::Refused);
                    }
                }
                self.answer_channel(key);
            }
        }
        Ok(())
    }

    /// Gives the answers of Weir's whose turn it is.
    pub(super) fn answer_channel(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let recipient = channel.client.unwrap_or(0);
        while let Some(Reply::Refused | Reply::Ended { .. }) = channel.lane.replies.front() {
            match channel.lane.replies.pop_front() {
                Some(Reply::Ended { want_reply, text }) => {
                    if want_reply {
                        let success = Build::channel(packet::CHANNEL_SUCCESS, recipient);
                        channel.down.message(success);
                    }
                    let line = format!("weir: {text}\r\n");
                    channel.down.send(Some(STDERR), line.into_bytes());
                    channel.end();
                }
                _ => {
                    let failure = Build::channel(packet::CHANNEL_FAILURE, recipient);
                    channel.down.message(failure);
                }
            }
        }
        self.flush(key);
    }
}

/// The size that a request for a terminal asks for.
fn terminal_size(packet: &[u8]) -> Option<(u32, u32)> {
    let Ok(Message::Request { rest, .. }) = Message::parse(packet) else {
        return None;
    };
    let mut fields = Fields(rest);
    fields.string()?;
    size(fields)
}

fn size(mut fields: Fields<'_>) -> Option<(u32, u32)> {
    Some((fields.u32()?, fields.u32()?))
}
