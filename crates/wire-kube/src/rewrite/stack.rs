//! The way from the answer to the value that is read: names, places, and progress along the patterns.

use super::place::Place;
use crate::FieldPattern;
use crate::field::Progress;

/// The longest `name` beside other members, or string before another, that is remembered.
const MAX_SIBLING: usize = 256;
/// Members beside a value that say whose it is, and those that do where neither of these is there.
const NAMES: [&str; 2] = ["name", "key"];
const LESSER_NAMES: [&str; 12] = [
    "parameter",
    "param",
    "variable",
    "option",
    "property",
    "env",
    "envVar",
    "field",
    "header",
    "k",
    "setting",
    "var",
];
/// Members that say nothing of the value in them: it is the one of what stands above.
const VALUES: [&str; 17] = [
    "content",
    "contents",
    "data",
    "default",
    "defaultValue",
    "inline",
    "literal",
    "plain",
    "raw",
    "string",
    "stringValue",
    "text",
    "v",
    "val",
    "value",
    "valueFrom",
    "values",
];
/// Whether a member of this name says nothing of the value in it: what it is, names beside or above it say.
#[must_use]
pub fn is_named_elsewhere(member: &str) -> bool {
    VALUES.contains(&member)
}

/// How deep most objects are.
const USUAL_DEPTH: usize = 8;
/// Names above this do not stay in memory.
const KEPT_NAME: usize = 1024;

#[derive(Debug)]
pub(super) struct Stack {
    /// Those above `depth` are kept for their memory.
    frames: Vec<Frame>,
    depth: usize,
    /// A row of the patterns' progress for each depth, and one for the value that comes.
    progress: Vec<Progress>,
    width: usize,
    root: Child,
    /// The fields of an object may begin at any place.
    anywhere: bool,
    /// How many objects have begun, from the one that is counted on.
    objects: u32,
    /// Names that came behind their values.
    pub(super) late: Late,
    /// Names of objects that were found before: no others are read.
    known: Option<Late>,
}

/// Names of objects, by their number, that came behind a value that they say something of.
pub(super) type Late = Vec<(u32, Box<str>)>;
/// Most of them that are kept of one object.
const MAX_LATE: usize = 1024;

/// What is known of the value that comes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Child {
    pub(super) place: Place,
    /// The first pattern that covers it.
    pub(super) field: Option<usize>,
    /// A pattern covers it, or may cover something below it. Where not, its row is not kept.
    alive: bool,
}

#[derive(Debug, Default)]
struct Frame {
    list: bool,
    counted: bool,
    /// A member was written.
    members: bool,
    place: Place,
    alive: bool,
    child: Child,
    /// The member that is read.
    key: String,
    /// The string of its member `name` or `key`; of a list, the string before.
    name: String,
    named: bool,
    /// It was named by `name` or `key` themselves.
    well_named: bool,
    /// How many items were before.
    index: usize,
    /// The number of the object.
    number: u32,
    /// A value came that a name beside it would say something of, and no such name before.
    valued: bool,
}

impl Stack {
    pub(super) fn new(fields: &[FieldPattern]) -> Stack {
        let progress: Vec<Progress> = fields.iter().map(FieldPattern::begin).collect();
        let root = Child {
            place: Place::Document,
            field: covering(fields, &progress),
            alive: !fields.is_empty(),
        };
        Stack {
            frames: Vec::new(),
            depth: 0,
            width: fields.len(),
            progress,
            root,
            anywhere: false,
            objects: 0,
            late: Late::new(),
            known: None,
        }
    }

    /// Takes every object for one that the fields begin at.
    pub(super) fn begin_anywhere(&mut self) {
        self.anywhere = true;
    }

    /// Reads no names but these.
    pub(super) fn know(&mut self, mut names: Late) {
        names.sort_unstable_by_key(|(number, _)| *number);
        self.known = Some(names);
    }

    /// Whether no names are read but those that are known.
    #[inline]
    pub(super) fn knows(&self) -> bool {
        self.known.is_some()
    }

    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    fn top(&self) -> Option<&Frame> {
        self.frames.get(self.depth.checked_sub(1)?)
    }

    #[inline]
    fn top_mut(&mut self) -> Option<&mut Frame> {
        self.frames.get_mut(self.depth.checked_sub(1)?)
    }

    #[inline]
    pub(super) fn child(&self) -> Child {
        self.top().map_or(self.root, |frame| frame.child)
    }

    /// The value that comes is a list or an object, and whether it is written.
    pub(super) fn push(
        &mut self,
        list: bool,
        counted: bool,
        written: bool,
        fields: &[FieldPattern],
    ) {
        let child = self.child();
        if counted || self.depth == 0 {
            self.objects = 0;
            self.late.clear();
        }
        self.objects += u32::from(!list && written);
        let number = if written { self.objects } else { 0 };
        if self.frames.len() == self.depth {
            if self.depth == 0 {
                self.frames.reserve(USUAL_DEPTH);
            }
            self.frames.push(Frame::default());
        }
        if let Some(frame) = self.frames.get_mut(self.depth) {
            frame.list = list;
            frame.counted = counted;
            frame.members = false;
            frame.place = child.place;
            frame.alive = child.alive;
            frame.child = Child::default();
            frame.named = false;
            frame.well_named = false;
            frame.index = 0;
            frame.number = number;
            frame.valued = false;
            for name in [&mut frame.key, &mut frame.name] {
                name.clear();
                name.shrink_to(KEPT_NAME);
            }
        }
        if let Some(known) = &self.known
            && !list
            && let Some(frame) = self.frames.get_mut(self.depth)
            && let Ok(at) = known.binary_search_by_key(&number, |(number, _)| *number)
            && let Some((_, name)) = known.get(at)
        {
            frame.name.push_str(name);
            frame.named = true;
        }
        self.depth += 1;
        if list {
            self.descend(None, child.place.item(), fields);
        }
    }

    /// It has ended. Whether it was counted; None where the other kind of bracket is open.
    #[inline]
    pub(super) fn pop(&mut self, list: bool) -> Option<bool> {
        let counted = self.top().filter(|frame| frame.list == list)?.counted;
        self.depth -= 1;
        Some(counted)
    }

    /// Behind a comma. Whether this is a list.
    #[inline]
    pub(super) fn next(&mut self) -> bool {
        self.top_mut().is_some_and(|frame| {
            frame.index += 1;
            frame.list
        })
    }

    /// A member comes. Whether it is to be dropped, with its value.
    pub(super) fn member(&mut self, name: &str, fields: &[FieldPattern]) -> bool {
        let Some(frame) = self.top_mut() else {
            return false;
        };
        frame.key.clear();
        frame.key.push_str(name);
        let (place, parent) = (frame.place.member(name), frame.place);
        self.descend(Some(name), place, fields);
        if parent != Place::Owned {
            return false;
        }
        match name.split_at_checked(2) {
            // An item of a set, by its value.
            Some(("v:", _)) => self.child().field.is_some(),
            // An item of a list, by the values of some of its members.
            Some(("k:", keys)) => self.holds_field(keys, fields),
            _ => false,
        }
    }

    /// Whether the keys of the item that comes hold a field's value.
    fn holds_field(&self, keys: &str, fields: &[FieldPattern]) -> bool {
        let child = self.child();
        if child.field.is_some() || !child.alive {
            return child.field.is_some();
        }
        let Ok(keys) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(keys)
        else {
            return true;
        };
        let row = self
            .progress
            .get(self.depth * self.width..)
            .unwrap_or_default();
        keys.keys().any(|key| {
            let mut fields = fields.iter().zip(row);
            fields.any(|(field, at)| field.reached(field.step(*at, Some(key))))
        })
    }

    /// Works out what is known of the value that comes.
    fn descend(&mut self, member: Option<&str>, place: Place, fields: &[FieldPattern]) {
        let (depth, width) = (self.depth, self.width);
        let Some(frame) = self.frames.get_mut(depth.saturating_sub(1)) else {
            return;
        };
        // Paths of fields begin anew: `f:NAME` is a member, `k:`, `v:` and `i:` are items.
        let owned = place == Place::Owned;
        let begins = self.anywhere || place.is_root() || owned && frame.place != Place::Owned;
        let follows = frame.alive && !(owned && frame.place != Place::Owned);
        frame.child = Child {
            place,
            ..Child::default()
        };
        if width == 0 || !begins && !follows {
            return;
        }
        let member = match member {
            Some(path) if owned => path.strip_prefix("f:"),
            member => member,
        };
        self.progress
            .resize(self.progress.len().max((depth + 1) * width), 0);
        let (above, below) = self.progress.split_at_mut(depth * width);
        let above = above.get((depth - 1) * width..).unwrap_or_default();
        let row = below.get_mut(..width).unwrap_or_default();
        for ((field, from), to) in fields.iter().zip(above).zip(row.iter_mut()) {
            *to = match (follows, begins) {
                (true, true) => field.step(*from, member) | field.begin(),
                (true, false) => field.step(*from, member),
                (false, _) => field.begin(),
            };
        }
        frame.child.alive = row.iter().any(|progress| *progress != 0);
        if frame.child.alive {
            frame.child.field = covering(fields, row);
        }
    }

    /// A string is the value of the member that is read, or an item. The name that it is, where that came behind the
    /// value that it says something of.
    #[inline]
    pub(super) fn string(&mut self, text: &str) -> Option<&str> {
        if self.knows() {
            return None;
        }
        let frame = self.top_mut()?;
        if !frame.list {
            let well = NAMES.contains(&frame.key.as_str());
            let names = well || LESSER_NAMES.contains(&frame.key.as_str()) && !frame.well_named;
            if !names {
                return None;
            }
            frame.well_named |= well;
        }
        // Of a name, its end says what it is of.
        let from = text.len().saturating_sub(MAX_SIBLING);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
        let end = text.get(from.unwrap_or_default()..).unwrap_or_default();
        frame.named = !frame.list || end.len() == text.len();
        frame.name.clear();
        if frame.named {
            frame.name.push_str(end);
        }
        (!frame.list && frame.valued).then_some(&frame.name)
    }

    /// The member that comes, of this name, may be one that a name behind it says something of.
    #[inline]
    pub(super) fn may_be_late(&mut self, name: &str) {
        if let Some(frame) = self.top_mut() {
            frame.valued |= !frame.named && is_named_elsewhere(name);
        }
    }

    /// The name of the object that is read came late, and matters.
    pub(super) fn is_late(&mut self) {
        let named = self.top().filter(|frame| frame.number > 0);
        let named = named.map(|frame| (frame.number, frame.name.as_str().into()));
        if self.late.len() < MAX_LATE {
            self.late.extend(named);
        }
    }

    /// The string before, of a list.
    #[inline]
    pub(super) fn before(&self) -> Option<&str> {
        let frame = self.top().filter(|frame| frame.list && frame.named)?;
        Some(&frame.name)
    }

    /// The nearest member's name, and the `name` beside it.
    #[inline]
    pub(super) fn names(&self) -> (Option<&str>, Option<&str>) {
        let frames = self.frames.get(..self.depth).unwrap_or_default();
        match frames.iter().rev().find(|frame| !frame.list) {
            Some(frame) => {
                let name = frame.named.then_some(frame.name.as_str());
                (Some(&frame.key), name)
            }
            None => (None, None),
        }
    }

    /// Whose value it is that comes, where its member says nothing of that: the `name` beside it, or the name of
    /// what stands above.
    #[inline]
    pub(super) fn whose(&self) -> Option<&str> {
        let frames = self.frames.get(..self.depth).unwrap_or_default();
        let mut frames = frames.iter().rev().filter(|frame| !frame.list);
        let first = frames.next()?;
        if !is_named_elsewhere(&first.key) {
            return None;
        }
        if first.named {
            return Some(&first.name);
        }
        for frame in frames {
            if !is_named_elsewhere(&frame.key) {
                return (!self.knows()).then_some(&frame.key);
            }
            if frame.named {
                return Some(&frame.name);
            }
        }
        None
    }

    /// How many items of the list were before.
    #[inline]
    pub(super) fn index(&self) -> usize {
        self.top().map_or(0, |frame| frame.index)
    }

    /// Whether members of the object may be dropped: for what fields they name, or, where names are read, for
    /// what those hold.
    #[inline]
    pub(super) fn may_drop(&self, reads_names: bool) -> bool {
        self.top()
            .is_some_and(|frame| (frame.alive || reads_names) && frame.place == Place::Owned)
    }

    /// Of the paths of fields, the name of the field that the member is read of.
    pub(super) fn owned(&self) -> Option<&str> {
        self.top().filter(|frame| frame.place == Place::Owned)?;
        let above = self.frames.get(self.depth.checked_sub(2)?)?;
        Some(above.key.strip_prefix("f:").unwrap_or(&above.key))
    }

    #[inline]
    pub(super) fn has_members(&self) -> bool {
        self.top().is_some_and(|frame| frame.members)
    }

    /// A member of the object is written.
    #[inline]
    pub(super) fn written(&mut self) {
        if let Some(frame) = self.top_mut() {
            frame.members = true;
        }
    }
}

/// The first pattern that covers a place.
fn covering(fields: &[FieldPattern], row: &[Progress]) -> Option<usize> {
    fields
        .iter()
        .zip(row)
        .position(|(field, progress)| field.reached(*progress))
}
