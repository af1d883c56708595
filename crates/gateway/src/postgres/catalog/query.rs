//! The statements that read a catalog, and the shape of what they return.
//!
//! Every name, operator and cast is qualified: the session's `search_path` may be an attacker's.

use std::borrow::Cow;

use super::source::selects_into;

/// The statements with the numbers of their columns, in the order in which [`Rows`] holds their results.
pub(crate) const QUERIES: [(&str, usize); 7] = [
    (COLUMNS, 11),
    (INHERITS, 2),
    (VIEWS, 3),
    (FUNCTIONS, 6),
    (ATTACHED, 2),
    (COPIES, 5),
    (EQUALITY, 1),
];

/// The same statement with results in ASCII, whatever `client_encoding` is: names in UTF-8, as hex. Not every
/// encoding has every name, and Weir does not read every encoding.
pub(crate) fn in_hex(query: &str, columns: usize) -> String {
    let names: Vec<String> = (1..=columns).map(|number| format!("c{number}")).collect();
    let cells: Vec<String> = names
        .iter()
        .map(|name| format!("pg_catalog.encode(pg_catalog.convert_to(q.{name}, 'UTF8'), 'hex')"))
        .collect();
    let (cells, names) = (cells.join(", "), names.join(", "));
    format!("SELECT {cells} FROM ({query}) AS q({names})")
}

/// What the indexes say is not looked up for each column of the server's own tables: of those it may be any.
const COLUMNS: &str = "SELECT c.oid::pg_catalog.int8::pg_catalog.text, n.nspname::pg_catalog.text, \
    c.relname::pg_catalog.text, a.attnum::pg_catalog.text, a.attname::pg_catalog.text, \
    a.attnotnull::pg_catalog.text, \
    CASE WHEN NOT (t.typname OPERATOR(pg_catalog.=) ANY (SELECT o.typname FROM pg_catalog.pg_type o \
    WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid)) THEN t.typname::pg_catalog.text END, \
    (c.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary \
    AND a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[])))::pg_catalog.text, \
    (c.oid OPERATOR(pg_catalog.<) 16384::pg_catalog.oid OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid \
    AND (i.indisunique OR i.indisexclusion) AND (i.indexprs IS NOT NULL \
    OR a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[]))))::pg_catalog.text, \
    (a.atthasdef OR a.attidentity OPERATOR(pg_catalog.<>) '')::pg_catalog.text, \
    (c.relkind OPERATOR(pg_catalog.<>) 'v' AND c.relkind OPERATOR(pg_catalog.<>) 'c')::pg_catalog.text \
    FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
    AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
    LEFT JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid \
    WHERE (c.relkind OPERATOR(pg_catalog.=) 'r' OR c.relkind OPERATOR(pg_catalog.=) 'p' \
    OR c.relkind OPERATOR(pg_catalog.=) 'v' OR c.relkind OPERATOR(pg_catalog.=) 'm' \
    OR c.relkind OPERATOR(pg_catalog.=) 'f' OR c.relkind OPERATOR(pg_catalog.=) 'S' \
    OR c.relkind OPERATOR(pg_catalog.=) 'c') \
    AND NOT pg_catalog.pg_is_other_temp_schema(c.relnamespace) \
    ORDER BY c.oid, a.attnum";

const INHERITS: &str = "SELECT i.inhrelid::pg_catalog.int8::pg_catalog.text, \
    i.inhparent::pg_catalog.int8::pg_catalog.text FROM pg_catalog.pg_inherits i";

const VIEWS: &str = "SELECT c.oid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_viewdef(c.oid), (c.relkind OPERATOR(pg_catalog.=) 'm')::pg_catalog.text \
    FROM pg_catalog.pg_class c \
    WHERE (c.relkind OPERATOR(pg_catalog.=) 'v' OR c.relkind OPERATOR(pg_catalog.=) 'm') \
    AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND NOT pg_catalog.pg_is_other_temp_schema(c.relnamespace)";

const FUNCTIONS: &str = "SELECT p.proname::pg_catalog.text, l.lanname::pg_catalog.text, \
    CASE WHEN p.prokind OPERATOR(pg_catalog.<>) 'a' AND (l.lanname OPERATOR(pg_catalog.=) 'sql' \
    OR l.lanname OPERATOR(pg_catalog.=) 'plpgsql') THEN pg_catalog.pg_get_functiondef(p.oid) END, \
    (EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid OPERATOR(pg_catalog.=) p.oid \
    AND d.classid OPERATOR(pg_catalog.=) 1255::pg_catalog.oid \
    AND d.deptype OPERATOR(pg_catalog.=) 'e'))::pg_catalog.text, \
    (p.pronamespace OPERATOR(pg_catalog.=) 11::pg_catalog.oid)::pg_catalog.text, \
    (p.pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())::pg_catalog.text \
    FROM pg_catalog.pg_proc p \
    JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
    WHERE p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND NOT pg_catalog.pg_is_other_temp_schema(p.pronamespace)";

/// Code that runs without being called: behind operators, casts, ranges and domains (relation 0), and
/// on the rows of a relation by its triggers, rules, policies, checks, indexes, keys of partitions, defaults
/// and generated columns.
const ATTACHED: &str = "SELECT '0', pg_catalog.quote_ident(p.proname::pg_catalog.text) FROM pg_catalog.pg_operator o \
    JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode::pg_catalog.oid \
    WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT '0', pg_catalog.quote_ident(p.proname::pg_catalog.text) \
    FROM pg_catalog.pg_cast k \
    JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) k.castfunc \
    WHERE k.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT '0', pg_catalog.quote_ident(p.proname::pg_catalog.text) \
    FROM pg_catalog.pg_range r JOIN pg_catalog.pg_proc p \
    ON p.oid OPERATOR(pg_catalog.=) r.rngsubdiff::pg_catalog.oid \
    OR p.oid OPERATOR(pg_catalog.=) r.rngcanonical::pg_catalog.oid \
    WHERE r.rngtypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT '0', t.typdefault FROM pg_catalog.pg_type t \
    WHERE t.typdefault IS NOT NULL AND t.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT k.conrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k \
    WHERE k.contype OPERATOR(pg_catalog.=) 'c' \
    AND k.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT t.tgrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_triggerdef(t.oid) FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal \
    UNION ALL SELECT w.ev_class::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_ruledef(w.oid) FROM pg_catalog.pg_rewrite w \
    WHERE w.rulename OPERATOR(pg_catalog.<>) '_RETURN'::pg_catalog.name \
    AND w.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT y.polrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.concat(pg_catalog.pg_get_expr(y.polqual, y.polrelid), ' ', \
    pg_catalog.pg_get_expr(y.polwithcheck, y.polrelid)) FROM pg_catalog.pg_policy y \
    UNION ALL SELECT i.indrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i \
    WHERE (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) \
    AND i.indexrelid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    UNION ALL SELECT q.partrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_partkeydef(q.partrelid) FROM pg_catalog.pg_partitioned_table q \
    UNION ALL SELECT a.attrelid::pg_catalog.int8::pg_catalog.text, \
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
    JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid \
    AND a.attnum OPERATOR(pg_catalog.=) d.adnum \
    WHERE d.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid";

/// Columns that the server itself fills from others: those of foreign keys, with the column that they
/// refer to, and generated ones, with their expression.
const COPIES: &str = "SELECT k.conrelid::pg_catalog.int8::pg_catalog.text, \
    u.child::pg_catalog.text, k.confrelid::pg_catalog.int8::pg_catalog.text, \
    u.parent::pg_catalog.text, NULL::pg_catalog.text FROM pg_catalog.pg_constraint k, \
    ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS u(child, parent) \
    WHERE k.contype OPERATOR(pg_catalog.=) 'f' \
    UNION ALL SELECT a.attrelid::pg_catalog.int8::pg_catalog.text, a.attnum::pg_catalog.text, \
    '0', '0', pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d \
    JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid \
    AND a.attnum OPERATOR(pg_catalog.=) d.adnum \
    WHERE a.attgenerated OPERATOR(pg_catalog.<>) ''";

/// Operators `=` and `<>` that neither the server nor an extension has.
const EQUALITY: &str = "SELECT o.oprname::pg_catalog.text FROM pg_catalog.pg_operator o \
    WHERE o.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
    AND (o.oprname OPERATOR(pg_catalog.=) '=' OR o.oprname OPERATOR(pg_catalog.=) '<>') \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid OPERATOR(pg_catalog.=) o.oid \
    AND d.classid OPERATOR(pg_catalog.=) 2617::pg_catalog.oid \
    AND d.deptype OPERATOR(pg_catalog.=) 'e')";

/// The server's own tables that the statements look at, each with the column that says whose a row is: a schema,
/// a relation (of `pg_class`, where that is not the row itself), or nothing.
const LOOKED_AT: [(&str, Whose); 18] = [
    ("namespace", Whose::Schema("oid")),
    ("class", Whose::Schema("relnamespace")),
    ("proc", Whose::Schema("pronamespace")),
    ("operator", Whose::Schema("oprnamespace")),
    ("type", Whose::Schema("typnamespace")),
    ("constraint", Whose::Schema("connamespace")),
    ("attribute", Whose::Relation("attrelid")),
    ("attrdef", Whose::Relation("adrelid")),
    ("inherits", Whose::Relation("inhrelid")),
    ("rewrite", Whose::Relation("ev_class")),
    ("trigger", Whose::Relation("tgrelid")),
    ("policy", Whose::Relation("polrelid")),
    ("index", Whose::Relation("indrelid")),
    ("partitioned_table", Whose::Relation("partrelid")),
    ("language", Whose::Nobody),
    ("cast", Whose::Nobody),
    ("range", Whose::Nobody),
    ("depend", Whose::Extension),
];

/// How it is known whose a row of the server's own tables is.
enum Whose {
    Schema(&'static str),
    Relation(&'static str),
    Nobody,
    /// Only rows that say what an extension owns are looked at.
    Extension,
}

/// Asks for one value that differs as soon as a row differs that the other statements look at, but for what
/// other sessions have made for themselves alone. It locks nothing but the server's own tables: no open
/// transaction is in its way.
pub(crate) fn stamp() -> String {
    let versions = LOOKED_AT.iter().map(|(table, whose)| {
        let rest = match whose {
            Whose::Schema(column) => {
                format!("WHERE NOT pg_catalog.pg_is_other_temp_schema(x.{column})")
            }
            Whose::Relation(column) => format!(
                "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) x.{column} \
                 WHERE NOT pg_catalog.pg_is_other_temp_schema(c.relnamespace)"
            ),
            Whose::Nobody => String::new(),
            Whose::Extension => "WHERE x.deptype OPERATOR(pg_catalog.=) 'e'".to_owned(),
        };
        format!(
            "SELECT pg_catalog.concat('{table}', x.ctid, x.xmin) AS version \
             FROM pg_catalog.pg_{table} x {rest}"
        )
    });
    let versions = versions.collect::<Vec<_>>().join(" UNION ALL ");
    format!(
        "SELECT pg_catalog.sum(pg_catalog.hashtextextended(s.version, 0::pg_catalog.int8)\
         ::pg_catalog.numeric)::pg_catalog.text FROM ({versions}) s"
    )
}

/// Rows of text cells.
pub(crate) type Table = Vec<Vec<Option<Box<str>>>>;

/// What the queries returned, in order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// One table for each of [`QUERIES`].
    pub(crate) tables: Vec<Table>,
}

/// What stands for a language where there is none: no language has capitals in its name unless it is quoted.
const VIEW: &str = "VIEW";

/// One column of one relation, or a relation that has none.
pub(super) struct ColumnRow<'a> {
    pub(super) oid: u32,
    pub(super) schema: &'a str,
    pub(super) relation: &'a str,
    /// Its number, `None` for a relation without columns.
    pub(super) attribute: Option<i16>,
    pub(super) name: &'a str,
    pub(super) not_null: bool,
    /// The name of its type, if no type of the database has that name; else empty.
    pub(super) own_type: &'a str,
    /// Whether it belongs to the primary key.
    pub(super) in_primary: bool,
    /// Whether no two rows may have the same in it, or may not together with others.
    pub(super) is_unique: bool,
    /// Whether the server fills it where an insert does not name it.
    pub(super) has_default: bool,
    /// Whether its relation has system columns.
    pub(super) beside_system: bool,
}

/// One view.
pub(super) struct ViewRow<'a> {
    pub(super) oid: u32,
    pub(super) text: &'a str,
    /// Whether its rows are stored.
    pub(super) is_stored: bool,
}

/// Where the server fills one column from.
pub(super) enum Source<'a> {
    /// The column that a foreign key refers to.
    Column(u32, i16),
    /// Columns of the same relation, by an expression.
    Expression(&'a str),
}

/// A column that the server fills from others.
pub(super) struct CopyRow<'a> {
    pub(super) oid: u32,
    pub(super) attribute: i16,
    pub(super) from: Source<'a>,
}

/// One function that is not part of the server.
pub(super) struct FunctionRow<'a> {
    pub(super) name: &'a str,
    pub(super) language: &'a str,
    /// Its body, and what of its head may run or matter: arguments with their defaults, settings.
    pub(super) source: Cow<'a, str>,
    /// Whether it is in SQL and may make relations by `SELECT … INTO`.
    pub(super) selects_into: bool,
    pub(super) from_extension: bool,
    /// Whether it lies in `pg_catalog`, among those of the server.
    pub(super) among_own: bool,
}

impl<'a> FunctionRow<'a> {
    /// A view, which a source calls by naming it.
    pub(super) fn view(name: &'a str, text: &'a str) -> Self {
        Self {
            name,
            language: VIEW,
            source: text.into(),
            selects_into: false,
            from_extension: false,
            among_own: false,
        }
    }

    /// Whether it is a view: it does nothing but what the functions do that it calls.
    pub(super) fn is_view(&self) -> bool {
        self.language == VIEW
    }

    /// Whether `source` is a text that says what the function does.
    pub(super) fn is_source(&self) -> bool {
        matches!(self.language, "sql" | "plpgsql" | VIEW) && !self.source.is_empty()
    }
}

impl Rows {
    /// What [`in_hex`] has brought, as it would have come without.
    pub(crate) fn out_of_hex(self) -> Result<Self, String> {
        let read = |cell: Box<str>| -> Result<Box<str>, String> {
            let bytes = hex(&cell).ok_or_else(|| malformed("names"))?;
            Ok(String::from_utf8_lossy(&bytes).into())
        };
        let row = |row: Vec<Option<Box<str>>>| {
            let cells = row.into_iter().map(|cell| cell.map(read).transpose());
            cells.collect::<Result<Vec<_>, String>>()
        };
        let table = |table: Table| table.into_iter().map(row).collect::<Result<Table, _>>();
        let tables = self.tables.into_iter().map(table).collect::<Result<_, _>>();
        Ok(Self { tables: tables? })
    }

    fn table(&self, index: usize) -> Result<&Table, String> {
        self.tables
            .get(index)
            .ok_or_else(|| "the catalog query returned too little".to_owned())
    }

    pub(super) fn columns(&self) -> Result<Vec<ColumnRow<'_>>, String> {
        let read = |row: &'_ Vec<Option<Box<str>>>| match row.as_slice() {
            [Some(oid), Some(_), Some(_), Some(attribute), Some(_), ..] => {
                Some((oid.parse().ok()?, Some(attribute.parse().ok()?)))
            }
            [Some(oid), Some(_), Some(_), None, None, ..] => Some((oid.parse().ok()?, None)),
            _ => None,
        };
        let mut found = Vec::new();
        for row in self.table(0)? {
            let (oid, attribute) = read(row).ok_or_else(|| malformed("columns"))?;
            found.push(ColumnRow {
                oid,
                schema: cell(row, 1),
                relation: cell(row, 2),
                attribute,
                name: cell(row, 4),
                not_null: cell(row, 5) == "true",
                own_type: cell(row, 6),
                in_primary: cell(row, 7) == "true",
                is_unique: cell(row, 8) == "true",
                has_default: cell(row, 9) == "true",
                beside_system: cell(row, 10) == "true",
            });
        }
        Ok(found)
    }

    pub(super) fn inherits(&self) -> Result<Vec<(u32, u32)>, String> {
        let read = |row: &Vec<Option<Box<str>>>| {
            Some((cell(row, 0).parse().ok()?, cell(row, 1).parse().ok()?))
        };
        let rows = self.table(1)?.iter();
        rows.map(|row| read(row).ok_or_else(|| malformed("inheritance")))
            .collect()
    }

    pub(super) fn views(&self) -> Result<Vec<ViewRow<'_>>, String> {
        let rows = self.table(2)?.iter();
        rows.map(|row| match cell(row, 0).parse() {
            Ok(oid) => Ok(ViewRow {
                oid,
                text: cell(row, 1),
                is_stored: cell(row, 2) == "true",
            }),
            Err(_) => Err(malformed("views")),
        })
        .collect()
    }

    /// Code and the relation on whose rows it runs, 0 where it is not bound to one.
    pub(super) fn attached(&self) -> Result<Vec<(u32, &str)>, String> {
        let rows = self.table(4)?.iter();
        rows.map(|row| match cell(row, 0).parse() {
            Ok(oid) => Ok((oid, cell(row, 1))),
            Err(_) => Err(malformed("attached code")),
        })
        .collect()
    }

    pub(super) fn copies(&self) -> Result<Vec<CopyRow<'_>>, String> {
        let read = |row: &'_ Vec<Option<Box<str>>>| {
            let column = |at| Some((cell(row, at).parse().ok()?, cell(row, at + 1).parse().ok()?));
            let (oid, attribute) = column(0)?;
            let (parent, number) = column(2)?;
            Some((oid, attribute, parent, number))
        };
        let rows = self.table(5)?.iter();
        rows.map(|row| {
            let (oid, attribute, parent, number) = read(row).ok_or_else(|| malformed("keys"))?;
            let from = match row.get(4).and_then(Option::as_deref) {
                Some(expression) => Source::Expression(expression),
                None => Source::Column(parent, number),
            };
            Ok(CopyRow {
                oid,
                attribute,
                from,
            })
        })
        .collect()
    }

    /// Whether there are operators that only look like equality.
    pub(super) fn have_equality(&self) -> bool {
        self.tables.get(6).is_some_and(|rows| !rows.is_empty())
    }

    /// Whether some function goes with the session.
    pub(super) fn have_temporary_functions(&self) -> Result<bool, String> {
        Ok(self.table(3)?.iter().any(|row| cell(row, 5) == "true"))
    }

    pub(super) fn functions(&self) -> Result<Vec<FunctionRow<'_>>, String> {
        let rows = self.table(3)?.iter();
        Ok(rows
            .map(|row| FunctionRow {
                name: cell(row, 0),
                language: cell(row, 1),
                source: without_head(cell(row, 2)),
                selects_into: cell(row, 1) == "sql" && body(cell(row, 2)).is_some_and(selects_into),
                from_extension: cell(row, 3) == "true",
                among_own: cell(row, 4) == "true",
            })
            .collect())
    }
}

fn cell(row: &[Option<Box<str>>], index: usize) -> &str {
    row.get(index)
        .and_then(|cell| cell.as_deref())
        .unwrap_or("")
}

/// What `pg_get_functiondef` says, without the words that it says of every function, its own name, what it
/// returns, and the quotes around its body: none of them is what the function does.
fn without_head(definition: &str) -> Cow<'_, str> {
    let named = definition
        .strip_prefix("CREATE OR REPLACE ")
        .and_then(|rest| rest.split_once('('));
    let Some((_, rest)) = named else {
        return definition.into();
    };
    let bare = ["\n RETURNS ", "\n LANGUAGE "]
        .iter()
        .fold(Cow::Borrowed(rest), |text, line| without_line(text, line));
    without_quotes(&bare).map_or(bare, Cow::Owned)
}

/// The same where the body stands in dollar quotes, without those: a word beside one must not seem a part of it.
fn without_quotes(text: &str) -> Option<String> {
    let (head, body) = parts(text)?;
    Some(format!("{head}\n{body}\n"))
}

/// What stands in dollar quotes at the end of a definition.
fn body(definition: &str) -> Option<&str> {
    Some(parts(definition)?.1)
}

fn parts(definition: &str) -> Option<(&str, &str)> {
    let (rest, tag) = definition.trim_end().strip_suffix('$')?.rsplit_once('$')?;
    rest.split_once(&format!("\nAS ${tag}$"))
}

/// Takes the first line that begins so away. Behind a quote it may be a part of an expression, and stays.
fn without_line<'a>(text: Cow<'a, str>, begin: &str) -> Cow<'a, str> {
    let Some((before, rest)) = text.split_once(begin) else {
        return text;
    };
    if before.contains(['\'', '"', '$']) {
        return text;
    }
    let behind = rest.find('\n').and_then(|end| rest.get(end..));
    format!("{before}{}", behind.unwrap_or_default()).into()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len()
        .is_multiple_of(2)
        .then(|| pairs.map(byte).collect())?
}

fn malformed(what: &str) -> String {
    format!("the catalog's {what} do not have the expected shape")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_hex_is_what_it_was() {
        let row = |cells: &[Option<&str>]| -> Vec<Option<Box<str>>> {
            cells.iter().map(|cell| cell.map(Into::into)).collect()
        };
        let rows = |cells: &[Option<&str>]| Rows {
            tables: vec![vec![row(cells)]],
        };
        let read = rows(&[Some("6772c3b6c39f65"), None, Some("")])
            .out_of_hex()
            .unwrap();
        assert_eq!(read.tables, [[row(&[Some("größe"), None, Some("")])]]);
        for bad in ["6", "6x", "größe"] {
            assert!(rows(&[Some(bad)]).out_of_hex().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_statement_is_put_into_hex_whole() {
        assert_eq!(
            in_hex("SELECT a, b FROM t", 2),
            "SELECT pg_catalog.encode(pg_catalog.convert_to(q.c1, 'UTF8'), 'hex'), \
             pg_catalog.encode(pg_catalog.convert_to(q.c2, 'UTF8'), 'hex') \
             FROM (SELECT a, b FROM t) AS q(c1, c2)"
        );
    }
}
