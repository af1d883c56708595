//! [russh](https://docs.rs/russh), the SSH library, with hooks.
//!
//! russh acts on the messages of the connection layer itself: it answers, it grants windows as data
//! arrives, and what it hands out has lost its place among the others. A relay that decides about
//! channels needs the messages whole and in order, and windows that only the far end grants; else a
//! client that stops reading, or a channel that is held for a person, fills memory or stops every
//! other channel. `hooks.patch` adds that: `Handler::packet` takes such messages, `Handle::raw` and
//! `RawSender` send them, and a rekeying server must prove who it is again.
//!
//! None of russh's code lies in this repository. `build.rs` takes the source that cargo has fetched
//! and verified (`Cargo.lock`), applies the patch, which fails the build where it does not fit, and
//! what comes out is compiled here.

#![allow(warnings, clippy::all, clippy::pedantic, clippy::restriction)]

// Its own tests are not built: they need its own dev-dependencies.
#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/src/lib_inner.rs"));
