//! Rows, COPY data, notices and errors on their way to the client: counted, masked, cut.

use super::*;

impl Active {
    /// Counts what is no row as one; what stops it, if something does.
    fn stopped_by(&mut self, header: Header) -> Option<Crossing> {
        let bytes = header.total as u64;
        match self.meter.as_mut()?.row(bytes) {
            Step::Replenish => Some(Crossing::Window(bytes)),
            Step::Exceeded(index) => Some(Crossing::Limit(index)),
            Step::Continue | Step::Throttle { .. } => None,
        }
    }
}

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
                Step::Replenish => {
                    self.crossing = Some(Crossing::Window(header.total as u64));
                    return Ok(Fate::Stay);
                }
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

    /// Takes all rows that have arrived whole at once, where nothing stops between two of them and
    /// none is recorded. False: the next row is taken alone.
    pub(super) fn run_of_rows(&mut self) -> Result<bool, SessionEnd> {
        let unjudged = self.server.inbox.unjudged();
        let (mut rows, mut bytes) = (0_u64, 0);
        while let Ok(Some(header)) = Header::peek(unjudged.get(bytes..).unwrap_or_default())
            && header.tag == tag::DATA_ROW
            && header.total <= unjudged.len() - bytes
        {
            bytes += header.total;
            rows += 1;
        }
        let ours = self.pending.front().is_none_or(|entry| entry.ours);
        if rows < 2 || ours || self.connection.muted {
            return Ok(false);
        }
        let Some(mut active) = self.take_front_active() else {
            return Ok(false);
        };
        let counts = |meter: &mut weir_policy::Meter| meter.rows(rows, bytes as u64);
        let takes_all = !active.discarding
            && !active.records_rows()
            && active.meter.as_mut().is_none_or(counts);
        if !takes_all {
            self.put_front_active(active);
            return Ok(false);
        }
        active.count(rows, bytes);
        self.totals.rows += rows;
        self.totals.to_client += bytes as u64;
        if active.sees_rows() && !active.changes_rows() {
            self.see_run(&mut active, bytes);
        }
        let shown = if active.changes_rows() {
            self.show_run(&mut active, bytes)
        } else {
            self.server.inbox.approve(bytes);
            Ok(())
        };
        self.put_front_active(active);
        shown.map(|()| true)
    }

    /// Keeps fingerprints of the rows that are the next `bytes` bytes.
    fn see_run(&self, active: &mut Active, bytes: usize) {
        let run = self.server.inbox.unjudged().get(..bytes);
        let mut rest = run.unwrap_or_default();
        while let Ok(Some(header)) = Header::peek(rest) {
            active.see_row(rest.get(HEADER..header.total).unwrap_or_default());
            rest = rest.get(header.total..).unwrap_or_default();
        }
    }

    /// Writes the rows that are the next `bytes` bytes as the client gets them.
    fn show_run(&mut self, active: &mut Active, bytes: usize) -> Result<(), SessionEnd> {
        self.server.inbox.spill(&mut self.client.out);
        self.client.out.keep_room(true);
        let out = self.client.out.end();
        let mut rest = self.server.inbox.unjudged().get(..bytes);
        while let Some(run) = rest
            && let Ok(Some(header)) = Header::peek(run)
        {
            let body = run.get(HEADER..header.total).unwrap_or_default();
            active.show_row(body, out).map_err(SessionEnd::Server)?;
            rest = run.get(header.total..);
        }
        self.server.inbox.discard(bytes, &mut self.client.out);
        Ok(())
    }

    /// Records a row as the client gets it, masked where it must be.
    fn rewrite_row(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let Some(mut active) = self.take_front_active() else {
            return Ok(Fate::Drop);
        };
        let body = self.server_body(header);
        if !active.changes_rows() {
            active.see_row(body);
            active.record_row(body);
            self.put_front_active(active);
            return Ok(Fate::Forward);
        }
        let mut out = Vec::new();
        active
            .show_row(body, &mut out)
            .map_err(SessionEnd::Server)?;
        active.record_row(out.get(HEADER..).unwrap_or_default());
        self.put_front_active(active);
        self.tell_client(|to| to.extend_from_slice(&out));
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
        if let Some(crossing) = active.stopped_by(header) {
            self.crossing = Some(crossing);
            return Fate::Stay;
        }
        let Some(mut active) = self.take_front_active() else {
            return Fate::Forward;
        };
        active.count(1, header.total);
        let starred = self.starred(&mut active, header);
        if active.judgement.wanted.is_some() {
            active.see_copy(starred.as_deref().unwrap_or(self.server_body(header)));
        }
        if active.records_rows() {
            let data = starred.as_deref().unwrap_or(self.server_body(header));
            active.record_copy(data, Stream::CopyOut);
        }
        self.put_front_active(active);
        self.forward_starred(header, starred)
    }

    /// The body of a message that is not a row with the values starred that were found in it;
    /// `None` where there are none.
    fn starred(&self, active: &mut Active, header: Header) -> Option<Vec<u8>> {
        active.judgement.scanner.as_ref()?;
        let mut body = self.server_body(header).to_vec();
        active.star(&mut body).then_some(body)
    }

    fn forward_starred(&mut self, header: Header, starred: Option<Vec<u8>>) -> Fate {
        let Some(body) = starred else {
            return Fate::Forward;
        };
        self.tell_client(|out| {
            message::message(out, header.tag, |out| out.extend_from_slice(&body));
        });
        Fate::Drop
    }

    /// A notice can carry data: it counts as a row, and is cut or withheld like an error.
    pub(super) fn notice(&mut self, header: Header) -> Fate {
        let scrub = self.must_scrub();
        let Some(active) = self.front_active() else {
            return self.report(header, scrub, None);
        };
        if active.discarding {
            return Fate::Drop;
        }
        if let Some(crossing) = active.stopped_by(header) {
            self.crossing = Some(crossing);
            return Fate::Stay;
        }
        active.count(0, header.total);
        let starred = self.starred_report(header);
        self.report(header, scrub, starred)
    }

    /// Passes on an error or a notice as far as it may carry data.
    pub(super) fn report(&mut self, header: Header, scrub: bool, starred: Option<Vec<u8>>) -> Fate {
        let tag = header.tag;
        if scrub || self.is_of_labelled(header) {
            let body = self.server_body(header).to_vec();
            match Carries::of(&body) {
                Carries::Text => {}
                Carries::Detail => {
                    self.tell_client(|out| message::without_detail(out, tag, &body));
                    return Fate::Drop;
                }
                // How many there are, and with which codes, is up to the code.
                Carries::Values if tag == backend::tag::NOTICE && is_raised(&body) => {
                    return Fate::Drop;
                }
                Carries::Values => {
                    let text = "text withheld: labelled data is touched";
                    self.tell_client(|out| message::scrubbed(out, tag, &body, text));
                    return Fate::Drop;
                }
            }
        }
        if header.total > MAX_REPORT && !self.scope.permits_opaque() {
            let body = self.server_body(header).to_vec();
            self.tell_client(|out| message::cut(out, tag, &body, MAX_REPORT_FIELD));
            return Fate::Drop;
        }
        self.forward_starred(header, starred)
    }

    /// Whether values are kept from the client at all.
    fn protects(&self) -> bool {
        !self.scope.permits_opaque() && self.scope.has_masks()
    }

    /// Whether the server names a relation whose rows may hold labelled columns, whatever statement it speaks of.
    fn is_of_labelled(&self, header: Header) -> bool {
        let catalog = self.catalog_in_use().filter(|_| self.protects());
        catalog.is_some_and(|catalog| {
            let fields = backend::Fields::new(self.server_body(header));
            let text = |code| Some(String::from_utf8_lossy(fields.find(code)?));
            match (text(b's'), text(b't')) {
                (Some(schema), Some(table)) => catalog.may_hold_labelled(&schema, &table),
                _ => false,
            }
        })
    }

    /// What is said about the statement at the front, with found values starred.
    pub(super) fn starred_report(&mut self, header: Header) -> Option<Vec<u8>> {
        let mut active = self.take_front_active()?;
        let starred = self.starred(&mut active, header);
        self.put_front_active(active);
        starred
    }

    /// Whether what the server says about the statement at the front may carry labelled values.
    pub(super) fn must_scrub(&mut self) -> bool {
        if !self.protects() {
            return false;
        }
        let (touched, implicit) = (self.touched, self.status == b'I');
        // What was deferred is checked at the end; what is planned at Bind may run.
        let ends = touched && !self.pending.awaits_text();
        match self.front_active() {
            Some(active) => {
                active.judged().touches || touched && (implicit || active.judged().settles())
            }
            None => ends || self.pending.binds_touching() || self.seat.others_change(),
        }
    }
}

/// Whether code of the database has raised it: in PL/pgSQL, Python, Perl or Tcl.
fn is_raised(body: &[u8]) -> bool {
    let routine = backend::Fields::new(body).find(b'R');
    matches!(
        routine,
        Some(b"exec_stmt_raise" | b"PLy_output" | b"do_util_elog" | b"pltcl_elog")
    )
}
