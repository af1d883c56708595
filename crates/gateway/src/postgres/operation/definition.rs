//! What a definition tells of the rows that are there, and of those that are yet to come.

use weir_policy::{LabelUse, Use};
use weir_sql::Statement;

use super::{Judged, OutputLabels};
use crate::postgres::catalog::Oracle;

impl Judged {
    /// The expressions of a definition run over the rows that are there: one can compute a column
    /// from a labelled one, and a condition is answered by whether the statement succeeds. A foreign key
    /// answers with each row whether a value is there.
    pub(super) fn add_definition(&mut self, statement: &Statement, oracle: &Oracle<'_>) {
        for key in &statement.keys {
            let labels = oracle.labels_named(key);
            self.touches |= !labels.is_empty();
            self.uses.extend(labels.into_iter().map(|label| LabelUse {
                label,
                how: Use::Join,
            }));
        }
        for key in &statement.primary_keys {
            let labels = oracle.labels_of_key(key.schema.as_deref(), &key.name);
            self.touches |= !labels.is_empty();
            self.uses.extend(labels.into_iter().map(|label| LabelUse {
                label,
                how: Use::Join,
            }));
        }
        // Rows can be read in the order of an index, and what it holds besides shows which they are.
        for (key, behind) in &statement.sorts {
            let labels = oracle.labels_named(key);
            let shows = |column: &Option<String>| {
                let shown = column.as_deref().map(|name| oracle.labels_named(name));
                shown.is_none_or(|shown| labels.iter().any(|label| !shown.contains(label)))
            };
            if behind.iter().any(shows) {
                self.touches |= !labels.is_empty();
                self.uses.extend(labels.into_iter().map(|label| LabelUse {
                    label,
                    how: Use::OrderBy,
                }));
            }
        }
        // A new table's conditions are about columns of its own, unless it takes over those of another.
        if statement.tag == "CREATE TABLE" && !statement.adopts {
            return;
        }
        for column in &statement.columns {
            let labels = oracle.labels_named(&column.name);
            if labels.is_empty() {
                continue;
            }
            self.touches = true;
            let how = match &column.into {
                None => Use::Predicate,
                Some(into) => {
                    let kept = oracle.labels_named(into);
                    let is_whole = !column.altered || !oracle.shows_part(&labels);
                    if is_whole && labels.iter().all(|label| kept.contains(label)) {
                        continue;
                    }
                    self.outputs.push(OutputLabels::kept(labels.clone()));
                    Use::Write
                }
            };
            self.uses
                .extend(labels.into_iter().map(|label| LabelUse { label, how }));
        }
    }
}
