//! The object of a request, as conditions of rules have it.
//!
//! Invariant: what is not surely in the object, or surely not, is unknown. A patch says what it changes;
//! what the stored object holds beside is not known.

use weir_condition::{Holes, Object, Touches};
use weir_wire_kube::{BodyFacts, BodyKind, FieldPattern};

use super::asked;

/// The largest object that conditions look into, in bytes: it is kept as long as its request.
const MAX_OBJECT: usize = 512 << 10;
/// The most names of a path that a pattern of fields has.
const MAX_PATH: usize = 32;

/// The object that a request carries.
#[derive(Debug, Default)]
pub(super) enum Carried {
    /// None.
    #[default]
    Nothing,
    /// One that is not read, or cannot be.
    Unread,
    /// A whole object.
    Whole {
        facts: Box<BodyFacts>,
        holes: Option<Holes>,
    },
    /// What changes an object that is there.
    Changes(Box<Patch>),
}

/// A patch.
#[derive(Debug)]
pub(super) struct Patch {
    facts: BodyFacts,
    holes: Holes,
    /// Operations of a JSON patch say what changes, and not what is there then.
    says_fields: bool,
    applied: bool,
}

impl Carried {
    /// Before anything is read, and where nothing ever is.
    pub(super) const fn before_reading(carries: bool) -> Self {
        if carries { Self::Unread } else { Self::Nothing }
    }

    pub(super) fn new(facts: BodyFacts, object: &asked::Object<'_>) -> Self {
        if object.bytes.is_empty() {
            return Self::Nothing;
        }
        if facts.opaque.is_some() || facts.json.is_none() || object.bytes.len() > MAX_OBJECT {
            return Self::Unread;
        }
        let patch = |says_fields, lists, applied, facts| {
            Self::Changes(Box::new(Patch {
                facts,
                holes: Holes::Patch { lists },
                says_fields,
                applied,
            }))
        };
        match object.kind {
            BodyKind::Json | BodyKind::Yaml | BodyKind::Protobuf => {
                let mut holes = None;
                for place in facts.unknown() {
                    holes.get_or_insert_with(Holes::default).add(place);
                }
                let facts = Box::new(facts);
                Self::Whole { facts, holes }
            }
            BodyKind::JsonPatch => patch(false, true, false, facts),
            BodyKind::MergePatch => patch(true, false, false, facts),
            BodyKind::StrategicPatch => patch(true, true, false, facts),
            BodyKind::ApplyYaml => patch(true, true, true, facts),
            BodyKind::Cbor | BodyKind::ApplyCbor | BodyKind::Other => Self::Unread,
        }
    }

    /// In the terms of conditions.
    pub(super) fn object(&self) -> Object<'_> {
        match self {
            Self::Nothing => Object::Absent,
            Self::Unread => Object::Unread,
            Self::Whole { facts, holes } => match &facts.json {
                Some(value) => Object::Whole {
                    value,
                    holes: holes.as_ref(),
                },
                None => Object::Unread,
            },
            Self::Changes(patch) => Object::Changes {
                value: patch.facts.json.as_ref().filter(|_| patch.says_fields),
                holes: &patch.holes,
                applied: patch.applied,
                touches: &**patch,
            },
        }
    }
}

impl Touches for Patch {
    fn touches(&self, path: &[String]) -> bool {
        let known = path.iter().take(MAX_PATH);
        // A name that cannot be written as part of a pattern stands for all that lies above it.
        let known = known.take_while(|name| !name.contains('"'));
        let text: String = known.map(|name| format!("[\"{name}\"]")).collect();
        FieldPattern::parse(&text).map_or(true, |pattern| self.facts.sets(&pattern))
    }
}
