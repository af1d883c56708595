//! Scopes of the bundle in force, one for each identity and target, shared by their sessions: what
//! is kept for one statement holds for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use weir_policy::{Bundle, Scope, Subject, TargetId, Timestamp};

/// Scopes that are kept; more are made each time.
const MAX_KEPT: usize = 256;

#[derive(Default)]
pub(crate) struct Scopes {
    kept: Mutex<Vec<(Subject, Arc<Scope>)>>,
}

impl Scopes {
    /// What applies to `subject` on `target` now; `None` when nothing lets it through.
    pub(crate) fn find(
        &self,
        bundle: &Bundle,
        subject: &Subject,
        target: TargetId,
        now: Timestamp,
    ) -> Option<Arc<Scope>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, scope)| scope.revision() == bundle.revision() && scope.is_current(now));
        let known = kept
            .iter()
            .find(|(known, scope)| scope.target() == target && known == subject);
        if let Some((_, scope)) = known {
            return Some(Arc::clone(scope));
        }
        let scope = bundle.scope(subject, target, now)?;
        if kept.len() < MAX_KEPT {
            kept.push((subject.clone(), Arc::clone(&scope)));
        }
        Some(scope)
    }
}
