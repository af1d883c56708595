//! Which functions return nothing but a function of their arguments, and which keep what they are
//! given.
//!
//! A built-in one does unless it runs SQL from text or reads files. Large objects are like tables without
//! labels: what is there was stored by others, since no labelled value is given to what stores one. One that is
//! written in SQL or PL/pgSQL does if its source names no labelled relation, builds no statement at
//! run time and calls no function that is not trusted itself. One in C does if an extension brought
//! it and its name is not known to run SQL or reach elsewhere. No other does.
//!
//! A function keeps what it is given if it may leave it where others find it. Of the server's own
//! that is known by name; one in SQL or PL/pgSQL does if its source has a word of a statement that
//! stores something, or calls one that does. One in C that an extension brought does not; any other
//! may.

use std::collections::{HashMap, HashSet};

use weir_sql::builtin::{self, FunctionClass};

use super::query::FunctionRow;
use super::redefines::{Redefines, redefines};
use super::source::{
    attaches, catches, collects, defines_code, in_quotes, is_harmless_source, is_word, names_any,
    rereads, stores_by_words, words,
};

/// The functions that are not part of the server, by name.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    known: HashMap<Box<str>, Reach>,
    /// What a source that names a view can reach by it.
    views: HashMap<Box<str>, Reach>,
    /// Those of them that lie in `pg_catalog`.
    among_own: HashSet<Box<str>>,
    labelled: HashSet<Box<str>>,
    /// Names of labelled columns.
    columns: HashSet<Box<str>>,
    /// Code that labelled values meet without being given to it by a statement, and what it calls.
    attached: Mentions,
    /// Code that runs without being called on the rows of any relation, and what it calls.
    anywhere: Mentions,
    is_built: bool,
    /// Whether some of that may change how the session's texts are read.
    rereads: bool,
    /// Whether an operator or a cast may put many records into one value.
    operators_collect: bool,
    /// The functions that could be a trigger on labelled rows and show nothing of them.
    quiet: HashSet<Box<str>>,
    held: Held,
}

/// What is labelled, by name, and what runs on it.
#[derive(Debug, Default)]
pub(super) struct Labelled<'a> {
    pub(super) relations: HashSet<Box<str>>,
    pub(super) columns: HashSet<Box<str>>,
    pub(super) held: Held,
    /// Code behind operators, casts and domains, and on the rows of labelled relations.
    pub(super) attached: Vec<&'a str>,
    /// Code behind operators, casts and domains.
    pub(super) operators: Vec<&'a str>,
    /// Code behind those, and on the rows of any relation.
    pub(super) anywhere: Vec<&'a str>,
}

/// What the server may say labelled rows of, by name.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Relations a write to which ends in labelled rows.
    pub(super) written: HashSet<Box<str>>,
    /// Views over labelled rows, whose conditions run over those.
    pub(super) viewed: HashSet<Box<str>>,
}

impl Held {
    /// Whether a source may lead to that, by its words.
    fn reports(&self, source: &str) -> bool {
        // They name indexes and constraints, or nothing.
        const CHECKING: [&str; 3] = ["reindex", "constraints", "cluster"];
        const WRITING: [&str; 7] = [
            "insert", "update", "delete", "merge", "copy", "alter", "refresh",
        ];
        let has = |wanted: &[&str]| words(source).any(|word| wanted.contains(&word.as_str()));
        has(&CHECKING)
            || has(&WRITING) && names_any(source, &self.written)
            || names_any(source, &self.viewed)
    }
}

/// What a body of code mentions.
#[derive(Debug, Default)]
struct Mentions {
    words: HashSet<Box<str>>,
    /// The texts in which names could stand that are no plain words.
    texts: Vec<Box<str>>,
}

impl Mentions {
    /// What code mentions, and the functions that it names, and so on.
    fn of(code: &[&str], by_name: &HashMap<&str, Vec<&FunctionRow<'_>>>) -> Self {
        let mut mentions = Self::default();
        for text in code {
            mentions.add(text);
        }
        let mut read: HashSet<&str> = HashSet::new();
        loop {
            let next: Vec<&str> = by_name
                .keys()
                .copied()
                .filter(|name| !read.contains(name) && mentions.has(name))
                .collect();
            if next.is_empty() {
                return mentions;
            }
            for name in next {
                read.insert(name);
                let sources = by_name.get(name).into_iter().flatten();
                for row in sources.filter(|row| row.is_source()) {
                    mentions.add(&row.source);
                }
            }
        }
    }

    fn add(&mut self, text: &str) {
        self.words.extend(words(text).map(Box::from));
        if text.contains('"') || !text.is_ascii() {
            self.texts.push(text.into());
        }
    }

    fn has(&self, name: &str) -> bool {
        let quoted = || self.texts.iter().any(|text| in_quotes(name, text));
        self.words.contains(name) || !is_word(name) && quoted()
    }
}

/// What a call by some name can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    trusted: bool,
    keeps: bool,
    collects: bool,
    /// It may change how the session's texts are read.
    rereads: bool,
    /// It may fail with labelled rows in what the server says.
    reports: bool,
    /// It may give names another meaning.
    redefines: Redefines,
}

impl Functions {
    pub(super) fn build(
        rows: &[FunctionRow<'_>],
        views: &[FunctionRow<'_>],
        named: Labelled<'_>,
    ) -> Self {
        let Labelled {
            relations: labelled,
            columns,
            held,
            attached,
            operators,
            anywhere,
        } = named;
        let mut by_name: HashMap<&str, Vec<&FunctionRow<'_>>> = HashMap::new();
        for row in rows {
            by_name.entry(row.name).or_default().push(row);
        }
        let mut with_views = by_name.clone();
        for row in views {
            with_views.entry(row.name).or_default().push(row);
        }
        let reporting = closure(&by_name, |_, row| {
            row.is_source() && held.reports(&row.source)
        });
        // What the server says of a row is data to code that catches it.
        let hears = |row: &FunctionRow<'_>| {
            catches(&row.source)
                && (held.reports(&row.source) || names_any(&row.source, &reporting))
        };
        let suspects = closure(&by_name, |name, row| {
            is_risky(name) || !is_harmless(row, &labelled) || row.is_source() && hears(row)
        });
        let collecting = closure(&with_views, |name, row| {
            weir_sql::is_collecting(name) && !row.is_view()
                || !row.is_source() && !row.from_extension
                || collects(&row.source)
        });
        let keepers = closure(&with_views, |name, row| {
            !row.is_view() && (is_keeper(name) || stores(row))
        });
        let rereaders = closure(&with_views, |_, row| {
            if row.is_view() {
                false
            } else if row.is_source() {
                rereads(&row.source)
            } else {
                !row.from_extension
            }
        });
        let own_format = !by_name.contains_key("format");
        let by_itself = |row: &&FunctionRow<'_>| match (row.is_source(), row.from_extension) {
            _ if row.is_view() => Redefines::No,
            _ if row.selects_into => Redefines::Yes,
            (true, _) => redefines(&row.source, own_format),
            (false, false) => Redefines::Perhaps,
            (false, true) => Redefines::No,
        };
        let levels: HashMap<&str, Redefines> = with_views
            .iter()
            .map(|(name, rows)| (*name, rows.iter().map(by_itself).max().unwrap_or_default()))
            .collect();
        let redefining = [Redefines::Yes, Redefines::Perhaps].map(|least| {
            let names = closure(&with_views, |name, _| levels.get(name) >= Some(&least));
            (least, names)
        });
        let redefined_by = |name: &str| {
            let mut by = redefining.iter();
            by.find(|(_, names)| names.contains(name))
                .map_or(Redefines::No, |(least, _)| *least)
        };
        let reach = |name: &&str| {
            let reach = Reach {
                trusted: !suspects.contains(name),
                keeps: keepers.contains(name),
                collects: collecting.contains(name),
                rereads: rereaders.contains(name),
                reports: reporting.contains(name),
                redefines: redefined_by(name),
            };
            (Box::from(*name), reach)
        };
        let known = by_name.keys().map(reach).collect();
        let is_view = |name: &&&str| !by_name.contains_key(**name);
        let views = with_views.keys().filter(is_view).map(reach).collect();
        let operators_collect = operators.iter().any(|code| names_any(code, &collecting));
        let attached = Mentions::of(&attached, &by_name);
        let anywhere = Mentions::of(&anywhere, &by_name);
        let rereads = rereaders.iter().any(|name| anywhere.has(name));
        let is_quiet = |name: &&&str| {
            let mut rows = by_name.get(**name).into_iter().flatten();
            !suspects.contains(**name)
                && !keepers.contains(**name)
                && rows.all(|row| row.is_source() && shows_no_row(&row.source, &columns))
        };
        let quiet = by_name.keys().filter(is_quiet).map(|name| Box::from(*name));
        let quiet = quiet.collect();
        let among_own = rows.iter().filter(|row| row.among_own);
        let among_own = among_own.map(|row| Box::from(row.name)).collect();
        Self {
            known,
            views,
            among_own,
            labelled,
            columns,
            attached,
            anywhere,
            is_built: true,
            rereads,
            operators_collect,
            quiet,
            held,
        }
    }

    /// Whether there are any yet.
    pub(super) const fn is_built(&self) -> bool {
        self.is_built
    }

    /// Whether a call by this name can be trusted.
    pub(crate) fn is_trusted(&self, schema: Option<&str>, name: &str) -> bool {
        match self.known.get(name) {
            Some(reach) if self.is_among(schema, name) => reach.trusted && !is_risky(name),
            _ => !is_risky(name),
        }
    }

    /// Whether a call by this name may leave what it is given where others find it.
    pub(crate) fn keeps(&self, schema: Option<&str>, name: &str) -> bool {
        let own = self.known.get(name).filter(|_| self.is_among(schema, name));
        is_keeper(name) || own.is_some_and(|reach| reach.keeps)
    }

    /// Whether the database has a function by this name.
    pub(crate) fn is_redefined(&self, schema: Option<&str>, name: &str) -> bool {
        self.is_among(schema, name) && self.known.contains_key(name)
    }

    /// Whether a name in this schema may be that of a function of the database.
    fn is_among(&self, schema: Option<&str>, name: &str) -> bool {
        schema != Some("pg_catalog") || self.among_own.contains(name)
    }

    /// Whether a function of the database by this name may put many records into one value.
    pub(crate) fn collects(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|reach| reach.collects)
    }

    /// Whether what is called by code that runs by itself may do so.
    pub(crate) fn collects_in(&self, code: &str) -> bool {
        self.named_in(code).any(|reach| reach.collects)
    }

    /// Whether an operator or a cast of the database may do so.
    pub(crate) const fn operators_collect(&self) -> bool {
        self.operators_collect
    }

    /// Whether a function by this name would run by itself on what is labelled.
    pub(crate) fn is_attached(&self, name: &str) -> bool {
        self.attached.has(name)
    }

    /// Whether code that runs by itself on the rows of any relation mentions this name.
    pub(crate) fn is_mentioned(&self, name: &str) -> bool {
        self.anywhere.has(name)
    }

    /// Whether a call by this name may change how the texts that follow are read.
    pub(crate) fn rereads(&self, name: &str) -> bool {
        self.rereads || self.known.get(name).is_some_and(|reach| reach.rereads)
    }

    /// Whether a call by this name may give names another meaning.
    pub(crate) fn redefines(&self, name: &str) -> Redefines {
        let known = self.known.get(name);
        known.map_or(Redefines::No, |reach| reach.redefines)
    }

    /// Whether a block of code may do so.
    pub(crate) fn redefines_by(&self, code: &str) -> Redefines {
        let by_words = redefines(code, !self.known.contains_key("format"));
        by_words.max(self.redefines_in(code))
    }

    /// Whether what is called by code that runs by itself may do so.
    pub(crate) fn redefines_in(&self, code: &str) -> Redefines {
        let named = self.named_in(code).map(|reach| reach.redefines);
        named.max().unwrap_or_default()
    }

    /// Whether code that runs by itself may leave the rows that it meets where others find them.
    pub(crate) fn keeps_in(&self, code: &str) -> bool {
        code.starts_with("CREATE RULE")
            || self
                .named_in(code)
                .any(|reach| reach.keeps || !reach.trusted)
    }

    /// Whether a call by this name may fail with labelled rows in what the server says.
    pub(crate) fn fails_with_rows(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|reach| reach.reports)
    }

    /// Whether code may fail so.
    pub(crate) fn reports_rows(&self, source: &str) -> bool {
        self.held.reports(source) || self.named_in(source).any(|reach| reach.reports)
    }

    /// Whether a trigger on labelled rows may call the function of this name.
    pub(crate) fn is_quiet(&self, name: &str) -> bool {
        self.quiet.contains(name) || !self.known.contains_key(name)
    }

    /// Whether code may be put where it runs by itself on what is labelled.
    pub(crate) fn is_quiet_code(&self, language: Option<&str>, source: &str) -> bool {
        self.is_harmless(language, source)
            && !stores_by_words(source)
            && self.named_in(source).all(|reach| !reach.keeps)
            && shows_no_row(source, &self.columns)
    }

    /// The functions that a source names.
    fn named_in<'a>(&'a self, source: &'a str) -> impl Iterator<Item = Reach> + 'a {
        let reach = |word: String| {
            let word = word.as_str();
            self.known.get(word).or_else(|| self.views.get(word))
        };
        let plain = words(source).filter_map(reach);
        let quoted = self.known.iter().chain(&self.views);
        let quoted = quoted.filter(move |(name, _)| in_quotes(name, source));
        plain.chain(quoted.map(|(_, reach)| reach)).copied()
    }
}

impl Functions {
    /// Whether a block of code names nothing labelled and calls nothing that is not trusted.
    pub(crate) fn is_harmless(&self, language: Option<&str>, source: &str) -> bool {
        matches!(language, Some("sql" | "plpgsql"))
            && is_harmless_source(source, &self.labelled)
            && !defines_code(source)
            && !(catches(source) && self.reports_rows(source))
            && self.named_in(source).all(|reach| reach.trusted)
            && !(attaches(source) && self.named_in(source).any(|reach| reach.keeps))
    }
}

/// Whether the code of a trigger moves no labelled value: it names no labelled column, and the row
/// only to read other columns of it or to return it.
fn shows_no_row(source: &str, columns: &HashSet<Box<str>>) -> bool {
    if columns.iter().any(|name| in_quotes(name, source)) {
        return false;
    }
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let (mut rest, mut before) = (source, String::new());
    while let Some(start) = rest.find(plain) {
        let from = rest.get(start..).unwrap_or_default();
        let length = from.find(|c| !plain(c)).unwrap_or(from.len());
        let word = from.get(..length).unwrap_or_default().to_lowercase();
        rest = from.get(length..).unwrap_or_default();
        let is_row = matches!(word.as_str(), "new" | "old");
        let is_field = rest.starts_with('.') && rest.chars().nth(1).is_some_and(plain);
        if columns.contains(word.as_str()) || (is_row && !is_field && before != "return") {
            return false;
        }
        before = word;
    }
    true
}

/// The names of which some function is bad by itself, and of those that call one of them.
fn closure<'a>(
    by_name: &HashMap<&'a str, Vec<&FunctionRow<'a>>>,
    is_bad: impl Fn(&str, &FunctionRow<'_>) -> bool,
) -> HashSet<&'a str> {
    let bad = by_name
        .iter()
        .filter(|(name, rows)| rows.iter().any(|row| is_bad(name, row)));
    let mut found: HashSet<&str> = bad.map(|(name, _)| *name).collect();
    loop {
        let before = found.len();
        for (name, rows) in by_name {
            let calls_bad =
                |row: &&FunctionRow<'_>| row.is_source() && names_any(&row.source, &found);
            if !found.contains(name) && rows.iter().any(calls_bad) {
                found.insert(name);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// Whether the server's own function of this name keeps what it is given.
pub(super) fn is_keeper(name: &str) -> bool {
    use FunctionClass::{
        Admin, ExecutesSql, LargeObject, Network, Notify, ReadsFiles, Sequence, Settings, Wal,
    };
    matches!(
        builtin::class(name),
        Some(
            Admin
                | ExecutesSql
                | LargeObject
                | Network
                | Notify
                | ReadsFiles
                | Sequence
                | Settings
                | Wal
        )
    )
}

/// Whether a function may store something by itself.
fn stores(row: &FunctionRow<'_>) -> bool {
    if row.is_source() {
        let cursors = |word: String| matches!(word.as_str(), "declare" | "close");
        return stores_by_words(&row.source)
            || row.selects_into
            || row.language == "sql" && words(&row.source).any(cursors);
    }
    !(matches!(row.language, "c" | "internal") && row.from_extension)
}

pub(super) fn is_risky(name: &str) -> bool {
    use FunctionClass::{ExecutesSql, Network, ReadsFiles, Wal};
    matches!(
        builtin::class(name),
        Some(ExecutesSql | ReadsFiles | Network | Wal)
    )
}

fn is_harmless(row: &FunctionRow<'_>, labelled: &HashSet<Box<str>>) -> bool {
    if row.is_source() {
        return is_harmless_source(&row.source, labelled) && !defines_code(&row.source);
    }
    matches!(row.language, "c" | "internal") && row.from_extension
}
