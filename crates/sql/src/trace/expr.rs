//! Expressions: where their values come from, and how they use what they read.

use super::Tracer;
use super::scope::{Prov, Scope, any_of};
use crate::ir::{Call, Expr, SubLink, Window};
use crate::lineage::{Origin, Use};

/// As many values as an array whose length is not known counts for.
const UNKNOWN_LENGTH: u64 = 100;

impl Tracer<'_> {
    /// Where the value of an expression may come from.
    pub(super) fn expr(&mut self, expr: &Expr, scope: &Scope<'_>) -> Prov {
        if !self.spend(1) {
            return Prov::default();
        }
        match expr {
            Expr::Const | Expr::Param | Expr::Position(_) => Prov::default(),
            Expr::Column(name) if name.star => any_of(&self.star(&name.parts, scope)).derive(),
            Expr::Column(name) => self.resolve(name, scope).prov,
            Expr::NullTest(_)
            | Expr::Bool(_)
            | Expr::Compare { .. }
            | Expr::In { .. }
            | Expr::Any { .. } => self.condition(expr, scope, true),
            Expr::Row(parts) | Expr::Array(parts) | Expr::Computed(parts) => {
                self.any(parts, scope).derive()
            }
            Expr::Chosen(parts) => self.any(parts, scope).choose(),
            Expr::Cast(inner, to) => {
                let prov = self.expr(inner, scope);
                match to {
                    Some(to) if self.is_of_type(&prov, to) => prov,
                    _ => prov.derive(),
                }
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::Case {
                arg,
                whens,
                default,
            } => {
                let mut prov = Prov::default();
                for (condition, result) in whens {
                    let tested = match arg {
                        Some(arg) => self.compare(true, arg, condition, scope, true),
                        None => self.condition(condition, scope, true),
                    };
                    prov.absorb(&tested);
                    prov.absorb(&self.expr(result, scope));
                }
                if let Some(default) = default {
                    prov.absorb(&self.expr(default, scope));
                }
                prov.choose()
            }
            Expr::SubLink { kind, test, query } => {
                let rows = self.query(query, scope);
                let outputs = any_of(&rows);
                match kind {
                    SubLink::Exists => {
                        for column in rows.iter().filter(|column| column.prov.derived) {
                            self.record(Use::Predicate, &column.prov);
                        }
                        Prov::default()
                    }
                    SubLink::Scalar | SubLink::Array => outputs.derive(),
                    SubLink::Compare { equal } => {
                        let mut tested = Prov::default();
                        if let Some(test) = test {
                            tested = self.compared(test, scope, *equal);
                        }
                        let joins = *equal && test.as_deref().is_some_and(names_column);
                        for column in &rows {
                            let plain = joins && !column.prov.derived;
                            let how = if plain { Use::Join } else { Use::Predicate };
                            self.record(how, &column.prov);
                        }
                        tested.absorb(&outputs);
                        tested.derive()
                    }
                }
            }
            Expr::Field {
                base,
                name,
                star,
                later,
                subscripts,
            } => {
                let mut prov = Prov::default();
                let field = match (&**base, name, star) {
                    (Expr::Column(row), Some(field), false) if !row.star => {
                        self.field(row, field, scope)
                    }
                    _ => None,
                };
                match field {
                    Some(field) => prov.absorb(&field),
                    None => {
                        let row = self.expr(base, scope);
                        prov.absorb(&row);
                        if let Some(name) = name {
                            prov.absorb(&self.called_as_field(name, &row));
                        }
                    }
                }
                for name in later {
                    let row = prov.clone();
                    prov.absorb(&self.called_as_field(name, &row));
                }
                prov.absorb(&self.any(subscripts, scope));
                prov.derive()
            }
            Expr::Unknown => self.unresolved(),
        }
    }

    /// Whether a value is that of columns which have this type, so that a cast to it changes nothing.
    pub(super) fn is_of_type(&self, prov: &Prov, to: &str) -> bool {
        let has_type = |number: &u32| match self.named(*number) {
            Some(Origin::Column { relation, column }) => self.oracle.has_type(relation, column, to),
            _ => false,
        };
        !prov.derived && prov.origins.iter().all(has_type)
    }

    /// Any of several values.
    fn any(&mut self, parts: &[Expr], scope: &Scope<'_>) -> Prov {
        let mut prov = Prov::default();
        for part in parts {
            prov.absorb(&self.expr(part, scope));
        }
        prov
    }

    /// The tested side of `x IN (SELECT …)`, row constructors part by part.
    fn compared(&mut self, test: &Expr, scope: &Scope<'_>, equal: bool) -> Prov {
        let parts = match test {
            Expr::Row(parts) => parts.as_slice(),
            single => std::slice::from_ref(single),
        };
        let equal = equal && !self.oracle.has_own_equality();
        let mut all = Prov::default();
        for part in parts {
            let prov = self.expr(part, scope);
            let how = if equal && !prov.derived {
                Use::Join
            } else {
                Use::Predicate
            };
            self.record(how, &prov);
            all.absorb(&prov);
        }
        all
    }

    /// A condition: records how it uses labelled columns, and returns what its truth tells.
    /// `strict` conditions are values themselves, where equality is an oracle.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &Scope<'_>, strict: bool) -> Prov {
        match expr {
            Expr::Bool(parts) => {
                let mut prov = Prov::default();
                for part in parts {
                    prov.absorb(&self.condition(part, scope, strict));
                }
                prov.derive()
            }
            Expr::NullTest(inner) => {
                let (prov, plain) = self.plain(inner, scope, false);
                self.record(if plain { Use::NullTest } else { Use::Predicate }, &prov);
                if plain {
                    Prov::default()
                } else {
                    prov.derive()
                }
            }
            Expr::Compare { equal, left, right } => {
                self.compare(*equal, left, right, scope, strict)
            }
            Expr::In { left, list } => {
                let mut prov = Prov::default();
                for item in list {
                    if !self.spend(1) {
                        break;
                    }
                    prov.absorb(&self.compare(true, left, item, scope, strict));
                }
                prov
            }
            Expr::Any { left, array } => {
                let before = self.comparisons;
                let prov = self.compare(true, left, array, scope, strict);
                let each = self.comparisons - before;
                self.comparisons = before.saturating_add(each.saturating_mul(UNKNOWN_LENGTH));
                prov
            }
            Expr::Const | Expr::Param => Prov::default(),
            // Records its own uses.
            Expr::SubLink {
                kind: SubLink::Compare { .. } | SubLink::Exists,
                ..
            } => self.expr(expr, scope),
            other => {
                let prov = self.expr(other, scope);
                self.record(Use::Predicate, &prov);
                prov.derive()
            }
        }
    }

    /// A value, and whether it is that of a column or row as it is stored. A row that is `counted` tells
    /// nothing of its columns; whether it is null tells whether all of them are.
    fn plain(&mut self, expr: &Expr, scope: &Scope<'_>, counted: bool) -> (Prov, bool) {
        match expr {
            Expr::Column(name) if !name.star => {
                let found = self.resolve(name, scope);
                let plain = found.whole && (counted || found.stored) || !found.prov.derived;
                (found.prov, plain)
            }
            Expr::Column(name) if !name.parts.is_empty() => {
                let row = self.star(&name.parts, scope);
                let stored = !row.iter().any(|column| column.open || column.prov.derived);
                (any_of(&row).derive(), counted || stored)
            }
            other => {
                let prov = self.expr(other, scope);
                let plain = prov.origins.is_empty();
                (prov, plain)
            }
        }
    }

    fn compare(
        &mut self,
        equal: bool,
        left: &Expr,
        right: &Expr,
        scope: &Scope<'_>,
        strict: bool,
    ) -> Prov {
        if let (Expr::Row(left), Expr::Row(right)) = (left, right)
            && left.len() == right.len()
            && !left.iter().chain(right).any(Expr::spreads)
        {
            let mut prov = Prov::default();
            for (left, right) in left.iter().zip(right) {
                prov.absorb(&self.compare(equal, left, right, scope, strict));
            }
            return prov.derive();
        }
        let equal = equal && !self.oracle.has_own_equality();
        let mut values = self.expr(left, scope);
        let other = self.expr(right, scope);
        if equal && self.is_guess((&values, left), (&other, right)) {
            return Prov::default();
        }
        for (value, against) in [(&values, right), (&other, left)] {
            let how = if value.derived || !equal {
                Use::Predicate
            } else if self.is_constant(against) {
                if strict {
                    Use::Predicate
                } else {
                    Use::EqualsConstant
                }
            } else if names_column(against) {
                Use::Join
            } else {
                Use::Predicate
            };
            if how == Use::EqualsConstant && !value.origins.is_empty() {
                self.comparisons = self.comparisons.saturating_add(1);
            }
            self.record(how, value);
        }
        values.absorb(&other);
        values.derive()
    }

    /// Whether a stored value is compared with what an upsert proposes for its one row: as a key that conflicts,
    /// that is a constant.
    fn is_guess(&mut self, left: (&Prov, &Expr), right: (&Prov, &Expr)) -> bool {
        let Some(guesses) = self.guesses else {
            return false;
        };
        let (stored, proposed) = match (left, right) {
            (stored, proposed) if is_proposed(proposed.1) => (stored.0, proposed.0),
            (proposed, stored) if is_proposed(proposed.1) => (stored.0, proposed.0),
            _ => return false,
        };
        if stored.derived || stored.origins.is_empty() || !proposed.origins.is_empty() {
            return false;
        }
        self.comparisons = self.comparisons.saturating_add(guesses);
        self.record(Use::EqualsConstant, stored);
        true
    }

    /// Whether the text says what a value is, or its parameters do, or a function of the server's of them.
    fn is_constant(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Const | Expr::Param => true,
            Expr::Array(parts) | Expr::Row(parts) => parts.iter().all(|it| self.is_constant(it)),
            Expr::Call(call) => {
                let redefined = |function| self.oracle.is_redefined(function);
                call.total
                    && !call.function.is_some_and(redefined)
                    && call.args.iter().all(|it| self.is_constant(it))
            }
            _ => false,
        }
    }

    fn call(&mut self, call: &Call, scope: &Scope<'_>) -> Prov {
        let mut prov = Prov::default();
        let mut given = Prov::default();
        let redefined = call
            .function
            .is_some_and(|function| self.oracle.is_redefined(function));
        let count = call.count && !redefined;
        for arg in &call.args {
            if count {
                let (value, plain) = self.plain(arg, scope, true);
                self.record(if plain { Use::Count } else { Use::Predicate }, &value);
                if call.distinct {
                    self.record(Use::GroupBy, &value);
                }
            } else {
                let value = self.expr(arg, scope);
                if call.distinct {
                    self.record(Use::GroupBy, &value);
                }
                prov.absorb(&value);
                given.absorb(&value);
            }
        }
        for key in &call.order {
            let value = self.expr(key, scope);
            self.record(Use::OrderBy, &value);
            if call.within_group {
                given.absorb(&value);
                prov.absorb(&value);
            }
        }
        if let Some(filter) = &call.filter {
            self.condition(filter, scope, false);
        }
        if let Some(window) = &call.over {
            prov.absorb(&self.window(window, scope));
        }
        if let Some(function) = call.function
            && !count
            && !self.oracle.is_trusted(function)
        {
            let origin = self.origin(Origin::Function(function), true);
            self.touch(&origin);
            given.absorb(&origin);
            prov.absorb(&origin);
        }
        if call
            .function
            .is_some_and(|function| self.oracle.keeps(function))
        {
            self.record(Use::Write, &given);
        }
        if call.cases && !redefined {
            prov.choose()
        } else {
            prov.derive()
        }
    }

    /// What `row.name` may bring in besides the row where it calls a function.
    pub(super) fn called_as_field(&mut self, name: &str, row: &Prov) -> Prov {
        self.called.insert(name.to_owned());
        if self.oracle.is_harmless_field(name) {
            return Prov::default();
        }
        let called = self.unresolved();
        self.record(Use::Write, row);
        self.record(Use::Write, &called);
        called
    }

    /// What the order and the frames of a window tell.
    pub(super) fn window(&mut self, window: &Window, scope: &Scope<'_>) -> Prov {
        let mut prov = Prov::default();
        let parts = [
            (&window.partition, Use::GroupBy),
            (&window.order, Use::OrderBy),
            (&window.frame, Use::Predicate),
        ];
        for (exprs, how) in parts {
            for expr in exprs {
                let value = self.expr(expr, scope);
                self.record(how, &value);
                prov.absorb(&value);
            }
        }
        for name in window.name.iter().chain(&window.base) {
            let named = self.windows.last().into_iter().flatten();
            for (_, found) in named.filter(|(known, _)| known == name) {
                prov.absorb(found);
            }
        }
        prov.derive()
    }
}

/// Whether a column is named anywhere in the expression.
fn names_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_)
        | Expr::Field { .. }
        | Expr::SubLink { .. }
        | Expr::Case { .. }
        | Expr::Unknown => true,
        Expr::Cast(inner, _) | Expr::NullTest(inner) => names_column(inner),
        Expr::Row(parts)
        | Expr::Array(parts)
        | Expr::Computed(parts)
        | Expr::Chosen(parts)
        | Expr::Bool(parts) => parts.iter().any(names_column),
        Expr::Call(call) => call.args.iter().any(names_column),
        Expr::Compare { left, right, .. } => names_column(left) || names_column(right),
        Expr::In { left, list } => names_column(left) || list.iter().any(names_column),
        Expr::Any { left, array } => names_column(left) || names_column(array),
        Expr::Const | Expr::Param | Expr::Position(_) => false,
    }
}

/// A column of the row that an upsert proposes.
fn is_proposed(expr: &Expr) -> bool {
    match expr {
        Expr::Column(name) => {
            !name.star && matches!(name.parts.as_slice(), [row, _] if row == "excluded")
        }
        _ => false,
    }
}
