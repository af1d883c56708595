//! What names meant when a portal or cursor was opened: it goes on returning that, whatever they mean by now.

use std::sync::Arc;

use weir_policy::LabelRules;

use super::catalog::Catalog;
use super::session::Session;

/// The catalog that was in force when a portal or cursor was opened.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    catalog: Arc<Catalog>,
    /// What its labels are numbered by.
    labels: Arc<LabelRules>,
    /// How often sessions of this engine had changed definitions by then.
    changes: u64,
}

impl Session {
    /// What is in force now, for what is opened now.
    pub(super) fn opening(&self) -> Option<Opening> {
        Some(Opening {
            catalog: self.catalog_in_use()?,
            labels: Arc::clone(self.scope.labels()),
            changes: self.shared.catalogs.changes(),
        })
    }

    /// The catalog by which a portal or cursor must be judged besides the one that is in use, if that is another.
    ///
    /// # Errors
    /// Definitions and labels have both changed: what it returns is not known any more.
    pub(super) fn opened(
        &self,
        opening: Option<&Opening>,
    ) -> Result<Option<Arc<Catalog>>, &'static str> {
        let Some(opening) = opening.filter(|_| self.scope.needs_catalog()) else {
            return Ok(None);
        };
        let now = self.catalog_in_use();
        if now.is_some_and(|now| Arc::ptr_eq(&now, &opening.catalog)) {
            return Ok(None);
        }
        if Arc::ptr_eq(&opening.labels, self.scope.labels()) {
            return Ok(Some(Arc::clone(&opening.catalog)));
        }
        let unchanged =
            opening.changes == self.shared.catalogs.changes() && !self.catalog.is_changing();
        match unchanged {
            true => Ok(None),
            false => Err("it was opened under other definitions and another policy: open it again"),
        }
    }
}
