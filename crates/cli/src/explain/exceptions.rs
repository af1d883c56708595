//! The exceptions that have to do with a decision: those that lifted a rule, and those that did until
//! they were over.

use serde::Serialize;
use weir_policy::{Decision, Exception, Timestamp};

use crate::commands::text::one_line;

/// An exception, what it does to a decision, and who answers for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mattering {
    exception: String,
    /// The rule that it lifts, or lifted.
    rule: String,
    owner: String,
    reason: String,
    expires: String,
    /// Whether it is over, so that the rule binds.
    over: bool,
}

impl std::fmt::Display for Mattering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (does, until) = if self.over {
            ("no longer lifts", "over since")
        } else {
            ("lifts", "until")
        };
        write!(
            f,
            "{} {does} {}, {until} {} (owner {}: {})",
            self.exception,
            self.rule,
            self.expires,
            one_line(&self.owner),
            one_line(&self.reason)
        )
    }
}

/// `about` are the exceptions that are about the subject and the target.
pub(super) fn mattering(
    about: &[&Exception],
    decision: &Decision,
    now: Timestamp,
) -> Vec<Mattering> {
    let mut found = Vec::new();
    for exception in about {
        let over = exception.is_over(now);
        let lifted = decision
            .exceptions
            .iter()
            .filter(|lifted| *lifted.exception == *exception.name)
            .map(|lifted| &lifted.rule);
        let binding = decision.why.iter();
        let binding = binding.filter(|rule| over && exception.names(rule));
        found.extend(lifted.chain(binding).map(|rule| Mattering {
            exception: exception.name.clone(),
            rule: rule.to_string(),
            owner: exception.owner.clone(),
            reason: exception.reason.clone(),
            expires: time(exception.until),
            over,
        }));
    }
    found
}

fn time(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).ok();
    let time = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.map_or_else(|| "the end of time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use weir_api::CompileOptions;
    use weir_policy::Subject;

    use super::*;

    const POLICY: &str = "
apiVersion: weir.dev/v1alpha1
kind: Target
metadata: {name: shop}
spec: {protocol: PostgreSQL, addresses: [{host: db, port: 5432}]}
---
apiVersion: weir.dev/v1alpha1
kind: ClusterGuardPolicy
metadata: {name: reporting}
spec:
  mode: Enforce
  subjects: [{names: [reporter]}]
  targets: [shop]
  rules: [{name: no-delete, match: {sql: {effects: [Delete]}}, action: Deny}]
---
apiVersion: weir.dev/v1alpha1
kind: PolicyException
metadata: {name: quarter-end}
spec:
  owner: data-platform
  reason: the books are closed by hand
  expires: EXPIRES
  subjects: [{names: [reporter]}]
  targets: [shop]
  rules: [reporting/no-delete]
";

    fn until(expires: &str) -> (bool, Vec<String>) {
        let now = crate::policy::now();
        let options = CompileOptions {
            now,
            ..CompileOptions::default()
        };
        let policy = POLICY.replace("EXPIRES", expires);
        let resources = weir_api::load_str("policy", &policy).unwrap();
        let bundle = weir_api::compile(&resources, &options).unwrap().bundle;
        let about: Vec<_> = bundle.exceptions().iter().collect();
        let subject = Subject::named("reporter");
        let text = "DELETE FROM a WHERE b = 1";
        let explained = weir_gateway::explain(&bundle, &subject, "shop", text).unwrap();
        let decision = &explained[0].1;
        let found = mattering(&about, decision, now);
        let denied = matches!(decision.verdict, weir_policy::Verdict::Deny(_));
        (denied, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_exception_is_shown_with_owner_reason_and_end_before_and_after() {
        let (denied, shown) = until("2126-12-31T00:00:00Z");
        assert!(!denied);
        assert_eq!(
            shown,
            [
                "quarter-end lifts reporting/no-delete, until 2126-12-31T00:00:00Z \
              (owner data-platform: the books are closed by hand)"
            ]
        );
        let (denied, shown) = until("2025-12-31T00:00:00Z");
        assert!(denied);
        assert_eq!(
            shown,
            [
                "quarter-end no longer lifts reporting/no-delete, over since 2025-12-31T00:00:00Z \
              (owner data-platform: the books are closed by hand)"
            ]
        );
    }
}
