//! Links: where one leads, and where it would lead from another directory.

use super::super::code;
use super::super::packet::{Response, readlink};
use super::super::path::{behind_open, behind_parents, has_parents, normalised, straight};
use super::{MAX_OUTSTANDING, MAX_PATH, Operation, Pending, Tracker, What};
use crate::ProtocolError;

/// Where a file leads, as far as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is no link, or one that leads to the same from everywhere.
    Fixed,
    /// A link that leads here from where it is.
    Relative(Vec<u8>),
    /// The server does not say.
    Unknown,
}

impl Tracker {
    /// A request of Weir's own for where a file leads, by the name that the server knows; the server's
    /// answer is [`Answer::Link`](super::Answer::Link). None: too many requests are under way.
    pub fn ask_link(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        if self.pending.len() >= MAX_OUTSTANDING {
            return None;
        }
        // Clients count from the other end.
        let id = (0..=u32::MAX)
            .rev()
            .find(|id| !self.pending.contains_key(id))?;
        self.pending.insert(id, Pending::Link);
        Some(readlink(id, name))
    }

    /// Whether the answer with this number is to Weir's own question about a link.
    pub fn asks_link(&self, id: u32) -> bool {
        matches!(self.pending.get(&id), Some(Pending::Link))
    }

    /// What a link says, read from where the link is, and its `..` behind other links.
    ///
    /// # Errors
    /// Where the path is longer than any may be.
    pub fn leads(&self, target: &[u8], link: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        if target.len() > MAX_PATH {
            return Err(ProtocolError::Length(target.len()));
        }
        let home = self.home.as_deref();
        Ok(match (has_parents(target), target.starts_with(b"/")) {
            // Wherever that is: not under the home.
            (true, _) => behind_parents(target),
            (false, true) => behind_open(normalised(target, home)),
            (false, false) => normalised(&[directory(link), target].concat(), home),
        })
    }
}

/// A file gets another name.
pub(super) fn moved(operation: Operation, name: &[u8], paths: [Vec<u8>; 2]) -> What {
    let [from, to] = &paths;
    let moves = directory(from) != directory(to);
    What::Operation {
        operations: vec![operation],
        moves: moves.then(|| straight(name).unwrap_or_else(|| name.to_vec())),
        paths: paths.into(),
        copies: None,
    }
}

/// The server's answer.
pub(super) fn answer(response: &Response<'_>, kind: u8) -> Result<Link, ProtocolError> {
    match response {
        Response::Name {
            first: Some(target),
        } if target.starts_with(b"/") => Ok(Link::Fixed),
        Response::Name {
            first: Some(target),
        } => Ok(Link::Relative(target.to_vec())),
        // Whether it is one is not for this user, or for this server, to say.
        Response::Status {
            code: code::PERMISSION_DENIED | code::UNSUPPORTED | code::OK,
        } => Ok(Link::Unknown),
        Response::Status { .. } => Ok(Link::Fixed),
        _ => Err(ProtocolError::Unexpected(kind)),
    }
}

/// The directory of a path, with its slash.
fn directory(path: &[u8]) -> &[u8] {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    path.get(..cut.map_or(0, |at| at + 1)).unwrap_or_default()
}
