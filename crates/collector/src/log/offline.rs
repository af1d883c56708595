//! Verifies a bundle, on any machine, against what its reader trusts.
//!
//! Invariants
//! - What a bundle says of itself counts only as far as the log's key signed it: its end covers every byte.
//! - The log's own engine is the one that the log's key names, whatever else is said.
//! - Whether something is wrong and whether something was not shown are told apart.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weir_audit::proof::{Checkpoint, Evidence, Leaf, Note, NoteSignature, VerifierKey, merkle};
use weir_audit::{EngineId, Hash, Timestamp};

use super::bundle::{BundleError, BundleReader, Manifest, Section, SignatureAt};
use super::judge::{Claim, Judge, Leaves, Signature};
use super::known::{Known, Shown};
use super::signed::{Chain, Signer, unpack};
use super::{Problems, verify_cosignature, verify_note};
use crate::store::{LogReport, Vouched, unpack_block};
use crate::{ChainReport, EngineReport};

/// Entries that are held in memory.
const MAX_ENTRIES: usize = 20_000_000;
/// Checkpoints and proofs of consistency that are held in memory.
const MAX_KNOWN: usize = 1000;

/// What the reader of a bundle trusts.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// The log's key; without it the bundle's own is taken, which proves nothing about who made it.
    pub key: Option<VerifierKey>,
    /// Checkpoints of the log that were kept elsewhere.
    pub checkpoints: Vec<Note>,
    /// Weir's roots; without them the bundle's own are taken.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// Witnesses, of which each must have cosigned the checkpoint.
    pub witnesses: Vec<VerifierKey>,
}

/// What a bundle proves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BundleReport {
    /// What it is of.
    pub bundle: Manifest,
    /// Whether the log's key is one that the reader gave.
    pub key_given: bool,
    /// Whether the roots are some that the reader gave.
    pub roots_given: bool,
    /// What was asked for and could not be told from this bundle: nothing is known to be wrong, but it does not
    /// count as shown, so the report is not `ok`.
    pub not_shown: Vec<String>,
    /// What was found.
    #[serde(flatten)]
    pub report: ChainReport,
}

/// Everything before the blocks.
struct Head {
    manifest: Manifest,
    roots: Vec<CertificateDer<'static>>,
    chains: Vec<Chain>,
    checkpoint: String,
    others: Vec<Note>,
    consistency: BTreeMap<u64, Vec<Hash>>,
    leaves: Vec<(u64, Hash)>,
    engines: BTreeMap<EngineId, Leaves>,
    /// The engine of the entry that was read last.
    newest: Option<EngineId>,
    proof: Vec<Hash>,
    problems: Problems,
}

/// Reads a bundle to its end and says what it proves.
///
/// # Errors
/// When it is not a bundle or not whole; anything else that is wrong is in the report.
pub fn verify_bundle(from: impl Read, trusted: &Trusted) -> Result<BundleReport, BundleError> {
    let mut reader = BundleReader::new(from)?;
    let Some(Section::Manifest(manifest)) = reader.next()? else {
        return Err(BundleError::Form("it does not say what it is of"));
    };
    let mut head = Head::new(manifest);
    let mut first_block = None;
    while let Some(section) = reader.next()? {
        match section {
            Section::Block(block) => {
                first_block = Some(block);
                break;
            }
            other => head.take(other)?,
        }
    }
    let roots = trusted.roots.clone().unwrap_or_else(|| head.roots.clone());
    let signer =
        Signer::new(roots).map_err(|_| BundleError::Form("its roots are not certificates"))?;
    let Judged {
        mut log,
        mut problems,
        key,
        checkpoint,
        not_shown,
    } = head.judge_log(trusted)?;
    let is_all = (head.manifest.first, head.manifest.end) == (0, checkpoint.size);
    let mut judges: BTreeMap<EngineId, Judge<'_>> = BTreeMap::new();
    for (engine, leaves) in std::mem::take(&mut head.engines) {
        let leaves = Leaves { is_all, ..leaves };
        judges.insert(
            engine.clone(),
            Judge::new(engine, &key.name, leaves, &signer),
        );
    }
    while let Some(block) = first_block.take() {
        let judge = block
            .engine
            .parse()
            .ok()
            .and_then(|engine: EngineId| judges.get_mut(&engine));
        match judge {
            Some(judge) => {
                let (name, place) = (block.name.to_string(), (block.epoch, block.first_seq));
                match unpack_block(block.name, block.raw, &block.data) {
                    Ok(bytes) => judge.block(&name, place, &bytes),
                    Err(_) => judge.unreadable(&name, place, "it cannot be unpacked"),
                }
            }
            None => problems.add(format!(
                "block {} is of an engine that the log does not know",
                block.name
            )),
        }
        match reader.next()? {
            Some(Section::Block(next)) => first_block = Some(next),
            Some(_) => return Err(BundleError::Form("its sections are not in order")),
            None => {}
        }
    }
    (log.problems, log.more_problems) = (problems.listed, problems.more);
    if let Some(problem) = reader.ending()?.problem(&head.manifest, &checkpoint, &key) {
        // Before all others: these say what is wrong with what is left.
        log.problems.insert(0, problem.into());
    }
    let engines: Vec<EngineReport> = judges.into_values().map(Judge::end).collect();
    let intact = engines.iter().all(|engine| engine.problems.is_empty());
    Ok(BundleReport {
        bundle: head.manifest,
        key_given: trusted.key.is_some(),
        roots_given: trusted.roots.is_some(),
        report: ChainReport {
            ok: intact && log.problems.is_empty() && not_shown.is_empty(),
            log,
            engines,
        },
        not_shown,
    })
}

/// The verdict on the log.
struct Judged {
    /// Without its problems: there may be more.
    log: LogReport,
    problems: Problems,
    key: VerifierKey,
    checkpoint: Checkpoint,
    not_shown: Vec<String>,
}

impl Head {
    fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            roots: Vec::new(),
            chains: Vec::new(),
            checkpoint: String::new(),
            others: Vec::new(),
            consistency: BTreeMap::new(),
            leaves: Vec::new(),
            engines: BTreeMap::new(),
            newest: None,
            proof: Vec::new(),
            problems: Problems::default(),
        }
    }

    fn take(&mut self, section: Section) -> Result<(), BundleError> {
        const FORM: BundleError = BundleError::Form("its sections are not in order");
        match section {
            Section::Root(der) => self.roots.push(der.into()),
            Section::Chain(packed) => {
                let chain = unpack(&packed);
                self.chains
                    .push(chain.ok_or(BundleError::Form("a certificate chain cannot be read"))?);
            }
            Section::Checkpoint(note) => self.checkpoint = note,
            Section::Other(_) | Section::Consistency(..)
                if self.others.len() + self.consistency.len() >= MAX_KNOWN =>
            {
                return Err(BundleError::Form("it has too many checkpoints"));
            }
            Section::Other(note) => self.others.extend(note.parse::<Note>().ok()),
            Section::Consistency(size, proof) => drop(self.consistency.insert(size, proof)),
            Section::Leaf(number, text) => {
                if self.leaves.len() >= MAX_ENTRIES {
                    return Err(BundleError::Form("it has too many entries"));
                }
                self.leaves
                    .push((number, merkle::leaf_hash(text.as_bytes())));
                self.leaf(number, &text);
            }
            Section::Signature(signature) => self.signature(signature).ok_or(FORM)?,
            Section::Proof(proof) => self.proof = proof,
            Section::Manifest(_) | Section::Block(_) => return Err(FORM),
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, text: &str) {
        let empty = || Leaves {
            claims: Vec::new(),
            deleted: Vec::new(),
            is_all: false,
        };
        match text.parse() {
            Ok(Leaf::Range(leaf)) => {
                self.newest = Some(leaf.engine.clone());
                let leaves = self
                    .engines
                    .entry(leaf.engine.clone())
                    .or_insert_with(empty);
                leaves.claims.push(Claim {
                    number,
                    leaf,
                    signature: None,
                });
            }
            Ok(Leaf::Retention(leaf)) => {
                let leaves = self
                    .engines
                    .entry(leaf.engine.clone())
                    .or_insert_with(empty);
                leaves.deleted.push((number, leaf));
            }
            Err(_) => self
                .problems
                .add(format!("entry {number} of the log was altered")),
        }
    }

    /// Belongs to the claim that was read last.
    fn signature(&mut self, signature: SignatureAt) -> Option<()> {
        let chain = self.chains.get(usize::try_from(signature.chain).ok()?)?;
        let chain = Arc::clone(chain);
        let newest = self.newest.take()?;
        let claim = self.engines.get_mut(&newest)?.claims.last_mut()?;
        if matches!(claim.leaf.evidence, Evidence::Signed(_)) {
            claim.signature = Some(Signature {
                head: signature.head(&claim.leaf.engine),
                bytes: signature.bytes,
                chain,
            });
        }
        Some(())
    }

    /// The log, against its own checkpoint and every one that the reader has.
    fn judge_log(&mut self, trusted: &Trusted) -> Result<Judged, BundleError> {
        let manifest = &self.manifest;
        let mut problems = std::mem::take(&mut self.problems);
        let stated = manifest.key.parse::<VerifierKey>();
        let stated = stated.map_err(|_| BundleError::Form("it names no key of the log"))?;
        let key = trusted.key.clone().unwrap_or(stated);
        let note = self.checkpoint.parse::<Note>();
        let note = note.map_err(|_| BundleError::Form("it has no checkpoint"))?;
        let checkpoint = note.text.parse::<Checkpoint>();
        let checkpoint = checkpoint.map_err(|_| BundleError::Form("it has no checkpoint"))?;
        if verify_note(&note, &key).is_err() || checkpoint.origin != key.name {
            problems.add("the checkpoint is not signed by the log's key");
        }
        if (checkpoint.size, &checkpoint.origin) != (manifest.size, &manifest.origin) {
            problems.add("the checkpoint is of another size or log than the bundle says");
        }
        let root = merkle::root_from(checkpoint.size, &self.leaves, &self.proof);
        if root != Some(checkpoint.root) {
            let problem = "the entries are not those that the checkpoint was signed over";
            problems.add(problem);
        }
        let mut run = self
            .leaves
            .iter()
            .filter(|(number, _)| (manifest.first..manifest.end).contains(number));
        let is_run = manifest.first <= manifest.end && manifest.end <= checkpoint.size;
        if !is_run
            || !(manifest.first..manifest.end)
                .all(|number| run.next().is_some_and(|(at, _)| *at == number))
        {
            problems.add("entries are missing from the bundle");
        }
        let shown = Shown {
            key: &key,
            now: &checkpoint,
            leaves: &self.leaves,
            consistency: &self.consistency,
        };
        let mut not_shown = Vec::new();
        for kept in &trusted.checkpoints {
            let known = shown.judge(kept);
            problems.extend(known.problem(checkpoint.size, "kept elsewhere"));
            if let Known::NotShown(size) = known {
                not_shown.push(format!(
                    "that it continues the checkpoint kept elsewhere, of {size} entries: make it with --checkpoint"
                ));
            }
        }
        for other in &self.others {
            // What is not this log's proves nothing, and is not asked for.
            let known = Some(shown.judge(other)).filter(|known| *known != Known::Foreign);
            let problem = known.and_then(|known| known.problem(checkpoint.size, "in the bundle"));
            problems.extend(problem);
        }
        let mut vouched = Vec::new();
        for witness in &trusted.witnesses {
            match self.cosigned(&note, &shown, witness) {
                Some((size, time)) => vouched.push(Vouched {
                    by: witness.name.clone(),
                    size,
                    time,
                }),
                None => not_shown.push(format!(
                    "that {} has seen this log: no checkpoint of it is cosigned by them",
                    witness.name
                )),
            }
        }
        Ok(Judged {
            log: LogReport {
                key: key.to_string(),
                size: checkpoint.size,
                checkpoint: note.to_string(),
                vouched,
                problems: Vec::new(),
                more_problems: 0,
            },
            problems,
            key,
            checkpoint,
            not_shown,
        })
    }

    /// The largest beginning of this log that a witness cosigned, and when.
    fn cosigned(
        &self,
        note: &Note,
        shown: &Shown<'_>,
        witness: &VerifierKey,
    ) -> Option<(u64, Timestamp)> {
        let notes = std::iter::once(note).chain(&self.others);
        let seen = notes.filter(|note| shown.judge(note) == Known::Begins);
        let seen = seen.filter_map(|note| {
            let checkpoint: Checkpoint = note.text.parse().ok()?;
            let verify = |one: &NoteSignature| verify_cosignature(&note.text, one, witness);
            let time = note.signatures.iter().find_map(verify)?;
            (checkpoint.size > 0).then_some((checkpoint.size, time))
        });
        seen.max()
    }
}
