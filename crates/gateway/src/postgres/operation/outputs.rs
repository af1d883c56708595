//! What the columns of a result carry: as the statement says, and as the server describes them.

use weir_policy::LabelId;
use weir_sql::{Derivation, Origin, OutputItem};
use weir_wire_postgres::backend::Field;

use super::Judged;
use crate::postgres::catalog::{Catalog, FIRST_USER_OID};

/// The labels of one output column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::postgres) struct OutputLabels {
    pub(super) ids: Vec<LabelId>,
    pub(super) proven: bool,
    /// Whether the value is computed from a labelled one.
    pub(in crate::postgres) derived: bool,
    /// Whether it is no column of the result: the value goes where labels do not follow.
    pub(super) kept: bool,
}

impl OutputLabels {
    pub(super) fn kept(ids: Vec<LabelId>) -> Self {
        Self {
            ids,
            kept: true,
            derived: true,
            ..Self::default()
        }
    }

    /// Whether the column may carry this label.
    pub(in crate::postgres) fn carries(&self, label: LabelId) -> bool {
        self.ids.contains(&label)
    }

    /// Whether its values are labelled values, whole.
    pub(in crate::postgres) const fn is_value(&self) -> bool {
        self.proven && !self.derived
    }

    /// A field of a COPY that is a column with these labels.
    #[cfg(test)]
    pub(in crate::postgres) fn of_copy(ids: &[u16]) -> Self {
        Self {
            ids: ids.iter().copied().map(LabelId).collect(),
            proven: true,
            ..Self::default()
        }
    }
}

#[derive(Debug)]
pub(super) struct TracedOutputs {
    pub(super) items: weir_sql::Outputs,
    /// Labels of each origin that the outputs name.
    pub(super) origins: Vec<(Origin, Vec<LabelId>)>,
}

impl TracedOutputs {
    pub(super) fn at(&self, position: usize, total: usize) -> OutputLabels {
        let column = self.items.column(position, total);
        let mut ids: Vec<LabelId> = self
            .origins
            .iter()
            .filter(|(origin, _)| column.origins.contains(origin))
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        OutputLabels {
            proven: column.derivation == Derivation::Direct,
            derived: column.derivation == Derivation::Derived,
            ids,
            kept: false,
        }
    }
}

impl Judged {
    /// The labels of each column of a result as the server describes it: where it names the column
    /// of a relation that is what counts, elsewhere lineage does. Each of the catalogs may be the one that was in
    /// force when it was opened.
    ///
    /// # Errors
    /// A column comes from a relation that the catalog does not have: it is out of date.
    pub(in crate::postgres) fn described(
        &self,
        fields: &[Field],
        catalogs: &[&Catalog],
    ) -> Result<Vec<OutputLabels>, String> {
        let total = fields.len();
        let mut outputs = Vec::with_capacity(total);
        for (position, field) in fields.iter().enumerate() {
            let mut output = match self.traced.as_slice() {
                [] => OutputLabels::default(),
                [traced, rest @ ..] => {
                    let mut output = traced.at(position, total);
                    for other in rest {
                        let other = other.at(position, total);
                        output.ids.extend(other.ids);
                        output.proven &= other.proven;
                        output.derived |= other.derived;
                    }
                    output
                }
            };
            if field.table_oid != 0 && field.attribute != 0 {
                let found = catalogs
                    .iter()
                    .filter_map(|catalog| catalog.origin(field.table_oid, field.attribute));
                let found = found.cloned().reduce(|mut all, labels| {
                    all.add(&labels);
                    all
                });
                match found {
                    Some(labels) => {
                        output = OutputLabels {
                            ids: labels.ids,
                            proven: true,
                            derived: labels.derived,
                            kept: false,
                        };
                    }
                    None if field.table_oid < FIRST_USER_OID || self.reads_made => {}
                    None => {
                        return Err("the result comes from a relation that was just created or \
                                    changed; try again"
                            .to_owned());
                    }
                }
            }
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// The labels of the fields of a COPY to the client that has so many in a line; `None` where it is not
    /// known which column each of them is.
    pub(in crate::postgres) fn copied(&self, fields: usize) -> Option<Vec<OutputLabels>> {
        let is_plain = |traced: &TracedOutputs| {
            let mut items = traced.items.items.iter();
            traced.items.items.len() == fields
                && items.all(|item| matches!(item, OutputItem::Column(_)))
        };
        match self.traced.as_slice() {
            [traced] if is_plain(traced) => {
                Some((0..fields).map(|at| traced.at(at, fields)).collect())
            }
            _ => None,
        }
    }
}
