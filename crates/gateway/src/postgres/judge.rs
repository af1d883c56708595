//! From a statement to a verdict: policy in force, catalog, decision, holds, and the record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_audit::{Outcome, StatementStarted};
use weir_policy::{
    Ahead, Counters, Decision, Delivery, Meter, Obligations, Operation, RecordLevel, Scope,
    Timestamp, Usage,
};
use weir_sql::{Analysis, Statement};

use super::cache::Analysed;
use super::hold::Answer;
use super::judgement::{Basis, Judgement};
use super::made::Made;
use super::need::Need;
use super::opening::Opening;
use super::operation::{Earlier, Judged, View};
use super::prepared::{Parameters, Portal, Prepared};
use super::refusal::Refusal;
use super::seen;
use super::session::{Session, SessionEnd};
use super::statement::{Active, Body};
use crate::moment::Moment;
use crate::values::Scanner;
use crate::{millis, wall_clock};

/// How long a session goes on without its identity being proven again.
const IDENTITY_AGE: Duration = Duration::from_secs(5);

/// What becomes of a message.
pub(super) enum Verdict {
    /// It goes on; these statements are under way, in order.
    Permit(VecDeque<Box<Active>>),
    /// It does not.
    Deny(Refusal),
}

/// One statement of a message, and what it is known to do.
struct Candidate {
    known: Known,
    cursor: Option<Box<str>>,
    parameters: Parameters,
    body: Option<Body>,
    /// What names meant when what it reads from was opened.
    opened: Option<Opening>,
}

/// What is known of a statement.
enum Known {
    /// It was decided before, and nothing has changed.
    Decided(Arc<Judgement>),
    /// What it does; to be kept with the text that stands for it, or not.
    Judged(Box<Judged>, Option<Arc<Analysed>>),
}

impl Session {
    /// Takes over a policy that has changed since the last decision, or an exception that is over.
    ///
    /// # Errors
    /// The policy no longer lets the identity reach the target at all.
    pub(super) async fn refresh_policy(&mut self) -> Result<(), SessionEnd> {
        let bundle = self.shared.policies.current();
        self.taken = Moment::now();
        let now = self.taken.millis();
        let unchanged = bundle.revision() == self.revision && self.scope.is_current(now);
        let age = self.taken.steady().duration_since(self.identified);
        if unchanged && age < IDENTITY_AGE {
            return Ok(());
        }
        let subject = match self.shared.identities.current() {
            Ok((subject, _)) => subject,
            Err(reason) => return Err(self.end(Refusal::unjudged(&reason)).await),
        };
        self.identified = self.taken.steady();
        if unchanged {
            return Ok(());
        }
        self.revision = bundle.revision();
        let scope = bundle
            .target_named(&self.connection.target)
            .and_then(|(target, _)| self.shared.scopes.find(&bundle, &subject, target, now));
        let Some(scope) = scope else {
            let barred = self.shared.barred();
            let reason = barred.as_deref();
            let refusal =
                Refusal::unjudged(reason.unwrap_or("no policy permits this target any more"));
            return Err(self.end(refusal).await);
        };
        self.scope = scope;
        self.catalog.forget();
        Ok(())
    }

    /// Judges every statement of a `Query` before the first byte of it goes on.
    pub(super) async fn judge_text(
        &mut self,
        analysed: &Arc<Analysed>,
        need: Need,
    ) -> Result<Verdict, SessionEnd> {
        if let Err(refusal) = self.prepare_judgement(need).await? {
            return Ok(Verdict::Deny(refusal));
        }
        self.look_again(analysed).await?;
        if let Analysis::Parsed(script) = analysed.analysis() {
            self.settle_names(&script.statements).await?;
        }
        let candidates = match analysed.analysis() {
            Analysis::Parsed(script) => {
                let (mut earlier, mut made) = (Earlier::default(), Made::default());
                let writes_mask = self.shows_mask(&analysed.text);
                let mut candidates = Vec::with_capacity(script.statements.len());
                for index in 0..script.statements.len() {
                    let body = Body::new(script, index);
                    let before = (&earlier, &made);
                    let candidate = self.candidate(&body, analysed, before, (writes_mask, None));
                    earlier.add(candidate.leaves());
                    if self.catalog.is_private() {
                        earlier.take_back(&body);
                    }
                    made.add(&body);
                    candidates.push(candidate);
                }
                candidates
            }
            Analysis::SyntaxError(error) => vec![opaque(&error.message)],
            Analysis::Opaque(reason) => vec![opaque(&reason.to_string())],
        };
        self.decide_all(candidates, analysed).await
    }

    /// What a statement names as cursor or prepared statement is what the server has by that name: nothing that is
    /// under way changes it any more.
    async fn settle_names(&mut self, statements: &[Statement]) -> Result<(), SessionEnd> {
        let named = |it: &Statement| it.fetches.is_some() || it.executes.is_some();
        if statements.iter().any(named) && !self.pending.is_empty() {
            self.drain().await?;
        }
        Ok(())
    }

    /// Judges what an `Execute` of this portal runs.
    pub(super) async fn judge_portal(&mut self, name: &[u8]) -> Result<Verdict, SessionEnd> {
        let portal = self.named.portal(name, &mut self.pending);
        let need = need_of(portal.and_then(|portal| portal.statement.as_ref()));
        if let Err(refusal) = self.prepare_judgement(need).await? {
            return Ok(Verdict::Deny(refusal));
        }
        let found = self.named.portal(name, &mut self.pending).map(|portal| {
            (
                portal.statement.clone(),
                std::mem::take(&mut portal.parameters),
                (portal.writes_mask, portal.opened.clone()),
            )
        });
        let is_missing = found.is_none();
        let (statement, parameters, bound) = found.unwrap_or_default();
        if let Some(body) = statement.as_ref().and_then(|it| it.body.as_ref())
            && let Some(inner) = body.get()
        {
            self.settle_names(std::slice::from_ref(inner)).await?;
        }
        let (candidate, analysed) = self.bound(statement.as_deref(), parameters, bound);
        Ok(match self.decide_all(vec![candidate], &analysed).await? {
            Verdict::Deny(told) if is_missing => Verdict::Deny(told.of_missing_portal(name)),
            verdict => verdict,
        })
    }

    /// Judges a `Bind` as far as a refusal goes: the server plans the statement then, and planning
    /// may run functions.
    pub(super) async fn judge_bind(
        &mut self,
        portal: &mut Portal,
    ) -> Result<Option<Refusal>, SessionEnd> {
        if self.scope.permits_opaque() {
            return Ok(None);
        }
        let need = need_of(portal.statement.as_ref());
        if let Err(refusal) = self.prepare_judgement(need).await? {
            return Ok(Some(refusal));
        }
        let statement = portal.statement.as_deref();
        let (mut candidate, analysed) =
            self.bound(statement, Parameters::default(), (portal.writes_mask, None));
        let judgement = self.decide(&mut candidate, &[]).await?;
        let denied =
            |decision: &Decision| matches!(decision.verdict, weir_policy::Verdict::Deny(_));
        portal.touches = judgement.as_ref().is_none_or(|one| one.judged.touches);
        let Some(judgement) = judgement.filter(|judgement| denied(&judgement.decision)) else {
            return Ok(None);
        };
        candidate.parameters.clone_from(&portal.parameters);
        match self
            .conclude(vec![(candidate, judgement)], &analysed)
            .await?
        {
            Verdict::Deny(refusal) => Ok(Some(refusal)),
            Verdict::Permit(_) => Ok(None),
        }
    }

    /// What a portal runs.
    fn bound(
        &self,
        statement: Option<&Prepared>,
        parameters: Parameters,
        (writes_mask, opened): (bool, Option<Opening>),
    ) -> (Candidate, Arc<Analysed>) {
        let Some(prepared) = statement else {
            let text = "(a statement that weir did not see prepared)";
            let unknown = Arc::new(Analysed::opaque(text));
            return (opaque("it was not seen being prepared"), unknown);
        };
        let analysed = Arc::clone(&prepared.analysed);
        let mut candidate = match (&prepared.body, analysed.analysis()) {
            (Some(body), _) => {
                let writes_mask = writes_mask || self.shows_mask(&analysed.text);
                let alone = (&Earlier::default(), &Made::default());
                self.candidate(body, &analysed, alone, (writes_mask, opened))
            }
            (None, Analysis::Parsed(script)) if script.statements.is_empty() => {
                Candidate::new(Judged::default())
            }
            (None, Analysis::Opaque(reason)) => opaque(&reason.to_string()),
            (None, _) => opaque("it could not be parsed"),
        };
        candidate.parameters = parameters;
        (candidate, analysed)
    }

    /// Judges a `FunctionCall`.
    pub(super) async fn judge_function_call(&mut self) -> Result<Verdict, SessionEnd> {
        if let Err(refusal) = self.prepare_judgement(Need::Fresh).await? {
            return Ok(Verdict::Deny(refusal));
        }
        let text = Arc::new(Analysed::opaque("(function call)"));
        let decided = |scope: &Scope, counters: &dyn Counters, now| {
            scope.decide(&Operation::FunctionCall, counters, now)
        };
        let Some(decision) = self.decide_with(&decided, &[]).await? else {
            return Ok(Verdict::Deny(Refusal::unjudged(
                "budgets could not be read",
            )));
        };
        let judged = Judged::opaque("function call protocol");
        let judgement = Arc::new(self.judgement(judged, decision));
        self.conclude(vec![(Candidate::decided(&judgement), judgement)], &text)
            .await
    }

    /// What must hold before anything is judged: evidence can be kept, the catalog is there as far as it is
    /// needed.
    async fn prepare_judgement(&mut self, need: Need) -> Result<Result<(), Refusal>, SessionEnd> {
        self.judged_at = self.seat.turn();
        self.note_beginning();
        if let Err(reason) = self.evidence.sink.healthy() {
            return Ok(Err(Refusal::unrecorded(&reason)));
        }
        if self.scope.needs_catalog()
            && need >= Need::Begins
            && let Err(unread) = self.refresh_catalog().await?
            && need == Need::Fresh
        {
            return Ok(Err(unread.refusal()));
        }
        Ok(Ok(()))
    }

    fn candidate(
        &self,
        body: &Body,
        analysed: &Arc<Analysed>,
        (earlier, made): (&Earlier, &Made),
        (writes_mask, mut opened): (bool, Option<Opening>),
    ) -> Candidate {
        let Some(statement) = body.get() else {
            return opaque("it is empty");
        };
        let catalog = self.catalog_in_use();
        let mut before = match self.opened(opened.as_ref()) {
            Ok(before) => before,
            Err(reason) => return opaque(reason),
        };
        let stands_alone = body.is_whole_text()
            && statement.executes.is_none()
            && statement.fetches.is_none()
            && before.is_none()
            && !writes_mask;
        if stands_alone
            && let Some(known) = analysed.judgements().find(&self.scope, catalog.as_ref())
        {
            return Candidate::decided(&known).with_body(body, opened);
        }
        let mut inner: Vec<Body> = Vec::new();
        let mut cursor = None;
        if let Some(name) = &statement.executes {
            let seen = || {
                let found = self.named.statements.get(name.as_bytes());
                found.and_then(|found| found.body.clone())
            };
            match made.statement(name).unwrap_or_else(seen) {
                Some(body) => inner.push(body),
                None => return opaque("it executes a statement that was not seen"),
            }
        }
        // It runs to its end at COMMIT, whether or not anybody fetches from it.
        if statement
            .declares
            .as_ref()
            .is_some_and(|cursor| cursor.hold)
        {
            inner.push(body.nested());
        }
        if let Some(fetch) = &statement.fetches {
            let known = self.named.cursors.get(fetch.cursor.as_str());
            let portal = self.named.portals.get(fetch.cursor.as_bytes());
            let seen = || known.map(|found| found.body.clone());
            opened = match known {
                Some(cursor) => cursor.opened.clone(),
                None => portal.and_then(|portal| portal.opened.clone()),
            };
            before = match self.opened(opened.as_ref()) {
                Ok(before) => before,
                Err(reason) => return opaque(reason),
            };
            match made.cursor(&fetch.cursor).unwrap_or_else(seen) {
                Some(body) => {
                    inner.push(body);
                    cursor = Some(fetch.cursor.as_str().into());
                }
                None if made.cursor(&fetch.cursor).is_some() => {
                    return opaque("it fetches from a cursor that may be gone");
                }
                None => match portal {
                    Some(portal) => match portal.statement.as_ref().and_then(|s| s.body.clone()) {
                        Some(body) => inner.push(body),
                        None => return opaque("it fetches from an unknown portal"),
                    },
                    None => return opaque("it fetches from a cursor that was not seen"),
                },
            }
        }
        let view = View {
            catalog: catalog.as_deref(),
            earlier,
        };
        let inner: Vec<&Statement> = inner.iter().filter_map(Body::get).collect();
        let mut judged = Judged::new(statement, &inner, &view);
        if let Some(before) = &before {
            for read in inner.iter().chain(inner.is_empty().then_some(&statement)) {
                judged.add_opened(read, before);
            }
        }
        judged.writes_mask = writes_mask;
        let mut candidate = Candidate::new(judged).with_body(body, opened);
        candidate.cursor = cursor;
        if stands_alone && let Known::Judged(_, text) = &mut candidate.known {
            *text = Some(Arc::clone(analysed));
        }
        candidate
    }

    /// Whether a text holds, as a literal, what a constant mask shows.
    fn shows_mask(&self, text: &str) -> bool {
        let is_shown = |mask: &String| {
            text.contains(mask.split('\'').next().unwrap_or_default())
                && text.contains(&format!("'{}'", mask.replace('\'', "''")))
        };
        self.scope.constant_masks().iter().any(is_shown)
    }

    /// The decision on a statement, before which so much is taken of windows; `None` when budgets cannot
    /// be read.
    async fn decide(
        &mut self,
        candidate: &mut Candidate,
        taken: &[Usage],
    ) -> Result<Option<Arc<Judgement>>, SessionEnd> {
        let judged = match &mut candidate.known {
            Known::Decided(judgement) => return Ok(Some(Arc::clone(judgement))),
            Known::Judged(judged, _) => std::mem::take(&mut **judged),
        };
        let decided = |scope: &Scope, counters: &dyn Counters, now| {
            judged.operation(|operation| scope.decide(operation, counters, now))
        };
        let Some(decision) = self.decide_with(&decided, taken).await? else {
            return Ok(None);
        };
        let judgement = Arc::new(self.judgement(judged, decision));
        if let Known::Judged(_, Some(analysed)) = &candidate.known {
            analysed.judgements().keep(&judgement);
        }
        candidate.known = Known::Decided(Arc::clone(&judgement));
        Ok(Some(judgement))
    }

    /// Decides, and again for as long as more can be had of the windows that are used up here.
    async fn decide_with(
        &mut self,
        decided: &(impl Fn(&Scope, &dyn Counters, Timestamp) -> Decision + Sync),
        taken: &[Usage],
    ) -> Result<Option<Decision>, SessionEnd> {
        loop {
            let (scope, now) = (&self.scope, millis());
            let mut decision = None;
            let mut wanted = Vec::new();
            self.shared.budgets.read(&mut |counters| {
                let ahead = Ahead { counters, taken };
                let found = decided(scope, &ahead, now);
                wanted = ahead.wanted(&found.exhausted);
                decision = Some(found);
            });
            let Some(decision) = decision else {
                return Ok(None);
            };
            if wanted.is_empty() || !self.replenish(&wanted).await? {
                return Ok(Some(decision));
            }
        }
    }

    fn judgement(&self, judged: Judged, decision: Decision) -> Judgement {
        let name = |id| self.scope.label(id);
        let labels = judged.labels().into_iter().filter_map(name).collect();
        let values = &decision.obligations.values;
        let scanner = Scanner::new(values, name, &self.shared.token_key);
        let basis = Basis::new(&self.scope, self.catalog_in_use().as_ref());
        let wanted = seen::Wanted::of(&self.scope, &self.shared.fingerprint_key);
        Judgement::new(judged, decision, labels, (scanner, wanted), basis)
    }

    async fn decide_all(
        &mut self,
        candidates: Vec<Candidate>,
        analysed: &Arc<Analysed>,
    ) -> Result<Verdict, SessionEnd> {
        let mut decided = Vec::with_capacity(candidates.len());
        let mut taken: Vec<Usage> = Vec::new();
        for mut candidate in candidates {
            let Some(judgement) = self.decide(&mut candidate, &taken).await? else {
                return Ok(Verdict::Deny(Refusal::unjudged(
                    "budgets could not be read",
                )));
            };
            if !self.was_charged(candidate.cursor.as_deref()) {
                taken.extend(judgement.decision.takes.iter().cloned());
            }
            decided.push((candidate, judgement));
        }
        self.conclude(decided, analysed).await
    }

    async fn conclude(
        &mut self,
        decided: Vec<(Candidate, Arc<Judgement>)>,
        analysed: &Arc<Analysed>,
    ) -> Result<Verdict, SessionEnd> {
        let mut permitted = VecDeque::with_capacity(decided.len());
        let mut denial = None;
        let mut holds = Vec::new();
        let alone = decided.len() == 1;
        for (candidate, judgement) in decided {
            self.statements += 1;
            let mut active = self.activate(candidate, &judgement, analysed);
            match &judgement.decision.verdict {
                weir_policy::Verdict::Permit(_permit) => {}
                weir_policy::Verdict::Deny(refused) => {
                    let mut hint = refused.hint.clone();
                    if hint.as_deref() == Some(weir_policy::UNPROVEN_HINT) {
                        hint = Some(judgement.judged.hint().to_owned());
                    }
                    let mut refusal = Refusal::denied(&refused.rule, &refused.reason, hint);
                    refusal.may_be_mistake = alone && judgement.judged.unexplained;
                    denial.get_or_insert(self.sign(refusal, active.number));
                    active.record_mut().decision = weir_audit::Decision::Deny;
                    active.record_mut().reason = Some(refused.reason.as_str().into());
                }
                weir_policy::Verdict::Hold(hold) => {
                    active.record_mut().decision = weir_audit::Decision::Hold;
                    holds.push((permitted.len(), hold.afresh()));
                }
            }
            permitted.push_back(active);
        }
        if let Some(refusal) = denial {
            self.refuse_all(permitted, Outcome::Denied).await?;
            return Ok(Verdict::Deny(refusal));
        }
        for (index, hold) in holds {
            let Some(active) = permitted.get_mut(index) else {
                continue;
            };
            let number = active.number;
            match self.hold_statement(active, hold).await? {
                Answer::Granted => {}
                Answer::Refused(refusal, outcome) => {
                    self.refuse_all(permitted, outcome).await?;
                    return Ok(Verdict::Deny(self.sign(refusal, number)));
                }
            }
        }
        for index in 0..permitted.len() {
            let Some(active) = permitted.get_mut(index) else {
                continue;
            };
            let number = active.number;
            if let Answer::Refused(refusal, outcome) = self.hold_expected(active).await? {
                self.refuse_all(permitted, outcome).await?;
                return Ok(Verdict::Deny(self.sign(refusal, number)));
            }
        }
        if let Err(reason) = self.start_durably(&permitted).await {
            self.refuse_all(permitted, Outcome::Denied).await?;
            return Ok(Verdict::Deny(Refusal::unrecorded(&reason)));
        }
        if self.scope.needs_catalog()
            && let Some(refusal) = self.meet_definitions(&permitted, analysed).await?
        {
            self.refuse_all(permitted, Outcome::Aborted).await?;
            let number = self.statements;
            return Ok(Verdict::Deny(self.sign(refusal, number)));
        }
        permitted
            .iter_mut()
            .for_each(|active| self.charge_start(active));
        Ok(Verdict::Permit(permitted))
    }

    /// Where statements are counted, this one counts before the next is judged.
    fn charge_start(&self, active: &mut Active) {
        let takes = &active.judgement.decision.takes;
        if takes.is_empty() {
            return;
        }
        let usage = active.meter.as_mut().map(|meter| meter.take_start(takes));
        if let Some(usage) = usage.filter(|usage| !usage.is_empty()) {
            self.shared.budgets.charge(millis(), &usage);
        }
    }

    pub(super) fn sign(&self, refusal: Refusal, number: u64) -> Refusal {
        refusal.with_audit_id(&self.evidence.session.id.to_string(), number)
    }

    async fn refuse_all(
        &mut self,
        statements: VecDeque<Box<Active>>,
        outcome: Outcome,
    ) -> Result<(), SessionEnd> {
        let ends = statements
            .into_iter()
            .filter_map(|active| active.finish(outcome.clone()));
        self.durable.extend(ends.collect::<Vec<_>>());
        self.write_durable_now().await
    }

    /// Under `Blocking` deliveries the start of a statement is kept before it goes upstream.
    async fn start_durably(&self, statements: &VecDeque<Box<Active>>) -> Result<(), String> {
        let delivery = self.scope.delivery();
        if delivery == Delivery::Batch {
            return Ok(());
        }
        for active in statements {
            let event = StatementStarted {
                statement: active.record().clone(),
            };
            let session = Arc::clone(&self.evidence.session);
            let record = weir_audit::Record::session(wall_clock(), session, event);
            let strict = delivery == Delivery::BlockingStrict;
            self.evidence.sink.record_durable(record, strict).await?;
        }
        Ok(())
    }

    fn activate(
        &self,
        candidate: Candidate,
        judgement: &Arc<Judgement>,
        analysed: &Arc<Analysed>,
    ) -> Box<Active> {
        let obligations = &judgement.decision.obligations;
        let level = obligations.record;
        let own = own_text(candidate.body.as_ref(), analysed);
        let text = match level {
            RecordLevel::Metadata => analysed.normalized(),
            RecordLevel::Commands | RecordLevel::Full => Some(Arc::clone(&own)),
        };
        let record = weir_audit::Statement {
            number: self.statements,
            text,
            parameters: if level == RecordLevel::Metadata {
                Vec::new()
            } else {
                candidate.parameters.values.clone()
            },
            fingerprint: analysed.fingerprint(),
            command: None,
            decision: weir_audit::Decision::Permit,
            rules: judgement.rules.clone(),
            would_deny: judgement.would_deny.clone(),
            exceptions: judgement.exceptions.clone(),
            reason: None,
            tables: judgement.tables.clone(),
            labels: judgement.labels.clone(),
            revision: self.revision,
            request: None,
        };
        let mut evidence = self.evidence.clone();
        evidence.durable = obligations.delivery != Delivery::Batch;
        evidence.strict = obligations.delivery == Delivery::BlockingStrict;
        let full = level == RecordLevel::Full;
        let mut active = Active::new(Arc::clone(judgement), record, full, evidence, self.taken);
        active.set_source(candidate.body, analysed);
        active.turn = self.judged_at;
        active.show_people(own, candidate.parameters);
        active.meter = self.meter(obligations, candidate.cursor.as_deref());
        active.cursor = candidate.cursor;
        active.opened = candidate.opened;
        active
    }

    /// Whether what a cursor sends was counted as a statement when it was fetched from before.
    fn was_charged(&self, cursor: Option<&str>) -> bool {
        cursor
            .and_then(|name| self.named.cursors.get(name))
            .is_some_and(|cursor| cursor.meter.is_some())
    }

    fn meter(&self, obligations: &Obligations, cursor: Option<&str>) -> Option<Meter> {
        if obligations.limits.is_empty() {
            return None;
        }
        let kept = cursor.and_then(|name| self.named.cursors.get(name)?.meter.clone());
        let mut meter = kept;
        if meter.is_none() {
            self.shared.budgets.read(&mut |counters| {
                let fresh = Meter::new(&obligations.limits, counters, self.taken.millis());
                meter = Some(fresh.of_collected(obligations.collected));
            });
        }
        meter
    }
}

/// A statement's own part of its message.
pub(super) fn own_text(body: Option<&Body>, analysed: &Arc<Analysed>) -> Arc<str> {
    let range = body
        .filter(|body| body.has_siblings())
        .and_then(|body| Some(body.get()?.range.clone()));
    match range.and_then(|range| analysed.text.get(range)) {
        Some(part) => part.trim().into(),
        None => Arc::clone(&analysed.text),
    }
}

impl Candidate {
    fn new(judged: Judged) -> Self {
        Self::of(Known::Judged(Box::new(judged), None))
    }

    fn decided(judgement: &Arc<Judgement>) -> Self {
        Self::of(Known::Decided(Arc::clone(judgement)))
    }

    fn of(known: Known) -> Self {
        Self {
            known,
            cursor: None,
            parameters: Parameters::default(),
            body: None,
            opened: None,
        }
    }

    /// What it leaves for the statements behind it in its message.
    fn leaves(&self) -> &Earlier {
        match &self.known {
            Known::Decided(judgement) => &judgement.judged.leaves,
            Known::Judged(judged, _) => &judged.leaves,
        }
    }

    fn with_body(mut self, body: &Body, opened: Option<Opening>) -> Self {
        self.body = Some(body.clone());
        self.opened = opened;
        self
    }
}

/// What a statement that was prepared needs; nobody knows what one that was not seen does.
fn need_of(statement: Option<&Arc<Prepared>>) -> Need {
    statement.map_or(Need::Fresh, |prepared| prepared.analysed.need())
}

fn opaque(reason: &str) -> Candidate {
    Candidate::new(Judged::opaque(reason))
}
