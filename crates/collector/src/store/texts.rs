//! Which texts a block can hold: so that a search for a text does not unpack every block.
//!
//! A filter has a bit for each run of three, and of five, bytes of every text in the block (ASCII in
//! lower case). A text that is searched can be in the block only if the bits of all its runs are set.
//!
//! Invariants
//! - A filter never denies a text that is there; it may admit one that is not.
//! - Its size follows what is in it: about one bit in five is set, at most 34 KiB in all.
//!
//! It refuses to answer for texts of less than three bytes: they can be anywhere.

/// Bytes of a run.
const SHORT: usize = 3;
const LONG: usize = 5;
/// The smallest filter, as a power of two of bits.
const LEAST: u32 = 9;
/// Words of the largest filters.
const SHORT_WORDS: usize = 1 << 8;
const LONG_WORDS: usize = 1 << 12;

/// Bits of a hash of a run; the low ones are used, so that a filter can be folded.
fn hash(run: u64) -> u64 {
    let mixed = run.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Calls `take` with what ends at each byte, in lower case, and with how many bytes that are.
fn runs(text: &[u8], mut take: impl FnMut(u64, usize)) {
    let mut run = 0u64;
    for (at, byte) in text.iter().enumerate() {
        run = run << 8 | u64::from(byte.to_ascii_lowercase());
        take(run, at + 1);
    }
}

/// The last bytes of a run.
fn last(run: u64, bytes: usize) -> u64 {
    run & ((1 << (8 * bytes)) - 1)
}

fn set<const WORDS: usize>(words: &mut [u64; WORDS], run: u64) {
    let bit = hash(run);
    let word = usize::try_from(bit >> 6 & (WORDS as u64 - 1));
    if let Some(word) = word.ok().and_then(|at| words.get_mut(at)) {
        *word |= 1 << (bit & 63);
    }
}

/// The filter of the block that is being filled.
pub(super) struct TextFilter {
    short: Box<[u64; SHORT_WORDS]>,
    long: Box<[u64; LONG_WORDS]>,
}

impl Default for TextFilter {
    fn default() -> Self {
        Self {
            short: Box::new([0; SHORT_WORDS]),
            long: Box::new([0; LONG_WORDS]),
        }
    }
}

impl TextFilter {
    /// Adds a text.
    pub(super) fn add(&mut self, text: &str) {
        runs(text.as_bytes(), |run, length| {
            if length >= SHORT {
                set(&mut self.short, last(run, SHORT));
            }
            if length >= LONG {
                set(&mut self.long, last(run, LONG));
            }
        });
    }

    /// The stored form: for each filter its size as a power of two, then its bits.
    pub(super) fn pack(self) -> Vec<u8> {
        let mut out = Vec::new();
        let (short, long): (Box<[u64]>, Box<[u64]>) = (self.short, self.long);
        for words in [short, long] {
            let words = folded(words.into_vec());
            let bits = words.len() * 64;
            out.push(u8::try_from(bits.trailing_zeros()).unwrap_or_default());
            words
                .iter()
                .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        out
    }
}

/// Halves a filter while few of its bits are set.
fn folded(mut words: Vec<u64>) -> Vec<u64> {
    loop {
        let set: u32 = words.iter().map(|word| word.count_ones()).sum();
        let bits = words.len() * 64;
        if bits <= 1 << LEAST || usize::try_from(set).unwrap_or(bits) * 8 > bits {
            return words;
        }
        let upper = words.split_off(words.len() / 2);
        for (word, above) in words.iter_mut().zip(upper) {
            *word |= above;
        }
    }
}

/// Whether a block with this stored filter can hold a text (in lower case).
pub(super) fn admits(filter: &[u8], text: &[u8]) -> bool {
    let Some((short, rest)) = part(filter) else {
        return true;
    };
    let long = part(rest).map(|(long, _)| long);
    has_all(short, SHORT, text) && long.is_none_or(|long| has_all(long, LONG, text))
}

fn part(filter: &[u8]) -> Option<(&[u8], &[u8])> {
    let (power, rest) = filter.split_first()?;
    let bytes = 1usize.checked_shl(u32::from(*power))? / 8;
    rest.split_at_checked(bytes)
}

fn has_all(bits: &[u8], size: usize, text: &[u8]) -> bool {
    let mask = (bits.len() as u64 * 8).wrapping_sub(1);
    let mut all = true;
    runs(text, |run, length| {
        if length < size {
            return;
        }
        let bit = hash(last(run, size)) & mask;
        let byte = usize::try_from(bit >> 3).ok().and_then(|at| bits.get(at));
        all &= byte.is_none_or(|byte| byte >> (bit & 7) & 1 == 1);
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(texts: &[String]) -> Vec<u8> {
        let mut filter = TextFilter::default();
        texts.iter().for_each(|text| filter.add(text));
        filter.pack()
    }

    #[test]
    fn what_is_there_is_never_denied() {
        for count in [1usize, 30, 3000, 60_000] {
            let texts: Vec<String> = (0..count)
                .map(|n| format!("SELECT * FROM Orders_{} WHERE id = {}", n % 7, n * 7919))
                .collect();
            let filter = packed(&texts);
            for text in texts.iter().step_by(17) {
                let text = text.to_ascii_lowercase();
                for part in [
                    &text[..],
                    &text[3..9],
                    &text[text.len() - 4..],
                    &text[..2],
                    "",
                ] {
                    assert!(admits(&filter, part.as_bytes()), "{part}");
                }
            }
        }
    }

    #[test]
    fn little_that_is_not_there_is_admitted_and_little_space_is_taken() {
        let texts: Vec<String> = (0..5000)
            .map(|n: u64| {
                format!(
                    "select 1 where id = {}",
                    n.wrapping_mul(2_654_435_761) % 1_000_000
                )
            })
            .collect();
        let filter = packed(&texts);
        assert!(filter.len() <= 36_000, "{}", filter.len());
        let admitted = (0..1000)
            .filter(|n| admits(&filter, format!("user{n}@example.com").as_bytes()))
            .count();
        assert_eq!(admitted, 0);
        let few = packed(&["select 1".to_owned()]);
        assert!(few.len() < 150, "{}", few.len());
        assert!(!admits(&few, b"drop"));
        assert!(!admits(&few, b"elect 2"));
    }

    #[test]
    fn a_filter_that_cannot_be_read_denies_nothing() {
        for broken in [&[][..], &[200], &[9, 1, 2]] {
            assert!(admits(broken, b"select"));
        }
    }
}
