//! The tree that lineage is traced on: PostgreSQL's raw tree, reduced to what moves values.
//!
//! Names of relations and CTEs are already told apart; column names are not resolved. Depth
//! is that of the raw tree, which the parser bounds.

/// What a statement does with values.
#[derive(Debug, Default)]
pub(crate) enum Root {
    /// Moves none.
    #[default]
    Nothing,
    /// Sends the rows of a query (or runs a data-modifying statement).
    Query(Query),
    /// Makes a relation of the rows of a query, or a view of the query.
    Into {
        relation: usize,
        columns: Vec<String>,
        query: Query,
        /// Whether the rows are stored: then nothing of another relation of the name holds for it.
        stored: bool,
    },
    /// Sends a relation.
    CopyTo {
        relation: usize,
        columns: Vec<String>,
    },
    /// Fills a relation from the client.
    CopyFrom {
        relation: usize,
        alias: String,
        columns: Vec<String>,
        filter: Option<Expr>,
    },
    /// Runs (or not) and sends a plan.
    Explain(Box<Self>),
    /// Sends one row of results of a procedure.
    Call(Expr),
    /// Evaluates parameters and sends what a prepared statement sends.
    Execute(Vec<Expr>),
    /// Sends columns that carry no data of relations.
    Clean,
    /// Sends rows of unknown origin.
    Unknown,
}

/// A query with its CTEs, or a data-modifying statement.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) with: Vec<Cte>,
    pub(crate) body: Body,
    pub(crate) sort: Vec<Expr>,
    pub(crate) limit: Vec<Expr>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Select(Box<Select>),
    Set {
        all: bool,
        left: Box<Query>,
        right: Box<Query>,
    },
    Values(Vec<Vec<Expr>>),
    Dml(Box<Dml>),
    Unknown,
}

/// CTEs are listed so that each comes after those that it reads.
#[derive(Debug)]
pub(crate) struct Cte {
    pub(crate) id: usize,
    pub(crate) columns: Vec<String>,
    /// Columns that SEARCH and CYCLE add.
    pub(crate) added: Vec<String>,
    /// Whether it may read itself.
    pub(crate) recursive: bool,
    pub(crate) query: Query,
}

#[derive(Debug, Default)]
pub(crate) struct Select {
    pub(crate) distinct: Distinct,
    pub(crate) targets: Vec<Target>,
    pub(crate) from: Vec<From>,
    pub(crate) filter: Option<Expr>,
    pub(crate) group: Vec<Expr>,
    pub(crate) having: Option<Expr>,
    pub(crate) windows: Vec<Window>,
}

#[derive(Debug, Default)]
pub(crate) enum Distinct {
    #[default]
    No,
    All,
    On(Vec<Expr>),
}

/// One entry of a target list. A name that is not known stands for any name.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Option<String>,
    pub(crate) expr: Expr,
}

#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum From {
    Relation {
        relation: usize,
        alias: Option<Alias>,
    },
    Cte {
        id: usize,
        name: String,
        alias: Option<Alias>,
        /// Whether it is read in a query within the one that has it.
        nested: bool,
    },
    Query {
        lateral: bool,
        query: Query,
        alias: Option<Alias>,
    },
    /// Functions, XMLTABLE, JSON_TABLE: all columns derive from all arguments.
    Function {
        args: Vec<Expr>,
        /// All column names, where the text lists them.
        columns: Option<Vec<String>>,
        /// Name of the function, under which a scalar result is known.
        name: Option<String>,
        alias: Option<Alias>,
    },
    Join(Box<Join>),
    Sample {
        from: Box<Self>,
        args: Vec<Expr>,
    },
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) side: JoinSide,
    pub(crate) natural: bool,
    pub(crate) left: From,
    pub(crate) right: From,
    pub(crate) using: Vec<String>,
    pub(crate) using_alias: Option<String>,
    pub(crate) on: Option<Expr>,
    pub(crate) alias: Option<Alias>,
}

/// Which side a merged column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinSide {
    Left,
    Right,
    Both,
}

#[derive(Debug)]
pub(crate) enum Expr {
    /// A literal, or anything that cannot depend on data.
    Const,
    Param,
    /// The number of an output, from 1, as a sort or grouping key.
    Position(usize),
    Column(ColumnName),
    NullTest(Box<Self>),
    /// AND, OR, NOT, IS TRUE.
    Bool(Vec<Self>),
    Compare {
        equal: bool,
        left: Box<Self>,
        right: Box<Self>,
    },
    In {
        left: Box<Self>,
        list: Vec<Self>,
    },
    /// `left = ANY (array)`, of an array whose length the text does not say.
    Any {
        left: Box<Self>,
        array: Box<Self>,
    },
    Row(Vec<Self>),
    Array(Vec<Self>),
    /// A cast, or a collation; to which type, where that is one of `own_type` without a length.
    Cast(Box<Self>, Option<&'static str>),
    Call(Box<Call>),
    Case {
        arg: Option<Box<Self>>,
        whens: Vec<(Self, Self)>,
        default: Option<Box<Self>>,
    },
    SubLink {
        kind: SubLink,
        test: Option<Box<Self>>,
        query: Box<Query>,
    },
    /// `(base).name`, `(base).*`, `base[…]`: the first field, if it is a name.
    Field {
        base: Box<Self>,
        name: Option<String>,
        star: bool,
        /// Names behind the first.
        later: Vec<String>,
        subscripts: Vec<Self>,
    },
    /// Computed from all of these.
    Computed(Vec<Self>),
    /// The same, but a text is one of these or none: COALESCE, and arithmetic, which texts do not have.
    Chosen(Vec<Self>),
    /// Cannot be judged.
    Unknown,
}

/// A word that is a column's name to some servers, and a value of the session to others.
pub(crate) const SYSTEM_USER: &str = "system_user";

#[derive(Debug)]
pub(crate) struct ColumnName {
    pub(crate) parts: Vec<String>,
    pub(crate) star: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubLink {
    Exists,
    Scalar,
    Array,
    Compare { equal: bool },
}

#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) function: Option<usize>,
    /// `count()`, unless the database has one of its own.
    pub(crate) count: bool,
    /// One of the server's functions that return any number of rows.
    pub(crate) sets: bool,
    /// A function of the server's, or its `||`, that makes null of nothing but null, unless the database
    /// has one of its own by this name.
    pub(crate) total: bool,
    /// A function of the server's that changes the case of letters only, unless the database has one of its
    /// own by this name.
    pub(crate) cases: bool,
    pub(crate) distinct: bool,
    pub(crate) args: Vec<Expr>,
    pub(crate) order: Vec<Expr>,
    /// The sort key is an argument (`WITHIN GROUP`).
    pub(crate) within_group: bool,
    pub(crate) filter: Option<Expr>,
    pub(crate) over: Option<Window>,
}

#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Its own name, or the one that it copies.
    pub(crate) name: Option<String>,
    pub(crate) base: Option<String>,
    pub(crate) partition: Vec<Expr>,
    pub(crate) order: Vec<Expr>,
    pub(crate) frame: Vec<Expr>,
}

/// A data-modifying statement.
#[derive(Debug)]
pub(crate) struct Dml {
    pub(crate) relation: usize,
    pub(crate) alias: Option<Alias>,
    pub(crate) action: Action,
    pub(crate) returning: Option<Returning>,
}

#[derive(Debug)]
pub(crate) enum Action {
    Insert {
        columns: Vec<String>,
        subscripts: Vec<Expr>,
        source: Option<Query>,
        conflict: Option<Conflict>,
    },
    Update {
        set: Vec<Assignment>,
        from: Vec<From>,
        filter: Option<Expr>,
    },
    Delete {
        from: Vec<From>,
        filter: Option<Expr>,
    },
    Merge {
        source: From,
        on: Option<Expr>,
        whens: Vec<MergeWhen>,
    },
}

#[derive(Debug)]
pub(crate) struct Conflict {
    pub(crate) arbiter: Vec<Expr>,
    pub(crate) arbiter_filter: Option<Expr>,
    pub(crate) set: Vec<Assignment>,
    pub(crate) filter: Option<Expr>,
}

/// One value for one column, or one row for several.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) columns: Vec<String>,
    pub(crate) value: Expr,
}

#[derive(Debug)]
pub(crate) struct MergeWhen {
    pub(crate) condition: Option<Expr>,
    pub(crate) set: Vec<Assignment>,
    /// Columns and values of an insert.
    pub(crate) insert: Option<(Vec<String>, Vec<Expr>)>,
}

#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) targets: Vec<Target>,
}

impl Expr {
    /// Whether it stands for any number of values, one after the other.
    pub(crate) fn spreads(&self) -> bool {
        match self {
            Self::Column(name) => name.star,
            Self::Field { star, .. } => *star,
            _ => false,
        }
    }
}

impl Query {
    /// A query of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self {
            with: Vec::new(),
            body: Body::Unknown,
            sort: Vec::new(),
            limit: Vec::new(),
        }
    }
}
