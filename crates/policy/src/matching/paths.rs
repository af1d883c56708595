//! Rules about paths, and requests that give files other names.

use crate::name::Glob;
use crate::ssh::{SftpMatch, SftpOperation};

/// A path of which nothing is known.
const ANY: &[u8] = b"*";

/// Whether a path may be one that the glob means. A relative path lies under a directory that is not
/// known.
pub(super) fn may_lie(glob: &Glob, path: &[u8]) -> bool {
    if path.starts_with(b"/") || glob.matches_bytes(path) {
        return glob.matches_bytes(path);
    }
    let mut anywhere = b"*/".to_vec();
    anywhere.extend_from_slice(below_parents(path));
    glob.may_match_bytes(&anywhere)
}

/// A relative path without the `..` in front: these lead to another directory that is not known.
fn below_parents(path: &[u8]) -> &[u8] {
    let mut rest = path;
    loop {
        rest = match rest.strip_prefix(b"../") {
            Some(below) => below,
            None if rest == b".." => return ANY,
            None => return rest,
        };
    }
}

/// Whether a rule is meant by another name, for what it is about or for a directory above that: what may
/// not be read or changed by one name must not be read or changed by another, and what may not be
/// written must not be put in place.
pub(super) fn renames(sftp: &SftpMatch, operation: SftpOperation, paths: &[&[u8]]) -> bool {
    let (SftpOperation::Rename | SftpOperation::HardLink | SftpOperation::Symlink, [from, to]) =
        (operation, paths)
    else {
        return false;
    };
    let puts = |one: &SftpOperation| matches!(one, SftpOperation::Write | SftpOperation::Append);
    let operations = &sftp.operations;
    let writes = operations.is_empty() || operations.iter().any(puts);
    if sftp.paths.is_empty() {
        return writes;
    }
    // What was moved has to be moved back to stand where it stood, and that writes.
    let stays = operation == SftpOperation::Rename && !operations.is_empty();
    let hides = !(stays && operations.iter().all(puts));
    sftp.paths.iter().any(|glob| {
        writes && (may_lie(glob, to) || leaves(glob, to, from)) || hides && leaves(glob, from, to)
    })
}

/// Whether the glob means something at a path or below it, and not the same at or below another.
fn leaves(glob: &Glob, from: &[u8], to: &[u8]) -> bool {
    let pattern = Pattern::new(glob);
    let all = vec![true; pattern.text.len() + 1];
    let [from, to] = [from, to].map(|path| path.strip_suffix(b"/").unwrap_or(path));
    let absolute = |path: &[u8]| path.is_empty() || path.starts_with(b"/");
    match (absolute(from), absolute(to)) {
        _ if from == ANY => pattern.exceeds(&all, &pattern.behind(pattern.begin(), to)),
        (true, true) => {
            let from = pattern.behind(pattern.begin(), from);
            pattern.exceeds(&from, &pattern.behind(pattern.begin(), to))
        }
        // They begin at the same place, wherever it is.
        (false, false) => (0..all.len()).any(|at| {
            let from = pattern.behind(pattern.at(at), from);
            pattern.exceeds(&from, &pattern.behind(pattern.at(at), to))
        }),
        (false, true) => {
            let from = pattern.behind(all, from);
            pattern.exceeds(&from, &pattern.behind(pattern.begin(), to))
        }
        (true, false) => {
            let from = pattern.behind(pattern.begin(), from);
            pattern.exceeds(&from, &pattern.behind(pattern.floating(), to))
        }
    }
}

/// A glob, read byte by byte: which places in it a text leads to.
struct Pattern<'a> {
    text: &'a [u8],
    wild: bool,
}

impl<'a> Pattern<'a> {
    fn new(glob: &'a Glob) -> Self {
        let (text, wild) = (glob.text().as_bytes(), !glob.is_literal());
        Self { text, wild }
    }

    fn is(&self, place: usize, wildcard: u8) -> bool {
        self.wild && self.text.get(place) == Some(&wildcard)
    }

    /// One place, and those behind the stars there.
    fn at(&self, place: usize) -> Vec<bool> {
        let mut places = vec![false; self.text.len() + 1];
        let mut next = Some(place);
        while let Some(place) = next {
            if let Some(reached) = places.get_mut(place) {
                *reached = true;
            }
            next = self.is(place, b'*').then_some(place + 1);
        }
        places
    }

    fn begin(&self) -> Vec<bool> {
        self.at(0)
    }

    /// The places that a directory leads to of which the glob says nothing.
    fn floating(&self) -> Vec<bool> {
        match self.is(0, b'*') {
            true => self.begin(),
            false => vec![false; self.text.len() + 1],
        }
    }

    /// The places that a text leads to from these.
    fn behind(&self, from: Vec<bool>, text: &[u8]) -> Vec<bool> {
        text.iter()
            .fold(from, |places, byte| self.step(&places, *byte))
    }

    fn step(&self, places: &[bool], byte: u8) -> Vec<bool> {
        let mut next = vec![false; places.len()];
        let continues = byte & 0xC0 == 0x80;
        for place in (0..places.len()).filter(|place| places.get(*place) == Some(&true)) {
            let stays = self.is(place, b'*')
                || continues
                    && place
                        .checked_sub(1)
                        .is_some_and(|before| self.is(before, b'?'));
            let goes = self.is(place, b'?')
                || !self.is(place, b'*') && self.text.get(place) == Some(&byte);
            for reached in [stays.then_some(place), goes.then_some(place + 1)] {
                let reached = reached.map(|place| self.at(place)).unwrap_or_default();
                for (known, new) in next.iter_mut().zip(reached) {
                    *known |= new;
                }
            }
        }
        next
    }

    /// Whether what ends at these places, or goes on below them, is more than at those.
    fn exceeds(&self, these: &[bool], those: &[bool]) -> bool {
        let end = self.text.len();
        let ends = |places: &[bool]| places.get(end) == Some(&true);
        if ends(these) && !ends(those) {
            return true;
        }
        let below = self.step(these, b'/').into_iter().take(end);
        let known = self.step(those, b'/');
        below.zip(known).any(|(this, that)| this && !that)
    }
}
