//! A result's columns become known: decided again, and masks planned.

use super::*;
use crate::postgres::catalog::Catalog;

/// Masks by column, columns whose values are kept as fingerprints, and whether they stand.
type Planned = (Vec<(usize, CellMask)>, Box<[seen::Column]>, bool);

impl Session {
    pub(super) fn row_description(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        match self.pending.front().map(|entry| &entry.owed) {
            Some(Owed::DescribeStatement) => {
                self.pending.pop();
            }
            Some(Owed::DescribePortal(name)) => {
                let name = name.clone();
                let described = self.described(&name, header)?;
                self.pending.pop();
                self.portal_described(&name, &described);
            }
            Some(Owed::Query(_)) => {
                if let Some(mut active) = self.take_front_active() {
                    let stopped = self.plan_described(&mut active, header);
                    self.put_front_active(active);
                    if stopped? {
                        return Ok(Fate::Drop);
                    }
                }
            }
            _ => {}
        }
        Ok(Fate::Forward)
    }

    /// Reads the description of a portal; the last one again where it is the same.
    pub(super) fn described(
        &mut self,
        name: &[u8],
        header: Header,
    ) -> Result<Arc<Described>, SessionEnd> {
        let portal = self.named.portal(name, &mut self.pending);
        let statement = portal.and_then(|portal| portal.statement.clone());
        let body = self.server_body(header);
        let described = match statement {
            Some(statement) => statement.read_description(body),
            None => Described::read(body),
        };
        described.map_err(SessionEnd::Server)
    }

    /// Plans the result that a RowDescription begins; the last plan where nothing has changed.
    fn plan_described(
        &mut self,
        active: &mut Box<Active>,
        header: Header,
    ) -> Result<bool, SessionEnd> {
        if let Some(plan) = self.kept_plan(active, self.server_body(header)) {
            active.show(plan);
            return Ok(false);
        }
        let described = Described::read(self.server_body(header)).map_err(SessionEnd::Server)?;
        Ok(self.plan(active, &described))
    }

    fn kept_plan(&self, active: &Active, description: &[u8]) -> Option<Arc<Plan>> {
        let judgement = &active.judgement;
        judgement
            .is_from(&self.scope, self.catalog_in_use().as_ref())
            .then(|| judgement.plan_for(description))?
    }

    /// A portal's columns are known: to the portal, and to the statement that runs it if its
    /// Execute is on the way already.
    pub(super) fn portal_described(&mut self, name: &[u8], described: &Arc<Described>) {
        if let Some(portal) = self.named.portal(name, &mut self.pending) {
            portal.described = Some(Arc::clone(described));
        }
        let mut waiting = None;
        for entry in self.pending.entries_mut() {
            match &mut entry.owed {
                Owed::Bind(bound, _) if **bound == *name => break,
                Owed::Execute(portal, active) if **portal == *name => {
                    waiting = active.take();
                    break;
                }
                _ => {}
            }
        }
        if let Some(mut active) = waiting {
            self.plan(&mut active, described);
            for entry in self.pending.entries_mut() {
                if let Owed::Execute(portal, slot @ None) = &mut entry.owed
                    && **portal == *name
                {
                    *slot = Some(active);
                    break;
                }
            }
        }
    }

    /// Decides again, now that the result's columns are known. True: the statement was stopped.
    pub(in crate::postgres) fn plan(
        &mut self,
        active: &mut Box<Active>,
        described: &Arc<Described>,
    ) -> bool {
        if let Some(plan) = self.kept_plan(active, described.bytes()) {
            active.show(plan);
            return false;
        }
        match self.masks(active, &described.fields) {
            Ok((masks, seen, standing)) => {
                let scanner = active.judgement.scanner.as_ref();
                let plan = Plan::new(described, masks, scanner, seen);
                let judgement = &active.judgement;
                if standing && judgement.is_from(&self.scope, self.catalog_in_use().as_ref()) {
                    judgement.keep_plan(&plan);
                }
                active.show(plan);
                false
            }
            Err(refusal) => {
                let refusal = self.sign(refusal, active.number);
                let catalog = self.catalog_in_use();
                if catalog.is_some_and(|catalog| !catalog.has_origins(&described.fields)) {
                    self.catalog.outdate(None);
                }
                active.stopped = Some(refusal);
                active.discarding = true;
                self.connection.cancel_upstream_soon();
                active.show(Plan::new(described, Vec::new(), None, Box::default()));
                true
            }
        }
    }

    /// The masks by column, the columns whose values are kept as fingerprints, and whether both stand
    /// for as long as policy and catalog do.
    fn masks(&self, active: &Active, fields: &[Field]) -> Result<Planned, Refusal> {
        let Some(catalog) = self.catalog_in_use() else {
            return Ok((Vec::new(), Box::default(), true));
        };
        let judged = active.judged();
        let opened = self.opened(active.opened.as_ref());
        let opened = opened.map_err(Refusal::unjudged)?;
        let catalogs: Vec<&Catalog> = [Some(&catalog), opened.as_ref()]
            .into_iter()
            .flatten()
            .map(|one| &**one)
            .collect();
        let outputs = judged
            .described(fields, &catalogs)
            .map_err(|reason| Refusal::unjudged(&reason))?;
        // The statement is counted already: its budgets have had their say.
        let decision = judged.with_outputs(&outputs, |operation| {
            self.scope.decide(operation, &NoCounters, millis())
        });
        if let Verdict::Deny(denial) = decision.verdict {
            return Err(Refusal::denied(&denial.rule, &denial.reason, denial.hint));
        }
        let standing =
            opened.is_none() && decision.is_standing() && active.judgement.decision.is_standing();
        let mask = |(at, mask): (usize, weir_policy::Mask)| {
            let field = fields.get(at)?;
            let derived = outputs.get(at).is_some_and(|output| output.derived);
            let key = &self.shared.token_key;
            Some((
                at,
                CellMask::new(mask, field.type_oid, field.binary, derived, key),
            ))
        };
        let mut masks: Vec<_> = decision
            .obligations
            .masks
            .into_iter()
            .filter_map(mask)
            .collect();
        masks.sort_by_key(|(at, _)| *at);
        let wanted = active.judgement.wanted.as_ref();
        let is_masked = |at: usize| masks.iter().any(|(masked, _)| *masked == at);
        let seen =
            wanted.map(|wanted| wanted.columns(&outputs, fields, judged.was_read(), is_masked));
        Ok((masks, seen.unwrap_or_default(), standing))
    }
}
