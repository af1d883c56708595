//! A compiled set of resources: the one value that a policy change swaps.
//!
//! Invariant: a bundle never changes once built, and its digest depends on its content alone, not
//! on the order in which the compiler met the resources.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::exception::Exception;
use crate::label::{Label, LabelId, LabelRules};
use crate::ledger::Timestamp;
use crate::operation::Subject;
use crate::quarantine::Quarantine;
use crate::rule::Policy;
use crate::scope::Scope;
use crate::target::{Host, Places, Target, TargetId};

/// Compiled policy.
#[derive(Debug)]
pub struct Bundle {
    revision: u64,
    digest: String,
    content: Content,
    label_rules: Vec<Arc<LabelRules>>,
    /// The places of all Services: of which target, and the how-manieth of its.
    places: HashMap<SocketAddr, Vec<(TargetId, usize)>>,
}

#[derive(Debug, Default, Serialize)]
struct Content {
    targets: Vec<Target>,
    labels: Vec<Label>,
    policies: Vec<Policy>,
    exceptions: Vec<Exception>,
    quarantines: Vec<Quarantine>,
}

/// Collects validated parts.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    content: Content,
}

/// Why parts do not make a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// More targets or labels than ids.
    #[error("a bundle holds at most 65536 targets and 65536 labels")]
    TooMany,
    /// The content cannot be serialised, so that it has no digest.
    #[error("the bundle cannot be serialised")]
    Digest(#[from] serde_json::Error),
}

impl BundleBuilder {
    /// An empty builder.
    pub fn new() -> BundleBuilder {
        BundleBuilder::default()
    }

    /// Adds a target.
    pub fn target(&mut self, target: Target) -> &mut BundleBuilder {
        self.content.targets.push(target);
        self
    }

    /// Adds a label.
    pub fn label(&mut self, label: Label) -> &mut BundleBuilder {
        self.content.labels.push(label);
        self
    }

    /// Adds a policy.
    pub fn policy(&mut self, policy: Policy) -> &mut BundleBuilder {
        self.content.policies.push(policy);
        self
    }

    /// Adds an exception.
    pub fn exception(&mut self, exception: Exception) -> &mut BundleBuilder {
        self.content.exceptions.push(exception);
        self
    }

    /// Adds a quarantine.
    pub fn quarantine(&mut self, quarantine: Quarantine) -> &mut BundleBuilder {
        self.content.quarantines.push(quarantine);
        self
    }

    /// The bundle. The revision is the caller's: it grows with every swap.
    pub fn build(self, revision: u64) -> Result<Bundle, BuildError> {
        let mut content = self.content;
        let most = usize::from(u16::MAX) + 1;
        if content.targets.len() > most || content.labels.len() > most {
            return Err(BuildError::TooMany);
        }
        content.targets.sort_by(|a, b| a.name.cmp(&b.name));
        content.labels.sort_by(|a, b| a.name.cmp(&b.name));
        content.policies.sort_by(|a, b| a.name.cmp(&b.name));
        content.exceptions.sort_by(|a, b| a.name.cmp(&b.name));
        content.quarantines.sort_by(|a, b| a.name.cmp(&b.name));
        let digest = hex(&Sha256::digest(serde_json::to_vec(&content)?));
        let rules = |target: &Target| Arc::new(LabelRules::new(&target.name, &content.labels));
        let label_rules = content.targets.iter().map(rules).collect();
        let places = by_address(&content.targets);
        Ok(Bundle {
            revision,
            digest,
            content,
            label_rules,
            places,
        })
    }
}

impl Bundle {
    /// Which swap this is.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// SHA-256 over the canonical content, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// All targets with their ids.
    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        (0..=u16::MAX).map(TargetId).zip(&self.content.targets)
    }

    /// The target of this name.
    pub fn target_named(&self, name: &str) -> Option<(TargetId, &Target)> {
        self.targets().find(|(_, target)| target.name == name)
    }

    /// The target of this id, if the id is of this bundle.
    pub fn target(&self, id: TargetId) -> Option<&Target> {
        self.content.targets.get(usize::from(id.0))
    }

    /// The places of Services that an address belongs to, and the targets that name these.
    pub(crate) fn places(&self, at: SocketAddr) -> impl Iterator<Item = (TargetId, &Places)> {
        let here = self.places.get(&at).into_iter().flatten();
        here.filter_map(|(id, i)| Some((*id, self.target(*id)?.places.get(*i)?)))
    }

    /// The label of this id, if the id is of this bundle.
    pub fn label(&self, id: LabelId) -> Option<&Label> {
        self.content.labels.get(usize::from(id.0))
    }

    /// Every label, in the order of ids.
    pub fn all_labels(&self) -> &[Label] {
        &self.content.labels
    }

    /// Whether nobody has a reason to read what carries the label of this name.
    pub fn is_honey(&self, label: &str) -> bool {
        let mut labels = self.content.labels.iter();
        labels.any(|one| one.honey && one.name == label)
    }

    /// Every policy, by name.
    pub fn policies(&self) -> &[Policy] {
        &self.content.policies
    }

    /// Every exception, by name, those that are over included.
    pub fn exceptions(&self) -> &[Exception] {
        &self.content.exceptions
    }

    /// What cuts the subject off; the first by name.
    pub fn quarantine(&self, subject: &Subject) -> Option<&Quarantine> {
        let mut all = self.content.quarantines.iter();
        all.find(|one| one.selects(subject))
    }

    /// The quarantine of this name, lifted or not.
    pub fn quarantine_named(&self, name: &str) -> Option<&Quarantine> {
        let mut all = self.content.quarantines.iter();
        all.find(|one| one.name == name)
    }

    /// The targets that some policy lets the subject reach.
    pub fn granted(&self, subject: &Subject) -> impl Iterator<Item = &Target> {
        let policies = match self.quarantine(subject) {
            None => self.content.policies.as_slice(),
            Some(_) => &[],
        };
        let grants = policies.iter().filter(|policy| policy.grants);
        let policies: Vec<&Policy> = grants.filter(|policy| policy.is_about(subject)).collect();
        self.content.targets.iter().filter(move |target| {
            target.refused.is_none() && policies.iter().any(|policy| policy.is_on(&target.name))
        })
    }

    /// Where labels lie on a target.
    pub fn labels(&self, target: TargetId) -> Option<&Arc<LabelRules>> {
        self.label_rules.get(usize::from(target.0))
    }

    /// The DNS names that routing needs resolved.
    pub fn dns_names(&self) -> Vec<&str> {
        let addresses = self
            .content
            .targets
            .iter()
            .flat_map(|target| &target.addresses);
        let mut names: Vec<&str> = addresses
            .filter_map(|address| match &address.host {
                Host::Name(name) => Some(name.as_str()),
                Host::Net(_) | Host::Service { .. } => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What applies to this subject on this target at this moment; good until
    /// [`Scope::expires`]. None: no granting policy selects them, or the target is refused as a
    /// whole, and everything is refused.
    pub fn scope(&self, subject: &Subject, target: TargetId, now: Timestamp) -> Option<Arc<Scope>> {
        let found = self.target(target)?;
        if found.refused.is_some() || self.quarantine(subject).is_some() {
            return None;
        }
        let name = &found.name;
        let selected: Vec<&Policy> = self
            .content
            .policies
            .iter()
            .filter(|policy| policy.is_on(name) && policy.is_about(subject))
            .collect();
        if !selected.iter().any(|policy| policy.grants) {
            return None;
        }
        let exceptions: Vec<&Exception> = self
            .content
            .exceptions
            .iter()
            .filter(|exception| !exception.is_over(now) && exception.selects(subject, name))
            .collect();
        Some(Arc::new(Scope::new(
            self,
            subject,
            target,
            &selected,
            &exceptions,
            now,
        )))
    }
}

fn by_address(targets: &[Target]) -> HashMap<SocketAddr, Vec<(TargetId, usize)>> {
    let mut all: HashMap<SocketAddr, Vec<(TargetId, usize)>> = HashMap::new();
    for (id, target) in (0..=u16::MAX).map(TargetId).zip(targets) {
        for (i, places) in target.places.iter().enumerate() {
            for address in &places.addresses {
                all.entry(*address).or_default().push((id, i));
            }
        }
    }
    all
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}
