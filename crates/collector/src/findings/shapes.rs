//! Statements of a shape that an image never sent before.
//!
//! A program's statements are written into its image: once they are learned, another one is news. What is
//! learned is numbers (fingerprints), by the images of a pod, and outlives the process.
//! Bounds: so many sets of images, so many shapes of each. A program with more shapes than that writes its
//! statements as it goes, and nothing is said of it any more.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use weir_audit::{Event, Finding, FindingCode, Statement, Timestamp};

use super::finding;

/// Sets of images that are known.
const IMAGES: usize = 256;
/// Shapes of one.
const MOST: usize = 2048;
/// How a file begins.
const MAGIC: &[u8; 8] = b"weirshp1";

/// Why a file is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file of shapes is damaged")]
pub(super) struct Damaged;

pub(super) struct Shapes {
    learning: Duration,
    images: BTreeMap<String, Known>,
    changed: bool,
}

struct Known {
    since: Timestamp,
    last: Timestamp,
    shapes: HashSet<u64>,
}

impl Shapes {
    pub(super) fn new(learning: Duration) -> Self {
        Self {
            learning,
            images: BTreeMap::new(),
            changed: false,
        }
    }

    pub(super) fn see(
        &mut self,
        event: &Event,
        statement: &Statement,
        now: Timestamp,
    ) -> Option<Finding> {
        let session = event.session.as_ref()?;
        let shape = statement.fingerprint?;
        // Without a digest, the same name may be another program tomorrow.
        let images: Vec<&str> = session.identity.images.iter().collect();
        if images.is_empty() || !images.iter().any(|image| image.contains("@sha256:")) {
            return None;
        }
        let key = images.join(" ");
        if !self.images.contains_key(&key) {
            self.make_room();
            let known = Known {
                since: now,
                last: now,
                shapes: HashSet::new(),
            };
            self.images.insert(key.clone(), known);
        }
        let learning = self.learning;
        let known = self.images.get_mut(&key)?;
        known.last = now;
        if known.shapes.len() >= MOST || !known.shapes.insert(shape) {
            return None;
        }
        self.changed = true;
        if now.minus(learning) < known.since {
            return None;
        }
        let name = &session.identity.name;
        let said = if known.shapes.len() == MOST {
            format!(
                "{name} has sent more than {MOST} shapes of statements: new ones are no longer \
                 noticed"
            )
        } else {
            let command = statement.command.as_deref().unwrap_or("a statement");
            let tables: Vec<&str> = statement.tables.iter().take(5).collect();
            let tables = match tables.is_empty() {
                true => String::new(),
                false => format!(" on {}", tables.join(", ")),
            };
            format!(
                "{name} sent {command}{tables} of a shape ({shape:016x}) that its image never sent \
                 before, statement {}/{}",
                session.id, statement.number
            )
        };
        Some(finding(event, FindingCode::NewShape, said))
    }

    fn make_room(&mut self) {
        while self.images.len() >= IMAGES {
            let oldest = self.images.iter().min_by_key(|(_, known)| known.last);
            let Some(oldest) = oldest.map(|(images, _)| images.clone()) else {
                return;
            };
            self.images.remove(&oldest);
        }
    }

    /// What is to be kept, if it changed since it was asked for last.
    pub(super) fn changed(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.changed).then(|| self.to_bytes())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (images, known) in &self.images {
            let number = |out: &mut Vec<u8>, n: usize| {
                out.extend(u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
            };
            number(&mut out, images.len());
            out.extend(images.as_bytes());
            out.extend(known.since.as_micros().to_le_bytes());
            out.extend(known.last.as_micros().to_le_bytes());
            number(&mut out, known.shapes.len());
            known
                .shapes
                .iter()
                .for_each(|shape| out.extend(shape.to_le_bytes()));
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8], learning: Duration) -> Result<Self, Damaged> {
        let mut shapes = Self::new(learning);
        let mut rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(Damaged)?;
        while !rest.is_empty() {
            let length = short(&mut rest)?;
            let images = cut(&mut rest, length)?;
            let images = std::str::from_utf8(images).map_err(|_| Damaged)?.to_owned();
            let since = Timestamp::from_micros(long(&mut rest)?);
            let last = Timestamp::from_micros(long(&mut rest)?);
            let count = short(&mut rest)?;
            if count > MOST || shapes.images.len() >= IMAGES {
                return Err(Damaged);
            }
            let known = (0..count).map(|_| long(&mut rest));
            let known = Known {
                since,
                last,
                shapes: known.collect::<Result<_, _>>()?,
            };
            shapes.images.insert(images, known);
        }
        Ok(shapes)
    }
}

fn cut<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Damaged> {
    let (bytes, left) = rest.split_at_checked(length).ok_or(Damaged)?;
    *rest = left;
    Ok(bytes)
}

fn short(rest: &mut &[u8]) -> Result<usize, Damaged> {
    let bytes = cut(rest, 4)?.try_into().map_err(|_| Damaged)?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| Damaged)
}

fn long(rest: &mut &[u8]) -> Result<u64, Damaged> {
    let bytes = cut(rest, 8)?.try_into().map_err(|_| Damaged)?;
    Ok(u64::from_le_bytes(bytes))
}
