//! Command tags of definitions, by kind of object.

use pg_query::protobuf::ObjectType as Kind;

macro_rules! tags {
    ($name:ident, $verb:literal, $($kind:ident => $noun:literal),* $(,)?) => {
        pub(super) fn $name(kind: i32) -> &'static str {
            match Kind::try_from(kind) {
                $(Ok(Kind::$kind) => concat!($verb, " ", $noun),)*
                _ => $verb,
            }
        }
    };
}

macro_rules! nouns {
    ($($name:ident: $verb:literal),* $(,)?) => {
        $(tags!(
            $name,
            $verb,
            ObjectAccessMethod => "ACCESS METHOD",
            ObjectAggregate => "AGGREGATE",
            ObjectCast => "CAST",
            ObjectColumn => "TABLE",
            ObjectCollation => "COLLATION",
            ObjectConversion => "CONVERSION",
            ObjectDatabase => "DATABASE",
            ObjectDomain => "DOMAIN",
            ObjectDomconstraint => "DOMAIN",
            ObjectEventTrigger => "EVENT TRIGGER",
            ObjectExtension => "EXTENSION",
            ObjectFdw => "FOREIGN DATA WRAPPER",
            ObjectForeignServer => "SERVER",
            ObjectForeignTable => "FOREIGN TABLE",
            ObjectFunction => "FUNCTION",
            ObjectIndex => "INDEX",
            ObjectLanguage => "LANGUAGE",
            ObjectLargeobject => "LARGE OBJECT",
            ObjectMatview => "MATERIALIZED VIEW",
            ObjectOpclass => "OPERATOR CLASS",
            ObjectOperator => "OPERATOR",
            ObjectOpfamily => "OPERATOR FAMILY",
            ObjectPolicy => "POLICY",
            ObjectProcedure => "PROCEDURE",
            ObjectPublication => "PUBLICATION",
            ObjectRole => "ROLE",
            ObjectRoutine => "ROUTINE",
            ObjectRule => "RULE",
            ObjectSchema => "SCHEMA",
            ObjectSequence => "SEQUENCE",
            ObjectSubscription => "SUBSCRIPTION",
            ObjectStatisticExt => "STATISTICS",
            ObjectTabconstraint => "TABLE",
            ObjectTable => "TABLE",
            ObjectAttribute => "TYPE",
            ObjectTablespace => "TABLESPACE",
            ObjectTransform => "TRANSFORM",
            ObjectTrigger => "TRIGGER",
            ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION",
            ObjectTsdictionary => "TEXT SEARCH DICTIONARY",
            ObjectTsparser => "TEXT SEARCH PARSER",
            ObjectTstemplate => "TEXT SEARCH TEMPLATE",
            ObjectType => "TYPE",
            ObjectUserMapping => "USER MAPPING",
            ObjectView => "VIEW",
        );)*
    };
}

nouns!(create_tag: "CREATE", alter_tag: "ALTER", drop_tag: "DROP");
