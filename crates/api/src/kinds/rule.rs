//! Rules: a match, an action, limits.

use serde::{Deserialize, Serialize};
use weir_policy::{Access, Action, Effect, Use, WhereTest};

use super::data_label::{ColumnsSpec, MaskSpec};
use crate::units::{Size, Span};

/// One rule. It has an action, limits, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Its name, unique within the policy; clients and auditors see it.
    pub name: String,
    /// For people who read the policy.
    #[serde(default)]
    pub description: Option<String>,
    /// What it applies to. Default: everything.
    #[serde(rename = "match", default)]
    pub matches: MatchSpec,
    /// What it does.
    #[serde(default)]
    pub action: Option<Action>,
    /// A mask that tightens the labels' own; with `action: Mask`.
    #[serde(default)]
    pub mask: Option<MaskSpec>,
    /// Limits.
    #[serde(default)]
    pub limits: Option<LimitsSpec>,
    /// Who approves.
    #[serde(default)]
    pub approval: Option<ApprovalSpec>,
    /// What a refused client is told, in place of a description of the match.
    #[serde(default)]
    pub reason: Option<String>,
    /// What a refused client is advised to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// What a rule applies to: all given fields must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSpec {
    /// Facts of a SQL statement.
    #[serde(default)]
    pub sql: Option<SqlMatch>,
    /// DataLabels that it touches; globs.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Columns that it touches.
    #[serde(default)]
    pub columns: Vec<ColumnsSpec>,
    /// How it uses the labels. Default: in any way.
    #[serde(default)]
    pub uses: Vec<Use>,
    /// What could not be understood.
    #[serde(default)]
    pub opaque: bool,
    /// Statements with a result column whose origin is not proven.
    #[serde(default)]
    pub unproven: bool,
    /// Requests to the Kubernetes API.
    #[serde(default)]
    pub kubernetes: Option<KubernetesMatch>,
    /// Commands of the MySQL protocol.
    #[serde(default)]
    pub mysql: Option<MysqlMatch>,
    /// What happens over SSH.
    #[serde(default)]
    pub ssh: Option<SshMatch>,
    /// A CEL expression.
    #[serde(default)]
    pub when: Option<String>,
}

/// Facts of a SQL statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlMatch {
    /// What it does.
    #[serde(default)]
    pub effects: Vec<Effect>,
    /// Tables it touches: `schema.table`, globs.
    #[serde(default)]
    pub tables: Vec<String>,
    /// Tables that do not count.
    #[serde(default)]
    pub except_tables: Vec<String>,
    /// Count only tables that are read, or only those that are written.
    #[serde(default)]
    pub access: Option<Access>,
    /// Functions it calls: `name`, `schema.name`, `class:NAME`, globs.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Settings it changes; globs.
    #[serde(default)]
    pub settings: Vec<String>,
    /// The WHERE clause of an UPDATE or DELETE.
    #[serde(rename = "where", default)]
    pub where_clause: Option<WhereTest>,
}

/// Requests to the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesMatch {
    /// Verbs.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// API groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Resources.
    #[serde(default)]
    pub resources: Vec<String>,
    /// Subresources.
    #[serde(default)]
    pub subresources: Vec<String>,
    /// Namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Names.
    #[serde(default)]
    pub names: Vec<String>,
    /// Requests that impersonate, or bring a token that is not the pod's.
    #[serde(default)]
    pub foreign_identity: bool,
}

/// Commands of the MySQL protocol, beside the SQL that it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MysqlMatch {
    /// Commands by name: `COM_BINLOG_DUMP`, `COM_PROCESS_INFO` …
    #[serde(default)]
    pub commands: Vec<String>,
    /// Files that the server asks the client for (`LOAD DATA LOCAL`).
    #[serde(default)]
    pub local_infile: bool,
}

/// What happens over SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshMatch {
    /// Channel types and requests: `session`, `shell`, `exec`, `direct-tcpip` …
    #[serde(default)]
    pub channels: Vec<String>,
    /// Commands; globs.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Subsystems.
    #[serde(default)]
    pub subsystems: Vec<String>,
    /// All subsystems but these.
    #[serde(default)]
    pub except_subsystems: Vec<String>,
    /// Forwarding of any kind.
    #[serde(default)]
    pub forwarding: bool,
    /// SFTP.
    #[serde(default)]
    pub sftp: Option<SftpMatch>,
}

/// SFTP operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftpMatch {
    /// Operations.
    #[serde(default)]
    pub operations: Vec<String>,
    /// Paths; globs.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// Limits of what the rule matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Per statement.
    #[serde(default)]
    pub statement: Option<StatementLimitSpec>,
    /// Per subject, target or label, and window.
    #[serde(default)]
    pub window: Option<WindowLimitSpec>,
    /// What happens beyond it. Default `Deny`.
    #[serde(default)]
    pub on_exceed: ExceedSpec,
    /// The rate, with `onExceed: Throttle`.
    #[serde(default)]
    pub throttle: Option<ThrottleSpec>,
}

/// Per statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementLimitSpec {
    /// Rows delivered.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes delivered.
    #[serde(default)]
    pub bytes: Option<Size>,
    /// How long it may run.
    #[serde(default)]
    pub duration: Option<Span>,
    /// Kubernetes objects delivered.
    #[serde(default)]
    pub objects: Option<u64>,
}

/// Per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowLimitSpec {
    /// The window.
    pub per: Span,
    /// Rows delivered.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes delivered.
    #[serde(default)]
    pub bytes: Option<Size>,
    /// Statements started.
    #[serde(default)]
    pub statements: Option<u64>,
    /// Kubernetes objects delivered.
    #[serde(default)]
    pub objects: Option<u64>,
}

/// What happens beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExceedSpec {
    /// An error.
    #[default]
    Deny,
    /// A hold.
    RequireApproval,
    /// It goes on, slowly.
    Throttle,
}

/// The rate of a throttled statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleSpec {
    /// Rows per second.
    pub rows_per_second: u64,
}

/// Who approves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSpec {
    /// Groups of which an approver must be in one; at least one.
    pub groups: Vec<String>,
    /// How many different people. Default 1.
    #[serde(default = "one")]
    pub count: u32,
    /// How long the statement waits. Default 15 min.
    #[serde(default = "quarter")]
    pub deadline: Span,
}

const fn one() -> u32 {
    1
}

const fn quarter() -> Span {
    Span(std::time::Duration::from_secs(900))
}
