//! What the client sends: each message is judged whole, then forwarded, replaced or held.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_audit::Stream;
use weir_sql::Analysis;
use weir_wire_postgres::frame::{HEADER, Header};
use weir_wire_postgres::frontend::{self, Named as NamedObject, tag};
use weir_wire_postgres::{ProtocolError, message};

use super::cache::Analysed;
use super::judge::Verdict;
use super::need::Need;
use super::pending::{Owed, Pending, name};
use super::prepared::{Lookup, Named, Parameters, Portal, Prepared};
use super::refusal::Refusal;
use super::session::{MAX_WHOLE, Rest, Session, SessionEnd};
use super::statement::{Active, Body};

/// Answers that may be owed before the client is no longer read.
const MAX_PIPELINE: usize = 4096;

/// Finds the text of a message in its body.
type Finds = for<'a> fn(&'a [u8]) -> Result<&'a [u8], ProtocolError>;

impl Session {
    /// Takes every client message that has arrived whole.
    pub(super) async fn take_client(&mut self) -> Result<(), SessionEnd> {
        loop {
            if self.pending.len() > MAX_PIPELINE {
                self.hear_server().await?;
                if self.server.eof {
                    return Ok(());
                }
                continue;
            }
            if !self.client.settle_rest(&mut self.server.out) {
                return Ok(());
            }
            let unjudged = self.client.inbox.unjudged();
            let header = match Header::peek(unjudged) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.violation(error).await),
            };
            let is_whole = unjudged.len() >= header.total;
            let streams = header.tag == tag::COPY_DATA && self.pending.recorded_copy_in().is_none();
            if !is_whole && !streams {
                if header.total > MAX_WHOLE {
                    return Err(self.end(too_large()).await);
                }
                return Ok(());
            }
            self.totals.to_server += header.total as u64;
            if let Err(error) = self.take_message(header).await? {
                return Err(self.violation(error).await);
            }
        }
    }

    /// Waits for the server, and deals with what it sent.
    async fn hear_server(&mut self) -> Result<(), SessionEnd> {
        self.pump(false).await?;
        self.take_server()?;
        self.settle().await
    }

    async fn violation(&mut self, error: ProtocolError) -> SessionEnd {
        let refusal = Refusal {
            sqlstate: "08P01",
            message: format!("weir: invalid message from the client: {error}"),
            detail: None,
            hint: None,
            rules: Vec::new(),
            may_be_mistake: false,
        };
        self.end(refusal).await;
        SessionEnd::Client(error)
    }

    async fn take_message(
        &mut self,
        header: Header,
    ) -> Result<Result<(), ProtocolError>, SessionEnd> {
        let total = header.total;
        if frontend::has_foreign_name(header.tag, self.body(total))
            && let Some(refusal) = self.refuse_name().await?
        {
            self.refuse_extended(total, &refusal);
            self.pending.push_refused(Owed::DescribeStatement, refusal);
            return Ok(Ok(()));
        }
        match header.tag {
            tag::QUERY => return self.query(total).await,
            tag::PARSE => return self.parse(total).await,
            tag::BIND => return self.bind(total).await,
            tag::EXECUTE => return self.execute(total).await,
            tag::FUNCTION_CALL => return self.function_call(total).await,
            tag::DESCRIBE | tag::CLOSE => {
                let named = match frontend::named(self.body(total)) {
                    Ok(named) => named,
                    Err(error) => return Ok(Err(error)),
                };
                let owed = match (header.tag, named) {
                    (tag::DESCRIBE, NamedObject::Statement(_)) => Owed::DescribeStatement,
                    (tag::DESCRIBE, NamedObject::Portal(n)) => Owed::DescribePortal(name(n)),
                    (_, NamedObject::Statement(n)) => Owed::CloseStatement(name(n)),
                    (_, NamedObject::Portal(n)) => Owed::ClosePortal(name(n)),
                };
                self.begin_batch(None).await?;
                self.forward(total, owed);
            }
            tag::SYNC => {
                self.end_batch().await?;
                self.batch_open &= self.pending.takes_copy();
                self.forward(total, Owed::Sync);
            }
            tag::COPY_DONE | tag::COPY_FAIL => self.forward(total, Owed::CopyEnd),
            tag::COPY_DATA => self.copy_data(total),
            tag::FLUSH => self.client.inbox.approve(total),
            tag::TERMINATE => {
                self.terminated = true;
                self.client.inbox.approve(total);
            }
            tag::PASSWORD => return Ok(Err(ProtocolError::Unexpected(tag::PASSWORD))),
            other => return Ok(Err(ProtocolError::Unexpected(other))),
        }
        Ok(Ok(()))
    }

    fn forward(&mut self, total: usize, owed: Owed) {
        self.client.inbox.approve(total);
        self.pending.push(owed);
    }

    fn body(&self, total: usize) -> &[u8] {
        self.client
            .inbox
            .unjudged()
            .get(HEADER..total)
            .unwrap_or_default()
    }

    fn copy_data(&mut self, total: usize) {
        if let Some(data) = self.client.inbox.unjudged().get(HEADER..total)
            && let Some(active) = self.pending.recorded_copy_in()
        {
            active.record_copy(data, Stream::CopyIn);
        }
        let have = self.client.inbox.unjudged().len().min(total);
        self.client.inbox.approve(have);
        if have < total {
            self.client.rest = Rest::Forward(total - have);
        }
    }

    /// Whether code of the database runs, or has run since the server was last ready and said how texts are read.
    fn runs_code(&mut self) -> bool {
        let mut active = self.pending.active();
        self.code_ran || active.any(|active| active.judged().runs_code)
    }

    /// Whether the text of the next message, which `text` finds in its body, is the same in every encoding and
    /// however strings are read.
    fn reads_alike(&self, total: usize, text: Finds) -> bool {
        let found = text(self.body(total));
        found.is_ok_and(|text| {
            text.is_ascii()
                && (!text.contains(&b'\\')
                    || text.len() <= weir_sql::MAX_TEXT
                        && std::str::from_utf8(text).is_ok_and(weir_sql::reads_alike))
        })
    }

    /// Where code runs that could change how the next text is read, waits until the server has said how it is, or
    /// asks it within the batch.
    async fn await_reading(&mut self, total: usize, text: Finds) -> Result<(), SessionEnd> {
        if self.scope.permits_opaque() || !self.runs_code() || self.reads_alike(total, text) {
            return Ok(());
        }
        while self.pending.owes_ready() && !self.server.eof {
            self.hear_server().await?;
        }
        if self.runs_code() {
            self.hear_answers().await?;
            self.ask_reading().await?;
        }
        Ok(())
    }

    /// Analyses the text of the next message, `total` bytes long, which `text` finds in its body:
    /// on this thread, unless it is large.
    async fn analyse(&mut self, total: usize, text: Finds) -> Result<Arc<Analysed>, ProtocolError> {
        const LARGE: usize = 16 * 1024;
        let is_doubtful = self.runs_code() && !self.reads_alike(total, text);
        let bytes = text(self.body(total))?;
        let depends = || !bytes.is_ascii() || bytes.contains(&b'\\');
        let is_unsure = is_doubtful || self.reading_unsure && depends();
        let text = match self.encodings.text(bytes) {
            Some(text) if !is_unsure => text,
            _ => return Ok(Arc::new(Analysed::opaque(&String::from_utf8_lossy(bytes)))),
        };
        if text.len() <= LARGE {
            return Ok(self.shared.statements.analyse(&text, &self.lex));
        }
        if self.scope.permits_opaque() {
            return Ok(Arc::new(Analysed::opaque(&text)));
        }
        Ok(self.analyse_large(&text).await)
    }

    /// Analyses a text on a thread with room: one at a time, because its tree takes a few hundred
    /// times its size.
    async fn analyse_large(&self, text: &str) -> Arc<Analysed> {
        let shared = Arc::clone(&self.shared);
        let Ok(_turn) = shared.large_texts.acquire().await else {
            return Arc::new(Analysed::opaque(text));
        };
        let (engine, lex, owned) = (Arc::clone(&self.shared), self.lex, text.to_owned());
        let task = tokio::task::spawn_blocking(move || engine.statements.analyse(&owned, &lex));
        match task.await {
            Ok(found) => found,
            Err(_) => Arc::new(Analysed::opaque(text)),
        }
    }

    /// Waits until nothing that is under way can change how the next text is read.
    async fn pass_barriers(&mut self) -> Result<(), SessionEnd> {
        // Late, it would cancel what comes next.
        if let Some(cancelling) = self.connection.cancelling.take() {
            drop(self.beside(cancelling).await?);
        }
        if self.scope.permits_opaque() {
            return Ok(());
        }
        let waits = |pending: &mut Pending| pending.active().any(|active| active.judged().barrier);
        if waits(&mut self.pending) {
            self.ask_for_answers();
        }
        while (waits(&mut self.pending) || self.reading_unsure && self.pending.owes_ready())
            && !self.server.eof
        {
            self.hear_server().await?;
        }
        // What may have to be taken back is not committed before its answer was seen.
        if self.seat.others_change() && self.scope.needs_catalog() {
            self.hear_answers().await?;
        }
        self.abort_batch();
        Ok(())
    }

    /// Waits until every statement that is under way has been answered, or waits for data; outside of a batch
    /// until it is clear what became of the transaction.
    pub(super) async fn hear_answers(&mut self) -> Result<(), SessionEnd> {
        let in_batch = self.batch_open;
        let waits = |pending: &mut Pending| {
            !pending.takes_copy()
                && match in_batch {
                    true => pending.active().next().is_some(),
                    false => !pending.is_empty(),
                }
        };
        self.hear_while(waits).await
    }

    /// Has the server send what it has answered, and waits for as long as that leaves something open.
    async fn hear_while(&mut self, waits: impl Fn(&mut Pending) -> bool) -> Result<(), SessionEnd> {
        if waits(&mut self.pending) {
            self.ask_for_answers();
        }
        while waits(&mut self.pending) && !self.server.eof {
            self.hear_server().await?;
        }
        Ok(())
    }

    async fn query(&mut self, total: usize) -> Result<Result<(), ProtocolError>, SessionEnd> {
        let ends_batch = self.batch_open;
        self.close_batch().await?;
        self.pass_barriers().await?;
        self.refresh_policy().await?;
        if self.pending.is_skipping() {
            self.client.inbox.approve(total);
            return Ok(Ok(()));
        }
        self.await_reading(total, frontend::query).await?;
        let analysed = match self.analyse(total, frontend::query).await {
            Ok(analysed) => analysed,
            Err(error) => return Ok(Err(error)),
        };
        let barred = self.await_definitions(&analysed).await?;
        let verdict = match analysed.analysis() {
            _ if let Some(refusal) = barred => Verdict::Deny(refusal),
            Analysis::SyntaxError(_) if !self.scope.permits_opaque() => {
                let mut refusal = Refusal::unjudged("the statement could not be parsed");
                refusal.may_be_mistake = true;
                Verdict::Deny(refusal)
            }
            _ => {
                // What the batch has done would be lost with a reading that fails: the client must know.
                let need = match ends_batch {
                    true => Need::Fresh,
                    false => analysed.need(),
                };
                self.judge_text(&analysed, need).await?
            }
        };
        if let Verdict::Deny(refusal) = &verdict
            && refusal.may_be_mistake
            && let Ok(text) = frontend::query(self.body(total)).map(<[u8]>::to_vec)
            && let Some(error) = self.ask_for_error(&text).await?
        {
            self.client.inbox.discard(total, &mut self.server.out);
            let status = self.status;
            self.tell_client(|out| {
                out.extend_from_slice(&error);
                message::ready(out, status);
            });
            return Ok(Ok(()));
        }
        match verdict {
            Verdict::Permit(statements) => self.forward(total, Owed::Query(statements)),
            Verdict::Deny(refusal) => {
                let text = refused_text(&refusal);
                self.replace(total, |out| message::query(out, &text));
                self.pending
                    .push_refused(Owed::Query(VecDeque::new()), refusal);
            }
        }
        Ok(Ok(()))
    }

    /// A `Query` inside of an extended-protocol batch runs only if all before it succeeded: wait
    /// until that is known.
    async fn close_batch(&mut self) -> Result<(), SessionEnd> {
        if !self.batch_open {
            return Ok(());
        }
        self.drain().await?;
        self.batch_open = self.pending.is_skipping();
        Ok(())
    }

    /// The server's own words on a text that it will not take, asked for in a way that cannot run
    /// anything and looks at no row; `None` when the server accepts the text.
    async fn ask_for_error(&mut self, text: &[u8]) -> Result<Option<Vec<u8>>, SessionEnd> {
        const NAME: &[u8] = b"weir_syntax";
        self.tell_server(|out| {
            message::parse(out, NAME, text);
            message::close(out, b'S', NAME);
            message::sync(out);
        });
        self.pending.push_ours(Owed::DescribeStatement);
        self.pending.push_ours(Owed::CloseStatement(name(NAME)));
        self.pending.push_ours(Owed::Sync);
        self.await_ours().await?;
        Ok(self.capture.error.take())
    }

    async fn parse(&mut self, total: usize) -> Result<Result<(), ProtocolError>, SessionEnd> {
        self.pass_barriers().await?;
        let name = match frontend::parse(self.body(total)) {
            Ok(parse) => name(parse.name),
            Err(error) => return Ok(Err(error)),
        };
        self.await_reading(total, text_of_parse).await?;
        let analysed = match self.analyse(total, text_of_parse).await {
            Ok(analysed) => analysed,
            Err(error) => return Ok(Err(error)),
        };
        let body = match analysed.analysis() {
            Analysis::Parsed(script) if script.statements.len() == 1 => Some(Body::new(script, 0)),
            _ => None,
        };
        self.begin_batch(Some(&analysed)).await?;
        self.forward(total, Owed::Parse(name, Prepared::new(analysed, body)));
        Ok(Ok(()))
    }

    async fn bind(&mut self, total: usize) -> Result<Result<(), ProtocolError>, SessionEnd> {
        self.pass_barriers().await?;
        let keep =
            self.scope.record() >= weir_policy::RecordLevel::Commands || self.scope.asks_people();
        let (portal, wanted, writes_mask, parameters) = match frontend::bind(self.body(total)) {
            Ok(bind) => (
                name(bind.portal),
                name(bind.statement),
                bind.parameters
                    .iter()
                    .any(|(value, _)| value.is_some_and(|value| self.is_mask(value))),
                if keep {
                    parameters(&bind.parameters)
                } else {
                    Parameters::default()
                },
            ),
            Err(error) => return Ok(Err(error)),
        };
        let statement = loop {
            match self.named.statement(&wanted, &self.pending) {
                Lookup::Found(statement) => break Some(statement),
                Lookup::Unknown => break None,
                Lookup::Undecided if self.server.eof => break None,
                Lookup::Undecided => {
                    self.ask_for_answers();
                    self.hear_server().await?;
                }
            }
        };
        let analysed = statement.as_ref().map(|one| Arc::clone(&one.analysed));
        self.begin_batch(analysed.as_ref()).await?;
        let mut bound = Portal {
            statement,
            parameters,
            writes_mask,
            touches: true,
            opened: None,
            described: None,
            active: None,
        };
        let refused = if self.pending.is_skipping() {
            None
        } else {
            self.refresh_policy().await?;
            let refused = self.judge_bind(&mut bound).await?;
            bound.opened = self.opening();
            let is_missing = bound.statement.is_none();
            refused.map(|refusal| match is_missing {
                true => refusal.of_missing_statement(&wanted),
                false => refusal,
            })
        };
        match refused {
            None => self.forward(total, Owed::Bind(portal, Some(Box::new(bound)))),
            Some(refusal) => {
                self.refuse_extended(total, &refusal);
                self.pending.push_refused(Owed::Bind(portal, None), refusal);
            }
        }
        Ok(Ok(()))
    }

    /// Why a message with a name beyond ASCII cannot be judged, if it cannot: what such a name means depends
    /// on the encoding, and the server may know another statement or portal under it than Weir.
    async fn refuse_name(&mut self) -> Result<Option<Refusal>, SessionEnd> {
        self.pass_barriers().await?;
        self.begin_batch(None).await?;
        self.refresh_policy().await?;
        let is_read = self.encodings.is_utf8() && !self.reading_unsure;
        if is_read || self.scope.permits_opaque() || self.pending.is_skipping() {
            return Ok(None);
        }
        Ok(Some(Refusal::unjudged(
            "the name of a statement or portal is not ASCII, and client_encoding is not UTF8",
        )))
    }

    /// Puts a Parse that must fail in the place of a message of the extended protocol. It has a name, so
    /// that the unnamed statement stays, and its text is read before the server looks at the name: there
    /// is nothing that a client could have made for it to find.
    fn refuse_extended(&mut self, total: usize, refusal: &Refusal) {
        let text = refused_text(refusal);
        self.replace(total, |out| {
            message::parse(out, b"weir_refused", text.as_bytes());
        });
    }

    /// Whether a value is what a constant mask shows.
    fn is_mask(&self, value: &[u8]) -> bool {
        let masks = self.scope.constant_masks();
        masks.iter().any(|mask| mask.as_bytes() == value)
    }

    /// Makes the server send what it has answered so far, where no Sync does.
    pub(super) fn ask_for_answers(&mut self) {
        if self.batch_open {
            self.tell_server(message::flush);
        }
    }

    async fn execute(&mut self, total: usize) -> Result<Result<(), ProtocolError>, SessionEnd> {
        self.pass_barriers().await?;
        let name = match frontend::execute(self.body(total)) {
            Ok(execute) => name(execute.portal),
            Err(error) => return Ok(Err(error)),
        };
        let waits =
            |pending: &mut Pending| !pending.takes_copy() && Named::is_undecided(&name, pending);
        self.hear_while(waits).await?;
        self.begin_batch(None).await?;
        self.refresh_policy().await?;
        if self.pending.is_skipping() {
            self.client.inbox.approve(total);
            return Ok(Ok(()));
        }
        let resumed = self
            .named
            .portal(&name, &mut self.pending)
            .and_then(|p| p.active.take());
        if let Some(mut active) = resumed {
            self.renew_meter(&mut active);
            self.forward(total, Owed::Execute(name, Some(active)));
            return Ok(Ok(()));
        }
        if self.pending.is_executing(&name) {
            // The statement goes on when the server suspends it: it is one statement, with one
            // count, over all Executes of its portal.
            self.forward(total, Owed::Execute(name, None));
            return Ok(Ok(()));
        }
        match self.judge_portal(&name).await? {
            Verdict::Permit(mut statements) => {
                let mut active = statements.pop_front();
                if let Some(active) = &mut active
                    && self.must_describe(&name, active)
                {
                    self.tell_server(|out| message::describe(out, b'P', &name));
                    self.pending.push_ours(Owed::DescribePortal(name.clone()));
                }
                self.forward(total, Owed::Execute(name, active));
            }
            Verdict::Deny(refusal) => {
                self.refuse_extended(total, &refusal);
                self.pending
                    .push_refused(Owed::Execute(name, None), refusal);
            }
        }
        Ok(Ok(()))
    }

    /// Plans the result of a statement whose columns are known; whether they must be asked for
    /// before its rows can be judged.
    fn must_describe(&mut self, portal: &[u8], active: &mut Box<Active>) -> bool {
        let Some(portal) = self.named.portal(portal, &mut self.pending) else {
            return false;
        };
        if let Some(described) = portal.described.clone() {
            self.plan(active, &described);
            return false;
        }
        active.judged().returns_rows && (active.records_rows() || self.scope.needs_catalog())
    }

    async fn function_call(
        &mut self,
        total: usize,
    ) -> Result<Result<(), ProtocolError>, SessionEnd> {
        self.refresh_policy().await?;
        if self.pending.is_skipping() {
            self.client.inbox.approve(total);
            return Ok(Ok(()));
        }
        match self.judge_function_call().await? {
            Verdict::Permit(mut statements) => {
                let active = statements.pop_front();
                self.forward(total, Owed::FunctionCall(active));
            }
            Verdict::Deny(refusal) => {
                let text = refused_text(&refusal);
                self.replace(total, |out| message::query(out, &text));
                self.pending
                    .push_refused(Owed::Query(VecDeque::new()), refusal);
            }
        }
        Ok(Ok(()))
    }
}

fn text_of_parse(body: &[u8]) -> Result<&[u8], ProtocolError> {
    frontend::parse(body).map(|parse| parse.query)
}

/// What goes to the server in place of what is refused: it cannot parse, so the transaction is
/// aborted exactly as the client is told, and the server's log says why.
fn refused_text(refusal: &Refusal) -> String {
    format!("refused by weir ({})", refusal.sqlstate)
}

fn too_large() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!("weir: a message is longer than {MAX_WHOLE} bytes"),
        detail: None,
        hint: Some("send large values by COPY".to_owned()),
        rules: Vec::new(),
        may_be_mistake: false,
    }
}

/// Longest parameter that is kept for the record, in bytes.
const MAX_RECORDED_PARAMETER: usize = 4096;

fn parameters(values: &[(Option<&[u8]>, bool)]) -> Parameters {
    let cut = values
        .iter()
        .any(|(value, _)| value.is_some_and(|value| value.len() > MAX_RECORDED_PARAMETER));
    let keep = |bytes: &'_ [u8]| {
        bytes
            .get(..MAX_RECORDED_PARAMETER)
            .unwrap_or(bytes)
            .to_vec()
    };
    let values = values.iter().map(|(value, binary)| match value {
        None => weir_audit::Value::Null,
        Some(bytes) if *binary => weir_audit::Value::Binary(keep(bytes).into()),
        Some(bytes) => weir_audit::Value::text(&keep(bytes)),
    });
    Parameters {
        values: values.collect(),
        cut,
    }
}
