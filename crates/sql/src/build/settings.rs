//! Changes of settings: SET, RESET, `set_config`.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, VariableSetKind, VariableSetStmt, a_const};

use super::{Builder, text};
use crate::{Effect, SettingChange, SettingTarget};

impl Builder {
    pub(super) fn variable_set(&mut self, set: &VariableSetStmt, target: SettingTarget) {
        let kind = VariableSetKind::try_from(set.kind);
        let name = set.name.to_ascii_lowercase();
        let local = set.is_local;
        match kind {
            Ok(VariableSetKind::VarSetMulti) => {
                let prefix = match name.as_str() {
                    "session characteristics" => "default_",
                    _ => "",
                };
                if name == "transaction snapshot" {
                    self.setting(
                        "transaction_snapshot".to_owned(),
                        value(&set.args),
                        true,
                        target,
                    );
                }
                for arg in &set.args {
                    if let Some(NodeEnum::DefElem(option)) = arg.node.as_ref() {
                        let value = option.arg.as_deref().and_then(literal);
                        let name = format!("{prefix}{}", option.defname);
                        self.setting(name, value, prefix.is_empty(), target);
                    }
                }
            }
            Ok(VariableSetKind::VarResetAll) => self.setting("*".to_owned(), None, local, target),
            Ok(VariableSetKind::VarSetValue) => {
                self.setting(name, value(&set.args), local, target);
            }
            Ok(_) => self.setting(name, None, local, target),
            Err(_) => self.opaque("unknown form of SET"),
        }
    }

    pub(super) fn setting(
        &mut self,
        name: String,
        value: Option<String>,
        local: bool,
        target: SettingTarget,
    ) {
        if matches!(name.as_str(), "role" | "session_authorization") {
            self.effect(Effect::Role);
        }
        self.statement.settings.push(SettingChange {
            name,
            value,
            local,
            target,
        });
    }

    /// Lists the change that a call of `set_config` makes.
    pub(super) fn set_config(&mut self, call: &FuncCall) {
        if call.funcname.last().and_then(text) != Some("set_config") {
            return;
        }
        self.effect(Effect::Set);
        self.inspects_constants();
        let named = |node: &Node| matches!(node.node.as_ref(), Some(NodeEnum::NamedArgExpr(_)));
        let plain = !call.args.iter().any(named);
        let arg = |position: usize| call.args.get(position).filter(|_| plain).and_then(literal);
        let given = || {
            let column = super::query::column(call.args.first().filter(|_| plain)?)?;
            let mut given = self.given.iter();
            let (_, value) = given.find(|(name, _)| name == column)?;
            Some(value.clone())
        };
        let by_name = arg(0);
        let given = by_name.is_none().then(given).flatten();
        self.statement.asks_settings |= given.is_some();
        let name = by_name
            .or(given)
            .map_or_else(|| "*".to_owned(), |name| name.to_ascii_lowercase());
        // What begins like a setting of the application's own is none of the server's.
        let prefix = call.args.first().filter(|_| plain).and_then(prefix);
        if name == "*" && !prefix.is_some_and(|prefix| prefix.contains('.')) {
            self.effect(Effect::Role);
        }
        let local = arg(2).is_some_and(|local| "true".starts_with(&local.to_ascii_lowercase()));
        self.setting(name, arg(1), local, SettingTarget::Session);
    }
}

fn value(args: &[Node]) -> Option<String> {
    let values: Option<Vec<String>> = args.iter().map(literal).collect();
    Some(values?.join(", "))
}

/// The literal that a text which is put together by `||` begins with.
fn prefix(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AExpr(expr) if expr.name.last().and_then(text) == Some("||") => {
            prefix(expr.lexpr.as_deref()?)
        }
        _ => literal(node),
    }
}

/// The text of a literal, through casts.
pub(super) fn literal(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Ival(value) => Some(value.ival.to_string()),
            a_const::Val::Fval(value) => Some(value.fval.clone()),
            a_const::Val::Boolval(value) => Some(value.boolval.to_string()),
            a_const::Val::Sval(value) => Some(value.sval.clone()),
            a_const::Val::Bsval(value) => Some(value.bsval.clone()),
        },
        NodeEnum::String(value) => Some(value.sval.clone()),
        NodeEnum::Integer(value) => Some(value.ival.to_string()),
        NodeEnum::Float(value) => Some(value.fval.clone()),
        NodeEnum::Boolean(value) => Some(value.boolval.to_string()),
        NodeEnum::TypeCast(cast) => literal(cast.arg.as_deref()?),
        NodeEnum::TypeName(name) => name.names.last().and_then(text).map(str::to_owned),
        _ => None,
    }
}
