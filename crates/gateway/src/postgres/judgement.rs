//! What was decided about a statement, and how its result is shown: made once, kept while the
//! policy and the catalog that it was made from are in force.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_audit::{Column, Names};
use weir_policy::{Decision, Lifted, RuleName, Scope};
use weir_wire_postgres::ProtocolError;
use weir_wire_postgres::backend::{self, Field};
use weir_wire_postgres::message;

use super::catalog::Catalog;
use super::mask::CellMask;
use super::operation::Judged;
use super::scan::{Form, Found};
use super::seen;
use crate::values::Scanner;

/// How many targets and identities one statement's judgements are kept for.
const KEPT: usize = 4;

/// A statement, judged.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(super) judged: Judged,
    pub(super) decision: Decision,
    /// For the record.
    pub(super) rules: Names,
    pub(super) would_deny: Names,
    pub(super) exceptions: Names,
    pub(super) tables: Names,
    pub(super) labels: Names,
    /// Looks for values in what the statement returns.
    pub(super) scanner: Option<Arc<Scanner>>,
    /// Labels of whose values fingerprints are kept.
    pub(super) wanted: Option<seen::Wanted>,
    made_from: Basis,
    plan: Mutex<Option<Arc<Plan>>>,
}

/// The policy and the catalog that something was made from.
#[derive(Debug)]
pub(super) struct Basis {
    scope: Weak<Scope>,
    catalog: Option<Weak<Catalog>>,
}

impl Basis {
    pub(super) fn new(scope: &Arc<Scope>, catalog: Option<&Arc<Catalog>>) -> Self {
        Self {
            scope: Arc::downgrade(scope),
            catalog: catalog.map(Arc::downgrade),
        }
    }

    /// Whether these are still the same.
    pub(super) fn is(&self, scope: &Arc<Scope>, catalog: Option<&Arc<Catalog>>) -> bool {
        let same_catalog = match (&self.catalog, catalog) {
            (None, None) => true,
            (Some(kept), Some(now)) => std::ptr::eq(kept.as_ptr(), Arc::as_ptr(now)),
            _ => false,
        };
        same_catalog && std::ptr::eq(self.scope.as_ptr(), Arc::as_ptr(scope))
    }

    fn is_over(&self) -> bool {
        let gone = |catalog: &Weak<Catalog>| catalog.strong_count() == 0;
        self.scope.strong_count() == 0 || self.catalog.as_ref().is_some_and(gone)
    }
}

impl Judgement {
    /// A judgement; `labels` are the names of the labels that are touched.
    pub(super) fn new(
        judged: Judged,
        decision: Decision,
        labels: Names,
        (scanner, wanted): (Option<Arc<Scanner>>, Option<seen::Wanted>),
        made_from: Basis,
    ) -> Self {
        Self {
            scanner,
            wanted,
            rules: names(&decision.why),
            would_deny: names(&decision.would_deny),
            exceptions: lifted(&decision.exceptions),
            tables: judged.tables().collect(),
            labels,
            judged,
            decision,
            made_from,
            plan: Mutex::default(),
        }
    }

    pub(super) fn is_from(&self, scope: &Arc<Scope>, catalog: Option<&Arc<Catalog>>) -> bool {
        self.made_from.is(scope, catalog)
    }

    /// The plan for a result that is described by exactly these bytes, if one is kept.
    pub(super) fn plan_for(&self, description: &[u8]) -> Option<Arc<Plan>> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.as_ref()
            .filter(|plan| *plan.described.bytes == *description)
            .map(Arc::clone)
    }

    /// Keeps a plan that holds for as long as the judgement does.
    pub(super) fn keep_plan(&self, plan: &Arc<Plan>) {
        let mut kept = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::clone(plan));
    }
}

/// The judgements of one statement's text.
#[derive(Debug, Default)]
pub(crate) struct Judgements {
    kept: Mutex<Vec<Arc<Judgement>>>,
}

impl Judgements {
    /// The judgement under this policy and with this catalog.
    pub(super) fn find(
        &self,
        scope: &Arc<Scope>,
        catalog: Option<&Arc<Catalog>>,
    ) -> Option<Arc<Judgement>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|judgement| judgement.is_from(scope, catalog))
            .map(Arc::clone)
    }

    /// Keeps a judgement, if it stands.
    pub(super) fn keep(&self, judgement: &Arc<Judgement>) {
        if !judgement.decision.is_standing() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|judgement| !judgement.made_from.is_over());
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Arc::clone(judgement));
    }
}

/// A result's columns as the server describes them.
#[derive(Debug, Default)]
pub(super) struct Described {
    bytes: Box<[u8]>,
    pub(super) fields: Vec<Field>,
}

impl Described {
    /// Reads the body of a RowDescription.
    ///
    /// # Errors
    /// It does not have its shape.
    pub(super) fn read(body: &[u8]) -> Result<Arc<Self>, ProtocolError> {
        let fields = backend::row_description(body)?;
        Ok(Arc::new(Self {
            bytes: body.into(),
            fields,
        }))
    }

    /// The bytes that it was read from.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How a result is shown: which columns are masked or searched, and what the record says of them.
#[derive(Debug)]
pub(super) struct Plan {
    described: Arc<Described>,
    /// Sorted by column.
    pub(super) masks: Box<[(usize, ColumnMask)]>,
    /// Columns whose values are fingerprinted as the client gets them, sorted.
    pub(super) seen: Box<[seen::Column]>,
    pub(super) columns: Names,
    pub(super) masked: Names,
}

/// What happens to the cells of a column.
#[derive(Debug)]
pub(super) enum ColumnMask {
    /// They are masked.
    Mask(CellMask),
    /// They are searched.
    Scan {
        /// The column's number.
        column: usize,
        /// How its cells hold text.
        form: Form,
        /// What they are searched for.
        scanner: Arc<Scanner>,
    },
}

impl Plan {
    /// A plan with these masks, sorted by column, that looks for values in all other columns.
    pub(super) fn new(
        described: &Arc<Described>,
        masks: Vec<(usize, CellMask)>,
        scanner: Option<&Arc<Scanner>>,
        seen: Box<[seen::Column]>,
    ) -> Arc<Self> {
        let name = |field: &Field| -> Arc<str> { String::from_utf8_lossy(&field.name).into() };
        let masked = masks.iter().filter_map(|(at, _)| described.fields.get(*at));
        let masked = masked.map(name).collect();
        let mut cells: Vec<_> = masks
            .into_iter()
            .map(|(at, mask)| (at, ColumnMask::Mask(mask)))
            .collect();
        if let Some(scanner) = scanner {
            let is_masked = |at: &usize| cells.iter().any(|(masked, _)| masked == at);
            let fields = described.fields.iter().enumerate();
            let scans: Vec<_> = fields
                .filter(|(at, _)| !is_masked(at))
                .filter_map(|(at, field)| {
                    let scan = ColumnMask::Scan {
                        column: at,
                        form: Form::of(field.type_oid)?,
                        scanner: Arc::clone(scanner),
                    };
                    Some((at, scan))
                })
                .collect();
            cells.extend(scans);
            cells.sort_by_key(|(at, _)| *at);
        }
        Arc::new(Self {
            columns: described.fields.iter().map(name).collect(),
            masked,
            described: Arc::clone(described),
            masks: cells.into(),
            seen,
        })
    }

    /// The names of the masked columns, and of those in which something was found.
    pub(super) fn masked_with(&self, found: &BTreeSet<usize>) -> Names {
        if found.is_empty() {
            return self.masked.clone();
        }
        let columns = self.columns.as_slice().iter().enumerate();
        columns
            .filter(|(at, _)| self.is_masked(*at) || found.contains(at))
            .map(|(_, name)| Arc::clone(name))
            .collect()
    }

    /// The columns as a recording lists them.
    pub(super) fn recorded(&self) -> Arc<[Column]> {
        let columns = self.described.fields.iter().zip(self.columns.as_slice());
        columns
            .enumerate()
            .map(|(at, (field, name))| Column {
                name: Arc::clone(name),
                type_id: field.type_oid,
                binary: field.binary,
                masked: self.is_masked(at),
            })
            .collect()
    }

    fn is_masked(&self, column: usize) -> bool {
        let masks =
            |(at, mask): &(usize, ColumnMask)| *at == column && matches!(mask, ColumnMask::Mask(_));
        self.masks.iter().any(masks)
    }

    /// Appends a row as the client gets it.
    ///
    /// # Errors
    /// The body does not have a row's shape.
    pub(super) fn show_row(
        &self,
        body: &[u8],
        out: &mut Vec<u8>,
        found: &mut Found,
    ) -> Result<(), ProtocolError> {
        message::masked_row(out, body, &self.masks, |mask, value, out| match mask {
            ColumnMask::Mask(mask) => mask.apply(value, out),
            ColumnMask::Scan {
                column,
                form,
                scanner,
            } => scanner.cell(*form, *column, value, out, found),
        })
    }
}

/// Exceptions as the record holds them.
fn lifted(exceptions: &[Lifted]) -> Names {
    let texts = exceptions.iter().map(ToString::to_string);
    texts.map(Arc::from).collect()
}

/// Rule names as the record holds them.
pub(super) fn names(rules: &[RuleName]) -> Names {
    rules
        .iter()
        .map(|rule| Arc::from(format!("{}/{}", rule.policy, rule.rule)))
        .collect()
}
