//! Analysed statements by their whole text.
//!
//! The key is the text itself, never a hash alone: two texts that collide must not share a
//! judgement. Bounded by entries and by bytes of text; the oldest half goes when a bound is met.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weir_sql::{Analysis, LexSettings};

const MAX_ENTRIES: usize = 2048;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Texts above this many bytes are analysed every time: they rarely come twice.
const MAX_CACHED_TEXT: usize = 32 * 1024;

/// A text and what was found in it.
#[derive(Debug)]
pub struct Analysed {
    /// The text.
    pub text: Arc<str>,
    /// The finding.
    pub analysis: Analysis,
    lex: LexSettings,
    fingerprint: OnceLock<Option<u64>>,
    normalized: OnceLock<Option<Arc<str>>>,
}

impl Analysed {
    fn new(text: &str, lex: &LexSettings) -> Self {
        Self {
            text: text.into(),
            analysis: weir_sql::analyze(text, lex),
            lex: *lex,
            fingerprint: OnceLock::new(),
            normalized: OnceLock::new(),
        }
    }

    /// A text that cannot be read as one.
    pub(crate) fn opaque(text: &str) -> Self {
        Self {
            text: text.into(),
            analysis: Analysis::Opaque(weir_sql::OpaqueReason::Internal),
            lex: LexSettings::default(),
            fingerprint: OnceLock::new(),
            normalized: OnceLock::new(),
        }
    }

    /// The fingerprint of the text's shape, where it could be parsed.
    pub fn fingerprint(&self) -> Option<u64> {
        *self.fingerprint.get_or_init(|| match self.analysis {
            Analysis::Parsed(_) => {
                let hex = weir_sql::fingerprint(&self.text, &self.lex)?;
                u64::from_str_radix(&hex, 16).ok()
            }
            _ => None,
        })
    }

    /// The text with its literals replaced by placeholders, where it could be parsed.
    pub fn normalized(&self) -> Option<Arc<str>> {
        let normalized = self.normalized.get_or_init(|| match self.analysis {
            Analysis::Parsed(_) => weir_sql::normalize(&self.text, &self.lex).map(Into::into),
            _ => None,
        });
        normalized.clone()
    }
}

/// Texts with what was found in them and when that was last asked for.
type Texts = HashMap<Arc<str>, (Arc<Analysed>, u64)>;

#[derive(Default)]
struct Entries {
    /// One map for each value of `standard_conforming_strings`.
    by_text: [Texts; 2],
    bytes: usize,
    clock: u64,
}

impl Entries {
    fn make_room(&mut self, need: usize) {
        let count: usize = self.by_text.iter().map(HashMap::len).sum();
        if count < MAX_ENTRIES && self.bytes + need <= MAX_TEXT_BYTES {
            return;
        }
        let ages = self
            .by_text
            .iter()
            .flat_map(HashMap::values)
            .map(|(_, used)| *used);
        let mut ages: Vec<u64> = ages.collect();
        ages.sort_unstable();
        let median = ages.get(ages.len() / 2).copied().unwrap_or(u64::MAX);
        for texts in &mut self.by_text {
            texts.retain(|_, (_, used)| *used > median);
        }
        self.bytes = self
            .by_text
            .iter()
            .flat_map(HashMap::keys)
            .map(|text| text.len())
            .sum();
    }
}

/// The cache; one for the process.
#[derive(Default)]
pub(crate) struct StatementCache {
    entries: Mutex<Entries>,
}

impl StatementCache {
    /// What `text` means, from the cache or analysed now on this thread.
    pub(crate) fn analyse(&self, text: &str, lex: &LexSettings) -> Arc<Analysed> {
        if text.len() > MAX_CACHED_TEXT {
            return Arc::new(Analysed::new(text, lex));
        }
        let map = usize::from(lex.standard_conforming_strings);
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.clock += 1;
            let clock = entries.clock;
            let known = entries
                .by_text
                .get_mut(map)
                .and_then(|texts| texts.get_mut(text));
            if let Some((found, used)) = known {
                *used = clock;
                return Arc::clone(found);
            }
        }
        let found = Arc::new(Analysed::new(text, lex));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.make_room(text.len());
        let clock = entries.clock;
        if let Some(texts) = entries.by_text.get_mut(map) {
            texts.insert(Arc::clone(&found.text), (Arc::clone(&found), clock));
        }
        entries.bytes += text.len();
        found
    }
}
