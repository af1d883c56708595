//! What a statement does to the world: one bit for each kind of effect.
//!
//! The variants mirror the policy crate's one to one; the gateway maps them. An effect is
//! set when the statement *or any part nested in it* has it: a data-modifying CTE, a write
//! under `EXPLAIN ANALYZE`, the query of a `COPY`.

/// One kind of effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Effect {
    /// Reads rows or evaluates expressions (`SELECT`, `VALUES`, `TABLE`, `SHOW`).
    Select,
    /// `INSERT`.
    Insert,
    /// `UPDATE`, also the `DO UPDATE` of an `INSERT`.
    Update,
    /// `DELETE`.
    Delete,
    /// `MERGE` (its actions are set as well).
    Merge,
    /// `TRUNCATE`.
    Truncate,
    /// Creates an object.
    Create,
    /// Changes an object, `COMMENT` and security labels included.
    Alter,
    /// Removes an object.
    Drop,
    /// `GRANT`, `REVOKE`, default privileges.
    Grant,
    /// Role commands, `SET ROLE`, `SET SESSION AUTHORIZATION`, ownership changes by role.
    Role,
    /// Changes session settings.
    Set,
    /// `COPY … FROM STDIN`.
    CopyIn,
    /// `COPY … TO STDOUT`.
    CopyOut,
    /// `COPY` from or to a file of the server.
    CopyFile,
    /// `COPY` from or to a program on the server.
    CopyProgram,
    /// An anonymous code block.
    Do,
    /// A procedure call.
    Call,
    /// `EXPLAIN`.
    Explain,
    /// `LOCK`, and row locks (`FOR UPDATE` and its kin).
    Lock,
    /// Transaction control.
    Transaction,
    /// `PREPARE`.
    Prepare,
    /// `EXECUTE`.
    Execute,
    /// `DECLARE CURSOR`.
    Declare,
    /// `FETCH`, `MOVE`, `CLOSE`.
    Fetch,
    /// `DEALLOCATE`.
    Deallocate,
    /// `LISTEN`, `UNLISTEN`.
    Listen,
    /// `NOTIFY`.
    Notify,
    /// `VACUUM`, `ANALYZE`, `REINDEX`, `CLUSTER`, `CHECKPOINT`, `REFRESH`.
    Maintenance,
    /// Changes the server: `ALTER SYSTEM`, `LOAD`, extensions, languages, databases,
    /// tablespaces.
    System,
    /// Reaches other servers: foreign data, subscriptions, publications.
    Foreign,
    /// Defines code that runs later: functions, triggers, rules, operators, casts.
    Routine,
    /// The fast-path function call message; never set by this crate.
    FunctionCall,
    /// The replication protocol; never set by this crate.
    Replication,
    /// `CopyBoth`; never set by this crate.
    CopyBoth,
    /// Something this crate does not know.
    Other,
}

impl Effect {
    /// All effects, in order of their bits.
    pub const ALL: [Self; 36] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Merge,
        Self::Truncate,
        Self::Create,
        Self::Alter,
        Self::Drop,
        Self::Grant,
        Self::Role,
        Self::Set,
        Self::CopyIn,
        Self::CopyOut,
        Self::CopyFile,
        Self::CopyProgram,
        Self::Do,
        Self::Call,
        Self::Explain,
        Self::Lock,
        Self::Transaction,
        Self::Prepare,
        Self::Execute,
        Self::Declare,
        Self::Fetch,
        Self::Deallocate,
        Self::Listen,
        Self::Notify,
        Self::Maintenance,
        Self::System,
        Self::Foreign,
        Self::Routine,
        Self::FunctionCall,
        Self::Replication,
        Self::CopyBoth,
        Self::Other,
    ];
}

/// A set of effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EffectSet(u64);

impl EffectSet {
    /// The empty set.
    pub const EMPTY: Self = Self(0);

    /// Adds one effect.
    pub const fn insert(&mut self, effect: Effect) {
        self.0 |= 1 << effect as u8;
    }

    /// Whether the effect is in the set.
    pub const fn contains(self, effect: Effect) -> bool {
        self.0 & (1 << effect as u8) != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets share an effect.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The effects of the set, in order.
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL
            .into_iter()
            .filter(move |effect| self.contains(*effect))
    }

    /// The raw bits: bit `n` is the effect with discriminant `n`.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl FromIterator<Effect> for EffectSet {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> Self {
        let mut set = Self::EMPTY;
        for effect in effects {
            set.insert(effect);
        }
        set
    }
}
