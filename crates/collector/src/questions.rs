//! Questions that auditors ask again and again, with the answer as a table.
//!
//! They are answered from sums per day and from a row per hold, so the answer takes as long for
//! millions of events as for a few. Days are whole, UTC.
//!
//! It refuses parameters that a question does not take: an auditor who thinks that the answer was
//! narrowed must be right.

mod answers;
mod cut_offs;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_audit::Timestamp;

/// Rows of an answer unless fewer are asked for.
pub(crate) const DEFAULT_ROWS: usize = 1000;
/// Rows of an answer at most.
pub(crate) const MAX_ROWS: usize = 10_000;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// Which identities read data of a label.
    WhoReadLabel,
    /// Which tables of which targets an identity touched.
    WhatDidIdentityTouch,
    /// What policies denied and held, by policy, rule and revision.
    WhatWasBlocked,
    /// What policies masked, by policy, rule and revision.
    WhatWasMasked,
    /// Which holds were decided, and by whom.
    HoldsByApprover,
    /// Which revisions of the policies came into force, or were refused.
    PolicyChanges,
    /// Who read evidence.
    WhoReadEvidence,
    /// Who was ordered to be cut off, by whom and how long, and which pods that hit.
    WhoWasCutOff,
}

/// A question: what about, and what narrows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked about.
    pub about: About,
    /// From the day of this time.
    pub since: Option<Timestamp>,
    /// To the day of the last instant before this time.
    pub until: Option<Timestamp>,
    /// The identities' namespace.
    pub namespace: Option<String>,
    /// Name of an identity; of `who-read-evidence`, the reader.
    pub identity: Option<String>,
    /// Name of a target.
    pub target: Option<String>,
    /// A label; `pii.*` is all below `pii`.
    pub label: Option<String>,
    /// Who decided.
    pub approver: Option<String>,
    /// At most so many rows (1,000 when absent, 10,000 at most).
    pub limit: Option<usize>,
}

/// The answer: a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question in words.
    pub title: String,
    /// What the columns are.
    pub columns: Vec<String>,
    /// A text for each column. Times are RFC 3339 in UTC, numbers are plain digits.
    pub rows: Vec<Vec<String>>,
    /// Whether there is more than the limit let in.
    pub more: bool,
}

impl About {
    /// Every question.
    pub const ALL: [Self; 8] = [
        Self::WhoReadLabel,
        Self::WhatDidIdentityTouch,
        Self::WhatWasBlocked,
        Self::WhatWasMasked,
        Self::HoldsByApprover,
        Self::PolicyChanges,
        Self::WhoReadEvidence,
        Self::WhoWasCutOff,
    ];

    /// Its name in paths and commands.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WhoReadLabel => "who-read-label",
            Self::WhatDidIdentityTouch => "what-did-identity-touch",
            Self::WhatWasBlocked => "what-was-blocked",
            Self::WhatWasMasked => "what-was-masked",
            Self::HoldsByApprover => "holds-by-approver",
            Self::PolicyChanges => "policy-changes",
            Self::WhoReadEvidence => "who-read-evidence",
            Self::WhoWasCutOff => "who-was-cut-off",
        }
    }

    /// The question in words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::WhoReadLabel => "Who read labelled data",
            Self::WhatDidIdentityTouch => "What an identity touched",
            Self::WhatWasBlocked => "What was denied or held, and by which policy",
            Self::WhatWasMasked => "What was masked, and by which policy",
            Self::HoldsByApprover => "Which holds were decided, and by whom",
            Self::PolicyChanges => "Which policies came into force",
            Self::WhoReadEvidence => "Who read evidence",
            Self::WhoWasCutOff => "Who was cut off",
        }
    }

    /// What narrows it, beside `since`, `until` and `limit`.
    #[must_use]
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::WhoReadLabel => &["label", "identity", "target", "namespace"],
            Self::WhatDidIdentityTouch => &["identity", "target", "namespace"],
            Self::WhatWasBlocked | Self::WhatWasMasked => &["identity", "target", "namespace"],
            Self::HoldsByApprover => &["approver", "identity", "target", "namespace"],
            Self::PolicyChanges | Self::WhoWasCutOff => &[],
            Self::WhoReadEvidence => &["identity"],
        }
    }

    /// The parameter without which it cannot be answered.
    #[must_use]
    pub fn needs(self) -> Option<&'static str> {
        (self == Self::WhatDidIdentityTouch).then_some("identity")
    }

    /// Whether its answer is not of one namespace: only who may read everything may ask.
    #[must_use]
    pub fn is_of_everywhere(self) -> bool {
        matches!(
            self,
            Self::PolicyChanges | Self::WhoReadEvidence | Self::WhoWasCutOff
        )
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No question has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such question")]
pub struct NoQuestion;

impl FromStr for About {
    type Err = NoQuestion;

    fn from_str(text: &str) -> Result<Self, NoQuestion> {
        let mut all = Self::ALL.into_iter();
        all.find(|about| about.name() == text).ok_or(NoQuestion)
    }
}

impl Question {
    /// A question that nothing narrows.
    #[must_use]
    pub fn new(about: About) -> Self {
        Self {
            about,
            since: None,
            until: None,
            namespace: None,
            identity: None,
            target: None,
            label: None,
            approver: None,
            limit: None,
        }
    }

    /// Why it cannot be answered as it is.
    ///
    /// # Errors
    /// A parameter is given that the question does not take, or one is missing.
    pub fn check(&self) -> Result<(), String> {
        let given = [
            ("namespace", &self.namespace),
            ("identity", &self.identity),
            ("target", &self.target),
            ("label", &self.label),
            ("approver", &self.approver),
        ];
        for (name, value) in given {
            if value.is_some() && !self.about.parameters().contains(&name) {
                return Err(format!("{} does not take {name}", self.about));
            }
            if value.is_none() && self.about.needs() == Some(name) {
                return Err(format!("{} needs {name}", self.about));
            }
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS)
    }

    /// The title of an answer: the question, and what narrowed it.
    pub(crate) fn heading(&self) -> String {
        let mut title = self.about.title().to_owned();
        for (word, value) in [
            (": ", &self.label),
            (", by ", &self.approver),
            (", identity ", &self.identity),
            (", target ", &self.target),
            (", namespace ", &self.namespace),
        ] {
            if let Some(value) = value {
                title.push_str(word);
                title.push_str(value);
            }
        }
        title
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_questions() {
        for about in About::ALL {
            assert_eq!(about.name().parse(), Ok(about));
        }
        assert_eq!("who-read-labels".parse::<About>(), Err(NoQuestion));
    }

    #[test]
    fn a_parameter_that_narrows_nothing_is_refused() {
        for about in About::ALL {
            for name in ["namespace", "identity", "target", "label", "approver"] {
                let mut question = Question::new(about);
                if about.needs() == Some("identity") {
                    question.identity = Some("a".into());
                }
                let value = Some("x".to_owned());
                match name {
                    "namespace" => question.namespace = value,
                    "identity" => question.identity = value,
                    "target" => question.target = value,
                    "label" => question.label = value,
                    _ => question.approver = value,
                }
                let taken = about.parameters().contains(&name);
                assert_eq!(question.check().is_ok(), taken, "{about} {name}");
            }
        }
        let lacking = Question::new(About::WhatDidIdentityTouch).check();
        assert_eq!(
            lacking,
            Err("what-did-identity-touch needs identity".into())
        );
    }
}
