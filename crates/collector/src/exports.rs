//! Evidence in the forms of others.
//!
//! Refuses: to change evidence. What is exported is what is kept: a value that was not recorded, or
//! that was masked before the client saw it, is in no export.

pub mod asciicast;
mod moments;
pub mod ocsf;
pub mod otlp;

pub use moments::{Piece, Utf8, merged};
