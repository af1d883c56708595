//! `weir standalone`: engine, spool and collector in one process, from files.

mod config;
mod desk;
mod kubeconfig;
mod notify;
mod operator;
mod otlp;
mod policies;
mod quarantine;
mod secrets;
mod serve;
mod ui;

pub(crate) use config::Config;
pub(crate) use serve::{Standalone, StartError, run};
