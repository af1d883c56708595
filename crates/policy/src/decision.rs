//! The answer to an operation: a verdict, its obligations, and the rules that made it.
//!
//! Invariant: a [`Permit`] can only be made in this crate, by `decide` or by a hold of which every
//! part was granted. A decision may be kept for the same operation where it
//! [stands](Decision::is_standing).

use std::sync::Arc;

use crate::exception::Lifted;
use crate::label::{LabelId, Mask};
use crate::ledger::{Usage, Wanted};
use crate::limit::{Limit, LimitScope, OnExceed, Release};
use crate::rule::{Approval, Delivery, RecordLevel, RuleName};

/// The answer.
#[derive(Debug)]
pub struct Decision {
    /// Whether it may happen.
    pub verdict: Verdict,
    /// What must be done if it happens.
    pub obligations: Obligations,
    /// The rules that applied, sorted, each once.
    pub why: Vec<RuleName>,
    /// Rules of `Observe` policies that would have refused or held it, sorted, each once.
    pub would_deny: Vec<RuleName>,
    /// Rules that would have applied, and the exceptions that lifted them; sorted, each once.
    pub exceptions: Vec<Lifted>,
    /// Windows that have too little left here: more may be had before this decision is final.
    pub exhausted: Vec<Wanted>,
    /// What it takes of windows of statements if it happens.
    pub takes: Vec<Usage>,
    pub(crate) counted: bool,
}

impl Decision {
    /// Whether the same operation is decided the same for as long as its scope
    /// [is current](crate::Scope::is_current): no budget, and so no other moment, had a say.
    pub const fn is_standing(&self) -> bool {
        !self.counted
    }
}

/// Whether it may happen.
#[derive(Debug)]
pub enum Verdict {
    /// Yes.
    Permit(Permit),
    /// No.
    Deny(Denial),
    /// When people say so.
    Hold(Hold),
}

/// The right to forward the operation that was decided.
#[derive(Debug)]
pub struct Permit {
    revision: u64,
}

impl Permit {
    pub(crate) const fn new(revision: u64) -> Permit {
        Permit { revision }
    }

    /// The revision of the bundle that granted it.
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

/// A refusal. Carries names and reasons from the policy, never data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// Who refuses.
    pub rule: RuleName,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A statement that waits for people. Every part has to be granted.
#[derive(Debug)]
pub struct Hold {
    pending: Vec<HoldSpec>,
    /// What was granted for so many rows only.
    limits: Vec<Arc<Limit>>,
    revision: u64,
}

/// One policy's demand for approval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldSpec {
    /// Who demands it.
    pub rule: RuleName,
    /// Why.
    pub reason: String,
    /// Who may grant it.
    pub approval: Approval,
}

impl Hold {
    pub(crate) fn new(pending: Vec<HoldSpec>, revision: u64) -> Hold {
        Hold {
            pending,
            limits: Vec::new(),
            revision,
        }
    }

    /// The same demands for the next operation, of which nothing is granted yet.
    #[must_use]
    pub fn afresh(&self) -> Hold {
        Hold::new(self.pending.clone(), self.revision)
    }

    /// What has not been granted yet.
    pub fn pending(&self) -> &[HoldSpec] {
        &self.pending
    }

    /// Records that one demand was granted by enough approvers, and how far.
    pub fn grant(&mut self, rule: &RuleName, release: Release) {
        let granted = self.pending.iter().filter(|spec| spec.rule == *rule);
        if let Release::Rows(rows) = release {
            self.limits.extend(granted.map(|spec| {
                Arc::new(Limit {
                    rule: spec.rule.clone(),
                    scope: LimitScope::Statement,
                    rows: Some(rows),
                    bytes: None,
                    statements: None,
                    on_exceed: OnExceed::RequireApproval(spec.approval.clone()),
                })
            }));
        }
        self.pending.retain(|spec| spec.rule != *rule);
    }

    /// What was granted no further than for so many rows: limits of the statement beside those that it
    /// has anyway. People are asked again where one is reached.
    pub fn limits(&self) -> &[Arc<Limit>] {
        &self.limits
    }

    /// The permit, once nothing is pending; else the hold again.
    pub fn into_permit(self) -> Result<Permit, Hold> {
        if self.pending.is_empty() {
            Ok(Permit::new(self.revision))
        } else {
            Err(self)
        }
    }
}

/// Values that are masked wherever they are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMask {
    /// The label.
    pub label: LabelId,
    /// Names of its detectors.
    pub detectors: Arc<[String]>,
    /// How a found value looks.
    pub mask: Mask,
}

/// What must be done if the operation happens.
#[derive(Clone, Debug)]
pub struct Obligations {
    /// Masks by result column, sorted by column, each column once.
    pub masks: Vec<(usize, Mask)>,
    /// What to look for in cells that `masks` does not name, sorted by label, each label once.
    pub values: Vec<ValueMask>,
    /// Limits to build a [`crate::Meter`] from.
    pub limits: Vec<Arc<Limit>>,
    /// Whether a row may hold many records, so that the meter counts rows by their size.
    pub collected: bool,
    /// The least that is recorded.
    pub record: RecordLevel,
    /// The least sure delivery.
    pub delivery: Delivery,
}
