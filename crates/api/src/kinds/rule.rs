//! Rules: a match, an action, limits.

use serde::{Deserialize, Serialize};
use weir_policy::{
    Access, Action, Effect, KubernetesEffect, SftpOperation, SshChannel, Use, WhereTest,
};

use super::data_label::{ColumnsSpec, MaskSpec};
use crate::units::{Size, Span};

/// One rule. It has an action, limits, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::rule))]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The name of the rule, unique within the policy. Clients and auditors see it.
    #[cfg_attr(feature = "crds", schemars(length(max = 253), regex(pattern = crate::crd::patterns::NAME)))]
    pub name: String,
    /// What the rule is for, for people who read the policy.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub description: Option<String>,
    /// What the rule applies to. Left out: everything.
    #[serde(rename = "match", default)]
    pub matches: MatchSpec,
    /// What the rule does. Left out: it only limits.
    #[serde(default)]
    pub action: Option<Action>,
    /// With `action: Mask`: a mask that tightens the labels' own.
    #[serde(default)]
    pub mask: Option<MaskSpec>,
    /// How much of what the rule matches is permitted.
    #[serde(default)]
    pub limits: Option<LimitsSpec>,
    /// With `action: RequireApproval` or `limits.onExceed: RequireApproval`: who approves.
    #[serde(default)]
    pub approval: Option<ApprovalSpec>,
    /// What a refused client is told, in place of a description of the match.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub reason: Option<String>,
    /// What a refused client is advised to do.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 1024)))]
    pub hint: Option<String>,
}

/// What a rule applies to: all given fields must hold, and in a list one entry must. A rule that
/// restricts applies as soon as any part of the operation is meant; an Allow rule only if the
/// whole operation lies within it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::matches))]
#[serde(deny_unknown_fields)]
pub struct MatchSpec {
    /// What a SQL statement does.
    #[serde(default)]
    pub sql: Option<SqlMatch>,
    /// DataLabels that are touched: names or globs.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Columns that are touched.
    #[serde(default)]
    pub columns: Vec<ColumnsSpec>,
    /// How the labels or columns are used. Left out: in any way.
    #[serde(default)]
    pub uses: Vec<Use>,
    /// Names what could not be understood.
    #[serde(default)]
    pub opaque: bool,
    /// Names statements with a result column whose origin is not proven.
    #[serde(default)]
    pub unproven: bool,
    /// What a request to the Kubernetes API does.
    #[serde(default)]
    pub kubernetes: Option<KubernetesMatch>,
    /// What a command of the MySQL protocol does. Not enforced by this version.
    #[serde(default)]
    pub mysql: Option<MysqlMatch>,
    /// What happens over SSH.
    #[serde(default)]
    pub ssh: Option<SshMatch>,
    /// A CEL expression that must hold, for rules about the Kubernetes API.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(length(max = 4096)))]
    pub when: Option<String>,
}

/// What a SQL statement does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::sql))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlMatch {
    /// Its effects, those of its parts included.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// Tables that it touches, directly or through a view: `schema.table`, with wildcards.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 256), regex(pattern = crate::crd::patterns::TABLE.as_str()))))]
    pub tables: Vec<String>,
    /// It touches a table that is none of these, or no table at all.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 256), regex(pattern = crate::crd::patterns::TABLE.as_str()))))]
    pub except_tables: Vec<String>,
    /// Counts in `tables` and `exceptTables` only tables that are so touched.
    #[serde(default)]
    pub access: Option<Access>,
    /// Functions that it calls: `name` in any schema, `schema.name`, or `class:NAME`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 256), regex(pattern = crate::crd::patterns::FUNCTION.as_str()))))]
    pub functions: Vec<String>,
    /// Settings that it changes, with wildcards.
    #[serde(default)]
    pub settings: Vec<String>,
    /// The WHERE clause of an UPDATE, DELETE or MERGE in it.
    #[serde(rename = "where", default)]
    pub where_clause: Option<WhereTest>,
}

/// What a request to the Kubernetes API does: all given fields must hold. Wildcards are `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesMatch {
    /// Verbs as RBAC knows them, such as `get`, `list`, `deletecollection`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 63))))]
    pub verbs: Vec<String>,
    /// API groups; an empty text is the core group. Left out: all.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 253))))]
    pub groups: Vec<String>,
    /// Resources, such as `secrets`.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(inner(length(max = 253), regex(pattern = crate::crd::patterns::RESOURCE)))
    )]
    pub resources: Vec<String>,
    /// Subresources, such as `exec`; an empty text is the resource itself. An Allow rule that names
    /// none allows only the resource itself.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 63))))]
    pub subresources: Vec<String>,
    /// Namespaces of the objects. A rule that restricts also applies to requests for all namespaces.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 63))))]
    pub namespaces: Vec<String>,
    /// Names of the objects. A rule that restricts also applies to requests that name none, as lists
    /// do.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 253))))]
    pub names: Vec<String>,
    /// Paths that are no resources, such as `/debug/*`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 1024))))]
    pub paths: Vec<String>,
    /// What the request brings about, beside reading or changing its object.
    #[serde(default)]
    pub effects: Vec<KubernetesEffect>,
    /// Programs that a command in a container may run, or commands with their words, as in
    /// `ssh.commands`.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 1024))))]
    pub commands: Vec<String>,
    /// Requests that impersonate, or bring a token that is not the pod's.
    #[serde(default)]
    pub foreign_identity: bool,
}

/// What a command of the MySQL protocol does, beside the SQL that it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MysqlMatch {
    /// Commands by name, such as `COM_BINLOG_DUMP`.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Files that the server asks the client for (`LOAD DATA LOCAL`).
    #[serde(default)]
    pub local_infile: bool,
}

/// What happens over SSH: all given fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::ssh))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshMatch {
    /// Channels and requests.
    #[serde(default)]
    pub channels: Vec<SshChannel>,
    /// Programs that a command may run, by base name or path, or commands with their words; with
    /// wildcards. An Allow rule compares the whole text, and only of a command without any feature of
    /// the shell.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 1024))))]
    pub commands: Vec<String>,
    /// Commands word for word; wildcards stand within a word.
    #[serde(default)]
    #[cfg_attr(
        feature = "crds",
        schemars(inner(length(max = 64), inner(length(max = 1024))))
    )]
    pub argv: Vec<Vec<String>>,
    /// Subsystems, such as `sftp`.
    #[serde(default)]
    pub subsystems: Vec<String>,
    /// All subsystems but these.
    #[serde(default)]
    pub except_subsystems: Vec<String>,
    /// Forwarding of any kind.
    #[serde(default)]
    pub forwarding: bool,
    /// Where forwarded connections go: `host:port`, or the path of a socket; with wildcards.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 1024))))]
    pub destinations: Vec<String>,
    /// Environment variables that a client sets, with wildcards.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 256))))]
    pub env: Vec<String>,
    /// What happens over SFTP.
    #[serde(default)]
    pub sftp: Option<SftpMatch>,
}

/// What happens over SFTP: all given fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SftpMatch {
    /// Operations.
    #[serde(default)]
    pub operations: Vec<SftpOperation>,
    /// Paths, with wildcards. Links on the server are not followed.
    #[serde(default)]
    #[cfg_attr(feature = "crds", schemars(inner(length(max = 4096))))]
    pub paths: Vec<String>,
}

/// How much is permitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::limits))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Limits of one statement: of a portal or cursor over its whole life.
    #[serde(default)]
    pub statement: Option<StatementLimitSpec>,
    /// A budget per subject and target within a sliding window; in a rule with labels or columns
    /// per subject and label.
    #[serde(default)]
    pub window: Option<WindowLimitSpec>,
    /// What happens beyond a limit.
    #[serde(default)]
    pub on_exceed: ExceedSpec,
    /// With `onExceed: Throttle`: the rate.
    #[serde(default)]
    pub throttle: Option<ThrottleSpec>,
}

/// Limits of one statement; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::statement_limit))]
#[serde(deny_unknown_fields)]
pub struct StatementLimitSpec {
    /// Rows that are delivered.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes that are delivered, such as `10Mi`.
    #[serde(default)]
    pub bytes: Option<Size>,
    /// How long it may run, such as `30s`. Not enforced by this version.
    #[serde(default)]
    pub duration: Option<Span>,
    /// Kubernetes objects that are delivered: another name for `rows`.
    #[serde(default)]
    pub objects: Option<u64>,
}

/// A budget within a sliding window; at least one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::window_limit))]
#[serde(deny_unknown_fields)]
pub struct WindowLimitSpec {
    /// The length of the window, such as `1h`.
    #[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::not_zero))]
    pub per: Span,
    /// Rows that are delivered.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes that are delivered, such as `10Mi`.
    #[serde(default)]
    pub bytes: Option<Size>,
    /// Statements that are started.
    #[serde(default)]
    pub statements: Option<u64>,
    /// Kubernetes objects that are delivered: another name for `rows`.
    #[serde(default)]
    pub objects: Option<u64>,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum ExceedSpec {
    /// The statement ends with an error.
    #[default]
    Deny,
    /// The statement waits for people.
    RequireApproval,
    /// The statement goes on slowly.
    Throttle,
}

/// The rate of a throttled statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleSpec {
    /// Rows per second.
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub rows_per_second: u64,
}

/// Who approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::approval))]
pub struct ApprovalSpec {
    /// The groups of which an approver must be in one, unless `users` names them.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who may approve beside the members of `groups`, by name.
    #[serde(default)]
    pub users: Vec<String>,
    /// How many different people must approve; none of them the requester.
    #[serde(default = "one")]
    #[cfg_attr(feature = "crds", schemars(range(min = 1)))]
    pub count: u32,
    /// How long the statement waits; then it is refused.
    #[serde(default = "quarter")]
    #[cfg_attr(feature = "crds", schemars(transform = crate::crd::rules::not_zero))]
    pub deadline: Span,
    /// What a client of the Kubernetes API sees while people decide.
    #[serde(default)]
    pub meanwhile: MeanwhileSpec,
    /// Asks the database how many rows it expects (`EXPLAIN`, without running anything) before people
    /// are asked: they are told, and a limit on rows holds a statement that would pass it before it has
    /// done any work.
    #[serde(default)]
    pub estimate: bool,
    /// Lets approvers approve the shape of a statement, for some minutes. Left out: only the very
    /// statement.
    #[serde(default)]
    pub shape: Option<ShapeSpec>,
}

/// How far the approval of a shape may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShapeSpec {
    /// For how many minutes at most.
    #[cfg_attr(feature = "crds", schemars(range(min = 1, max = 10_080)))]
    pub max_minutes: u32,
}

/// What a client of the Kubernetes API sees while people decide; others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crds", derive(schemars::JsonSchema))]
pub enum MeanwhileSpec {
    /// Nothing: its request waits, as long as the client does.
    #[default]
    Wait,
    /// 429 with `Retry-After`: the same request, asked again, gets the ruling once there is one.
    Retry,
}

const fn one() -> u32 {
    1
}

const fn quarter() -> Span {
    Span(std::time::Duration::from_secs(900))
}
