//! What the server still owes: one entry for each message that it will answer, in order.
//!
//! Invariant: the front entry is what the server's next answer belongs to. After an error the
//! server skips everything up to the next Sync; so does this queue.

use std::collections::VecDeque;
use std::sync::Arc;

use super::prepared::{Portal, Prepared};
use super::refusal::Refusal;
use super::statement::Active;

/// Statement or portal name; see [`name`].
pub(super) type Name = Arc<[u8]>;

/// Bytes of a name that count: the server's tables of statements and portals know no longer ones
/// (`NAMEDATALEN` less its end), and take what begins alike for the same.
const MAX_NAME: usize = 63;

/// A name as the server keeps it. All empty ones are one, and have an address that can be read: comparing by an address
/// that cannot, as that of an empty box, costs the processor hundreds of cycles.
pub(super) fn name(bytes: &[u8]) -> Name {
    match bytes.get(..MAX_NAME).unwrap_or(bytes) {
        [] => Name::default(),
        kept => kept.into(),
    }
}

/// What answer is owed.
pub(super) enum Owed {
    /// A `Query`: its statements in order, then ReadyForQuery.
    Query(VecDeque<Box<Active>>),
    /// A `Parse`, and the statement that exists once it succeeds.
    Parse(Name, Arc<Prepared>),
    /// A `Bind`, and the portal that exists once it succeeds.
    Bind(Name, Option<Box<Portal>>),
    /// A `Close` of a statement.
    CloseStatement(Name),
    /// A `Close` of a portal.
    ClosePortal(Name),
    /// A `Describe` of a statement.
    DescribeStatement,
    /// A `Describe` of a portal.
    DescribePortal(Name),
    /// An `Execute` of a portal.
    Execute(Name, Option<Box<Active>>),
    /// A `Sync`.
    Sync,
    /// A `FunctionCall`.
    FunctionCall(Option<Box<Active>>),
    /// A `Query` of Weir's that fails, so that the transaction is aborted.
    Abort,
    /// Nothing: the client has ended a COPY, if the server is in one.
    CopyEnd,
}

/// An entry of the queue.
pub(super) struct Entry {
    pub(super) owed: Owed,
    /// Weir asked, not the client: the answer is not passed on.
    pub(super) ours: bool,
    /// The request was replaced by one that must fail; the client is told this instead.
    pub(super) refusal: Option<Box<Refusal>>,
}

/// The queue.
#[derive(Default)]
pub(super) struct Pending {
    entries: VecDeque<Entry>,
    skipping: bool,
    copy_in: bool,
}

impl Pending {
    /// A client's message has gone to the server.
    pub(super) fn push(&mut self, owed: Owed) {
        self.push_entry(Entry {
            owed,
            ours: false,
            refusal: None,
        });
    }

    /// A message of Weir's own has gone to the server.
    pub(super) fn push_ours(&mut self, owed: Owed) {
        self.push_entry(Entry {
            owed,
            ours: true,
            refusal: None,
        });
    }

    /// A `Query` that must fail has gone to the server to abort a transaction; the client sees only
    /// the ReadyForQuery that follows.
    pub(super) fn push_abort(&mut self) {
        self.push_entry(Entry {
            owed: Owed::Abort,
            ours: false,
            refusal: None,
        });
    }

    /// Something that must fail has gone to the server in place of a client's message.
    pub(super) fn push_refused(&mut self, owed: Owed, refusal: Refusal) {
        self.push_entry(Entry {
            owed,
            ours: false,
            refusal: Some(Box::new(refusal)),
        });
    }

    fn push_entry(&mut self, entry: Entry) {
        match entry.owed {
            Owed::CopyEnd if self.copy_in => {
                self.copy_in = false;
                return;
            }
            Owed::Sync if self.copy_in => return,
            Owed::Sync => self.skipping = false,
            Owed::CopyEnd => {}
            _ if self.skipping => return,
            _ => {}
        }
        self.entries.push_back(entry);
    }

    /// The entry that the next answer belongs to.
    #[inline]
    pub(super) fn front(&mut self) -> Option<&mut Entry> {
        while matches!(
            self.entries.front(),
            Some(Entry {
                owed: Owed::CopyEnd,
                ..
            })
        ) {
            self.entries.pop_front();
        }
        self.entries.front_mut()
    }

    /// The front entry has been answered.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.front();
        self.entries.pop_front()
    }

    /// The server reported an error for an extended-protocol message: it skips to the next Sync.
    /// What was skipped is returned.
    pub(super) fn skip(&mut self) -> Vec<Entry> {
        let end = self
            .entries
            .iter()
            .position(|entry| matches!(entry.owed, Owed::Sync));
        self.skipping = end.is_none();
        self.copy_in = false;
        self.entries
            .drain(..end.unwrap_or(self.entries.len()))
            .collect()
    }

    /// The server waits for COPY data: it ignores Sync until the client ends the COPY. Whether the newest message
    /// is a Sync that it ignores, so that no Sync is on the way.
    pub(super) fn start_copy_in(&mut self) -> bool {
        let ended = self
            .entries
            .iter()
            .position(|entry| matches!(entry.owed, Owed::CopyEnd));
        let mut index = 0;
        let end = ended.unwrap_or(usize::MAX);
        let newest = self.entries.back().map(|entry| &entry.owed);
        let ends_ignored = ended.is_none() && matches!(newest, Some(Owed::Sync));
        self.entries.retain(|entry| {
            let ignored = index > 0 && index < end && matches!(entry.owed, Owed::Sync);
            let end_marker = index == end;
            index += 1;
            !ignored && !end_marker
        });
        self.copy_in = ended.is_none();
        ends_ignored
    }

    /// Whether the server waits for COPY data.
    pub(super) const fn takes_copy(&self) -> bool {
        self.copy_in
    }

    /// The COPY has ended, one way or the other.
    pub(super) fn end_copy_in(&mut self) {
        self.copy_in = false;
    }

    /// Whether the portal of this name is under way, and not bound again since.
    pub(super) fn is_executing(&self, portal: &[u8]) -> bool {
        let newest = self
            .entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.owed {
                Owed::Bind(name, _) | Owed::ClosePortal(name) if **name == *portal => Some(false),
                Owed::Execute(name, _) if **name == *portal => Some(entry.refusal.is_none()),
                _ => None,
            });
        newest.unwrap_or(false)
    }

    /// Hands a suspended statement to the next Execute of its portal that is on the way.
    pub(super) fn resume(&mut self, portal: &[u8], active: Box<Active>) -> Result<(), Box<Active>> {
        for entry in &mut self.entries {
            match &mut entry.owed {
                Owed::Bind(name, _) | Owed::ClosePortal(name) if **name == *portal => break,
                Owed::Execute(name, slot @ None) if **name == *portal => {
                    *slot = Some(active);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(active)
    }

    /// Whether the server owes nothing.
    pub(super) fn is_empty(&mut self) -> bool {
        self.front().is_none()
    }

    /// Whether a Sync is on the way.
    pub(super) fn has_sync(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.owed, Owed::Sync))
    }

    /// Whether the next answer is to a message that runs nothing but what it brings itself.
    pub(super) fn awaits_text(&mut self) -> bool {
        matches!(
            self.front().map(|entry| &entry.owed),
            Some(
                Owed::Parse(..)
                    | Owed::Bind(..)
                    | Owed::DescribeStatement
                    | Owed::DescribePortal(_)
                    | Owed::CloseStatement(_)
                    | Owed::ClosePortal(_)
            )
        )
    }

    /// Whether the next answer is to a Bind of a statement that touches labelled data.
    pub(super) fn binds_touching(&mut self) -> bool {
        match self.front().map(|entry| &entry.owed) {
            Some(Owed::Bind(_, portal)) => portal.as_ref().is_some_and(|portal| portal.touches),
            _ => false,
        }
    }

    /// Whether a ReadyForQuery is on the way.
    pub(super) fn owes_ready(&self) -> bool {
        let ends = |entry: &Entry| matches!(entry.owed, Owed::Sync | Owed::Query(_));
        self.entries.iter().any(ends)
    }

    /// Whether the server skips what is sent until the next Sync.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Entries from the newest to the oldest.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// Entries, oldest first.
    pub(super) fn entries_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// The oldest statement that takes COPY data from the client and records it.
    pub(super) fn recorded_copy_in(&mut self) -> Option<&mut Box<Active>> {
        self.active()
            .find(|active| active.judged().copies_in() && active.records_rows())
    }

    /// Statements that are under way.
    pub(super) fn active(&mut self) -> impl Iterator<Item = &mut Box<Active>> {
        self.entries.iter_mut().flat_map(|entry| {
            let (several, one) = match &mut entry.owed {
                Owed::Query(statements) => (Some(statements), None),
                Owed::Execute(_, one) | Owed::FunctionCall(one) => (None, one.as_mut()),
                _ => (None, None),
            };
            several.into_iter().flatten().chain(one)
        })
    }

    /// How many answers are owed.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(pending: &Pending) -> String {
        let letter = |entry: &Entry| match entry.owed {
            Owed::Sync => 'S',
            Owed::Execute(..) => 'E',
            Owed::Parse(..) => 'P',
            Owed::CopyEnd => 'c',
            Owed::Query(_) => 'Q',
            _ => '?',
        };
        pending.entries.iter().map(letter).collect()
    }

    #[test]
    fn names_are_cut_as_the_server_cuts_them() {
        let long = |last: &str| format!("{}{last}", "n".repeat(63));
        assert_eq!(name(long("x").as_bytes()), name(long("yz").as_bytes()));
        assert_ne!(name(b"x"), name(b"y"));
        assert!(name(b"").is_empty());
    }

    fn execute() -> Owed {
        Owed::Execute(Name::default(), None)
    }

    #[test]
    fn an_error_skips_to_the_next_sync_sent_or_not() {
        let mut pending = Pending::default();
        pending.push(execute());
        pending.push(execute());
        pending.push(Owed::Sync);
        pending.push(execute());
        assert_eq!(pending.skip().len(), 2);
        assert_eq!(kinds(&pending), "SE");

        let mut pending = Pending::default();
        pending.push(execute());
        pending.skip();
        pending.push(execute());
        pending.push(Owed::Query(VecDeque::new()));
        pending.push(Owed::Sync);
        pending.push(execute());
        assert_eq!(kinds(&pending), "SE");
    }

    #[test]
    fn a_sync_is_ignored_while_the_server_takes_copy_data() {
        let mut pending = Pending::default();
        pending.push(execute());
        pending.push(Owed::Sync);
        assert!(pending.start_copy_in());
        assert_eq!(kinds(&pending), "E");
        pending.push(Owed::Sync);
        pending.push(Owed::CopyEnd);
        pending.push(Owed::Sync);
        assert_eq!(kinds(&pending), "ES");
    }

    #[test]
    fn a_copy_that_the_client_ended_early_keeps_its_last_sync() {
        let mut pending = Pending::default();
        pending.push(execute());
        pending.push(Owed::CopyEnd);
        pending.push(Owed::Sync);
        assert!(!pending.start_copy_in());
        assert_eq!(kinds(&pending), "ES");
    }

    #[test]
    fn a_stray_copy_end_owes_nothing() {
        let mut pending = Pending::default();
        pending.push(Owed::CopyEnd);
        assert!(pending.is_empty());
    }
}
