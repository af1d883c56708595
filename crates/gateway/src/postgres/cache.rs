//! Analysed statements, by text and by shape.
//!
//! The key is a text or a shape itself, never a hash alone: two texts that collide must not share a
//! judgement. A shape stands for a text only where no literal had a say in the analysis. Bounded by
//! entries and by bytes of text; the oldest half goes when a bound is met.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use weir_sql::{Analysis, LexSettings, Shape};

use super::definitions::outlasts;
use super::judgement::Judgements;
use super::need::Need;

const MAX_ENTRIES: usize = 2048;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// Texts above this many bytes are analysed every time: they rarely come twice.
const MAX_CACHED_TEXT: usize = 32 * 1024;

/// A text and what it means.
#[derive(Debug)]
pub(crate) struct Analysed {
    /// The text.
    pub(crate) text: Arc<str>,
    meaning: Arc<Meaning>,
}

/// What was found in a text, or in all texts of a shape.
#[derive(Debug)]
struct Meaning {
    analysis: Analysis,
    /// The text that was analysed, and how it was read.
    sample: Arc<str>,
    lex: LexSettings,
    fingerprint: OnceLock<Option<u64>>,
    normalized: OnceLock<Option<Arc<str>>>,
    need: OnceLock<Need>,
    outlasts: OnceLock<bool>,
    judgements: Judgements,
}

impl Analysed {
    fn new(text: &str, lex: &LexSettings) -> Self {
        Self::of(text, weir_sql::analyze(text, lex), *lex)
    }

    fn of(text: &str, analysis: Analysis, lex: LexSettings) -> Self {
        let text: Arc<str> = text.into();
        let meaning = Meaning {
            analysis,
            sample: Arc::clone(&text),
            lex,
            fingerprint: OnceLock::new(),
            normalized: OnceLock::new(),
            need: OnceLock::new(),
            outlasts: OnceLock::new(),
            judgements: Judgements::default(),
        };
        Self {
            text,
            meaning: Arc::new(meaning),
        }
    }

    /// A text that cannot be read as one.
    pub(crate) fn opaque(text: &str) -> Self {
        let analysis = Analysis::Opaque(weir_sql::OpaqueReason::Internal);
        Self::of(text, analysis, LexSettings::default())
    }

    /// The finding. Places in the text are those of the first text of its shape; a text of several
    /// statements has none.
    pub(crate) fn analysis(&self) -> &Analysis {
        &self.meaning.analysis
    }

    /// The text that the places in the finding are of.
    pub(crate) fn sample(&self) -> &str {
        &self.meaning.sample
    }

    /// What it needs of the catalog before it is judged.
    pub(super) fn need(&self) -> Need {
        let meaning = &self.meaning;
        *meaning.need.get_or_init(|| Need::of(&meaning.analysis))
    }

    /// Whether what it does outlasts its answer.
    pub(super) fn outlasts(&self) -> bool {
        let meaning = &self.meaning;
        *meaning.outlasts.get_or_init(|| outlasts(&meaning.analysis))
    }

    /// What was decided about the statement, where it stands alone.
    pub(crate) fn judgements(&self) -> &Judgements {
        &self.meaning.judgements
    }

    /// The fingerprint of the text's shape, where it could be parsed.
    pub(crate) fn fingerprint(&self) -> Option<u64> {
        let Meaning { sample, lex, .. } = &*self.meaning;
        *self
            .meaning
            .fingerprint
            .get_or_init(|| match &self.meaning.analysis {
                Analysis::Parsed(script) => {
                    let hex = script.fingerprint(sample, lex)?;
                    u64::from_str_radix(&hex, 16).ok()
                }
                _ => None,
            })
    }

    /// The text with its literals replaced by placeholders, where it could be parsed.
    pub(crate) fn normalized(&self) -> Option<Arc<str>> {
        let Meaning { sample, lex, .. } = &*self.meaning;
        let normalized = self
            .meaning
            .normalized
            .get_or_init(|| match self.analysis() {
                Analysis::Parsed(_) => weir_sql::normalize(sample, lex).map(Into::into),
                _ => None,
            });
        normalized.clone()
    }
}

/// Texts, or shapes, with what was found in them and when that was last asked for.
type Known = HashMap<Arc<str>, (Arc<Analysed>, u64)>;

#[derive(Default)]
struct Entries {
    by_shape: Known,
    /// One map for each value of `standard_conforming_strings`, which a text with a shape does not
    /// depend on.
    by_text: [Known; 2],
    /// What was asked for last, and in which of the maps by text: it often comes again at once.
    latest: Option<(Arc<Analysed>, usize)>,
    bytes: usize,
    clock: u64,
    shape: Shape,
}

impl Entries {
    fn find(&mut self, text: &str, map: usize) -> Option<Arc<Analysed>> {
        let is_it = |latest: &&(Arc<Analysed>, usize)| latest.1 == map && *latest.0.text == *text;
        if let Some((latest, _)) = self.latest.as_ref().filter(is_it) {
            return Some(Arc::clone(latest));
        }
        let found = self.look_up(text, map)?;
        self.latest = Some((Arc::clone(&found), map));
        Some(found)
    }

    fn look_up(&mut self, text: &str, map: usize) -> Option<Arc<Analysed>> {
        self.clock += 1;
        if let Some(shape) = self.shape.read(text)
            && let Some((found, used)) = self.by_shape.get_mut(shape)
        {
            *used = self.clock;
            if *found.text == *text {
                return Some(Arc::clone(found));
            }
            return Some(Arc::new(Analysed {
                text: text.into(),
                meaning: Arc::clone(&found.meaning),
            }));
        }
        let (found, used) = self.by_text.get_mut(map)?.get_mut(text)?;
        *used = self.clock;
        Some(Arc::clone(found))
    }

    fn keep(&mut self, found: &Arc<Analysed>, map: usize) {
        let text = &found.text;
        self.make_room(text.len());
        self.bytes += text.len();
        let entry = (Arc::clone(found), self.clock);
        let has_shape = self.shape.read(text).is_some();
        match found.analysis() {
            Analysis::Parsed(script) if has_shape && script.ignores_literals(&self.shape, text) => {
                self.by_shape.insert(self.shape.key().into(), entry);
            }
            _ => {
                if let Some(texts) = self.by_text.get_mut(map) {
                    texts.insert(Arc::clone(text), entry);
                }
            }
        }
    }

    fn maps(&self) -> impl Iterator<Item = &Known> {
        self.by_text.iter().chain([&self.by_shape])
    }

    fn make_room(&mut self, need: usize) {
        let count: usize = self.maps().map(HashMap::len).sum();
        if count < MAX_ENTRIES && self.bytes + need <= MAX_TEXT_BYTES {
            return;
        }
        let ages = self.maps().flat_map(HashMap::values);
        let mut ages: Vec<u64> = ages.map(|(_, used)| *used).collect();
        ages.sort_unstable();
        let median = ages.get(ages.len() / 2).copied().unwrap_or(u64::MAX);
        for known in self.by_text.iter_mut().chain([&mut self.by_shape]) {
            known.retain(|_, (_, used)| *used > median);
        }
        self.bytes = self
            .maps()
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
        let known = self.lock().find(text, map);
        known.unwrap_or_else(|| {
            let found = Arc::new(Analysed::new(text, lex));
            self.lock().keep(&found, map);
            found
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analyse(cache: &StatementCache, text: &str) -> Arc<Analysed> {
        cache.analyse(text, &LexSettings::default())
    }

    #[test]
    fn texts_of_one_shape_share_what_they_mean_and_keep_their_words() {
        let cache = StatementCache::default();
        let one = analyse(&cache, "select a from t where b = 1");
        let other = analyse(&cache, "select a from t where b = 22");
        assert!(Arc::ptr_eq(&one.meaning, &other.meaning));
        assert_eq!(&*other.text, "select a from t where b = 22");
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert!(one.fingerprint().is_some());
    }

    #[test]
    fn texts_whose_literals_matter_are_analysed_each_for_itself() {
        let cache = StatementCache::default();
        for (one, other) in [
            ("delete from t where 1 = 1", "delete from t where 1 = 2"),
            (
                "select a, b from t order by 1",
                "select a, b from t order by 2",
            ),
            ("select 1; select 2", "select 1; select 3"),
        ] {
            let (first, second) = (analyse(&cache, one), analyse(&cache, other));
            assert!(!Arc::ptr_eq(&first.meaning, &second.meaning), "{one}");
            assert!(Arc::ptr_eq(&first, &analyse(&cache, one)), "{one}");
        }
    }

    #[test]
    fn a_text_that_comes_again_is_still_read_as_its_session_reads_it() {
        let cache = StatementCache::default();
        let text = r"select '\' from t";
        let plain = LexSettings::default();
        let escaped = LexSettings {
            standard_conforming_strings: !plain.standard_conforming_strings,
        };
        let (one, other) = (cache.analyse(text, &plain), cache.analyse(text, &escaped));
        assert!(!Arc::ptr_eq(&one.meaning, &other.meaning));
        assert!(Arc::ptr_eq(&one, &cache.analyse(text, &plain)));
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = StatementCache::default();
        for number in 0..3 * MAX_ENTRIES {
            analyse(&cache, &format!("select a{number} from t"));
        }
        let entries = cache.lock();
        let count: usize = entries.maps().map(HashMap::len).sum();
        assert!(count <= MAX_ENTRIES && entries.bytes <= MAX_TEXT_BYTES);
    }
}
