//! A compiled set of resources: the one value that a policy change swaps.
//!
//! Invariant: a bundle never changes once built, and its digest depends on its content alone, not
//! on the order in which the compiler met the resources.

use std::net::IpAddr;
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
use crate::target::{Address, Host, Resolved, Target, TargetId};

/// Compiled policy.
#[derive(Debug)]
pub struct Bundle {
    revision: u64,
    digest: String,
    content: Content,
    label_rules: Vec<Arc<LabelRules>>,
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
        Ok(Bundle {
            revision,
            digest,
            content,
            label_rules,
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

    /// The target behind an address that was dialled: the most exact cover wins. `host` (SNI)
    /// chooses between targets that cover it equally.
    ///
    /// # Errors
    /// Two targets cover it equally, and nothing says which one is meant.
    pub fn route(
        &self,
        ip: IpAddr,
        port: u16,
        host: Option<&str>,
        resolved: &Resolved,
    ) -> Result<Option<TargetId>, Contested> {
        self.best(|target| {
            let covers = |address: &Address| address.covers(ip, port, resolved);
            let exactness = target.addresses.iter().filter_map(covers).max()?;
            let named = |name: &String| host.is_some_and(|host| host.eq_ignore_ascii_case(name));
            let is_named = host.is_some() && target.client_names().iter().any(named);
            Some((exactness, is_named))
        })
    }

    /// The target behind a name that somebody else looks up.
    ///
    /// # Errors
    /// Two targets have it.
    pub fn route_named(&self, host: &str, port: u16) -> Result<Option<TargetId>, Contested> {
        self.best(|target| {
            let at_port = |address: &Address| address.ports.contains(&port);
            let names = |address: &Address| {
                let mut names = address.host.client_names().into_iter();
                at_port(address) && names.any(|name| name.eq_ignore_ascii_case(host))
            };
            target.addresses.iter().any(names).then_some((0, true))
        })
    }

    /// The target with the highest rank.
    fn best(
        &self,
        rank: impl Fn(&Target) -> Option<(u8, bool)>,
    ) -> Result<Option<TargetId>, Contested> {
        let mut best: Option<((u8, bool), TargetId)> = None;
        let mut rival = None;
        for (id, target) in self.targets() {
            let Some(rank) = rank(target) else {
                continue;
            };
            match best {
                Some((known, _)) if rank < known => {}
                Some((known, _)) if rank == known => rival = rival.or(Some(id)),
                _ => (best, rival) = (Some((rank, id)), None),
            }
        }
        match (best, rival) {
            (Some((_, first)), Some(second)) => Err(Contested { first, second }),
            (best, _) => Ok(best.map(|(_, id)| id)),
        }
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

/// Two targets claim one address, so that it is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contested {
    /// One of them.
    pub first: TargetId,
    /// Another.
    pub second: TargetId,
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
