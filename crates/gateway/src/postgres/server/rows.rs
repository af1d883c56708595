//! Rows, COPY data, notices and errors on their way to the client: counted, masked, cut.

use super::*;

/// The largest buffer for masked rows that a session keeps between rows, in bytes.
const MAX_SCRATCH: usize = 16 * 1024;

impl Session {
    pub(super) fn front_active(&mut self) -> Option<&mut Box<Active>> {
        match &mut self.pending.front()?.owed {
            Owed::Query(statements) => statements.front_mut(),
            Owed::Execute(_, active) | Owed::FunctionCall(active) => active.as_mut(),
            _ => None,
        }
    }

    /// Takes the statement that the server is answering out of the queue for a while.
    pub(in crate::postgres) fn take_front_active(&mut self) -> Option<Box<Active>> {
        match &mut self.pending.front()?.owed {
            Owed::Query(statements) => statements.pop_front(),
            Owed::Execute(_, active) | Owed::FunctionCall(active) => active.take(),
            _ => None,
        }
    }

    /// Puts it back.
    pub(in crate::postgres) fn put_front_active(&mut self, active: Box<Active>) {
        match self.pending.front().map(|entry| &mut entry.owed) {
            Some(Owed::Query(statements)) => statements.push_front(active),
            Some(Owed::Execute(_, slot) | Owed::FunctionCall(slot)) => *slot = Some(active),
            _ => {}
        }
    }

    pub(super) fn row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        if self.pending.front().is_some_and(|entry| entry.ours) {
            return self.captured_row(header);
        }
        if self.connection.muted {
            return Ok(Fate::Drop);
        }
        let Some(active) = self.front_active() else {
            if self.scope.permits_opaque() {
                return Ok(Fate::Forward);
            }
            let reason = "the server sent rows of a statement that was not judged";
            return Err(SessionEnd::Ended(reason.to_owned()));
        };
        if active.discarding {
            return Ok(Fate::Drop);
        }
        if let Some(meter) = &mut active.meter {
            match meter.row(header.total as u64) {
                Step::Continue => {}
                Step::Exceeded(index) => {
                    self.crossing = Some(Crossing::Limit(index));
                    return Ok(Fate::Stay);
                }
                Step::Throttle { rows_per_second } => {
                    if active.rows() % (rows_per_second / 10).max(1) == 0 {
                        let pause = 1000 / rows_per_second.clamp(1, 10);
                        self.crossing = Some(Crossing::Pause(Duration::from_millis(pause)));
                    }
                }
            }
        }
        let Some(active) = self.front_active() else {
            return Ok(Fate::Forward);
        };
        active.count(1, header.total);
        if active.is_transparent() {
            self.totals.rows += 1;
            return Ok(Fate::Forward);
        }
        self.totals.rows += 1;
        self.rewrite_row(header)
    }

    pub(super) fn rewrite_row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let Some(mut active) = self.take_front_active() else {
            return Ok(Fate::Drop);
        };
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let body = self.server_body(header);
        if active.masks.is_empty() {
            active.record_row(body);
            self.put_front_active(active);
            return Ok(Fate::Forward);
        }
        let masks = Arc::clone(&active.masks);
        let mut next = masks.iter().peekable();
        let masked = message::masked_row(&mut out, body, |index, value| {
            while next.next_if(|(at, _)| *at < index).is_some() {}
            let (_, mask) = next.next_if(|(at, _)| *at == index)?;
            Some(mask.apply(value))
        });
        masked.map_err(SessionEnd::Server)?;
        active.record_row(out.get(HEADER..).unwrap_or_default());
        self.put_front_active(active);
        self.server.inbox.spill(&mut self.client.out);
        self.client.out.extend_from_slice(&out);
        if out.capacity() <= MAX_SCRATCH {
            self.scratch = out;
        }
        Ok(Fate::Drop)
    }

    pub(super) fn captured_row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let mut cells = Body::new(self.server_body(header));
        let count = cells.count(4).map_err(SessionEnd::Server)?;
        let mut row = Vec::with_capacity(count);
        for _ in 0..count {
            let value = cells.value().map_err(SessionEnd::Server)?;
            row.push(value.map(|bytes| String::from_utf8_lossy(bytes).into()));
        }
        if let Some(table) = self.capture.rows.tables.last_mut() {
            table.push(row);
        }
        Ok(Fate::Drop)
    }

    pub(super) fn copy_data_out(&mut self, header: Header) -> Fate {
        let Some(active) = self.front_active() else {
            return Fate::Forward;
        };
        if active.discarding {
            return Fate::Drop;
        }
        if let Some(meter) = &mut active.meter
            && let Step::Exceeded(index) = meter.row(header.total as u64)
        {
            self.crossing = Some(Crossing::Limit(index));
            return Fate::Stay;
        }
        if let Some(mut active) = self.take_front_active() {
            active.count(1, header.total);
            if active.records_rows() {
                active.record_copy(self.server_body(header), Stream::CopyOut);
            }
            self.put_front_active(active);
        }
        Fate::Forward
    }

    /// A notice can carry data: it counts as a row, and is cut or withheld like an error.
    pub(super) fn notice(&mut self, header: Header) -> Fate {
        let scrub = self.must_scrub();
        let Some(active) = self.front_active() else {
            return Fate::Forward;
        };
        if active.discarding {
            return Fate::Drop;
        }
        if let Some(meter) = &mut active.meter
            && let Step::Exceeded(index) = meter.row(header.total as u64)
        {
            self.crossing = Some(Crossing::Limit(index));
            return Fate::Stay;
        }
        active.count(0, header.total);
        self.report(header, scrub)
    }

    /// Passes on an error or a notice as far as it may carry data.
    pub(super) fn report(&mut self, header: Header, scrub: bool) -> Fate {
        let tag = header.tag;
        if scrub {
            let body = self.server_body(header).to_vec();
            let text = "text withheld: labelled data is touched";
            self.tell_client(|out| message::scrubbed(out, tag, &body, text));
            return Fate::Drop;
        }
        if header.total > MAX_REPORT && !self.scope.permits_opaque() {
            let body = self.server_body(header).to_vec();
            self.tell_client(|out| message::cut(out, tag, &body, MAX_REPORT_FIELD));
            return Fate::Drop;
        }
        Fate::Forward
    }

    /// Whether what the server says about the statement at the front may carry labelled values.
    pub(super) fn must_scrub(&mut self) -> bool {
        let protects = !self.scope.permits_opaque() && self.scope.has_masks();
        if !protects {
            return false;
        }
        let (touched, implicit) = (self.touched, self.status == b'I');
        match self.front_active() {
            Some(active) => {
                active.judged.touches || touched && (implicit || active.judged.settles())
            }
            // What was deferred is checked at Sync.
            None => touched,
        }
    }
}
