//! Prepared statements, portals and cursors of one session, as the server has them.
//!
//! Invariant: an entry exists here only if the server has it. It is made when the server confirms,
//! not when the client asks; a name that this map does not know is therefore opaque, never harmless.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_policy::Meter;
use weir_wire_postgres::ProtocolError;

use super::cache::Analysed;
use super::judgement::Described;
use super::opening::Opening;
use super::pending::{Name, Owed, Pending};
use super::statement::{Active, Body};

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Its text, or that of the PREPARE that made it.
    pub(super) analysed: Arc<Analysed>,
    /// The statement; `None` where the text is opaque or empty.
    pub(super) body: Option<Body>,
    /// The columns that the server described last.
    described: Mutex<Option<Arc<Described>>>,
}

impl Prepared {
    pub(super) fn new(analysed: Arc<Analysed>, body: Option<Body>) -> Arc<Self> {
        Arc::new(Self {
            analysed,
            body,
            described: Mutex::default(),
        })
    }

    /// Reads a description of its columns: the last one again where it is the same. It is never
    /// used without the server having said so again: by now the names in the text may mean other
    /// columns.
    pub(super) fn read_description(&self, body: &[u8]) -> Result<Arc<Described>, ProtocolError> {
        let mut last = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = last.as_ref().filter(|last| last.bytes() == body) {
            return Ok(Arc::clone(same));
        }
        let described = Described::read(body)?;
        *last = Some(Arc::clone(&described));
        Ok(described)
    }
}

/// Parameters as they are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters {
    pub(super) values: Vec<weir_audit::Value>,
    /// One of them was longer than what is kept.
    pub(super) cut: bool,
}

/// A portal.
pub(super) struct Portal {
    pub(super) statement: Option<Arc<Prepared>>,
    /// Parameters for the record and for people.
    pub(super) parameters: Parameters,
    /// Whether a parameter is what a constant mask shows.
    pub(super) writes_mask: bool,
    /// Whether labelled data is touched, so that what the server says while it plans may carry it.
    pub(super) touches: bool,
    /// What its names meant when it was bound.
    pub(super) opened: Option<Opening>,
    /// Columns, once the server has described the portal.
    pub(super) described: Option<Arc<Described>>,
    /// The statement between two Executes.
    pub(super) active: Option<Box<Active>>,
}

impl Portal {
    /// The portal goes away; what it was running has ended as the client wished.
    pub(super) fn end(mut self) {
        if let Some(active) = self.active.take() {
            active.finish(weir_audit::Outcome::Completed);
        }
    }
}

/// An SQL cursor.
pub(super) struct Cursor {
    pub(super) body: Body,
    /// What opened it, with its parameters.
    pub(super) text: Arc<str>,
    pub(super) hold: bool,
    /// What its names meant when it was opened.
    pub(super) opened: Option<Opening>,
    /// Between fetches.
    pub(super) meter: Option<Meter>,
}

/// Everything of a session that has a name.
#[derive(Default)]
pub(super) struct Named {
    pub(super) statements: HashMap<Name, Arc<Prepared>>,
    pub(super) portals: HashMap<Name, Box<Portal>>,
    pub(super) cursors: HashMap<Box<str>, Cursor>,
}

/// What a statement's name means.
pub(super) enum Lookup {
    /// This.
    Found(Arc<Prepared>),
    /// Nothing that is known here.
    Unknown,
    /// It depends on an answer that the server still owes.
    Undecided,
}

impl Named {
    /// The statement that a Bind sent now would use.
    pub(super) fn statement(&self, name: &[u8], pending: &Pending) -> Lookup {
        let mut sync_between = false;
        for entry in pending.newest_first() {
            match &entry.owed {
                Owed::Sync => sync_between = true,
                Owed::Parse(parsed, statement) if **parsed == *name => {
                    if sync_between {
                        return Lookup::Undecided;
                    }
                    return Lookup::Found(Arc::clone(statement));
                }
                Owed::CloseStatement(closed) if **closed == *name => return Lookup::Undecided,
                Owed::Query(_) => return Lookup::Undecided,
                Owed::Execute(_, Some(active)) if active.judged().barrier => {
                    return Lookup::Undecided;
                }
                _ => {}
            }
        }
        match self.statements.get(name) {
            Some(statement) => Lookup::Found(Arc::clone(statement)),
            None => Lookup::Unknown,
        }
    }

    /// Whether it depends on an answer that the server still owes which portal has this name: a batch that is behind
    /// its Sync may have failed.
    pub(super) fn is_undecided(name: &[u8], pending: &Pending) -> bool {
        let mut sync_between = false;
        for entry in pending.newest_first() {
            match &entry.owed {
                Owed::Sync => sync_between = true,
                Owed::Bind(bound, _) | Owed::ClosePortal(bound) if **bound == *name => {
                    return sync_between;
                }
                Owed::Query(_) => return true,
                _ => {}
            }
        }
        false
    }

    /// The portal that an Execute sent now would run: one that is being bound, or one that exists.
    pub(super) fn portal<'a>(
        &'a mut self,
        name: &[u8],
        pending: &'a mut Pending,
    ) -> Option<&'a mut Portal> {
        let being_bound = pending.bound(name);
        match being_bound {
            Some(portal) => Some(portal),
            None => self.portals.get_mut(name).map(Box::as_mut),
        }
    }

    /// The server has bound a portal; a cursor of its name cannot be there any more.
    pub(super) fn portal_bound(&mut self, name: Name, portal: Box<Portal>) {
        self.cursor_gone(&name);
        if let Some(old) = self.portals.insert(name, portal) {
            old.end();
        }
    }

    /// The server has closed the portal of this name, which may be that of a cursor.
    pub(super) fn portal_closed(&mut self, name: &[u8]) {
        self.cursor_gone(name);
        self.portal_gone(name);
    }

    /// The portal of this name is no more.
    pub(super) fn portal_gone(&mut self, name: &[u8]) {
        if let Some(portal) = self.portals.remove(name) {
            portal.end();
        }
    }

    /// No portal is any more.
    pub(super) fn portals_gone(&mut self) {
        for (_, portal) in self.portals.drain() {
            portal.end();
        }
    }

    fn cursor_gone(&mut self, name: &[u8]) {
        if let Ok(name) = std::str::from_utf8(name) {
            self.cursors.remove(name);
        }
    }

    /// A transaction has ended: portals go, and cursors without HOLD.
    pub(super) fn end_transaction(&mut self) {
        self.portals_gone();
        self.cursors.retain(|_, cursor| cursor.hold);
    }
}

impl Pending {
    fn bound(&mut self, name: &[u8]) -> Option<&mut Portal> {
        self.entries_mut()
            .rev()
            .find_map(|entry| match &mut entry.owed {
                Owed::Bind(bound, Some(portal)) if **bound == *name => Some(&mut **portal),
                _ => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portal() -> Box<Portal> {
        Box::new(Portal {
            statement: None,
            parameters: Parameters::default(),
            writes_mask: false,
            touches: false,
            opened: None,
            described: None,
            active: None,
        })
    }

    fn cursor() -> Cursor {
        let weir_sql::Analysis::Parsed(script) =
            weir_sql::analyze("SELECT 1", &weir_sql::LexSettings::default())
        else {
            panic!("it does not parse");
        };
        Cursor {
            body: Body::new(&script, 0),
            text: "SELECT 1".into(),
            hold: false,
            opened: None,
            meter: None,
        }
    }

    #[test]
    fn a_cursor_and_a_portal_of_one_name_are_never_both_known() {
        let mut named = Named::default();
        let name = crate::postgres::pending::name(b"p");
        named.cursors.insert("p".into(), cursor());
        named.portal_bound(Arc::clone(&name), portal());
        assert!(named.cursors.is_empty() && named.portals.len() == 1);
        named.portal_gone(b"p");
        named.cursors.insert("p".into(), cursor());
        named.portal_closed(&name);
        assert!(named.cursors.is_empty() && named.portals.is_empty());
    }
}
