//! Verifies a bundle, on any machine, against what its reader trusts.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use weir_audit::proof::{
    Checkpoint, Evidence, Leaf, Note, NoteSignature, RetentionLeaf, VerifierKey, merkle,
};
use weir_audit::{EngineId, Hash, Timestamp};

use super::bundle::{BundleError, BundleReader, Manifest, Section, SignatureAt};
use super::judge::{Claim, Judge, Leaves, Signature};
use super::signed::{Chain, Signer, unpack};
use super::{verify_cosignature, verify_note};
use crate::store::{LogReport, Vouched, unpack_block};
use crate::{ChainReport, EngineReport};

const MAX_PROBLEMS: usize = 100;
/// Entries that are held in memory.
const MAX_ENTRIES: usize = 20_000_000;

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
    consistency: Option<(u64, Vec<Hash>)>,
    leaves: Vec<(u64, Hash)>,
    engines: BTreeMap<EngineId, Leaves>,
    /// The engine of the entry that was read last.
    newest: Option<EngineId>,
    proof: Vec<Hash>,
    problems: Vec<String>,
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
    let log = head.judge_log(trusted)?;
    let whole = head.manifest.first == 0;
    let origin = head.manifest.origin.clone();
    let mut judges: BTreeMap<EngineId, Judge<'_>> = BTreeMap::new();
    for (engine, leaves) in std::mem::take(&mut head.engines) {
        let own = origin.ends_with(&format!("/{engine}"));
        let leaves = Leaves {
            from_start: whole,
            ..leaves
        };
        judges.insert(engine.clone(), Judge::new(engine, own, leaves, &signer));
    }
    let mut log = log;
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
            None => add(
                &mut log.problems,
                format!(
                    "block {} is of an engine that the log does not know",
                    block.name
                ),
            ),
        }
        match reader.next()? {
            Some(Section::Block(next)) => first_block = Some(next),
            Some(_) => return Err(BundleError::Form("its sections are not in order")),
            None => {}
        }
    }
    let engines: Vec<EngineReport> = judges.into_values().map(Judge::end).collect();
    let intact = engines.iter().all(|engine| engine.problems.is_empty());
    Ok(BundleReport {
        bundle: head.manifest,
        key_given: trusted.key.is_some(),
        roots_given: trusted.roots.is_some(),
        report: ChainReport {
            ok: intact && log.problems.is_empty(),
            log,
            engines,
        },
    })
}

fn add(problems: &mut Vec<String>, problem: String) {
    if problems.len() < MAX_PROBLEMS {
        problems.push(problem);
    }
}

impl Head {
    fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            roots: Vec::new(),
            chains: Vec::new(),
            checkpoint: String::new(),
            others: Vec::new(),
            consistency: None,
            leaves: Vec::new(),
            engines: BTreeMap::new(),
            newest: None,
            proof: Vec::new(),
            problems: Vec::new(),
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
            Section::Other(note) => self.others.extend(note.parse::<Note>().ok()),
            Section::Consistency(size, proof) => self.consistency = Some((size, proof)),
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
            Section::Manifest(_) | Section::Block(_) | Section::End(_) => return Err(FORM),
        }
        Ok(())
    }

    fn leaf(&mut self, number: u64, text: &str) {
        let empty = || Leaves {
            claims: Vec::new(),
            deleted: None,
            from_start: false,
        };
        match text.parse() {
            Ok(Leaf::Range(leaf)) => {
                self.newest = Some(leaf.engine.clone());
                let leaves = self
                    .engines
                    .entry(leaf.engine.clone())
                    .or_insert_with(empty);
                leaves.claims.push(Claim {
                    leaf,
                    signature: None,
                });
            }
            Ok(Leaf::Retention(leaf)) => {
                let leaves = self
                    .engines
                    .entry(leaf.engine.clone())
                    .or_insert_with(empty);
                let further = |have: &RetentionLeaf| {
                    (have.epoch, have.last_seq) < (leaf.epoch, leaf.last_seq)
                };
                if leaves.deleted.as_ref().is_none_or(further) {
                    leaves.deleted = Some(leaf);
                }
            }
            Err(_) => add(
                &mut self.problems,
                format!("entry {number} of the log was altered"),
            ),
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
    fn judge_log(&mut self, trusted: &Trusted) -> Result<LogReport, BundleError> {
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
            add(
                &mut problems,
                "the checkpoint is not signed by the log's key".into(),
            );
        }
        if checkpoint.size != manifest.size {
            add(
                &mut problems,
                "the checkpoint is of another size than the bundle says".into(),
            );
        }
        let root = merkle::root_from(checkpoint.size, &self.leaves, &self.proof);
        if root != Some(checkpoint.root) {
            let problem = "the entries are not those that the checkpoint was signed over";
            add(&mut problems, problem.into());
        }
        let mut run = self
            .leaves
            .iter()
            .filter(|(number, _)| (manifest.first..manifest.end).contains(number));
        if !(manifest.first..manifest.end)
            .all(|number| run.next().is_some_and(|(at, _)| *at == number))
        {
            add(&mut problems, "entries are missing from the bundle".into());
        }
        for kept in &trusted.checkpoints {
            if let Err(why) = self.compare(kept, &checkpoint, &key, "kept elsewhere") {
                add(&mut problems, why);
            }
        }
        for kept in &self.others {
            if let Err(why) = self.compare(kept, &checkpoint, &key, "in the bundle")
                && why.contains("its end is gone")
            {
                add(&mut problems, why);
            }
        }
        let mut vouched = Vec::new();
        for witness in &trusted.witnesses {
            let seen = self.cosigned(&note, witness);
            match seen {
                Some((size, time)) => vouched.push(Vouched {
                    by: witness.name.clone(),
                    size,
                    time,
                }),
                None => add(
                    &mut problems,
                    format!("no checkpoint of this log is cosigned by {}", witness.name),
                ),
            }
        }
        Ok(LogReport {
            key: key.to_string(),
            size: checkpoint.size,
            checkpoint: note.to_string(),
            vouched,
            problems,
        })
    }

    /// The newest checkpoint that a witness cosigned.
    fn cosigned(&self, note: &Note, witness: &VerifierKey) -> Option<(u64, Timestamp)> {
        let notes = std::iter::once(note).chain(&self.others);
        let seen = notes.filter_map(|note| {
            let checkpoint: Checkpoint = note.text.parse().ok()?;
            let verify = |one: &NoteSignature| verify_cosignature(&note.text, one, witness);
            let time = note.signatures.iter().find_map(verify)?;
            Some((checkpoint.size, time))
        });
        seen.max()
    }

    /// A checkpoint from elsewhere must be of a beginning of this log.
    fn compare(
        &self,
        kept: &Note,
        now: &Checkpoint,
        key: &VerifierKey,
        place: &str,
    ) -> Result<(), String> {
        let checkpoint = kept.text.parse::<Checkpoint>();
        let checkpoint = checkpoint.ok().filter(|_| verify_note(kept, key).is_ok());
        let Some(kept) = checkpoint else {
            return Err(format!("a checkpoint {place} is not this log's"));
        };
        if kept.size > now.size {
            return Err(format!(
                "the log has {} entries, and had {} (checkpoint {place}): its end is gone",
                now.size, kept.size
            ));
        }
        let other = || {
            format!(
                "the first {} entries of the log are not those that were signed (checkpoint {place})",
                kept.size
            )
        };
        if let Some((size, proof)) = &self.consistency
            && *size == kept.size
        {
            let consistent =
                merkle::is_consistent((kept.size, kept.root), (now.size, now.root), proof);
            return if consistent { Ok(()) } else { Err(other()) };
        }
        if kept.size == now.size {
            return if kept.root == now.root {
                Ok(())
            } else {
                Err(other())
            };
        }
        // Where every entry is there, no proof is needed.
        let mut tree = merkle::Frontier::default();
        let all = self
            .leaves
            .iter()
            .take_while(|(number, _)| *number < kept.size);
        for ((number, hash), place) in all.zip(0..) {
            if *number != place {
                break;
            }
            tree.push(*hash);
        }
        if tree.size() != kept.size {
            return Err(format!(
                "the bundle does not show that it continues the checkpoint {place}, of {} entries: \
                 export it with --checkpoint",
                kept.size
            ));
        }
        if tree.root() == kept.root {
            Ok(())
        } else {
            Err(other())
        }
    }
}
