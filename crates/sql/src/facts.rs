//! The facts of a script: plain data, one `Statement` for each statement of the text.
//!
//! Facts over-approximate: a relation, function or effect that might be reached is listed.
//! What the crate could not understand sets `Statement::opaque`, never "nothing".

use std::collections::BTreeSet;
use std::ops::Range;

use crate::{EffectSet, Lineage};

/// All statements of one text, in order. Empty for empty text or comments alone.
#[derive(Debug, Default)]
pub struct Script {
    /// The statements in order of execution.
    pub statements: Vec<Statement>,
}

/// What one statement does, contains and returns.
#[derive(Debug, Default)]
pub struct Statement {
    /// Bytes of the statement in the analysed text, without the semicolon. For nested
    /// statements (`PREPARE x AS …`) the range of the outer one.
    pub range: Range<usize>,
    /// The command tag that PostgreSQL reports, without counts (`INSERT`, `CREATE TABLE`).
    pub tag: &'static str,
    /// Effects of the statement and of every part that runs with it.
    pub effects: EffectSet,
    /// Relations by name, in order of appearance; CTE names are excluded by scope. Indices
    /// into this list appear in `Lineage` and `Traced`. The same relation appears once for
    /// each place where it is named.
    pub relations: Vec<RelationRef>,
    /// Functions called anywhere in the statement, in order of appearance. Indices into this
    /// list appear in `Traced`. Special SQL syntax appears under the name that PostgreSQL
    /// gives it (`pg_catalog.extract`).
    pub functions: Vec<FunctionRef>,
    /// Names behind a qualifier or a value (`t.name`, `(value).name`). Where there is no such column, the server calls
    /// a function of the name (`Traced::called`).
    pub fields: BTreeSet<String>,
    /// Operators written as `OPERATOR(schema.name)`.
    pub operators: Vec<FunctionRef>,
    /// Whether it has an operator or a cast, which may be the database's own.
    pub operates: bool,
    /// Schema-qualified type names that are cast to or declared.
    pub types: Vec<FunctionRef>,
    /// What the expressions of a definition name, which lineage does not follow.
    pub columns: Vec<DefinitionColumn>,
    /// Columns that a foreign key compares with others: a row can be stored or not, and that tells.
    pub keys: Vec<String>,
    /// Relations whose primary keys a foreign key refers to without naming columns.
    pub primary_keys: Vec<FunctionRef>,
    /// Columns by which an index sorts others that it holds as well: a column, and those behind it, `None` for an
    /// expression.
    pub sorts: Vec<(String, Vec<Option<String>>)>,
    /// Settings that the statement changes.
    pub settings: Vec<SettingChange>,
    /// The worst WHERE clause of all UPDATE, DELETE and MERGE parts.
    pub where_clause: WhereClause,
    /// Columns of what is written that limit it only as far as they may be null: a WHERE clause
    /// asks for no more than that they are not.
    pub unless_null: Vec<String>,
    /// Which setting it changes is known only as far as `pg_settings` is the server's own: WHERE names it there.
    pub asks_settings: bool,
    /// Whether the statement itself sends rows (a `PREPARE` does not, a `FETCH` may).
    pub returns_rows: bool,
    /// Whether a data-modifying statement has a RETURNING clause at the top level.
    pub returning: bool,
    /// Set for `EXPLAIN`: whether the inner statement really runs (`ANALYZE`).
    pub explain: Option<Explain>,
    /// Set for `COPY`.
    pub copy: Option<CopySpec>,
    /// Set for `PREPARE`: name and body. The body is no part of the outer effects.
    pub prepares: Option<Prepared>,
    /// Set for `EXECUTE` (also inside `EXPLAIN` or `CREATE TABLE AS`): the prepared name.
    pub executes: Option<String>,
    /// Set for `DECLARE`: cursor and body.
    pub declares: Option<Cursor>,
    /// Set for `FETCH` and `MOVE`: the cursor, and whether rows are sent.
    pub fetches: Option<Fetch>,
    /// Set for `CLOSE`: one cursor, or `None` for all.
    pub closes: Option<Option<String>>,
    /// Set for `DEALLOCATE`: one name, or `None` for all. `DISCARD ALL` counts as all.
    pub deallocates: Option<Option<String>>,
    /// Set for transaction control.
    pub transaction: Option<Transaction>,
    /// Whether a common table expression reads itself.
    pub recurses: bool,
    /// Whether an aggregate is given places whose number the text does not say (`percentile_disc($1)`).
    pub picks_any_number: bool,
    /// Whether a value that it stores may be put together from many rows.
    pub stores_collected: bool,
    /// Whether the statement may change the catalog (or `search_path` objects).
    pub changes_schema: bool,
    /// Whether what it makes is there for this session only.
    pub temporary: bool,
    /// A relation or a column gets another name, or a relation another schema.
    pub renames: Option<Rename>,
    /// Whether it makes a relation the child or partition of another one.
    pub adopts: bool,
    /// Whether a relation that it would make may be there already (`IF NOT EXISTS`).
    pub unless_exists: bool,
    /// The name that a routine gets: by its definition, or by a change of its name.
    pub defines: Option<String>,
    /// Code in another language that the statement runs or defines.
    pub code: Vec<Code>,
    /// Set for a `DO` of PL/pgSQL that does nothing but run these statements, in order: no variables, no
    /// branches, nothing that is put together as it runs.
    pub block: Option<Vec<Statement>>,
    /// Statements in the body of an SQL-standard routine or the actions of a rule: they run
    /// later, so their effects are not in `effects`.
    pub contained: Vec<Statement>,
    /// Whether the text may hold literal constants that are data or secrets (those in LIMIT
    /// are not). Utility statements that can carry options or text always count.
    pub has_literals: bool,
    /// Why the statement could not be understood, if so. Its facts are then incomplete.
    pub opaque: Option<&'static str>,
    pub(crate) constants: crate::shape::Constants,
    /// Where values come from and go to. `FETCH` and `EXECUTE` answer with unresolved
    /// outputs: judge them by the lineage of the cursor or prepared statement.
    pub lineage: Lineage,
}

/// How a relation is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Rows or metadata are read.
    Read,
    /// Rows or the definition are changed.
    Write,
}

/// A relation as it is named in the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationRef {
    /// Schema, if given.
    pub schema: Option<String>,
    /// Name, folded and truncated as the server does.
    pub name: String,
    /// Whether the relation is read or changed.
    pub access: Access,
}

/// A function, operator or type as it is named in the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionRef {
    /// Schema, if given.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
}

/// A column, or what qualifies one, that an expression of a definition names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DefinitionColumn {
    /// The name.
    pub name: String,
    /// The column that the expression computes (`USING`, `GENERATED`), `None` for a condition.
    pub into: Option<String>,
    /// Whether it computes more than the same value in another type.
    pub altered: bool,
}

/// A change of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rename {
    /// The column, `None` for the relation itself.
    pub column: Option<String>,
    /// Its new name.
    pub to: String,
}

/// A change of a session setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettingChange {
    /// Lower-case name as the server knows it (`search_path`, `TimeZone` is `timezone`), or
    /// `*` where it is not known (`RESET ALL`, computed name).
    pub name: String,
    /// The new value where it is literal; `None` for a reset or a computed value. List
    /// values are joined by `, `.
    pub value: Option<String>,
    /// Whether it ends with the transaction.
    pub local: bool,
    /// What the setting is set on.
    pub target: SettingTarget,
}

/// What a setting is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettingTarget {
    /// This session or transaction, now.
    Session,
    /// A function, while it runs.
    Routine,
    /// A role or database: later sessions.
    RoleOrDatabase,
    /// The server's configuration.
    System,
}

/// Whether a write is limited by a condition. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhereClause {
    /// Neither UPDATE, DELETE nor MERGE.
    #[default]
    NotApplicable,
    /// There is a condition that depends on the row or on a parameter.
    Present,
    /// There is one, but it holds for every row, or cannot depend on the row.
    Ineffective,
    /// There is none.
    Missing,
}

/// `EXPLAIN` facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explain {
    /// Whether the statement runs.
    pub analyze: bool,
}

/// Which way a `COPY` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// Into the database.
    From,
    /// Out of the database.
    To,
}

/// The other end of a `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyEndpoint {
    /// The connection.
    Client,
    /// A file on the server.
    File(String),
    /// A program on the server.
    Program(String),
}

/// `COPY` facts. The columns that flow are in `Statement::lineage` (outputs for `To`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySpec {
    /// Direction.
    pub direction: CopyDirection,
    /// The other end.
    pub endpoint: CopyEndpoint,
    /// The relation (index into `Statement::relations`), `None` for a query.
    pub relation: Option<usize>,
    /// Columns as listed; empty means all.
    pub columns: Vec<String>,
    /// The `FORMAT` option, lower case; `None` is text.
    pub format: Option<String>,
}

/// `PREPARE` facts.
#[derive(Debug)]
pub struct Prepared {
    /// Name of the prepared statement.
    pub name: String,
    /// The statement that `EXECUTE` runs.
    pub body: Box<Statement>,
}

/// `DECLARE CURSOR` facts.
#[derive(Debug)]
pub struct Cursor {
    /// Name of the cursor.
    pub name: String,
    /// The query that `FETCH` reads.
    pub body: Box<Statement>,
    /// `WITH HOLD`: outlives the transaction.
    pub hold: bool,
    /// `BINARY`: rows come in binary format.
    pub binary: bool,
}

/// `FETCH` and `MOVE` facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Name of the cursor.
    pub cursor: String,
    /// `MOVE`: no rows are sent.
    pub is_move: bool,
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `BEGIN` or `START TRANSACTION`.
    Begin,
    /// `COMMIT` or `END`; `chain` starts the next transaction at once.
    Commit {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `ROLLBACK` or `ABORT`.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `SAVEPOINT`.
    Savepoint(String),
    /// `RELEASE`.
    Release(String),
    /// `ROLLBACK TO`.
    RollbackTo(String),
    /// `PREPARE TRANSACTION`.
    PrepareTransaction(String),
    /// `COMMIT PREPARED`.
    CommitPrepared(String),
    /// `ROLLBACK PREPARED`.
    RollbackPrepared(String),
}

/// Code that only its own language can judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Language, lower case as written; `plpgsql` for a `DO` without one, `None` where a
    /// routine definition names none (ALTER FUNCTION, `CREATE AGGREGATE`).
    pub language: Option<String>,
    /// The source text; for C functions the object file.
    pub text: String,
    /// Whether it runs now (`DO`) rather than later.
    pub runs_now: bool,
}
