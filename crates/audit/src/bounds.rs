//! How long lists of names and sessions may be.
//!
//! In a frame they are written once and shared by any number of events; in an answer, an export or a search
//! engine they stand in each. So a frame of half a megabyte could become gigabytes: an engine cuts them before
//! it seals them, and a collector takes no event in which they are longer. Texts that are an event's own (a
//! statement, a recording) are bounded by the frame.
//!
//! What is cut says so: a list by its last name (`… and 7 more`), a text by its last character (`…`).
//! Refuses: to cut what says whose a session is (name, namespace, service account, pod, UID).

use std::sync::Arc;

use crate::codec::Wire as _;
use crate::identity::{Identity, Session};
use crate::recording::Column;
use crate::text::Names;

/// Bytes of one list of names, with 16 for each name: more than ten thousand names of tables.
pub(crate) const MAX_NAMES: usize = 512 << 10;
/// Bytes of all texts and lists of a session and its identity.
pub(crate) const MAX_SESSION: usize = 32 << 10;

/// Columns of one result; a row of the protocol cannot have more cells.
pub(crate) const MAX_COLUMNS: usize = 65_535;

/// What an identity may take of a session.
const IDENTITY: usize = MAX_SESSION / 2;
/// What is left of each text and each list of a session that is too long.
const TEXT: usize = 1 << 10;
const LIST: usize = 4 << 10;
/// Room for the name that says how many are not there.
const REST: usize = 64;

pub(crate) fn fits(names: &Names) -> bool {
    names.weight() <= MAX_NAMES
}

/// Leaves the first names that fit.
pub(crate) fn cut(names: &mut Names, most: usize) {
    if names.weight() <= most {
        return;
    }
    let mut room = most.saturating_sub(REST);
    let mut kept: Vec<Arc<str>> = Vec::new();
    for name in names.as_slice() {
        let Some(left) = room.checked_sub(Names::EACH + name.len()) else {
            break;
        };
        room = left;
        kept.push(Arc::clone(name));
    }
    let hidden = names.len() - kept.len();
    kept.push(format!("… and {hidden} more").into());
    *names = kept.into();
}

pub(crate) fn session_fits(session: &Arc<Session>) -> bool {
    session.weight() <= MAX_SESSION
}

pub(crate) fn cut_session(session: &mut Arc<Session>) {
    if session_fits(session) {
        return;
    }
    let Session {
        id: _,
        identity,
        target,
        protocol,
        database,
        user,
        client,
        destination,
        application,
    } = Arc::make_mut(session);
    for text in [
        target,
        protocol,
        database,
        user,
        client,
        destination,
        application,
    ] {
        cut_text(text);
    }
    cut_identity(Arc::make_mut(identity));
}

/// Whether an identity leaves room for a session.
pub(crate) fn identity_fits(identity: &Identity) -> bool {
    identity.weight() <= IDENTITY
}

/// Leaves of an identity what fits into any session.
pub(crate) fn cut_identity(identity: &mut Identity) {
    let Identity {
        name: _,
        namespace: _,
        service_account: _,
        pod: _,
        uid: _,
        workload,
        node,
        images,
        issuer,
        subject,
        email,
        owner,
        groups,
    } = identity;
    for text in [workload, node, issuer, subject, email, owner] {
        cut_text(text);
    }
    cut(images, LIST);
    cut(groups, LIST);
}

fn cut_text(text: &mut Option<Arc<str>>) {
    if let Some(long) = text.as_ref().filter(|text| text.len() > TEXT) {
        let kept = long.floor_char_boundary(TEXT);
        *text = Some(format!("{}…", long.get(..kept).unwrap_or_default()).into());
    }
}

/// There are as many as a row has cells.
pub(crate) fn columns_fit(columns: &Arc<[Column]>) -> bool {
    let names = columns.iter().map(|column| column.name.len());
    columns.len() <= MAX_COLUMNS && names.sum::<usize>() <= MAX_NAMES
}

/// Each column stays, as rows have a cell for each; of its name there is the beginning.
pub(crate) fn cut_columns(columns: &mut Arc<[Column]>) {
    if columns_fit(columns) {
        return;
    }
    let each = MAX_NAMES / columns.len();
    let cut = columns.iter().map(|column| {
        let kept = column.name.floor_char_boundary(each);
        let name = column.name.get(..kept).unwrap_or_default();
        Column {
            name: name.into(),
            ..column.clone()
        }
    });
    *columns = cut.collect();
}

#[cfg(test)]
mod tests;
