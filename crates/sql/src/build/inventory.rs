//! A walk over any raw tree, whatever its kinds of nodes: every relation, function and
//! schema-qualified type that is named in it.
//!
//! Definitions have many places for expressions, and new versions add more; this walk rides
//! on the tree's own serialisation, so it cannot miss one. It knows no scopes: CTE names are
//! listed as relations.

use std::fmt;

use serde::Serialize;
use serde::ser::{Impossible, SerializeSeq, SerializeStruct, Serializer};

use crate::FunctionRef;

/// What a tree names.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) relations: Vec<FunctionRef>,
    pub(super) functions: Vec<FunctionRef>,
    pub(super) types: Vec<FunctionRef>,
    /// Every part of every column reference, and every field.
    pub(super) columns: Vec<String>,
    /// Columns on both sides of foreign keys.
    pub(super) keys: Keys,
    strings: Vec<String>,
    in_column: bool,
    in_key: Option<Side>,
}

/// The columns of foreign keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) referring: Vec<String>,
    pub(super) referred: Vec<String>,
    /// Relations whose primary keys are referred to, unnamed.
    pub(super) primary: Vec<FunctionRef>,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Referring,
    Referred,
}

impl Inventory {
    /// Walks a tree.
    pub(super) fn of(tree: &impl Serialize) -> Self {
        let mut inventory = Self::default();
        // The walk itself cannot fail: `Halt` is never made but by foreign `custom` calls.
        let _ = tree.serialize(&mut inventory);
        inventory
    }
}

/// The walk never fails; the trait wants an error type.
#[derive(Debug)]
pub(super) struct Halt;

impl fmt::Display for Halt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("walk stopped")
    }
}

impl std::error::Error for Halt {}

impl serde::ser::Error for Halt {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relation,
    Function,
    Type,
    Column,
    Constraint,
    Other,
}

/// One struct that is being walked.
pub(super) struct Fields<'a> {
    inventory: &'a mut Inventory,
    kind: Kind,
    schema: Option<String>,
    name: Option<String>,
    /// How many relations and columns that are referred to were found before.
    before: (usize, usize),
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Halt;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Halt> {
        self.inventory.strings.clear();
        let names_column = self.kind == Kind::Column && matches!(key, "fields" | "indirection");
        self.inventory.in_column |= names_column;
        let side = match (self.kind, key) {
            (Kind::Constraint, "fk_attrs") => Some(Side::Referring),
            (Kind::Constraint, "pk_attrs") => Some(Side::Referred),
            _ => self.inventory.in_key,
        };
        let outside = std::mem::replace(&mut self.inventory.in_key, side);
        value.serialize(&mut *self.inventory)?;
        self.inventory.in_column &= !names_column;
        self.inventory.in_key = outside;
        match (self.kind, key) {
            (Kind::Relation, "schemaname") => {
                self.schema = self.inventory.strings.pop().filter(|name| !name.is_empty());
            }
            (Kind::Relation, "relname") => self.name = self.inventory.strings.pop(),
            (Kind::Function, "funcname") | (Kind::Type, "names") => {
                self.name = self.inventory.strings.pop();
                self.schema = self.inventory.strings.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn end(self) -> Result<(), Halt> {
        let (relations, referred) = self.before;
        if self.kind == Kind::Constraint && self.inventory.keys.referred.len() == referred {
            let named = self
                .inventory
                .relations
                .get(relations..)
                .unwrap_or_default();
            self.inventory.keys.primary.extend_from_slice(named);
        }
        let Some(name) = self.name else { return Ok(()) };
        let found = FunctionRef {
            schema: self.schema,
            name,
        };
        match self.kind {
            Kind::Relation => self.inventory.relations.push(found),
            Kind::Function => self.inventory.functions.push(found),
            Kind::Type => {
                if found
                    .schema
                    .as_deref()
                    .is_some_and(|schema| schema != "pg_catalog")
                {
                    self.inventory.types.push(found);
                }
            }
            Kind::Column | Kind::Constraint | Kind::Other => {}
        }
        self.inventory.strings.clear();
        Ok(())
    }
}

/// One list that is being walked.
pub(super) struct Items<'a>(&'a mut Inventory);

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Halt;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Halt> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Halt> {
        Ok(())
    }
}

macro_rules! ignore {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, _: $type) -> Result<(), Halt> {
            Ok(())
        })*
    };
}

impl<'a> Serializer for &'a mut Inventory {
    type Ok = ();
    type Error = Halt;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Impossible<(), Halt>;
    type SerializeTupleStruct = Impossible<(), Halt>;
    type SerializeTupleVariant = Impossible<(), Halt>;
    type SerializeMap = Impossible<(), Halt>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<(), Halt>;

    ignore! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char,
        serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }

    fn serialize_str(self, value: &str) -> Result<(), Halt> {
        if self.in_column {
            self.columns.push(value.to_owned());
        }
        match self.in_key {
            Some(Side::Referring) => self.keys.referring.push(value.to_owned()),
            Some(Side::Referred) => self.keys.referred.push(value.to_owned()),
            None => {}
        }
        self.strings.push(value.to_owned());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Halt> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Halt> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Halt> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Halt> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Halt> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Halt> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Halt> {
        Ok(Items(self))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Halt> {
        Err(Halt)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Halt> {
        Err(Halt)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Halt> {
        Err(Halt)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Halt> {
        Err(Halt)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a>, Halt> {
        let kind = match name {
            "RangeVar" => Kind::Relation,
            "FuncCall" => Kind::Function,
            "TypeName" => Kind::Type,
            "ColumnRef" | "AIndirection" => Kind::Column,
            "Constraint" => Kind::Constraint,
            _ => Kind::Other,
        };
        let before = (self.relations.len(), self.keys.referred.len());
        Ok(Fields {
            before,
            inventory: self,
            kind,
            schema: None,
            name: None,
        })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Halt> {
        Err(Halt)
    }
}
