//! What applies to one subject on one target, prepared so that a decision is cheap.
//!
//! Invariant: a scope holds at least one granting policy. Labels are resolved to ids and budget
//! keys are built here, once; `decide` only compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, hex};
use crate::effect::{Effect, EffectSet};
use crate::exception::{Exception, Lift};
use crate::label::{Label, LabelId, LabelRules, Mask};
use crate::ledger::{BudgetKey, Timestamp};
use crate::limit::{Limit, LimitScope, OnExceed};
use crate::operation::Subject;
use crate::rule::{
    Action, DefaultAction, Delivery, Exceed, LimitSpec, Match, Mode, Policy, RecordLevel, Rule,
    RuleName,
};
use crate::target::TargetId;

/// The policies that select a subject and a target.
#[derive(Debug)]
pub struct Scope {
    pub(crate) revision: u64,
    pub(crate) target: TargetId,
    pub(crate) policies: Vec<ScopedPolicy>,
    pub(crate) masks: Vec<Mask>,
    /// Detectors by label.
    detectors: Vec<Arc<[String]>>,
    labels: Arc<LabelRules>,
    record: RecordLevel,
    delivery: Delivery,
    /// Labels of whose values fingerprints are kept, sorted.
    fingerprints: Vec<LabelId>,
    needs_catalog: bool,
    permits_opaque: bool,
    asks_people: bool,
    has_masks: bool,
    constants: Vec<String>,
    expires: Option<Timestamp>,
    /// Labels that the compiler made for columns of rules outside of this scope, sorted: what other
    /// subjects' policies name says nothing about this one.
    pub(crate) foreign: Vec<LabelId>,
}

#[derive(Debug)]
pub(crate) struct ScopedPolicy {
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) default: DefaultAction,
    pub(crate) rules: Vec<ScopedRule>,
}

#[derive(Debug)]
pub(crate) struct ScopedRule {
    pub(crate) name: RuleName,
    pub(crate) rule: Rule,
    /// Ids of the labels that the rule's globs name; none when it names no labels.
    pub(crate) labels: Option<Vec<LabelId>>,
    /// Ids of the labels made for its columns; none when it names no columns.
    pub(crate) columns: Option<Vec<LabelId>>,
    pub(crate) limits: Vec<ScopedLimit>,
    /// Exceptions that name it, by name.
    pub(crate) lifts: Vec<Lift>,
}

/// A limit with its budgets: one, or one per label.
#[derive(Debug)]
pub(crate) enum ScopedLimit {
    One(Arc<Limit>),
    PerLabel(BTreeMap<LabelId, Arc<Limit>>),
}

impl Scope {
    pub(crate) fn new(
        bundle: &Bundle,
        subject: &Subject,
        target: TargetId,
        selected: &[&Policy],
        exceptions: &[&Exception],
        now: Timestamp,
    ) -> Scope {
        let builder = Builder {
            labels: bundle.all_labels(),
            subject: &subject.name,
            exceptions,
            target: bundle.target(target).map_or("", |t| &t.name),
        };
        let mut scope = Scope {
            revision: bundle.revision(),
            target,
            policies: selected
                .iter()
                .map(|policy| builder.policy(policy))
                .collect(),
            masks: builder
                .labels
                .iter()
                .map(|label| label.mask.clone())
                .collect(),
            detectors: builder
                .labels
                .iter()
                .map(|label| label.detectors.as_slice().into())
                .collect(),
            labels: bundle.labels(target).cloned().unwrap_or_default(),
            record: selected
                .iter()
                .map(|p| p.record)
                .max()
                .unwrap_or(RecordLevel::Full),
            delivery: selected
                .iter()
                .map(|p| p.delivery)
                .max()
                .unwrap_or(Delivery::Batch),
            fingerprints: builder.ids(|label| {
                let mut globs = selected.iter().flat_map(|policy| &policy.fingerprints);
                !label.anonymous && globs.any(|glob| glob.matches(&label.name))
            }),
            needs_catalog: false,
            permits_opaque: false,
            asks_people: false,
            has_masks: false,
            constants: Vec::new(),
            expires: None,
            foreign: Vec::new(),
        };
        let is_mask = |rule: &ScopedRule| rule.masks() && rule.lifted(now).is_none();
        let needs_catalog = scope.rules().any(ScopedRule::needs_catalog);
        let has_masks = scope.enforced().any(is_mask);
        scope.needs_catalog = needs_catalog || !scope.fingerprints.is_empty();
        scope.has_masks = has_masks;
        let mut rules = scope.policies.iter().flat_map(|policy| &policy.rules);
        scope.asks_people = rules.any(|scoped| scoped.rule.approval.is_some());
        scope.permits_opaque = scope
            .policies
            .iter()
            .all(|policy| policy.permits_opaque(now));
        scope.constants = scope.constants();
        let lifts = scope.rules().flat_map(|rule| &rule.lifts);
        scope.expires = lifts.map(|lift| lift.until).min();
        let own = |name: &String| {
            let mut rules = scope.rules();
            rules.any(|rule| rule.rule.matches.columns.contains(name))
        };
        scope.foreign = builder.ids(|label| label.anonymous && !own(&label.name));
        scope
    }

    /// The revision of the bundle that this came from.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The first moment at which an exception that it holds is over; what was prepared then differs.
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Whether it still says what its bundle does.
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// The target.
    pub const fn target(&self) -> TargetId {
        self.target
    }

    /// The names of the policies, sorted.
    pub fn policy_names(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| &*policy.name)
    }

    /// The least that is recorded.
    pub const fn record(&self) -> RecordLevel {
        self.record
    }

    /// The least sure delivery.
    pub const fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Labels of whose values fingerprints are kept, sorted; mostly none.
    pub fn fingerprints(&self) -> &[LabelId] {
        &self.fingerprints
    }

    /// Where labels lie on the target.
    pub fn labels(&self) -> &Arc<LabelRules> {
        &self.labels
    }

    /// Whether a rule needs relations or columns resolved through the target's catalog.
    pub const fn needs_catalog(&self) -> bool {
        self.needs_catalog
    }

    /// Whether what cannot be understood would be permitted.
    pub const fn permits_opaque(&self) -> bool {
        self.permits_opaque
    }

    /// Whether some rule asks people, who have to see what is asked for.
    pub const fn asks_people(&self) -> bool {
        self.asks_people
    }

    /// Whether some rule limits rows or bytes.
    pub fn has_limits(&self) -> bool {
        self.enforced().any(|rule| !rule.limits.is_empty())
    }

    /// Whether some rule has a condition on the object that a request carries.
    pub fn reads_objects(&self) -> bool {
        self.rules().any(|rule| {
            let kubernetes = rule.rule.matches.kubernetes.as_ref();
            let when = kubernetes.and_then(|kubernetes| kubernetes.when.as_ref());
            when.is_some_and(weir_condition::Condition::reads_object)
        })
    }

    /// Whether some rule masks.
    pub const fn has_masks(&self) -> bool {
        self.has_masks
    }

    /// The texts that constant masks put in place of values: a statement that stores one of them
    /// may be writing back what it was shown. None is empty.
    pub fn constant_masks(&self) -> &[String] {
        &self.constants
    }

    fn constants(&self) -> Vec<String> {
        let own = self.enforced().filter_map(|rule| rule.rule.mask.as_ref());
        let constant = |mask: &Mask| match mask {
            Mask::Constant(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let mut constants: Vec<String> =
            self.masks.iter().chain(own).filter_map(constant).collect();
        constants.sort();
        constants.dedup();
        constants
    }

    /// Whether only `Observe` policies apply, so that everything passes.
    pub fn observe_only(&self) -> bool {
        self.policies
            .iter()
            .all(|policy| policy.mode == Mode::Observe)
    }

    fn rules(&self) -> impl Iterator<Item = &ScopedRule> {
        self.policies.iter().flat_map(|policy| &policy.rules)
    }

    fn enforced(&self) -> impl Iterator<Item = &ScopedRule> {
        let enforced = self
            .policies
            .iter()
            .filter(|policy| policy.mode == Mode::Enforce);
        enforced.flat_map(|policy| &policy.rules)
    }

    pub(crate) fn label_name(&self, id: LabelId) -> &str {
        self.labels.name(id).map_or("?", |name| name)
    }

    /// The name of a label of this scope's bundle.
    pub fn label(&self, id: LabelId) -> Option<Arc<str>> {
        self.labels.name(id).cloned()
    }

    /// Labels whose values are looked for by a detector that `is` says so of.
    pub fn detected_by(&self, is: impl Fn(&str) -> bool) -> impl Iterator<Item = LabelId> {
        self.detected().filter(move |id| {
            let detectors = self.detectors(*id);
            detectors.is_some_and(|names| names.iter().any(|name| is(name)))
        })
    }

    /// Labels that are found by value.
    pub(crate) fn detected(&self) -> impl Iterator<Item = LabelId> {
        let ids = (0..=u16::MAX).map(LabelId);
        let labels = ids.zip(&self.detectors);
        labels
            .filter(|(_, found)| !found.is_empty())
            .map(|(id, _)| id)
    }

    pub(crate) fn detectors(&self, id: LabelId) -> Option<&Arc<[String]>> {
        self.detectors.get(usize::from(id.0))
    }

    /// A label that this scope does not know is masked whole.
    pub(crate) fn label_mask(&self, id: LabelId) -> &Mask {
        self.masks.get(usize::from(id.0)).unwrap_or(&Mask::Null)
    }
}

impl ScopedRule {
    /// The exception that keeps the rule from binding at this moment.
    pub(crate) fn lifted(&self, now: Timestamp) -> Option<&Arc<str>> {
        let lift = self.lifts.iter().find(|lift| now < lift.until)?;
        Some(&lift.exception)
    }

    pub(crate) fn masks(&self) -> bool {
        self.rule.action == Some(Action::Mask)
    }

    /// Whether it could not be kept if something were not understood.
    pub(crate) fn governs(&self) -> bool {
        !self.limits.is_empty() || !matches!(self.rule.action, Some(Action::Allow) | None)
    }

    /// Whether it could not be kept if it were not known what a command runs.
    pub(crate) fn governs_commands(&self) -> bool {
        let restricts = matches!(
            self.rule.action,
            Some(Action::Deny | Action::RequireApproval)
        );
        let ssh = self.rule.matches.ssh.as_ref();
        restricts && ssh.is_some_and(|ssh| !ssh.commands.is_empty() || !ssh.argv.is_empty())
    }

    /// Whether what a view is over or a function does may be what the rule means.
    fn asks_what_is_behind(&self) -> bool {
        use Effect::{Grant, Role, Set, System};
        let matches = &self.rule.matches;
        let of_objects = EffectSet::of(&[Grant, Role, Set, System]);
        matches.effects.intersects(of_objects)
            || !matches.settings.is_empty()
            || !matches.functions.is_empty()
    }

    fn needs_catalog(&self) -> bool {
        let matches = &self.rule.matches;
        !matches.tables.is_empty()
            || !matches.except_tables.is_empty()
            || self.labels.is_some()
            || self.columns.is_some()
            || !matches.uses.is_empty()
            || matches.unproven
            || self.asks_what_is_behind()
            // Which views and functions put many records into one row.
            || self.rule.limits.iter().any(|limit| limit.rows.is_some())
    }
}

impl ScopedPolicy {
    /// The first rule by name that could not be kept if something were not understood.
    pub(crate) fn governing(&self, now: Timestamp) -> Option<&RuleName> {
        self.first(now, ScopedRule::governs)
    }

    /// The first rule by name that could not be kept if it were not known what a command runs.
    pub(crate) fn governing_commands(&self, now: Timestamp) -> Option<&RuleName> {
        self.first(now, ScopedRule::governs_commands)
    }

    /// The first rule by name that masks.
    pub(crate) fn masking(&self, now: Timestamp) -> Option<&RuleName> {
        self.first(now, ScopedRule::masks)
    }

    fn first(&self, now: Timestamp, test: impl Fn(&ScopedRule) -> bool) -> Option<&RuleName> {
        let binding = self.rules.iter().filter(|rule| rule.lifted(now).is_none());
        binding
            .filter(|rule| test(rule))
            .map(|rule| &rule.name)
            .min()
    }

    /// Whether what cannot be understood passes this policy.
    fn permits_opaque(&self, now: Timestamp) -> bool {
        if self.mode == Mode::Observe {
            return true;
        }
        let restricts = |action| matches!(action, Some(Action::Deny | Action::RequireApproval));
        let denied = self
            .rules
            .iter()
            .filter(|rule| rule.lifted(now).is_none())
            .any(|rule| rule.rule.matches.opaque && restricts(rule.rule.action));
        let refused = self.governing(now).is_some() || self.default == DefaultAction::Deny;
        !denied && (self.allows_opaque() || !refused)
    }

    pub(crate) fn allows_opaque(&self) -> bool {
        self.allows(|matches| {
            matches.opaque
                && *matches
                    == Match {
                        opaque: true,
                        ..Match::default()
                    }
        })
    }

    /// Whether the policy allows, by name, a stream that bypasses SQL.
    pub(crate) fn allows_stream(&self, effect: Effect) -> bool {
        self.allows(|matches| {
            matches.effects.contains(effect)
                && *matches
                    == Match {
                        effects: matches.effects,
                        ..Match::default()
                    }
        })
    }

    fn allows(&self, test: impl Fn(&Match) -> bool) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.rule.action == Some(Action::Allow) && test(&rule.rule.matches))
    }

    pub(crate) fn implicit(&self, rule: &str) -> RuleName {
        RuleName {
            policy: Arc::clone(&self.name),
            rule: rule.into(),
        }
    }
}

struct Builder<'a> {
    labels: &'a [Label],
    subject: &'a str,
    target: &'a str,
    exceptions: &'a [&'a Exception],
}

impl Builder<'_> {
    fn policy(&self, policy: &Policy) -> ScopedPolicy {
        let name: Arc<str> = policy.name.as_str().into();
        let rules: Vec<ScopedRule> = policy
            .rules
            .iter()
            .map(|rule| self.rule(&name, rule))
            .collect();
        ScopedPolicy {
            mode: policy.mode,
            default: policy.default,
            name,
            rules,
        }
    }

    fn rule(&self, policy: &Arc<str>, rule: &Rule) -> ScopedRule {
        let name = RuleName {
            policy: Arc::clone(policy),
            rule: rule.name.as_str().into(),
        };
        let matches = &rule.matches;
        let labels = (!matches.labels.is_empty()).then(|| {
            self.ids(|label| {
                !label.anonymous && matches.labels.iter().any(|glob| glob.matches(&label.name))
            })
        });
        let columns = (!matches.columns.is_empty())
            .then(|| self.ids(|label| label.anonymous && matches.columns.contains(&label.name)));
        let limits = rule
            .limits
            .iter()
            .map(|spec| self.limit(&name, rule, spec, labels.as_ref().or(columns.as_ref())))
            .collect();
        let lifts = self
            .exceptions
            .iter()
            .filter(|exception| exception.names(&name));
        let lifts = lifts
            .map(|exception| Lift {
                exception: exception.name.as_str().into(),
                until: exception.until,
            })
            .collect();
        ScopedRule {
            name,
            rule: rule.clone(),
            labels,
            columns,
            limits,
            lifts,
        }
    }

    fn ids(&self, test: impl Fn(&Label) -> bool) -> Vec<LabelId> {
        let ids = (0..=u16::MAX).map(LabelId);
        ids.zip(self.labels)
            .filter(|(_, label)| test(label))
            .map(|(id, _)| id)
            .collect()
    }

    fn limit(
        &self,
        name: &RuleName,
        rule: &Rule,
        spec: &LimitSpec,
        labels: Option<&Vec<LabelId>>,
    ) -> ScopedLimit {
        let on_exceed = match (spec.on_exceed, &rule.approval) {
            (Exceed::RequireApproval, Some(approval)) => {
                OnExceed::RequireApproval(approval.clone())
            }
            // Nobody could approve it.
            (Exceed::Deny | Exceed::RequireApproval, _) => OnExceed::Deny,
            (Exceed::Throttle { rows_per_second }, _) => OnExceed::Throttle { rows_per_second },
        };
        let limit = |scope: LimitScope| {
            Arc::new(Limit {
                rule: name.clone(),
                scope,
                rows: spec.rows,
                bytes: spec.bytes,
                statements: spec.statements,
                on_exceed: on_exceed.clone(),
            })
        };
        let Some(per) = spec.per else {
            return ScopedLimit::One(limit(LimitScope::Statement));
        };
        let selector = selector(&rule.matches);
        let window = |over: &str| {
            limit(LimitScope::Window(BudgetKey::new(
                self.subject,
                over,
                &selector,
                per,
            )))
        };
        match labels {
            None => ScopedLimit::One(window(&format!("target:{}", self.target))),
            Some(ids) => ScopedLimit::PerLabel(
                ids.iter()
                    .map(|id| (*id, window(&format!("label:{}", self.label(*id)))))
                    .collect(),
            ),
        }
    }

    fn label(&self, id: LabelId) -> &str {
        self.labels
            .get(usize::from(id.0))
            .map_or("?", |label| &label.name)
    }
}

/// What a window counts, apart from labels: rules that count the same share a budget, and renaming
/// a rule refills none.
fn selector(matches: &Match) -> String {
    let counted = Match {
        labels: Vec::new(),
        columns: Vec::new(),
        ..matches.clone()
    };
    if counted == Match::default() {
        return "*".to_owned();
    }
    let text = serde_json::to_vec(&counted).unwrap_or_default();
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(12);
    digest
}
