//! Finds sensitive values in bytes, and hides values.
//!
//! [`scan`] makes one pass over a value and reports spans: cards, social
//! security numbers, IBANs, e-mail and IP addresses, phone numbers, private
//! keys, tokens and passwords. What can be checked is checked (Luhn, mod 97,
//! CRC32, issued ranges, JSON headers), because a finding masks data. [`mask`]
//! hides values, whole or in part. [`names_secret`] judges a value by the name beside it.
//!
//! Invariants: any bytes are accepted, UTF-8 or not; spans are in order, do
//! not overlap, and end on the character boundaries of valid UTF-8; the work
//! is linear in the input with a small bound on look-around; no IO, no clock,
//! no randomness.
//!
//! Refuses to do: guess at names and addresses, judge bare numbers without a
//! checksum or a word of context beside them, decode Base64 or hex to look
//! inside, find a value that the caller has cut in two.

mod address;
mod assign;
mod card;
mod context;
mod date;
mod email;
mod iban;
mod kind;
pub mod mask;
mod name;
mod normalize;
mod phone;
mod run;
mod scan;
mod ssn;
mod text;
mod token;

pub use kind::{Kind, KindSet};
pub use name::names_secret;
pub use scan::{scan, scan_into};

/// Where a value lies: bytes of the input, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

#[cfg(test)]
mod tests;
