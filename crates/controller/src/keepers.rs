//! Whose programs keep the token of their service account: those of whom a PolicyException says so, by
//! naming the rule `weir.dev/kube-token`.
//!
//! Pure. The webhook asks, and the admission policies are told in their own terms (regular expressions
//! over `NAMESPACE/SERVICE-ACCOUNT`), so that an annotation alone loosens nothing.
//! Refuses: selectors that need more than these two names; when a pod is made, nothing else is certain.

use jiff::Timestamp;
use weir_api::Resources;
use weir_api::kinds::SubjectSpec;
use weir_policy::Glob;

/// The rule that such an exception names; the annotation of the pod is called the same.
const RULE: &str = weir_injection::KUBE_TOKEN;

/// Who keeps the token: globs of namespaces and of service accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keepers(Vec<(String, String)>);

impl Keepers {
    /// Those of the exceptions that are not over.
    pub(crate) fn of(resources: &Resources, now: Timestamp) -> Self {
        let exceptions = resources.exceptions.iter().map(|one| &one.spec);
        let lasting = exceptions.filter(|spec| {
            let until: Option<Timestamp> = spec.expires.parse().ok();
            until.is_some_and(|until| now < until) && spec.rules.iter().any(|rule| rule == RULE)
        });
        let mut all: Vec<(String, String)> = lasting
            .flat_map(|spec| &spec.subjects)
            .flat_map(pairs)
            .collect();
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Whether a pod of this account in this namespace is one.
    pub(crate) fn contains(&self, namespace: &str, account: &str) -> bool {
        self.0.iter().any(|(namespaces, accounts)| {
            Glob::free(namespaces).matches(namespace) && Glob::free(accounts).matches(account)
        })
    }

    /// A regular expression in each line, over `NAMESPACE/SERVICE-ACCOUNT`.
    pub(crate) fn expressions(&self) -> String {
        let one = |(namespaces, accounts): &(String, String)| {
            Some(format!(
                "^{}/{}$",
                expression(namespaces)?,
                expression(accounts)?
            ))
        };
        let all: Vec<String> = self.0.iter().filter_map(one).collect();
        all.join("\n")
    }
}

fn pairs(subject: &SubjectSpec) -> Vec<(String, String)> {
    let others = [&subject.names, &subject.pods, &subject.groups];
    let nobody = subject.namespaces.is_empty() && subject.service_accounts.is_empty();
    if nobody || !subject.claims.is_empty() || others.iter().any(|list| !list.is_empty()) {
        return Vec::new();
    }
    let or_any = |list: &[String]| match list {
        [] => vec!["*".to_owned()],
        list => list.to_vec(),
    };
    let accounts = or_any(&subject.service_accounts);
    let namespaces = or_any(&subject.namespaces).into_iter();
    namespaces
        .flat_map(|namespace| {
            let pair = |account: &String| (namespace.clone(), account.clone());
            accounts.iter().map(pair).collect::<Vec<_>>()
        })
        .collect()
}

/// A glob over names of Kubernetes; none if no such name can match.
fn expression(glob: &str) -> Option<String> {
    let mut out = String::new();
    for letter in glob.chars() {
        match letter {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '.' => out.push_str("[.]"),
            'a'..='z' | '0'..='9' | '-' => out.push(letter),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keepers(rule: &str, expires: &str, subjects: &str) -> Keepers {
        let yaml = format!(
            "kind: PolicyException\nmetadata: {{name: e}}\nspec:\n  owner: o\n  reason: r\n  \
             expires: {expires}\n  targets: [kubernetes]\n  rules: [{rule}]\n  subjects: [{subjects}]\n"
        );
        let resources = weir_api::load_str("e", &yaml).unwrap();
        Keepers::of(&resources, "2026-11-27T12:00:00Z".parse().unwrap())
    }

    const LATER: &str = "2027-01-01T00:00:00Z";
    const OURS: &str = "weir.dev/kube-token";

    #[test]
    fn an_exception_frees_the_accounts_that_it_names() {
        let found = keepers(
            OURS,
            LATER,
            "{namespaces: [ops], serviceAccounts: [argo, 'b?t-*']}",
        );
        assert!(found.contains("ops", "argo") && found.contains("ops", "bot-1"));
        assert!(!found.contains("ops", "other") && !found.contains("shop", "argo"));
        assert_eq!(found.expressions(), "^ops/argo$\n^ops/b[^/]t-[^/]*$");
    }

    #[test]
    fn one_that_is_over_or_is_about_something_else_frees_nobody() {
        let ops = "{namespaces: [ops]}";
        assert!(keepers(OURS, LATER, ops).contains("ops", "x"));
        assert_eq!(
            keepers(OURS, "2026-11-27T12:00:00Z", ops),
            Keepers::default()
        );
        assert_eq!(keepers("p/r", LATER, ops), Keepers::default());
        assert_eq!(keepers(OURS, LATER, ops).expressions(), "^ops/[^/]*$");
    }

    #[test]
    fn selectors_that_are_not_known_when_a_pod_is_made_free_nobody() {
        for subject in [
            "{namespaces: [ops], pods: [a]}",
            "{names: ['*']}",
            "{groups: [g]}",
            "{namespaces: [ops], claims: {iss: x}}",
        ] {
            assert_eq!(
                keepers(OURS, LATER, subject),
                Keepers::default(),
                "{subject}"
            );
        }
    }

    #[test]
    fn no_name_says_more_to_the_policies_than_to_the_webhook() {
        for hostile in ["(a|b)", "a$|^b", "[^x]+", "a/b", "A"] {
            assert_eq!(expression(hostile), None, "{hostile}");
        }
        assert_eq!(expression("a.b").as_deref(), Some("a[.]b"));
    }
}
