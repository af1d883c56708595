//! One statement: what was asked, what was decided, what came back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::text::Names;

/// What is known of a statement when it is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Counts the session's statements, from 1.
    pub number: u64,
    /// The text as the client sent it; absent when the record level is `Metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
    /// Parameter values; empty when the record level is `Metadata`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Value>,
    /// Fingerprint of the statement's shape (hexadecimal in JSON).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex_u64")]
    pub fingerprint: Option<u64>,
    /// Command tag, such as `SELECT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
    /// `policy/rule` names that made the decision or its obligations.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub rules: Names,
    /// `policy/rule` names that would have denied under `Enforce`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub would_deny: Names,
    /// Rules that exceptions kept from applying, as `NAME lifts POLICY/RULE`.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub exceptions: Names,
    /// Why it was denied or held, as the client was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Relations that it reads or writes, views expanded.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub tables: Names,
    /// Data labels that it touches.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub labels: Names,
    /// Revision of the policy bundle that judged it.
    #[serde(default)]
    pub revision: u64,
    /// The access request that it waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Arc<str>>,
}

impl Statement {
    pub(crate) fn weight(&self) -> usize {
        let text = self.text.as_ref().map_or(0, |text| text.len());
        let parameters: usize = self.parameters.iter().map(Value::weight).sum();
        text + parameters
    }
}

/// A statement is about to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementStarted {
    /// What was asked and decided.
    #[serde(flatten)]
    pub statement: Statement,
}

/// A statement ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementFinished {
    /// What was asked and decided.
    #[serde(flatten)]
    pub statement: Statement,
    /// How it ended.
    pub outcome: Outcome,
    /// Rows that the client received.
    pub rows: u64,
    /// Bytes of rows that the client received.
    pub bytes: u64,
    /// Names of the result's columns.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub columns: Names,
    /// Names of the columns that were masked; over SSH, of the labels whose values were.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub masked: Names,
    /// From the client's request to its end.
    pub duration_us: u64,
}

/// What policy decided about a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may run, perhaps masked and limited.
    #[default]
    Permit,
    /// It may not run.
    Deny,
    /// It waits (or waited) for a person.
    Hold,
}

impl Decision {
    /// `permit`, `deny` or `hold`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

/// How a statement ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The server completed it.
    Completed,
    /// The server answered with an error.
    Failed {
        /// The error's SQLSTATE, or its like: see [`Outcome::exited`].
        code: Box<str>,
    },
    /// Policy or a reviewer refused it.
    Denied,
    /// The client cancelled it, or left while it was held.
    Cancelled,
    /// The session ended under it; also what a dropped guard records.
    #[default]
    Aborted,
    /// A limit ended it.
    LimitExceeded,
}

impl Outcome {
    /// How a command ended that left `status`: 0 is success, anything else has the code
    /// `exit STATUS`.
    #[must_use]
    pub fn exited(status: u32) -> Self {
        match status {
            0 => Self::Completed,
            status => Self::Failed {
                code: format!("exit {status}").into(),
            },
        }
    }

    /// How a command ended that `signal` killed, named as the protocol does (`TERM`): the code is
    /// `signal NAME`.
    #[must_use]
    pub fn killed(signal: &str) -> Self {
        Self::Failed {
            code: format!("signal {signal}").into(),
        }
    }

    /// The `status` in JSON.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed { .. } => "failed",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::LimitExceeded => "limit_exceeded",
        }
    }
}

/// A parameter's value. In JSON: `null`, a string, or `{"base64": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ValueJson", into = "ValueJson")]
pub enum Value {
    /// SQL null.
    Null,
    /// In text format.
    Text(Box<str>),
    /// In binary format, or text that is not UTF-8.
    Binary(Box<[u8]>),
}

impl Value {
    /// A value in text format; what is not UTF-8 is kept as bytes.
    #[must_use]
    pub fn text(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(
            |_| Self::Binary(bytes.into()),
            |text| Self::Text(text.into()),
        )
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Null => 0,
                Self::Text(text) => text.len(),
                Self::Binary(bytes) => bytes.len(),
            }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ValueJson {
    Text(Box<str>),
    Binary { base64: String },
    Null(()),
}

impl From<Value> for ValueJson {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null(()),
            Value::Text(text) => Self::Text(text),
            Value::Binary(bytes) => Self::Binary {
                base64: STANDARD.encode(bytes),
            },
        }
    }
}

impl From<ValueJson> for Value {
    fn from(value: ValueJson) -> Self {
        match value {
            ValueJson::Null(()) => Self::Null,
            ValueJson::Text(text) => Self::Text(text),
            ValueJson::Binary { base64 } => {
                Self::Binary(STANDARD.decode(base64).unwrap_or_default().into())
            }
        }
    }
}

mod hex_u64 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&format_args!("{value:016x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom))
            .transpose()
    }
}
