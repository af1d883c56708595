//! One rule, checked for meaning: what it names exists, it can fire, and it can be enforced.

mod kubernetes;
mod ssh;

use weir_policy::{
    Action, Approval, DefaultAction, Effect, EffectSet, Exceed, FunctionClass, FunctionPattern,
    Glob, Label, LimitSpec, Match, PatternError, Rule, TablePattern, Target,
};

use super::Report;
use super::label::{compile_columns, compile_mask};
use crate::diagnostic::{Reason, suggest};
use crate::kinds::{
    ApprovalSpec, ExceedSpec, LimitsSpec, MatchSpec, MeanwhileSpec, RuleSpec, SqlMatch,
};
use crate::tree::Origin;

/// The policy around a rule.
pub(super) struct Around<'a> {
    pub(super) policy: &'a str,
    pub(super) grants: bool,
    pub(super) default: DefaultAction,
    pub(super) targets: Vec<&'a Target>,
    pub(super) globs: &'a [Glob],
    pub(super) origin: &'a Origin,
}

/// Effects of streams that bypass SQL.
const STREAMS: [Effect; 3] = [Effect::FunctionCall, Effect::Replication, Effect::CopyBoth];

pub(super) fn compile(
    spec: &RuleSpec,
    field: &str,
    around: &Around<'_>,
    labels: &mut Vec<Label>,
    report: &mut Report,
) -> Rule {
    let origin = around.origin;
    let matches = compile_match(spec, field, around, labels, report);
    let limits = match &spec.limits {
        Some(limits) => compile_limits(limits, &format!("{field}.limits"), origin, report),
        None => Vec::new(),
    };
    let mask = spec.mask.as_ref().and_then(|mask| {
        if spec.action != Some(Action::Mask) {
            report.error(
                origin,
                &format!("{field}.mask"),
                "is used only with `action: Mask`",
            );
        }
        compile_mask(mask, &format!("{field}.mask"), origin, report)
    });
    let asks = spec.action == Some(Action::RequireApproval)
        || limits
            .iter()
            .any(|limit| limit.on_exceed == Exceed::RequireApproval);
    let approval = compile_approval(spec.approval.as_ref(), asks, field, origin, report);
    let rule = Rule {
        name: spec.name.clone(),
        matches,
        action: spec.action,
        mask,
        limits,
        approval,
        reason: spec.reason.clone(),
        hint: spec.hint.clone(),
    };
    check_action(&rule, field, around, report);
    check_can_fire(&rule.matches, field, origin, report);
    ssh::check(&rule, field, origin, report);
    kubernetes::check(&rule, field, origin, report);
    rule
}

fn compile_match(
    rule: &RuleSpec,
    field: &str,
    around: &Around<'_>,
    labels: &mut Vec<Label>,
    report: &mut Report,
) -> Match {
    let (spec, origin): (&MatchSpec, _) = (&rule.matches, around.origin);
    let field = format!("{field}.match");
    if spec.mysql.is_some() {
        report.unenforced(
            origin,
            &format!("{field}.mysql"),
            "a match on MySQL commands",
        );
    }
    let mut matches = Match {
        labels: compile_label_globs(rule, &field, around, labels, report),
        uses: spec.uses.iter().copied().collect(),
        opaque: spec.opaque,
        unproven: spec.unproven,
        ..Match::default()
    };
    if !spec.columns.is_empty() {
        let name = format!("a column of rule {}/{}", around.policy, rule.name);
        let columns = spec.columns.iter().enumerate().flat_map(|(i, entry)| {
            let field = format!("{field}.columns[{i}]");
            let own: Vec<Glob> = match &entry.target {
                Some(text) => {
                    let glob = Glob::free(text);
                    if !around
                        .targets
                        .iter()
                        .any(|target| glob.matches(&target.name))
                    {
                        let message = format!("`{text}` is not a target of this policy");
                        let field = format!("{field}.target");
                        let reason = Reason::UnknownTarget;
                        report.reference(origin, &field, reason, message, None);
                    }
                    vec![glob]
                }
                None => around.globs.to_vec(),
            };
            compile_columns(entry, &own, &field, origin, report)
        });
        let columns = columns.collect();
        labels.push(Label {
            name: name.clone(),
            anonymous: true,
            mask: weir_policy::Mask::Null,
            columns,
            fields: Vec::new(),
            detectors: Vec::new(),
            patterns: Vec::new(),
            honey: false,
        });
        matches.columns = vec![name];
    }
    if let Some(ssh) = &spec.ssh {
        matches.ssh = Some(ssh::compile(ssh, &format!("{field}.ssh"), around, report));
    }
    if let Some(kubernetes) = &spec.kubernetes {
        let field = format!("{field}.kubernetes");
        matches.kubernetes = Some(kubernetes::compile(kubernetes, &field, around, report));
    }
    if let Some(sql) = &spec.sql {
        compile_sql(sql, &format!("{field}.sql"), origin, &mut matches, report);
    }
    if spec.when.is_some() {
        let when = kubernetes::compile_when(rule, &format!("{field}.when"), around, report);
        matches.kubernetes.get_or_insert_default().when = when;
    }
    matches
}

fn compile_sql(
    sql: &SqlMatch,
    field: &str,
    origin: &Origin,
    matches: &mut Match,
    report: &mut Report,
) {
    if *sql == SqlMatch::default() {
        report.error(origin, field, "says nothing: it has no field");
    }
    matches.effects = sql.effects.iter().copied().collect();
    matches.access = sql.access;
    matches.where_clause = sql.where_clause;
    matches.settings = sql
        .settings
        .iter()
        .map(|text| Glob::free(&text.to_lowercase()))
        .collect();
    let parse = |list: &[String], name: &str, report: &mut Report| {
        let mut patterns = Vec::new();
        for (i, text) in list.iter().enumerate() {
            match TablePattern::parse(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => report.error(origin, &format!("{field}.{name}[{i}]"), error.0),
            }
        }
        patterns
    };
    matches.tables = parse(&sql.tables, "tables", report);
    matches.except_tables = parse(&sql.except_tables, "exceptTables", report);
    for (i, text) in sql.functions.iter().enumerate() {
        let field = format!("{field}.functions[{i}]");
        match compile_function(text) {
            Ok(patterns) => matches.functions.extend(patterns),
            Err((message, suggestion)) => report.error_with(origin, &field, message, suggestion),
        }
    }
}

fn compile_function(text: &str) -> Result<Vec<FunctionPattern>, (String, Option<String>)> {
    let plain = |error: PatternError| (error.0, None);
    let Some(class) = text.strip_prefix("class:") else {
        return FunctionPattern::parse(text)
            .map(|pattern| vec![pattern])
            .map_err(plain);
    };
    let Some(class) = FunctionClass::parse(class) else {
        let known = FunctionClass::ALL.iter().map(|class| class.name());
        return Err((
            format!("no class of functions is called `{class}`"),
            suggest(class, known),
        ));
    };
    let members = class.members().iter();
    members
        .map(|name| FunctionPattern::parse(name).map_err(plain))
        .collect()
}

/// Label globs of a rule's match.
fn compile_label_globs(
    rule: &RuleSpec,
    field: &str,
    around: &Around<'_>,
    labels: &[Label],
    report: &mut Report,
) -> Vec<Glob> {
    let (texts, field) = (&rule.matches.labels, format!("{field}.labels"));
    let by_value = rule.action == Some(Action::Mask);
    lying_globs(texts, &field, by_value, around, labels, report)
}

/// Label globs whose values are told by where they lie.
pub(super) fn label_globs(
    texts: &[String],
    field: &str,
    around: &Around<'_>,
    labels: &[Label],
    report: &mut Report,
) -> Vec<Glob> {
    lying_globs(texts, field, false, around, labels, report)
}

/// Label globs, each of which must name a label that lies on a target of the policy, or that a rule
/// which masks finds by value: nothing else can be decided on what a result turns out to hold.
fn lying_globs(
    texts: &[String],
    field: &str,
    by_value: bool,
    around: &Around<'_>,
    labels: &[Label],
    report: &mut Report,
) -> Vec<Glob> {
    let named = || labels.iter().filter(|label| !label.anonymous);
    let mut globs = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let glob = Glob::free(text);
        let meant: Vec<&Label> = named().filter(|label| glob.matches(&label.name)).collect();
        let here = |label: &&Label| {
            (by_value && !label.detectors.is_empty())
                || label.fields.iter().any(|field| {
                    let mut targets = around.targets.iter();
                    targets.any(|target| field.target.matches(&target.name))
                })
                || label.columns.iter().any(|columns| {
                    around
                        .targets
                        .iter()
                        .any(|target| columns.target.matches(&target.name))
                })
        };
        if meant.is_empty() {
            let suggestion = suggest(text, named().map(|label| label.name.as_str()));
            let message = format!("no DataLabel is called `{text}`");
            let reason = Reason::UnknownLabel;
            report.reference(around.origin, &field, reason, message, suggestion);
        } else if !around.targets.is_empty() && !meant.iter().any(here) {
            let message = format!(
                "no DataLabel `{text}` lies on a target of this policy, so that this never applies"
            );
            let reason = Reason::NeverApplies;
            report.reference(around.origin, &field, reason, message, None);
        }
        globs.push(glob);
    }
    globs
}

fn compile_limits(
    spec: &LimitsSpec,
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Vec<LimitSpec> {
    let on_exceed = match (spec.on_exceed, spec.throttle) {
        (ExceedSpec::Throttle, Some(rate)) if rate.rows_per_second > 0 => Exceed::Throttle {
            rows_per_second: rate.rows_per_second,
        },
        (ExceedSpec::Throttle, _) => {
            let message = "onExceed Throttle needs `throttle: {rowsPerSecond: N}`, N above 0";
            report.error(origin, field, message);
            Exceed::Deny
        }
        (other, rate) => {
            if rate.is_some() {
                let message = "is used only with `onExceed: Throttle`";
                report.error(origin, &format!("{field}.throttle"), message);
            }
            if other == ExceedSpec::Deny {
                Exceed::Deny
            } else {
                Exceed::RequireApproval
            }
        }
    };
    let mut limits = Vec::new();
    if let Some(statement) = spec.statement {
        let field = format!("{field}.statement");
        if statement.duration.is_some() {
            report.unenforced(origin, &format!("{field}.duration"), "a limit of duration");
        }
        limits.push(LimitSpec {
            per: None,
            rows: fewest(statement.rows, statement.objects),
            bytes: statement.bytes.map(|size| size.0),
            statements: None,
            on_exceed,
        });
    }
    if let Some(window) = spec.window {
        let field = format!("{field}.window");
        if window.per.0.is_zero() {
            report.error(origin, &format!("{field}.per"), "must not be zero");
        }
        if window.statements.is_some() && spec.on_exceed == ExceedSpec::Throttle {
            let message = "statements cannot be throttled: Throttle has a rate of rows";
            report.error(origin, &format!("{field}.statements"), message);
        }
        limits.push(LimitSpec {
            per: Some(window.per.0),
            rows: fewest(window.rows, window.objects),
            bytes: window.bytes.map(|size| size.0),
            statements: window.statements,
            on_exceed,
        });
    }
    let empty = |limit: &LimitSpec| {
        limit.rows.is_none() && limit.bytes.is_none() && limit.statements.is_none()
    };
    let duration = spec.statement.is_some_and(|s| s.duration.is_some());
    if (limits.is_empty() || limits.iter().any(empty)) && !duration {
        report.error(
            origin,
            field,
            "limits nothing: no rows, bytes or statements",
        );
    }
    limits
}

/// An object of the Kubernetes API counts as a row.
fn fewest(rows: Option<u64>, objects: Option<u64>) -> Option<u64> {
    rows.into_iter().chain(objects).min()
}

/// A week: a shape that is needed for longer is a rule.
const MAX_SHAPE_MINUTES: u32 = 10_080;

fn compile_approval(
    spec: Option<&ApprovalSpec>,
    asks: bool,
    field: &str,
    origin: &Origin,
    report: &mut Report,
) -> Option<Approval> {
    let own = format!("{field}.approval");
    let Some(spec) = spec else {
        if asks {
            report.error(
                origin,
                field,
                "field `approval` is missing: it says who may approve",
            );
        }
        return None;
    };
    if !asks {
        report.error(origin, &own, "is used only with RequireApproval");
    }
    if spec.groups.is_empty() && spec.users.is_empty() {
        report.error(origin, &own, "names nobody: nobody could approve");
    }
    let shape_minutes = spec.shape.as_ref().map(|shape| shape.max_minutes);
    if shape_minutes.is_some_and(|most| !(1..=MAX_SHAPE_MINUTES).contains(&most)) {
        let text = format!("must be 1 to {MAX_SHAPE_MINUTES}");
        report.error(origin, &format!("{own}.shape.maxMinutes"), &text);
    }
    if spec.count == 0 {
        report.error(origin, &format!("{own}.count"), "must be at least 1");
    }
    if spec.deadline.0.is_zero() {
        report.error(origin, &format!("{own}.deadline"), "must not be zero");
    }
    Some(Approval {
        groups: spec.groups.clone(),
        count: spec.count,
        deadline: spec.deadline.0,
        users: spec.users.clone(),
        retry: spec.meanwhile == MeanwhileSpec::Retry,
        estimate: spec.estimate,
        shape_minutes,
    })
}

/// Whether action, match and limits make sense together.
fn check_action(rule: &Rule, field: &str, around: &Around<'_>, report: &mut Report) {
    let (matches, origin) = (&rule.matches, around.origin);
    let action = format!("{field}.action");
    match rule.action {
        None if rule.limits.is_empty() => {
            report.error(
                origin,
                field,
                "does nothing: it has neither an action nor limits",
            );
        }
        Some(Action::Deny) if !rule.limits.is_empty() => {
            report.error(
                origin,
                &format!("{field}.limits"),
                "limits what the rule denies",
            );
        }
        Some(Action::Mask) => {
            if matches.labels.is_empty() && matches.columns.is_empty() {
                report.error(
                    origin,
                    &action,
                    "a mask needs `labels` or `columns` to hide",
                );
            }
            if !matches.uses.is_empty() {
                let message = "a mask hides result columns whatever else they are used for";
                report.error(origin, &format!("{field}.match.uses"), message);
            }
            if matches.opaque || matches.unproven {
                report.error(origin, &action, "what is not understood cannot be masked");
            }
            if matches.ssh.as_ref().is_some_and(|ssh| !ssh::shows(ssh)) {
                let message = "over SSH, only what commands and shells show can be masked";
                report.error(origin, &action, message);
            }
            if matches
                .effects
                .iter()
                .any(|effect| STREAMS.contains(&effect))
            {
                report.error(
                    origin,
                    &action,
                    "a stream that bypasses SQL cannot be masked",
                );
            }
        }
        Some(Action::Allow) => check_allow(rule, field, around, report),
        _ => {}
    }
}

/// Allow loosens only by name, or is an entry of the list under `default: Deny`.
fn check_allow(rule: &Rule, field: &str, around: &Around<'_>, report: &mut Report) {
    let (matches, origin) = (&rule.matches, around.origin);
    let action = format!("{field}.action");
    if !around.grants {
        let message = "a GuardPolicy can only tighten: Allow needs a ClusterGuardPolicy";
        return report.error(origin, &action, message);
    }
    if !matches.columns.is_empty() {
        let message = "an Allow rule cannot name columns: that nothing else is touched could not \
                       be proven";
        report.error(origin, &format!("{field}.match.columns"), message);
    }
    let opaque_alone = Match {
        opaque: true,
        ..Match::default()
    };
    if matches.opaque && *matches != opaque_alone {
        let message = "what is not understood has no other known field: `opaque` stands alone in \
                       an Allow rule";
        report.error(origin, &format!("{field}.match.opaque"), message);
    }
    let streams = matches.effects.intersection(EffectSet::of(&STREAMS));
    let streams_alone = Match {
        effects: streams,
        ..Match::default()
    };
    if !streams.is_empty() && *matches != streams_alone {
        let message = format!("{streams} stands alone in an Allow rule");
        report.error(origin, &format!("{field}.match.sql.effects"), message);
    }
    let by_name = matches.ssh.as_ref().is_some_and(ssh::lifts)
        || matches.kubernetes.as_ref().is_some_and(kubernetes::lifts);
    let lifts = matches.opaque || matches.unproven || !streams.is_empty() || by_name;
    if around.default == DefaultAction::Allow && !lifts && rule.limits.is_empty() {
        let message = "this Allow never matters: under `default: Allow` it lifts only `opaque`, \
                       `unproven`, FunctionCall, Replication, CopyBoth, and what SSH and the \
                       Kubernetes API refuse without a name";
        report.never(origin, &action, message);
    }
    if around.default == DefaultAction::Deny
        && !lifts
        && matches.effects.is_empty()
        && matches.ssh.is_none()
        && matches.kubernetes.is_none()
    {
        let message = "this Allow names no effects: it permits every kind of statement";
        report.warning(origin, &format!("{field}.match"), message);
    }
}

/// Combinations that no operation has.
fn check_can_fire(matches: &Match, field: &str, origin: &Origin, report: &mut Report) {
    let field = format!("{field}.match");
    let changes = EffectSet::of(&[Effect::Update, Effect::Delete, Effect::Merge]);
    if matches.where_clause.is_some()
        && !matches.effects.is_empty()
        && !matches.effects.intersects(changes)
    {
        let message =
            "never applies: only UPDATE, DELETE and MERGE are judged by their WHERE clause";
        report.never(origin, &format!("{field}.sql.where"), message);
    }
    let streams = EffectSet::of(&STREAMS);
    if !matches.effects.is_empty() && matches.effects.is_subset(streams) {
        let alone = Match {
            effects: matches.effects,
            ..Match::default()
        };
        if *matches != alone {
            let message = format!(
                "never applies: {} has no other known field",
                matches.effects
            );
            report.never(origin, &field, message);
        }
    }
    if matches.opaque && matches.unproven {
        report.never(
            origin,
            &field,
            "never applies: what is opaque has no result columns",
        );
    }
}
