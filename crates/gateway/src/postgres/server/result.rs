//! A result's columns become known: decided again, and masks planned.

use super::*;

impl Session {
    pub(super) fn row_description(&mut self, header: Header) -> Result<Fate, SessionEnd> {
        let fields =
            backend::row_description(self.server_body(header)).map_err(SessionEnd::Server)?;
        match self.pending.front().map(|entry| &entry.owed) {
            Some(Owed::DescribeStatement) => {
                self.pending.pop();
            }
            Some(Owed::DescribePortal(name)) => {
                let name = name.clone();
                self.pending.pop();
                self.portal_described(&name, fields);
            }
            Some(Owed::Query(_)) => {
                if let Some(mut active) = self.take_front_active() {
                    let stopped = self.plan(&mut active, &fields);
                    self.put_front_active(active);
                    if stopped {
                        return Ok(Fate::Drop);
                    }
                }
            }
            _ => {}
        }
        Ok(Fate::Forward)
    }

    /// A portal's columns are known: to the portal, and to the statement that runs it if its
    /// Execute is on the way already.
    pub(super) fn portal_described(&mut self, name: &[u8], fields: Vec<Field>) {
        let fields: Arc<[Field]> = fields.into();
        if let Some(portal) = self.named.portal(name, &mut self.pending) {
            portal.fields = Some(Arc::clone(&fields));
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
            self.plan(&mut active, &fields);
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
    pub(in crate::postgres) fn plan(&mut self, active: &mut Box<Active>, fields: &[Field]) -> bool {
        let stopped = match self.masks(active, fields) {
            Ok(masks) => {
                active.masks = masks;
                false
            }
            Err(refusal) => {
                let refusal = self.sign(refusal, active.number);
                active.stopped = Some(refusal);
                active.discarding = true;
                self.connection.cancel_upstream_soon();
                true
            }
        };
        active.describe(fields);
        stopped
    }

    pub(super) fn masks(
        &self,
        active: &Active,
        fields: &[Field],
    ) -> Result<Arc<[(usize, CellMask)]>, Refusal> {
        let Some(catalog) = self
            .catalog
            .current()
            .filter(|_| self.scope.needs_catalog())
        else {
            return Ok(Arc::new([]));
        };
        let outputs = active
            .judged
            .described(fields, &catalog)
            .map_err(|reason| Refusal::unjudged(&reason))?;
        let (scope, now) = (Arc::clone(&self.scope), millis());
        let mut decision = None;
        self.shared.budgets.read(&mut |counters| {
            decision = Some(
                active
                    .judged
                    .with_outputs(&outputs, |operation| scope.decide(operation, counters, now)),
            );
        });
        let Some(decision) = decision else {
            return Err(Refusal::unjudged("budgets could not be read"));
        };
        if let Verdict::Deny(denial) = decision.verdict {
            return Err(Refusal::denied(&denial.rule, &denial.reason, denial.hint));
        }
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
        Ok(masks.into())
    }
}
