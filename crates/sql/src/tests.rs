//! Tests of the whole crate, by class of claim.

mod support;
