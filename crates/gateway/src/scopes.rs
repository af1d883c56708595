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

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-31T18:00:00Z.
    const END: u64 = 1_801_418_400_000;
    const RESOURCES: &str = "kind: Target
metadata: {name: db}
spec: {protocol: PostgreSQL, addresses: [{host: 127.0.0.1, port: 5432}]}
---
kind: ClusterGuardPolicy
metadata: {name: p}
spec:
  subjects: [{names: [\"*\"]}]
  targets: [db]
  rules: [{name: none, match: {sql: {effects: [Delete]}}, action: Deny}]
---
kind: PolicyException
metadata: {name: e}
spec:
  owner: o
  reason: r
  expires: 2027-01-31T18:00:00Z
  subjects: [{names: [freed]}]
  targets: [db]
  rules: [p/none]
";

    #[test]
    fn a_scope_is_shared_until_an_exception_in_it_is_over() {
        let resources = weir_api::load_str("test", RESOURCES).expect("loads");
        let options = weir_api::CompileOptions::default();
        let compiled = weir_api::compile(&resources, &options).expect("compiles");
        let scopes = Scopes::default();
        let find = |name: &str, now| {
            let subject = Subject::named(name);
            let found = scopes.find(&compiled.bundle, &subject, TargetId(0), Timestamp(now));
            found.expect("granted")
        };
        let (freed, other) = (find("freed", END - 2), find("other", END - 2));
        assert!(Arc::ptr_eq(&freed, &find("freed", END - 1)));
        assert!(!Arc::ptr_eq(&freed, &find("freed", END)));
        assert!(Arc::ptr_eq(&other, &find("other", END)));
    }
}
