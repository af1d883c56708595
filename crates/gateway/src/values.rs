//! Values that are found by what they look like, whatever protocol they come in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use weir_detect::mask::TokenKey;
use weir_detect::{Kind, KindSet, Span, scan_into};
use weir_policy::{LabelId, Mask, ValueMask};

/// What a found value is starred with.
const STAR: u8 = b'*';

/// What stands in place of a text.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// Nothing at all.
    Null,
    /// Always these bytes.
    Fixed(Arc<[u8]>),
    /// A keyed token.
    Token(Arc<TokenKey>),
    /// Its first and last characters.
    Partial {
        /// Characters kept at the start.
        first: usize,
        /// Characters kept at the end.
        last: usize,
    },
}

impl Shown {
    /// What a mask makes of a text.
    pub(crate) fn new(mask: Mask, key: &Arc<TokenKey>) -> Self {
        match mask {
            Mask::Null => Self::Null,
            Mask::Constant(text) => Self::Fixed(text.into_bytes().into()),
            Mask::Token => Self::Token(Arc::clone(key)),
            Mask::Partial {
                keep_first,
                keep_last,
            } => Self::Partial {
                first: keep_first as usize,
                last: keep_last as usize,
            },
        }
    }

    /// Appends what stands in place of `value`; `None` where nothing can.
    pub(crate) fn write(&self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Null => return None,
            Self::Fixed(bytes) => out.extend_from_slice(bytes),
            Self::Token(key) => out.extend_from_slice(&key.token(value)),
            Self::Partial { first, last } => {
                weir_detect::mask::partial_into(value, *first, *last, out)?;
            }
        }
        Some(())
    }
}

/// Looks for the values of some labels.
#[derive(Debug)]
pub(crate) struct Scanner {
    kinds: KindSet,
    /// The label's name, and what stands in place of a value, by kind.
    masks: Vec<(Kind, Arc<str>, Shown)>,
}

impl Scanner {
    /// A scanner for these values; `None` when there is nothing to look for.
    pub(crate) fn new(
        values: &[ValueMask],
        name: impl Fn(LabelId) -> Option<Arc<str>>,
        key: &Arc<TokenKey>,
    ) -> Option<Arc<Self>> {
        let mut masks: Vec<(Kind, LabelId, Mask)> = Vec::new();
        for value in values {
            for kind in value.detectors.iter().filter_map(|name| name.parse().ok()) {
                match masks.iter_mut().find(|(known, _, _)| *known == kind) {
                    Some((_, _, mask)) => *mask = mask.strictest(&value.mask),
                    None => masks.push((kind, value.label, value.mask.clone())),
                }
            }
        }
        let kinds = masks
            .iter()
            .fold(KindSet::EMPTY, |set, (kind, _, _)| set.with(*kind));
        let shown = |(kind, label, mask)| {
            let name = name(label).unwrap_or_default();
            (kind, name, Shown::new(mask, key))
        };
        let masks: Vec<_> = masks.into_iter().map(shown).collect();
        (!masks.is_empty()).then(|| Arc::new(Self { kinds, masks }))
    }

    fn find(&self, kind: Kind) -> Option<&(Kind, Arc<str>, Shown)> {
        self.masks.iter().find(|(known, _, _)| *known == kind)
    }

    /// What stands in place of a value of this kind.
    pub(crate) fn shown(&self, kind: Kind) -> Option<&Shown> {
        self.find(kind).map(|(_, _, shown)| shown)
    }

    /// The name of the label that values of this kind have.
    pub(crate) fn label(&self, kind: Kind) -> Option<Arc<str>> {
        self.find(kind).map(|(_, label, _)| Arc::clone(label))
    }

    /// Looks for values: where they lie, and the labels that they have. Whether there are any.
    pub(crate) fn scan(
        &self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        labels: &mut BTreeSet<Arc<str>>,
    ) -> bool {
        spans.clear();
        scan_into(bytes, self.kinds, spans);
        let found = spans.iter().filter_map(|span| self.find(span.kind));
        labels.extend(found.map(|(_, label, _)| Arc::clone(label)));
        !spans.is_empty()
    }

    /// Appends the text with its found values replaced; `None` where one must not be shown at all.
    pub(crate) fn replace(&self, value: &[u8], spans: &[Span], out: &mut Vec<u8>) -> Option<()> {
        let mut at = 0;
        for span in spans {
            out.extend_from_slice(value.get(at..span.start)?);
            let shown = self.shown(span.kind)?;
            shown.write(value.get(span.start..span.end)?, out)?;
            at = span.end;
        }
        out.extend_from_slice(value.get(at..)?);
        Some(())
    }
}

/// What looks for values, from one request to the next under the same policy.
#[derive(Default)]
pub(crate) struct KnownScanner(Mutex<Option<Made>>);

/// A scanner, and what it was made from.
struct Made {
    revision: u64,
    values: Vec<ValueMask>,
    scanner: Option<Arc<Scanner>>,
}

impl KnownScanner {
    /// The one for these values under this revision of the policy, made where it is not known.
    pub(crate) fn scanner(
        &self,
        revision: u64,
        values: &[ValueMask],
        make: impl FnOnce() -> Option<Arc<Scanner>>,
    ) -> Option<Arc<Scanner>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*known
            && made.revision == revision
            && made.values == values
        {
            return made.scanner.clone();
        }
        let scanner = make();
        *known = Some(Made {
            revision,
            values: values.to_vec(),
            scanner: scanner.clone(),
        });
        scanner
    }
}

/// Stars letters and digits; no length changes, and what was UTF-8 stays UTF-8.
pub(crate) fn star(bytes: &mut [u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() {
            *byte = STAR;
        }
    }
}
