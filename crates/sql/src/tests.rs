//! Tests of the whole crate, by class of claim.

mod blocks;
mod facts;
mod hostile;
mod lineage;
mod scoping;
mod support;
mod uses;
mod writes;
