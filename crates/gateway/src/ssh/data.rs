//! Data on its way: upwards as it is, downwards against the limits.
//!
//! What comes from the server is counted before it goes on. Where a limit holds it back, it and all
//! that comes behind it on the same channel wait uncounted; the window is not granted again, so the
//! server's side of that channel stands still.

use std::sync::Arc;
use std::time::Duration;

use weir_audit::{Decision as Recorded, Outcome};
use weir_policy::{HoldSpec, Limit, LimitScope, OnExceed, Step};
use weir_wire_ssh::sftp::FileId;

use super::channel::{Arrival, Channel, Reply, Stopped};
use super::judge::Refusal;
use super::packet::{DATA_HEADER, Fields, Message};
use super::people::{self, ruling, waiting_text};
use super::relay::{End, Relay, Subject};
use super::requests::Answer;
use super::statement::{Active, Keeping};
use crate::millis;

/// What a server says of an end that is not kept yet: a status or a signal.
const MAX_LAST: usize = 4;

/// What results wait for.
#[derive(Debug, Clone)]
pub(super) enum Waited {
    /// More of the windows that this needs.
    Windows(Over),
    /// An end to be kept.
    Kept,
    /// People, about a limit with this number.
    People(Over, usize, HoldSpec),
}

/// What counts something that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Its channel.
    Channel,
    /// An open file of the SFTP subsystem.
    File(FileId),
    /// The file that scp moves.
    Copy,
}

impl Over {
    fn of(self, channel: &mut Channel) -> Option<&mut Active> {
        match self {
            Self::Channel => channel.active.as_mut(),
            Self::File(file) => channel.sftp.as_mut()?.active(file),
            Self::Copy => channel.scp.as_mut()?.active(),
        }
    }
}

/// What became of something that arrived.
pub(super) enum Counted {
    /// It may go on.
    Gone,
    /// It waits.
    Waits,
    /// It does not go on: why.
    Ended(String),
}

impl Relay {
    /// Data of the client's; it was taken from its window.
    pub(super) fn data_up(
        &mut self,
        key: u64,
        code: Option<u32>,
        length: usize,
        message: Vec<u8>,
    ) -> Result<(), End> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        if let Some(stream) = channel.stream.as_mut() {
            stream.sent += length as u64;
        }
        if let Some(active) = channel.active.as_mut() {
            let data = content(&message, code);
            active.keep(|recorder, at| recorder.input(at, data));
        }
        if channel.up.passes(length) {
            self.to_server(message);
            return Ok(());
        }
        channel.up.release(length);
        channel.up.send(code, payload(&message, code));
        self.flush(key);
        Ok(())
    }

    /// A message of the server's about a channel.
    pub(super) fn channel_of_server(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        if channel.pipe.is_some() {
            return self.of_peer(key, &message).map_err(End::Server);
        }
        let parsed = Message::parse(&message).map_err(|error| End::Server(error.to_string()))?;
        if channel.closing.by_server {
            return Err(End::Server(
                "a message on a channel that it closed".to_owned(),
            ));
        }
        let (code, length) = match parsed {
            Message::Data { data, .. } => (None, data.len()),
            Message::ExtendedData { data, code, .. } => (Some(code), data.len()),
            _ => {
                if matches!(parsed, Message::Close { .. }) {
                    channel.closing.by_server = true;
                }
                if channel.holds_results() {
                    channel.arrivals.push_back(Arrival::Message(message));
                    return Ok(());
                }
                return self.pass_down(key, message);
            }
        };
        let taken = channel.down.take(length);
        taken.map_err(|error| End::Server(error.to_string()))?;
        if channel.closing.to_client {
            // The client does not listen any more: thrown away, and nothing more is asked for.
            channel.down.release(length);
            return Ok(());
        }
        if channel.sftp.is_some() && code.is_none() {
            self.sftp_down(key, message);
            return Ok(());
        }
        if channel.holds_results() {
            let data = payload(&message, code);
            channel.arrivals.push_back(Arrival::Data(code, data));
            return Ok(());
        }
        match self.count(key, code, content(&message, code)) {
            Counted::Gone if self.show(key, code, content(&message, code)) => {}
            Counted::Gone => {
                self.keep_down(key, code, content(&message, code));
                self.send_down(key, code, length, message);
            }
            Counted::Waits => {
                if let Some(channel) = self.channels.get_mut(&key) {
                    let data = payload(&message, code);
                    channel.arrivals.push_back(Arrival::Data(code, data));
                }
            }
            Counted::Ended(_) => {}
        }
        Ok(())
    }

    /// Records what the client gets.
    pub(super) fn keep_down(&mut self, key: u64, code: Option<u32>, data: &[u8]) {
        let channel = self.channels.get_mut(&key);
        let Some(active) = channel.and_then(|channel| channel.active.as_mut()) else {
            return;
        };
        active.keep(|recorder, at| match code {
            None => recorder.output(at, data),
            Some(_) => recorder.errors(at, data),
        });
    }

    pub(super) fn send_down(
        &mut self,
        key: u64,
        code: Option<u32>,
        length: usize,
        message: Vec<u8>,
    ) {
        self.totals.bytes_out += length as u64;
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if channel.down.passes(length) {
            drop(self.client.raw(message));
        } else {
            channel.down.release(length);
            channel.down.send(code, payload(&message, code));
            self.flush(key);
        }
    }

    /// A message of the server's, other than data, whose turn it is.
    fn pass_down(&mut self, key: u64, message: Vec<u8>) -> Result<(), End> {
        self.settle(key);
        let Some(channel) = self.channels.get_mut(&key) else {
            return Ok(());
        };
        let parsed = Message::parse(&message).map_err(|error| End::Server(error.to_string()))?;
        match parsed {
            Message::Success { .. } | Message::Failure { .. } => {
                let failed = matches!(parsed, Message::Failure { .. });
                match channel.lane.replies.pop_front() {
                    Some(Reply::Server) => {}
                    Some(Reply::Started) => {
                        if failed {
                            // Another one may be asked for.
                            channel.started = false;
                            (channel.sftp, channel.scp, channel.stream) = (None, None, None);
                        }
                    }
                    _ => return Err(End::Server("an answer that nobody asked for".to_owned())),
                }
                if failed
                    && let Some(active) = channel.active.as_mut()
                    && active.bytes() == 0
                {
                    let code = "request failed".into();
                    active.outcome = Some(Outcome::Failed { code });
                }
                channel.down.message(message);
                self.answer_channel(key);
                return Ok(());
            }
            Message::Request { name, rest, .. } => {
                if let (Some(outcome), Some(active)) = (exit(name, rest), channel.active.as_mut()) {
                    active.outcome = Some(outcome);
                    if active.delivery.is_some() && channel.last.len() < MAX_LAST {
                        channel.last.push(message);
                        return Ok(());
                    }
                }
            }
            Message::Close { .. } => {
                self.sftp_ended(key);
                self.scp_ended(key);
                self.record_stream(key);
                let Some(channel) = self.channels.get_mut(&key) else {
                    return Ok(());
                };
                if let Some(active) = channel.active.take() {
                    let whole = if channel.is_session {
                        Outcome::Aborted
                    } else {
                        Outcome::Completed
                    };
                    let outcome = active.outcome.clone().unwrap_or(whole);
                    if let Some(keeping) = active.finish_kept(outcome) {
                        channel.arrivals.push_front(Arrival::Message(message));
                        self.stop_for(key, keeping);
                        return Ok(());
                    }
                }
                if !channel.closing.to_client {
                    channel.closing.to_client = true;
                    for last in std::mem::take(&mut channel.last) {
                        channel.down.message(last);
                    }
                    channel.down.message(message);
                }
                self.flush(key);
                self.free(key);
                return Ok(());
            }
            _ => {}
        }
        if !channel.closing.to_client {
            channel.down.message(message);
        }
        self.flush(key);
        Ok(())
    }

    /// Counts data of the server's that is about to go on.
    pub(super) fn count(&mut self, key: u64, code: Option<u32>, data: &[u8]) -> Counted {
        if code.is_none()
            && let Some(counted) = self.scp_down(key, data)
        {
            return counted;
        }
        let step = self.announce(key, Over::Channel, data.len());
        let counted = self.step(key, Over::Channel, step, data.len());
        if matches!(counted, Counted::Gone)
            && code.is_none()
            && let Some(ended) = self.scp_passes(key, data)
        {
            return ended;
        }
        counted
    }

    pub(super) fn counting(&mut self, key: u64, over: Over) -> Option<&mut Active> {
        over.of(self.channels.get_mut(&key)?)
    }

    /// Bytes of a file that people have released do not count again against its channel.
    pub(super) fn spare(&mut self, key: u64, bytes: u64) {
        let channel = self.channels.get_mut(&key);
        if let Some(active) = channel.and_then(|channel| channel.active.as_mut()) {
            active.spare(bytes);
        }
    }

    /// Announces bytes to what counts them.
    pub(super) fn announce(&mut self, key: u64, over: Over, length: usize) -> Step {
        let channel = self.channels.get_mut(&key);
        let active = channel.and_then(|channel| over.of(channel));
        match active.and_then(|active| active.meter.as_mut()) {
            Some(meter) => self.judge.count(meter, length as u64),
            None => Step::Continue,
        }
    }

    /// Stops something of `size` bytes in all that will pass a limit, before the first of them goes on.
    /// None: no limit stands in its way.
    pub(super) fn foresee(&mut self, key: u64, over: Over, size: u64) -> Option<Counted> {
        let meter = self.counting(key, over)?.meter.as_ref()?;
        let index = meter.foresee(size)?;
        let limit = Arc::clone(meter.limits().get(index)?);
        let reason = limit.describe_size();
        Some(self.exceeded(key, over, index, &limit, reason, Some(size)))
    }

    /// What a meter's answer means for what was counted.
    pub(super) fn step(&mut self, key: u64, over: Over, step: Step, length: usize) -> Counted {
        let Some(active) = self.counting(key, over) else {
            return Counted::Gone;
        };
        match step {
            Step::Continue => {
                active.count(length);
                Counted::Gone
            }
            Step::Throttle { rows_per_second } => {
                active.count(length);
                let rate = u32::try_from(rows_per_second.max(1)).unwrap_or(u32::MAX);
                let pause = Duration::from_secs(1) / rate;
                self.stop(key, None, |answer| async move {
                    tokio::time::sleep(pause).await;
                    answer(Answer::Rested);
                });
                Counted::Gone
            }
            Step::Replenish => {
                let wanted = active
                    .meter
                    .as_ref()
                    .map_or_else(Vec::new, |meter| meter.wanted(length as u64));
                let shared = Arc::clone(&self.judge.shared);
                self.stop(key, Some(Waited::Windows(over)), |answer| async move {
                    answer(Answer::Replenished(shared.budgets.replenish(&wanted).await));
                });
                Counted::Waits
            }
            Step::Exceeded(index) => {
                let meter = active.meter.as_ref();
                let limit = meter.and_then(|meter| meter.limits().get(index).cloned());
                match limit {
                    Some(limit) => {
                        let reason = self.describe(&limit);
                        self.exceeded(key, over, index, &limit, reason, None)
                    }
                    None => Counted::Ended("a limit is not known".to_owned()),
                }
            }
        }
    }

    fn exceeded(
        &mut self,
        key: u64,
        over: Over,
        index: usize,
        limit: &Limit,
        reason: String,
        size: Option<u64>,
    ) -> Counted {
        let OnExceed::RequireApproval(approval) = &limit.on_exceed else {
            let refusal = Refusal::denied(&limit.rule, &reason, None);
            return Counted::Ended(self.end(key, over, &refusal, Outcome::LimitExceeded));
        };
        let spec = HoldSpec {
            rule: limit.rule.clone(),
            reason,
            approval: approval.clone(),
        };
        let Some(active) = self.counting(key, over) else {
            return Counted::Gone;
        };
        active.record.decision = Recorded::Hold;
        let record = active.record.clone();
        let command = record.command.as_deref().unwrap_or("(unknown)");
        let text = record.text.as_deref().unwrap_or_default();
        let mut sentence = match command {
            "exec" if !text.is_empty() => text.to_owned(),
            _ => format!("{command} {text}").trim_end().to_owned(),
        };
        if let Some(size) = size {
            sentence.push_str(&format!(" ({size} bytes)"));
        }
        let request = self.hold_request(&record, sentence, &spec, 0);
        let shared = Arc::clone(&self.judge.shared);
        let waited = Waited::People(over, index, spec);
        self.stop(key, Some(waited), |answer| async move {
            people::ask(&*shared.holds, request, answer).await;
        });
        Counted::Waits
    }

    /// Ends what a limit has ended: a file, the content of the subsystem, or the whole channel. What
    /// the client is told.
    fn end(&mut self, key: u64, over: Over, refusal: &Refusal, outcome: Outcome) -> String {
        let number = self
            .counting(key, over)
            .map_or(0, |active| active.record.number);
        let text = format!("{} (audit id {})", refusal.text, self.audit_id(number));
        let channel = self.channels.get_mut(&key);
        let Some(sftp) = channel.and_then(|channel| channel.sftp.as_mut()) else {
            self.end_result(key, refusal, outcome);
            return text;
        };
        let told = format!("weir: {text}");
        match over {
            Over::File(file) => sftp.refuse_file(file, &told, outcome.clone()),
            Over::Channel | Over::Copy => sftp.refuse_all(&told),
        }
        if over == Over::Channel
            && let Some(active) = self.counting(key, over)
        {
            active.record.reason = Some(refusal.text.as_str().into());
            active.outcome = Some(outcome);
        }
        self.say(key, &text);
        told
    }

    /// Why a limit holds.
    fn describe(&self, limit: &Limit) -> String {
        let mut withheld = false;
        if let LimitScope::Window(key) = &limit.scope {
            let (amount, now) = (limit.amount(), millis());
            self.judge
                .shared
                .budgets
                .read(&mut |counters| withheld = counters.is_withheld(key, amount, now));
        }
        if withheld {
            limit.describe_withheld()
        } else {
            limit.describe()
        }
    }

    /// Holds results back until something has come.
    fn stop<F, W>(&mut self, key: u64, waited: Option<Waited>, wait: F)
    where
        F: FnOnce(Box<dyn Fn(Answer) + Send + Sync>) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        self.last_ticket += 1;
        let (ticket, inbox) = (self.last_ticket, self.inbox.clone());
        let subject = Subject::Channel(key);
        let answer = Box::new(move |answer| inbox.answer(subject, ticket, answer));
        let task = Some(tokio::spawn(wait(answer)).abort_handle());
        if let Some(channel) = self.channels.get_mut(&key) {
            channel.stopped = Some(Stopped {
                ticket,
                waited,
                task,
            });
        }
    }

    /// Holds results back until an end is kept, which goes on whatever becomes of the channel.
    pub(super) fn stop_for(&mut self, key: u64, keeping: Keeping) {
        self.last_ticket += 1;
        let (ticket, inbox) = (self.last_ticket, self.inbox.clone());
        tokio::spawn(async move {
            keeping.await;
            inbox.answer(Subject::Channel(key), ticket, Answer::Kept(Ok(())));
        });
        let channel = self.channels.get_mut(&key);
        if let Some(channel) = channel.filter(|channel| channel.stopped.is_none()) {
            channel.stopped = Some(Stopped {
                ticket,
                waited: Some(Waited::Kept),
                task: None,
            });
        }
    }

    /// Whether a channel's results wait for this.
    pub(super) fn is_stopped_for(&self, key: u64, ticket: u64) -> bool {
        let channel = self.channels.get(&key);
        let stopped = channel.and_then(|channel| channel.stopped.as_ref());
        stopped.is_some_and(|stopped| stopped.ticket == ticket)
    }

    /// What results waited for has come.
    pub(super) fn result_answered(&mut self, key: u64, answer: Answer) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        if let Answer::Waiting(name) = answer {
            let Some(Waited::People(over, _, spec)) =
                channel.stopped.as_ref().and_then(|it| it.waited.clone())
            else {
                return;
            };
            if let Some(active) = self.counting(key, over) {
                active.record.request = Some(Arc::clone(&name));
            }
            self.say(key, &waiting_text(&spec, &name));
            return;
        }
        let waited = channel.stopped.take().and_then(|mut it| it.waited.take());
        match (answer, waited) {
            (Answer::Replenished(more), Some(Waited::Windows(over))) => {
                let budgets = Arc::clone(&self.judge.shared.budgets);
                let meter = self.counting(key, over).and_then(|it| it.meter.as_mut());
                if let Some(meter) = meter {
                    let now = millis();
                    budgets.read(&mut |counters| meter.refresh(counters, now));
                    if !more {
                        meter.asked_in_vain();
                    }
                }
            }
            (Answer::Ruled(ruled), Some(Waited::People(over, index, spec))) => {
                let Some(active) = self.counting(key, over) else {
                    return;
                };
                if let Ok(ruled) = &ruled {
                    active.record.request = Some(Arc::clone(&ruled.name));
                }
                match ruling(&spec, ruled) {
                    Ok(release) => {
                        if let Some(meter) = active.meter.as_mut() {
                            meter.release(index, release);
                        }
                        active.released = true;
                        let sent = active.bytes();
                        if over != Over::Channel {
                            self.spare(key, sent);
                        }
                    }
                    Err(refusal) => {
                        self.end(key, over, &refusal, Outcome::Denied);
                    }
                }
            }
            _ => {}
        }
        self.resume_results(key);
    }

    /// Goes on with what has arrived meanwhile.
    pub(super) fn resume_results(&mut self, key: u64) {
        self.sftp_answers(key);
        loop {
            let Some(channel) = self.channels.get_mut(&key) else {
                return;
            };
            if channel.stopped.is_some() {
                return;
            }
            let Some(arrival) = channel.arrivals.pop_front() else {
                break;
            };
            match arrival {
                Arrival::Message(message) => {
                    if self.pass_down(key, message).is_err() {
                        // It was looked at when it came.
                        return self.forget(key);
                    }
                }
                Arrival::Data(code, data) => {
                    let length = data.len();
                    match self.count(key, code, &data) {
                        Counted::Gone if self.show(key, code, &data) => {}
                        Counted::Gone => {
                            self.keep_down(key, code, &data);
                            self.totals.bytes_out += length as u64;
                            if let Some(channel) = self.channels.get_mut(&key) {
                                channel.down.release(length);
                                channel.down.send(code, data);
                                self.flush(key);
                            }
                        }
                        Counted::Waits => {
                            if let Some(channel) = self.channels.get_mut(&key) {
                                channel.arrivals.push_front(Arrival::Data(code, data));
                            }
                            return;
                        }
                        Counted::Ended(_) => return,
                    }
                }
            }
        }
        self.flush(key);
    }

    /// Throws away what has arrived and the client does not want.
    pub(super) fn drop_arrivals(&mut self, key: u64) {
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        let arrivals = std::mem::take(&mut channel.arrivals);
        for arrival in arrivals {
            match arrival {
                Arrival::Data(_, data) => channel.down.release(data.len()),
                Arrival::Message(message) => {
                    let end = matches!(Message::parse(&message), Ok(Message::Close { .. }));
                    if end && !channel.closing.to_client {
                        channel.closing.to_client = true;
                        channel.down.message(message);
                    }
                }
            }
        }
    }

    /// Ends a result in the protocol's form: a line on standard error, a status, the channel's end.
    /// The server's side is closed when the client has answered.
    pub(super) fn end_result(&mut self, key: u64, refusal: &Refusal, outcome: Outcome) {
        let number = self
            .channels
            .get(&key)
            .and_then(|channel| channel.active.as_ref())
            .map_or(0, |active| active.record.number);
        let text = format!("{} (audit id {})", refusal.text, self.audit_id(number));
        self.end_told(key, &refusal.text, &text, outcome);
    }

    /// Ends a result so: the reason for the record, and what the client is told.
    pub(super) fn end_told(&mut self, key: u64, reason: &str, text: &str, outcome: Outcome) {
        self.say(key, text);
        self.scp_ended(key);
        let Some(channel) = self.channels.get_mut(&key) else {
            return;
        };
        channel.stopped = None;
        if let Some(mut active) = channel.active.take() {
            active.record.reason = Some(reason.into());
            active.finish(outcome);
        }
        let arrivals = std::mem::take(&mut channel.arrivals);
        let ended = arrivals.iter().any(|arrival| match arrival {
            Arrival::Message(message) => {
                matches!(Message::parse(message), Ok(Message::Close { .. }))
            }
            Arrival::Data(..) => false,
        });
        channel.closing.by_server |= ended;
        channel.end();
        self.flush(key);
        self.free(key);
    }
}

/// The data of a message.
pub(super) fn content(message: &[u8], code: Option<u32>) -> &[u8] {
    let header = if code.is_some() { 13 } else { DATA_HEADER };
    message.get(header..).unwrap_or_default()
}

fn payload(message: &[u8], code: Option<u32>) -> Vec<u8> {
    content(message, code).to_vec()
}

/// What a server says about the end of a program.
fn exit(name: &[u8], rest: &[u8]) -> Option<Outcome> {
    let mut fields = Fields(rest);
    match name {
        b"exit-status" => Some(Outcome::exited(fields.u32()?)),
        b"exit-signal" => {
            let signal = String::from_utf8_lossy(fields.string()?);
            Some(Outcome::killed(&signal))
        }
        _ => None,
    }
}
