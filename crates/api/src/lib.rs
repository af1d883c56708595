//! The resources that configure Weir, read strictly, and their compiler.
//!
//! The same types are the YAML of standalone and the custom resources of a cluster, and one
//! [`compile`] serves both. [`load`] reads files and refuses what it does not know; [`compile`]
//! refuses what does not make sense, what can never apply, and what this version cannot enforce.
//! This crate reads policy files; it reads no secrets and resolves no names.

mod compile;
mod concern;
#[cfg(feature = "crds")]
pub mod crd;
mod de;
mod diagnostic;
mod hidden;
pub mod kinds;
mod load;
mod short;
mod summary;
mod tree;
mod units;

pub use compile::{CompileOptions, Compiled, References, Services, compile};
pub use concern::{concerning, granted_objects};
pub use diagnostic::{Diagnostic, Reason, Severity};
pub use hidden::is_hidden;
pub use load::{Resource, Resources, load, load_str};
pub use short::{abridged, shortened};
pub use summary::{digest, summary};
pub use tree::Origin;
pub use units::{Size, Span};

#[cfg(test)]
mod tests;
