//! CEL rules: what the loader refuses and a single field cannot say.
//!
//! Each function is a transform of the schema of one type and stands beside its type by name. The
//! messages are those of the compiler, so that the API server and `weir policy check` say the same.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

type Rules<'a> = &'a [(&'a str, &'a str)];

fn add(schema: &mut Schema, rules: Rules<'_>) {
    let list = schema
        .ensure_object()
        .entry("x-kubernetes-validations")
        .or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.extend(
            rules
                .iter()
                .map(|(rule, message)| json!({"rule": rule, "message": message})),
        );
    }
}

/// How many of these optional fields are given, as a CEL expression.
fn count(fields: &[&str]) -> String {
    let given: Vec<String> = fields.iter().map(|f| format!("has(self.{f})")).collect();
    format!("[{}].filter(given, given).size()", given.join(", "))
}

/// Whether one of these lists has an entry, as a CEL expression.
fn any_entry(lists: &[&str]) -> String {
    let entry = |f: &&str| format!("(has(self.{f}) && self.{f}.size() > 0)");
    lists.iter().map(entry).collect::<Vec<_>>().join(" || ")
}

pub(crate) fn not_zero(schema: &mut Schema) {
    add(schema, &[("self.matches('[1-9]')", "must not be zero")]);
}

pub(crate) fn access_request(schema: &mut Schema) {
    let someone = any_entry(&["groups", "users"]);
    add(
        schema,
        &[
            ("self == oldSelf", "what is asked for cannot be changed"),
            (&someone, "nobody may decide: groups or users must be named"),
            (
                "!has(self.binding) || self.binding != 'Shape' || (has(self.maxMinutes) && has(self.shape))",
                "a shape that may be approved needs `shape` and `maxMinutes`",
            ),
        ],
    );
}

pub(crate) fn approval(schema: &mut Schema) {
    let someone = any_entry(&["groups", "users"]);
    add(schema, &[(&someone, "names nobody: nobody could approve")]);
}

pub(crate) fn approver_decision(schema: &mut Schema) {
    add(
        schema,
        &[(
            "has(self.minutes) == (has(self.binding) && self.binding == 'Shape')",
            "`minutes` belongs to an approval of a shape, which needs it",
        )],
    );
}

/// A list whose entries are told apart by `label`.
pub(crate) fn by_label(schema: &mut Schema) {
    keyed(schema, "label");
}

/// A list whose entries are told apart by `name`.
pub(crate) fn by_name(schema: &mut Schema) {
    keyed(schema, "name");
}

/// A list whose entries are told apart by `type`.
pub(crate) fn by_type(schema: &mut Schema) {
    keyed(schema, "type");
}

fn keyed(schema: &mut Schema, key: &str) {
    schema.insert("x-kubernetes-list-type".to_owned(), json!("map"));
    schema.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
}

/// The detectors that there are.
pub(crate) fn detectors(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Vec::<String>::json_schema(generator);
    let known: Vec<&str> = weir_detect::Kind::ALL.iter().map(|k| k.name()).collect();
    schema.insert("items".to_owned(), json!({"type": "string", "enum": known}));
    schema
}

pub(crate) fn address(schema: &mut Schema) {
    let one = format!("{} == 1", count(&["host", "cidr", "service"]));
    let ports = "has(self.port) || (has(self.ports) && self.ports.size() > 0)";
    add(
        schema,
        &[
            (
                &one,
                "exactly one of `host`, `cidr` and `service` is needed",
            ),
            (
                &format!("has(self.service) || {ports}"),
                "field `port` is missing",
            ),
            (
                &format!("!has(self.service) || !({ports})"),
                "the port of a Service is given inside `service`",
            ),
        ],
    );
}

pub(crate) fn host(schema: &mut Schema) {
    add(
        schema,
        &[(
            "self.matches('^[-._A-Za-z0-9]+$') || isIP(self.replace('[', '').replace(']', ''))",
            "is neither a DNS name nor an IP address",
        )],
    );
}

pub(crate) fn cidr(schema: &mut Schema) {
    add(
        schema,
        &[(
            "self.contains('/') ? isCIDR(self) && cidr(self).masked() == cidr(self) : isIP(self)",
            "is not a network, or has bits set beyond its length",
        )],
    );
}

pub(crate) fn upstream_tls(schema: &mut Schema) {
    add(
        schema,
        &[
            (
                "!has(self.caRef) || !has(self.caFile)",
                "`caRef` and `caFile` exclude each other",
            ),
            (
                "self.mode != 'Disable' || !(has(self.caRef) || has(self.caFile) || has(self.serverName))",
                "mode Disable uses no CA and no server name",
            ),
            (
                "self.mode != 'Prefer' || !(has(self.caRef) || has(self.caFile))",
                "mode Prefer verifies nothing: the CA would not be used",
            ),
        ],
    );
}

/// `secretRef`, or both files.
const LOGIN: &str = "has(self.secretRef) ? !has(self.usernameFile) && !has(self.passwordFile) : has(self.usernameFile) && has(self.passwordFile)";

pub(crate) fn credentials(schema: &mut Schema) {
    let tokens = "has(self.tokenFile) || has(self.podToken)";
    let one_token = format!(
        "{} == 1 && !has(self.usernameFile) && !has(self.passwordFile)",
        count(&["secretRef", "tokenFile", "podToken"])
    );
    add(
        schema,
        &[
            (
                &format!(
                    "self.mode != 'PassThrough' || !(has(self.secretRef) || has(self.usernameFile) || has(self.passwordFile) || has(self.client) || {tokens})"
                ),
                "PassThrough uses no login of Weir's: `mode: Brokered` is missing, or the other fields are too many",
            ),
            (
                &format!("self.mode != 'Brokered' || (({tokens}) ? {one_token} : ({LOGIN}))"),
                "needs `secretRef`, or `usernameFile` and `passwordFile`; for a Kubernetes API one of `secretRef`, `tokenFile` and `podToken`",
            ),
        ],
    );
}

pub(crate) fn login(schema: &mut Schema) {
    add(
        schema,
        &[(
            LOGIN,
            "needs `secretRef`, or `usernameFile` and `passwordFile`",
        )],
    );
}

pub(crate) fn client_login(schema: &mut Schema) {
    add(
        schema,
        &[(
            "has(self.any) != has(self.password)",
            "exactly one of `any` and `password` is needed",
        )],
    );
}

pub(crate) fn password(schema: &mut Schema) {
    add(
        schema,
        &[(
            "has(self.secretRef) != has(self.file)",
            "exactly one of `secretRef` and `file` is needed",
        )],
    );
}

pub(crate) fn data_label(schema: &mut Schema) {
    let something = any_entry(&["columns", "kubernetes", "detectors", "patterns"]);
    add(
        schema,
        &[
            (
                &something,
                "labels nothing: no columns, fields, detectors or patterns",
            ),
            (
                "!has(self.columns) || self.columns.all(entry, has(entry.target))",
                "field `target` is missing in an entry of `columns`",
            ),
        ],
    );
}

pub(crate) fn mask(schema: &mut Schema) {
    let one = format!(
        "{} == 1",
        count(&["nullify", "constant", "token", "partial"])
    );
    add(
        schema,
        &[(
            &one,
            "exactly one of `nullify`, `constant`, `token` and `partial` is needed",
        )],
    );
}

pub(crate) fn subject(schema: &mut Schema) {
    let lists = [
        "names",
        "namespaces",
        "serviceAccounts",
        "pods",
        "groups",
        "claims",
    ];
    let message = "selects nobody: give at least one field, such as `names`";
    add(schema, &[(&any_entry(&lists), message)]);
}

pub(crate) fn local_subject(schema: &mut Schema) {
    let message = "selects nobody: leave `subjects` out to select the whole namespace";
    add(
        schema,
        &[(&any_entry(&["serviceAccounts", "pods"]), message)],
    );
}

pub(crate) fn guard_policy(schema: &mut Schema) {
    add(
        schema,
        &[(
            "!has(self.rules) || self.rules.all(rule, !has(rule.action) || rule.action != 'Allow')",
            "a GuardPolicy can only tighten: Allow needs a ClusterGuardPolicy",
        )],
    );
}

/// Effects of streams that bypass SQL, as a CEL list.
const STREAMS: &str = "['FunctionCall', 'Replication', 'CopyBoth']";

pub(crate) fn cluster_guard_policy(schema: &mut Schema) {
    let streams = format!(
        "(has(rule.match.sql) && has(rule.match.sql.effects) && rule.match.sql.effects.exists(effect, effect in {STREAMS}))"
    );
    let matters = format!(
        "self.default == 'Deny' || !has(self.rules) || self.rules.all(rule, !has(rule.action) || rule.action != 'Allow' || rule.match.opaque || rule.match.unproven || has(rule.match.ssh) || has(rule.limits) || {streams})"
    );
    add(
        schema,
        &[(
            &matters,
            "an Allow never matters: under `default: Allow` it lifts only `opaque`, `unproven`, FunctionCall, Replication, CopyBoth, and what SSH refuses without a name",
        )],
    );
}

pub(crate) fn rule(schema: &mut Schema) {
    let is = |action: &str| format!("(has(self.action) && self.action == '{action}')");
    let named = |list: &str| format!("(has(self.match.{list}) && self.match.{list}.size() > 0)");
    let asks = format!(
        "({} || (has(self.limits) && self.limits.onExceed == 'RequireApproval'))",
        is("RequireApproval")
    );
    let (mask, allow) = (is("Mask"), is("Allow"));
    let effects = "(has(self.match.sql) && has(self.match.sql.effects))";
    let no_streams =
        format!("!({effects} && self.match.sql.effects.exists(effect, effect in {STREAMS}))");
    add(
        schema,
        &[
            (
                "has(self.action) || has(self.limits)",
                "does nothing: it has neither an action nor limits",
            ),
            (
                &format!("!{} || !has(self.limits)", is("Deny")),
                "limits what the rule denies",
            ),
            (
                &format!("!has(self.mask) || {mask}"),
                "`mask` is used only with `action: Mask`",
            ),
            (
                &format!("!{mask} || {} || {}", named("labels"), named("columns")),
                "a mask needs `labels` or `columns` to hide",
            ),
            (
                &format!("!{mask} || !{}", named("uses")),
                "a mask hides result columns whatever else they are used for",
            ),
            (
                &format!("!{mask} || !(self.match.opaque || self.match.unproven)"),
                "what is not understood cannot be masked",
            ),
            (
                &format!("!{mask} || {no_streams}"),
                "a stream that bypasses SQL cannot be masked",
            ),
            (
                &format!("!{asks} || has(self.approval)"),
                "field `approval` is missing: it says who may approve",
            ),
            (
                &format!("{asks} || !has(self.approval)"),
                "`approval` is used only with RequireApproval",
            ),
            (
                &format!("!{allow} || !{}", named("columns")),
                "an Allow rule cannot name columns: that nothing else is touched could not be proven",
            ),
        ],
    );
}

pub(crate) fn matches(schema: &mut Schema) {
    add(
        schema,
        &[(
            "!(self.opaque && self.unproven)",
            "never applies: what is opaque has no result columns",
        )],
    );
}

pub(crate) fn sql(schema: &mut Schema) {
    let lists = any_entry(&["effects", "tables", "exceptTables", "functions", "settings"]);
    add(
        schema,
        &[
            (
                &format!("{lists} || has(self.access) || has(self.where)"),
                "says nothing: it has no field",
            ),
            (
                "!has(self.where) || !has(self.effects) || self.effects.size() == 0 || self.effects.exists(effect, effect in ['Update', 'Delete', 'Merge'])",
                "never applies: only UPDATE, DELETE and MERGE are judged by their WHERE clause",
            ),
        ],
    );
}

pub(crate) fn ssh(schema: &mut Schema) {
    let lists = any_entry(&[
        "channels",
        "commands",
        "argv",
        "subsystems",
        "exceptSubsystems",
        "destinations",
        "env",
    ]);
    add(
        schema,
        &[(
            &format!("{lists} || self.forwarding || has(self.sftp)"),
            "says nothing: it has no field",
        )],
    );
}

pub(crate) fn limits(schema: &mut Schema) {
    add(
        schema,
        &[
            (
                "has(self.statement) || has(self.window)",
                "limits nothing: no rows, bytes or statements",
            ),
            (
                "(self.onExceed == 'Throttle') == has(self.throttle)",
                "`throttle` belongs to `onExceed: Throttle`: both, or neither",
            ),
            (
                "self.onExceed != 'Throttle' || !has(self.window) || !has(self.window.statements)",
                "statements cannot be throttled: Throttle has a rate of rows",
            ),
        ],
    );
}

pub(crate) fn statement_limit(schema: &mut Schema) {
    let some = format!("{} > 0", count(&["rows", "bytes", "duration", "objects"]));
    add(schema, &[(&some, "limits nothing: no rows or bytes")]);
}

pub(crate) fn window_limit(schema: &mut Schema) {
    let some = format!("{} > 0", count(&["rows", "bytes", "statements", "objects"]));
    add(
        schema,
        &[(&some, "limits nothing: no rows, bytes or statements")],
    );
}
