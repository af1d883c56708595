//! `weir standalone`: engine, spool and collector in one process, from files.

mod adapters;
mod budgets;
mod config;
mod metrics;
mod operator;
mod pins;
mod policies;
mod redirect;
mod serve;

pub(crate) use config::Config;
pub(crate) use serve::{Standalone, StartError, run};
