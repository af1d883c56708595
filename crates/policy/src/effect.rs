//! What a statement does, as a closed vocabulary that rules can name.
//!
//! Invariant: an [`EffectSet`] is a bit set over [`Effect`]; a new effect goes at the end so that
//! stored sets keep their meaning. This file knows no SQL: who fills a set is `weir-sql`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// One kind of thing that a statement does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[repr(u8)]
        pub enum Effect { $($(#[$doc])* $name),+ }

        impl Effect {
            /// Every effect, in declaration order.
            pub const ALL: &'static [Effect] = &[$(Effect::$name),+];

            /// The name as policies write it.
            pub const fn name(self) -> &'static str {
                match self { $(Effect::$name => stringify!($name)),+ }
            }
        }
    };
}

effects! {
    /// Reads rows (`SELECT`, `TABLE`, `VALUES`).
    Select,
    /// Adds rows.
    Insert,
    /// Changes rows.
    Update,
    /// Removes rows.
    Delete,
    /// `MERGE`.
    Merge,
    /// `TRUNCATE`.
    Truncate,
    /// Creates a table, view, index, schema, type or another plain object.
    Create,
    /// Alters an object.
    Alter,
    /// Drops an object.
    Drop,
    /// `GRANT`, `REVOKE`, default privileges, ownership.
    Grant,
    /// Creates, alters or drops a role; `SET ROLE`, `SET SESSION AUTHORIZATION`.
    Role,
    /// `SET`, `RESET`, `set_config`.
    Set,
    /// `COPY … FROM STDIN`.
    CopyIn,
    /// `COPY … TO STDOUT`.
    CopyOut,
    /// `COPY` from or to a file on the server.
    CopyFile,
    /// `COPY` from or to a program on the server.
    CopyProgram,
    /// `DO`.
    Do,
    /// `CALL`.
    Call,
    /// `EXPLAIN`, with or without `ANALYZE`.
    Explain,
    /// `LOCK TABLE`.
    Lock,
    /// `BEGIN`, `COMMIT`, `ROLLBACK`, savepoints, two-phase commit.
    Transaction,
    /// `PREPARE`.
    Prepare,
    /// `EXECUTE`.
    Execute,
    /// `DECLARE CURSOR`.
    Declare,
    /// `FETCH`, `MOVE`, `CLOSE`.
    Fetch,
    /// `DEALLOCATE`, `DISCARD`.
    Deallocate,
    /// `LISTEN`, `UNLISTEN`.
    Listen,
    /// `NOTIFY`.
    Notify,
    /// `VACUUM`, `ANALYZE`, `REINDEX`, `CLUSTER`, `CHECKPOINT`, `REFRESH MATERIALIZED VIEW`.
    Maintenance,
    /// `ALTER SYSTEM`, `LOAD`, `CREATE EXTENSION`, `CREATE LANGUAGE`, `ALTER DATABASE … SET`.
    System,
    /// Foreign data wrappers, servers, user mappings, publications, subscriptions.
    Foreign,
    /// Creates or alters code: functions, procedures, triggers, rules, operators, casts.
    Routine,
    /// The function-call message of the protocol, which bypasses SQL.
    FunctionCall,
    /// A replication connection or command.
    Replication,
    /// A stream that copies in both directions.
    CopyBoth,
    /// Anything else that the grammar knows and this list does not.
    Other,
}

impl Effect {
    const fn bit(self) -> u64 {
        1 << (self as u8)
    }

    /// The effect with this name, exactly as written.
    pub fn parse(name: &str) -> Option<Effect> {
        Effect::ALL
            .iter()
            .copied()
            .find(|effect| effect.name() == name)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EffectSet(u64);

impl EffectSet {
    /// No effect.
    pub const EMPTY: EffectSet = EffectSet(0);

    /// The set of these effects.
    pub fn of(effects: &[Effect]) -> EffectSet {
        effects.iter().copied().collect()
    }

    /// Adds one effect.
    pub fn insert(&mut self, effect: Effect) {
        self.0 |= effect.bit();
    }

    /// This set and one effect more.
    #[must_use]
    pub const fn with(self, effect: Effect) -> EffectSet {
        EffectSet(self.0 | effect.bit())
    }

    /// Whether the effect is in the set.
    pub const fn contains(self, effect: Effect) -> bool {
        self.0 & effect.bit() != 0
    }

    /// Whether the sets share an effect.
    pub const fn intersects(self, other: EffectSet) -> bool {
        self.0 & other.0 != 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: EffectSet) -> EffectSet {
        EffectSet(self.0 & other.0)
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: EffectSet) -> EffectSet {
        EffectSet(self.0 | other.0)
    }

    /// Whether every effect of this set is in the other.
    pub const fn is_subset(self, other: EffectSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set holds nothing.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The effects in declaration order.
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL
            .iter()
            .copied()
            .filter(move |effect| self.contains(*effect))
    }
}

impl FromIterator<Effect> for EffectSet {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> EffectSet {
        effects.into_iter().fold(EffectSet::EMPTY, EffectSet::with)
    }
}

impl fmt::Display for EffectSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, effect) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(effect.name())?;
        }
        Ok(())
    }
}
