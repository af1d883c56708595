//! Statements that create, change and drop objects, and everything that remains.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterDomainStmt, AlterFunctionStmt, AlterTableCmd, AlterTableType, CreateFunctionStmt,
    CreateSchemaStmt, DropStmt, Node, ObjectType, RenameStmt, RuleStmt,
};

use super::elements;
use super::tags::{alter_tag, drop_tag};
use crate::build::expr::{compares_as_usual, plain_type};
use crate::build::inventory::Inventory;
use crate::build::settings::literal;
use crate::build::{Builder, is_temporary, text, texts};
use crate::ir::Root;
use crate::{Access, Code, DefinitionColumn, Effect, Rename, SettingTarget};

impl Builder {
    /// Statements that change the catalog, grants, and whatever is left.
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of statement")]
    pub(super) fn definition(&mut self, node: &NodeEnum) -> Root {
        use Effect::{Alter, Create, Drop, Foreign, Grant, Role, Routine, System};
        self.statement.changes_schema = true;
        match node {
            NodeEnum::CreateStmt(create) => self.defined(create.relation.as_ref()),
            NodeEnum::CreateForeignTableStmt(create) => {
                let base = create.base_stmt.as_ref();
                self.defined(base.and_then(|base| base.relation.as_ref()));
            }
            NodeEnum::AlterTableStmt(alter) => {
                self.defined(alter.relation.as_ref());
                self.alterations(&alter.cmds);
            }
            NodeEnum::IndexStmt(index) => self.defined(index.relation.as_ref()),
            NodeEnum::CreateSeqStmt(create) => self.defined(create.sequence.as_ref()),
            NodeEnum::AlterSeqStmt(alter) => self.defined(alter.sequence.as_ref()),
            NodeEnum::CompositeTypeStmt(create) => self.defined(create.typevar.as_ref()),
            NodeEnum::CreatePolicyStmt(create) => self.defined(create.table.as_ref()),
            NodeEnum::AlterPolicyStmt(alter) => self.defined(alter.table.as_ref()),
            NodeEnum::CreateTrigStmt(create) => self.defined(create.relation.as_ref()),
            NodeEnum::RuleStmt(rule) => self.defined(rule.relation.as_ref()),
            NodeEnum::RenameStmt(rename) => self.defined(rename.relation.as_ref()),
            NodeEnum::AlterObjectSchemaStmt(alter) => self.defined(alter.relation.as_ref()),
            NodeEnum::AlterOwnerStmt(alter) => self.defined(alter.relation.as_ref()),
            NodeEnum::AlterObjectDependsStmt(alter) => self.defined(alter.relation.as_ref()),
            NodeEnum::GrantStmt(grant) => self.targets_of(&grant.objects, Access::Write),
            NodeEnum::DropStmt(drop) => self.dropped(drop),
            NodeEnum::CommentStmt(comment) => {
                self.object(comment.objtype, comment.object.as_deref())
            }
            NodeEnum::SecLabelStmt(label) => self.object(label.objtype, label.object.as_deref()),
            _ => {}
        }
        match node {
            NodeEnum::CreateStmt(create) => {
                self.statement.adopts = !create.inh_relations.is_empty();
                // What a key of partitions is made of may come from the parent.
                let key = create.partspec.iter().flat_map(|key| &key.part_params);
                self.statement.columns.extend(key.filter_map(plain_key));
                self.statement.unless_exists = create.if_not_exists;
                self.statement.temporary = is_temporary(create.relation.as_ref());
                self.does("CREATE TABLE", &[Create]);
            }
            NodeEnum::CreateForeignTableStmt(_) => {
                self.does("CREATE FOREIGN TABLE", &[Create, Foreign]);
            }
            NodeEnum::CreateSchemaStmt(create) => return self.schema(create),
            NodeEnum::AlterTableStmt(alter) => {
                let kind = alter.objtype;
                self.does(alter_tag(kind), &[Alter]);
                self.kind_effect(kind);
                for command in &alter.cmds {
                    self.command_effect(command);
                }
            }
            NodeEnum::IndexStmt(index) => {
                self.sorts(&index.index_params, &index.index_including_params);
                self.does("CREATE INDEX", &[Create]);
            }
            NodeEnum::CreateSeqStmt(_) => self.does("CREATE SEQUENCE", &[Create]),
            NodeEnum::AlterSeqStmt(_) => self.does("ALTER SEQUENCE", &[Alter]),
            NodeEnum::CreateStatsStmt(_) => self.does("CREATE STATISTICS", &[Create]),
            NodeEnum::AlterStatsStmt(_) => self.does("ALTER STATISTICS", &[Alter]),
            NodeEnum::CompositeTypeStmt(_) | NodeEnum::CreateEnumStmt(_) => {
                self.does("CREATE TYPE", &[Create]);
            }
            NodeEnum::CreateRangeStmt(create) => {
                self.does("CREATE TYPE", &[Create]);
                self.functions_of(&create.params);
            }
            NodeEnum::AlterEnumStmt(_) | NodeEnum::AlterTypeStmt(_) => {
                self.does("ALTER TYPE", &[Alter]);
            }
            NodeEnum::CreateDomainStmt(_) => self.does("CREATE DOMAIN", &[Create]),
            NodeEnum::AlterDomainStmt(alter) => {
                self.does("ALTER DOMAIN", &[Alter]);
                if checks_rows(alter) {
                    self.opaque("a constraint of a domain reads every column of that type");
                }
            }
            NodeEnum::CreatePolicyStmt(_) => self.does("CREATE POLICY", &[Create]),
            NodeEnum::AlterPolicyStmt(_) => self.does("ALTER POLICY", &[Alter]),
            NodeEnum::AlterCollationStmt(_) => self.does("ALTER COLLATION", &[Alter]),
            NodeEnum::AlterTsdictionaryStmt(_) => {
                self.does("ALTER TEXT SEARCH DICTIONARY", &[Alter]);
            }
            NodeEnum::AlterTsconfigurationStmt(_) => {
                self.does("ALTER TEXT SEARCH CONFIGURATION", &[Alter]);
            }
            NodeEnum::DropStmt(drop) => {
                self.does(drop_tag(drop.remove_type), &[Drop]);
                self.kind_effect(drop.remove_type);
            }
            NodeEnum::RenameStmt(rename) => {
                self.does(alter_tag(rename.rename_type), &[Alter]);
                self.kind_effect(rename.rename_type);
                if self.statement.effects.contains(Routine) {
                    self.statement.defines = Some(rename.newname.clone());
                }
                self.renamed(rename);
            }
            NodeEnum::AlterObjectSchemaStmt(alter) => {
                self.does(alter_tag(alter.object_type), &[Alter]);
                self.kind_effect(alter.object_type);
                let moved = alter.relation.as_ref().map(|relation| Rename {
                    column: None,
                    to: relation.relname.clone(),
                });
                self.statement.renames = self.statement.renames.take().or(moved);
            }
            NodeEnum::AlterOwnerStmt(alter) => {
                self.does(alter_tag(alter.object_type), &[Alter, Grant]);
                self.kind_effect(alter.object_type);
            }
            NodeEnum::AlterObjectDependsStmt(alter) => {
                self.does(alter_tag(alter.object_type), &[Alter]);
                self.kind_effect(alter.object_type);
            }
            NodeEnum::CommentStmt(_) => self.does("COMMENT", &[Alter]),
            NodeEnum::SecLabelStmt(_) => self.does("SECURITY LABEL", &[Alter]),
            NodeEnum::GrantStmt(grant) => {
                self.does(if grant.is_grant { "GRANT" } else { "REVOKE" }, &[Grant]);
            }
            NodeEnum::GrantRoleStmt(grant) => {
                let tag = if grant.is_grant {
                    "GRANT ROLE"
                } else {
                    "REVOKE ROLE"
                };
                self.does(tag, &[Grant, Role]);
            }
            NodeEnum::AlterDefaultPrivilegesStmt(_) => {
                self.does("ALTER DEFAULT PRIVILEGES", &[Grant]);
            }
            NodeEnum::CreateRoleStmt(_) => self.does("CREATE ROLE", &[Role]),
            NodeEnum::AlterRoleStmt(_) => self.does("ALTER ROLE", &[Role]),
            NodeEnum::AlterRoleSetStmt(alter) => {
                self.does("ALTER ROLE", &[Role]);
                if let Some(set) = alter.setstmt.as_ref() {
                    self.variable_set(set, SettingTarget::RoleOrDatabase);
                }
            }
            NodeEnum::DropRoleStmt(_) => self.does("DROP ROLE", &[Role]),
            NodeEnum::ReassignOwnedStmt(_) => self.does("REASSIGN OWNED", &[Role]),
            NodeEnum::DropOwnedStmt(_) => self.does("DROP OWNED", &[Role, Drop, Grant]),
            NodeEnum::CreatedbStmt(_) => self.does("CREATE DATABASE", &[System]),
            NodeEnum::DropdbStmt(_) => self.does("DROP DATABASE", &[System, Drop]),
            NodeEnum::AlterDatabaseStmt(_) | NodeEnum::AlterDatabaseRefreshCollStmt(_) => {
                self.does("ALTER DATABASE", &[System]);
            }
            NodeEnum::AlterDatabaseSetStmt(alter) => {
                self.does("ALTER DATABASE", &[System]);
                if let Some(set) = alter.setstmt.as_ref() {
                    self.variable_set(set, SettingTarget::RoleOrDatabase);
                }
            }
            NodeEnum::AlterSystemStmt(alter) => {
                self.does("ALTER SYSTEM", &[System]);
                if let Some(set) = alter.setstmt.as_ref() {
                    self.variable_set(set, SettingTarget::System);
                }
            }
            NodeEnum::CreateTableSpaceStmt(_) => self.does("CREATE TABLESPACE", &[System]),
            NodeEnum::DropTableSpaceStmt(_) => self.does("DROP TABLESPACE", &[System, Drop]),
            NodeEnum::AlterTableSpaceOptionsStmt(_) => self.does("ALTER TABLESPACE", &[System]),
            NodeEnum::AlterTableMoveAllStmt(_) => self.does("ALTER TABLE", &[System, Alter]),
            NodeEnum::LoadStmt(_) => self.does("LOAD", &[System]),
            NodeEnum::CreateExtensionStmt(_) => self.does("CREATE EXTENSION", &[System, Create]),
            NodeEnum::AlterExtensionStmt(_) | NodeEnum::AlterExtensionContentsStmt(_) => {
                self.does("ALTER EXTENSION", &[System, Alter]);
            }
            NodeEnum::CreatePlangStmt(_) => {
                self.does("CREATE LANGUAGE", &[System, Routine, Create]);
            }
            NodeEnum::CreateAmStmt(_) => {
                self.does("CREATE ACCESS METHOD", &[System, Routine, Create]);
            }
            NodeEnum::CreateFdwStmt(_) => {
                self.does("CREATE FOREIGN DATA WRAPPER", &[Foreign, Create]);
            }
            NodeEnum::AlterFdwStmt(_) => self.does("ALTER FOREIGN DATA WRAPPER", &[Foreign, Alter]),
            NodeEnum::CreateForeignServerStmt(_) => self.does("CREATE SERVER", &[Foreign, Create]),
            NodeEnum::AlterForeignServerStmt(_) => self.does("ALTER SERVER", &[Foreign, Alter]),
            NodeEnum::CreateUserMappingStmt(_) => {
                self.does("CREATE USER MAPPING", &[Foreign, Create]);
            }
            NodeEnum::AlterUserMappingStmt(_) => self.does("ALTER USER MAPPING", &[Foreign, Alter]),
            NodeEnum::DropUserMappingStmt(_) => self.does("DROP USER MAPPING", &[Foreign, Drop]),
            NodeEnum::ImportForeignSchemaStmt(_) => {
                self.does("IMPORT FOREIGN SCHEMA", &[Foreign, Create]);
            }
            NodeEnum::CreatePublicationStmt(_) => {
                self.does("CREATE PUBLICATION", &[Foreign, Create]);
            }
            NodeEnum::AlterPublicationStmt(_) => self.does("ALTER PUBLICATION", &[Foreign, Alter]),
            NodeEnum::CreateSubscriptionStmt(_) => {
                self.does("CREATE SUBSCRIPTION", &[Foreign, Create]);
            }
            NodeEnum::AlterSubscriptionStmt(_) => {
                self.does("ALTER SUBSCRIPTION", &[Foreign, Alter]);
            }
            NodeEnum::DropSubscriptionStmt(_) => self.does("DROP SUBSCRIPTION", &[Foreign, Drop]),
            NodeEnum::CreateFunctionStmt(create) => self.routine(create),
            NodeEnum::AlterFunctionStmt(alter) => self.alter_routine(alter),
            NodeEnum::CreateTrigStmt(create) => {
                self.does("CREATE TRIGGER", &[Routine, Create]);
                self.function(&create.funcname);
                // The server's own that copies columns has their names as its arguments.
                let copies = |name: &str| name.starts_with("tsvector_update_trigger");
                if create.funcname.last().and_then(text).is_some_and(copies) {
                    let arguments = texts(&create.args).into_iter();
                    let named = arguments.map(|name| DefinitionColumn {
                        name,
                        into: None,
                        altered: false,
                    });
                    self.statement.columns.extend(named);
                }
            }
            NodeEnum::CreateEventTrigStmt(create) => {
                self.does("CREATE EVENT TRIGGER", &[Routine, Create]);
                self.function(&create.funcname);
            }
            NodeEnum::AlterEventTrigStmt(_) => self.does("ALTER EVENT TRIGGER", &[Routine, Alter]),
            NodeEnum::RuleStmt(rule) => self.rule(rule),
            NodeEnum::DefineStmt(define) => {
                let tag = super::tags::create_tag(define.kind);
                self.does(tag, &[Create]);
                self.kind_effect(define.kind);
                self.functions_of(&define.definition);
            }
            NodeEnum::AlterOperatorStmt(_) => self.does("ALTER OPERATOR", &[Routine, Alter]),
            NodeEnum::CreateOpClassStmt(_) => {
                self.does("CREATE OPERATOR CLASS", &[Routine, Create]);
            }
            NodeEnum::CreateOpFamilyStmt(_) => {
                self.does("CREATE OPERATOR FAMILY", &[Routine, Create]);
            }
            NodeEnum::AlterOpFamilyStmt(_) => self.does("ALTER OPERATOR FAMILY", &[Routine, Alter]),
            NodeEnum::CreateConversionStmt(_) => self.does("CREATE CONVERSION", &[Routine, Create]),
            NodeEnum::CreateCastStmt(create) => {
                self.does("CREATE CAST", &[Routine, Create]);
                if let Some(function) = create.func.as_ref() {
                    self.function(&function.objname);
                }
            }
            NodeEnum::CreateTransformStmt(_) => self.does("CREATE TRANSFORM", &[Routine, Create]),
            _ => {
                self.opaque("unknown kind of statement");
                return Root::Unknown;
            }
        }
        Root::Nothing
    }

    /// Lists the functions that options name, which the grammar takes for types.
    fn functions_of(&mut self, options: &[Node]) {
        for option in elements(options) {
            if let Some(NodeEnum::TypeName(name)) =
                option.arg.as_deref().and_then(|arg| arg.node.as_ref())
            {
                self.function(&name.names);
            }
        }
    }

    fn does(&mut self, tag: &'static str, effects: &[Effect]) {
        self.tag(tag);
        for effect in effects {
            self.effect(*effect);
        }
    }

    fn defined(&mut self, range: Option<&pg_query::protobuf::RangeVar>) {
        if let Some(range) = range {
            self.relation(range, Access::Write);
        }
    }

    /// Lists what the commands of `ALTER TABLE` compute columns from.
    fn alterations(&mut self, commands: &[Node]) {
        for command in commands {
            let Some(NodeEnum::AlterTableCmd(command)) = command.node.as_ref() else {
                continue;
            };
            let into = match AlterTableType::try_from(command.subtype) {
                Ok(AlterTableType::AtAlterColumnType) => {
                    let told = converts(command).then_some(None);
                    // The new type's own rules, or what it is computed by, may tell the old value.
                    self.statement
                        .columns
                        .extend(told.map(|into| DefinitionColumn {
                            name: command.name.clone(),
                            into,
                            altered: false,
                        }));
                    Some(command.name.clone())
                }
                Ok(AlterTableType::AtSetExpression) => Some(command.name.clone()),
                Ok(AlterTableType::AtAddColumn) => match command.def.as_deref() {
                    Some(Node {
                        node: Some(NodeEnum::ColumnDef(column)),
                    }) => Some(column.colname.clone()),
                    _ => None,
                },
                _ => None,
            };
            let altered = alters(command);
            let named = Inventory::of(&**command).columns;
            self.statement
                .columns
                .extend(named.into_iter().map(|name| DefinitionColumn {
                    name,
                    into: into.clone(),
                    altered,
                }));
        }
    }

    /// What a command on this kind of object is besides a definition.
    fn kind_effect(&mut self, kind: i32) {
        use ObjectType as Kind;
        let effect = match Kind::try_from(kind) {
            Ok(
                Kind::ObjectFunction
                | Kind::ObjectProcedure
                | Kind::ObjectRoutine
                | Kind::ObjectAggregate
                | Kind::ObjectTrigger
                | Kind::ObjectEventTrigger
                | Kind::ObjectRule
                | Kind::ObjectOperator
                | Kind::ObjectOpclass
                | Kind::ObjectOpfamily
                | Kind::ObjectAmop
                | Kind::ObjectAmproc
                | Kind::ObjectCast
                | Kind::ObjectTransform
                | Kind::ObjectConversion
                | Kind::ObjectTsparser
                | Kind::ObjectTstemplate,
            ) => Effect::Routine,
            Ok(Kind::ObjectType) => Effect::Create,
            Ok(
                Kind::ObjectFdw
                | Kind::ObjectForeignServer
                | Kind::ObjectForeignTable
                | Kind::ObjectPublication
                | Kind::ObjectPublicationNamespace
                | Kind::ObjectPublicationRel
                | Kind::ObjectSubscription
                | Kind::ObjectUserMapping,
            ) => Effect::Foreign,
            Ok(Kind::ObjectRole) => Effect::Role,
            Ok(
                Kind::ObjectDatabase
                | Kind::ObjectTablespace
                | Kind::ObjectExtension
                | Kind::ObjectLanguage
                | Kind::ObjectAccessMethod,
            ) => Effect::System,
            Ok(_) => return,
            Err(_) => {
                self.opaque("unknown kind of object");
                return;
            }
        };
        // A type is created by itself; its input functions make it a routine.
        if effect == Effect::Create {
            if self.statement.effects.contains(Effect::Create) {
                self.effect(Effect::Routine);
            }
            return;
        }
        self.effect(effect);
    }

    /// What a command of `ALTER TABLE` is besides a definition.
    fn command_effect(&mut self, command: &Node) {
        use AlterTableType as Kind;
        let Some(NodeEnum::AlterTableCmd(command)) = command.node.as_ref() else {
            return;
        };
        match Kind::try_from(command.subtype) {
            Ok(Kind::AtAddConstraint) => {
                if let Some(NodeEnum::Constraint(added)) =
                    command.def.as_deref().and_then(|def| def.node.as_ref())
                {
                    self.sorts(&added.keys, &added.including);
                }
            }
            Ok(Kind::AtAddInherit | Kind::AtAttachPartition) => self.statement.adopts = true,
            Ok(Kind::AtChangeOwner) => self.effect(Effect::Grant),
            Ok(
                Kind::AtEnableTrig
                | Kind::AtEnableAlwaysTrig
                | Kind::AtEnableReplicaTrig
                | Kind::AtDisableTrig
                | Kind::AtEnableTrigAll
                | Kind::AtDisableTrigAll
                | Kind::AtEnableTrigUser
                | Kind::AtDisableTrigUser
                | Kind::AtEnableRule
                | Kind::AtEnableAlwaysRule
                | Kind::AtEnableReplicaRule
                | Kind::AtDisableRule,
            ) => self.effect(Effect::Routine),
            _ => {}
        }
    }

    /// Lists what an index over these columns puts in their order.
    fn sorts(&mut self, keys: &[Node], including: &[Node]) {
        let name = |node: &Node| match node.node.as_ref()? {
            NodeEnum::IndexElem(element) if !element.name.is_empty() => Some(element.name.clone()),
            _ => text(node).map(str::to_owned),
        };
        let all: Vec<Option<String>> = keys.iter().chain(including).map(name).collect();
        for (at, key) in all.iter().enumerate().take(keys.len()) {
            let behind = all.get(at + 1..).unwrap_or_default();
            if let Some(key) = key.as_ref().filter(|_| !behind.is_empty()) {
                self.statement.sorts.push((key.clone(), behind.to_vec()));
            }
        }
    }

    fn renamed(&mut self, rename: &RenameStmt) {
        use ObjectType as Kind;
        let column = match Kind::try_from(rename.rename_type) {
            Ok(Kind::ObjectColumn | Kind::ObjectAttribute) => Some(rename.subname.clone()),
            Ok(
                Kind::ObjectTable
                | Kind::ObjectView
                | Kind::ObjectMatview
                | Kind::ObjectForeignTable,
            ) => None,
            _ => return,
        };
        self.statement.renames = Some(Rename {
            column,
            to: rename.newname.clone(),
        });
    }

    fn schema(&mut self, create: &CreateSchemaStmt) -> Root {
        for element in &create.schema_elts {
            self.run(element);
        }
        self.does("CREATE SCHEMA", &[Effect::Create]);
        Root::Nothing
    }

    fn dropped(&mut self, drop: &DropStmt) {
        for object in &drop.objects {
            self.object(drop.remove_type, Some(object));
        }
    }

    /// Lists the relation that an object is or belongs to.
    fn object(&mut self, kind: i32, object: Option<&Node>) {
        use ObjectType as Kind;
        let Some(NodeEnum::List(list)) = object.and_then(|object| object.node.as_ref()) else {
            return;
        };
        let mut names = texts(&list.items);
        match Kind::try_from(kind) {
            Ok(
                Kind::ObjectTable
                | Kind::ObjectView
                | Kind::ObjectMatview
                | Kind::ObjectForeignTable
                | Kind::ObjectSequence
                | Kind::ObjectIndex,
            ) => {}
            Ok(
                Kind::ObjectColumn
                | Kind::ObjectTrigger
                | Kind::ObjectRule
                | Kind::ObjectPolicy
                | Kind::ObjectTabconstraint,
            ) => {
                names.pop();
            }
            _ => return,
        }
        if let Some(name) = names.pop() {
            self.named_relation(names.pop(), name, Access::Write);
        }
    }

    fn routine(&mut self, create: &CreateFunctionStmt) {
        let tag = if create.is_procedure {
            "CREATE PROCEDURE"
        } else {
            "CREATE FUNCTION"
        };
        self.does(tag, &[Effect::Routine, Effect::Create]);
        self.statement.defines = texts(&create.funcname).pop();
        let (mut language, mut body) = (None, None);
        for option in elements(&create.options) {
            match (option.defname.as_str(), option.arg.as_deref()) {
                ("language", Some(arg)) => {
                    language = literal(arg).map(|name| name.to_ascii_lowercase());
                }
                (
                    "as",
                    Some(Node {
                        node: Some(NodeEnum::List(list)),
                    }),
                ) => {
                    body = Some(texts(&list.items).join("\n"));
                }
                (
                    "set",
                    Some(Node {
                        node: Some(NodeEnum::VariableSetStmt(set)),
                    }),
                ) => {
                    self.variable_set(set, SettingTarget::Routine);
                }
                _ => {}
            }
        }
        if let Some(text) = body {
            self.statement.code.push(Code {
                language,
                text,
                runs_now: false,
            });
        }
        if let Some(body) = create.sql_body.as_deref() {
            self.contain(body);
        }
    }

    fn alter_routine(&mut self, alter: &AlterFunctionStmt) {
        self.does("ALTER FUNCTION", &[Effect::Routine, Effect::Alter]);
        for action in elements(&alter.actions) {
            if let Some(Node {
                node: Some(NodeEnum::VariableSetStmt(set)),
            }) = action.arg.as_deref()
            {
                self.variable_set(set, SettingTarget::Routine);
            }
        }
    }

    fn rule(&mut self, rule: &RuleStmt) {
        self.does("CREATE RULE", &[Effect::Routine, Effect::Create]);
        for action in &rule.actions {
            self.contain(action);
        }
    }
}

/// Whether a constraint is put on the values that are there already: ADD, VALIDATE, SET NOT NULL.
fn checks_rows(alter: &AlterDomainStmt) -> bool {
    let unchecked = match alter.def.as_deref().and_then(|node| node.node.as_ref()) {
        Some(NodeEnum::Constraint(constraint)) => constraint.skip_validation,
        _ => false,
    };
    matches!(alter.subtype.as_str(), "C" | "V" | "O") && !unchecked
}

/// Whether `ALTER … TYPE` does more than to write the values in another of the server's types.
fn converts(command: &AlterTableCmd) -> bool {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|it| it.node.as_ref())
    else {
        return true;
    };
    let usual = column.type_name.as_ref().is_some_and(compares_as_usual);
    let using = column.raw_default.as_deref();
    !usual || column.coll_clause.is_some() || using.is_some_and(|using| !is_cast(using))
}

/// Whether `USING` gives more than a column in another type, without a length.
fn alters(command: &AlterTableCmd) -> bool {
    let Some(NodeEnum::ColumnDef(column)) = command.def.as_deref().and_then(|it| it.node.as_ref())
    else {
        return false;
    };
    let mut using = column.raw_default.as_deref();
    while let Some(NodeEnum::TypeCast(cast)) = using.and_then(|using| using.node.as_ref()) {
        if cast.type_name.as_ref().and_then(plain_type).is_none() {
            return true;
        }
        using = cast.arg.as_deref();
    }
    let is_column = |node: &Node| matches!(node.node.as_ref(), Some(NodeEnum::ColumnRef(_)));
    using.is_some_and(|using| !is_column(using))
}

/// Whether an expression is a column, or one in another of the server's types.
fn is_cast(expr: &Node) -> bool {
    match expr.node.as_ref() {
        Some(NodeEnum::ColumnRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => {
            cast.type_name.as_ref().is_some_and(compares_as_usual)
                && cast.arg.as_deref().is_some_and(is_cast)
        }
        _ => false,
    }
}

/// The column by which a table is partitioned; expressions are listed as all others are.
fn plain_key(key: &Node) -> Option<DefinitionColumn> {
    match key.node.as_ref() {
        Some(NodeEnum::PartitionElem(key)) if !key.name.is_empty() => Some(DefinitionColumn {
            name: key.name.clone(),
            into: None,
            altered: false,
        }),
        _ => None,
    }
}
