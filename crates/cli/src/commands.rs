//! The commands that talk to a running weir: evidence for auditors, decisions for reviewers.
//!
//! Invariants: nothing here reads the state directory but for its socket; decisions go over that
//! socket, where the kernel says who decides, or to the API server, which knows; recorded text cannot
//! drive the terminal.

pub(crate) mod connect;
mod engine;
mod events;
mod export;
mod forms;
mod quarantine;
mod query;
mod questions;
mod replay;
mod report;
mod requests;
mod saw;
mod sessions;
pub(crate) mod table;
mod terminal;
pub(crate) mod text;
pub(crate) mod time;
mod values;
mod verify;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use connect::Failure;

use crate::cluster::Home;

/// Commands that ask a running weir.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClientCommand {
    /// List the statements that wait for a decision
    Requests(requests::RequestsArgs),
    /// Approve one of them
    Approve(requests::ApproveArgs),
    /// Deny one of them
    Deny(requests::DenyArgs),
    /// List sessions, newest first
    Sessions(sessions::SessionsArgs),
    /// Find statements and other events, newest first
    Query(query::QueryArgs),
    /// List the questions that can be asked
    Questions(engine::PlainArgs),
    /// Answer one of them, such as who read data of a label
    Ask(questions::AskArgs),
    /// Show a session as its client saw it
    Replay(replay::ReplayArgs),
    /// Show events as they arrive
    Tail(query::TailArgs),
    /// Events in the forms of others
    #[command(subcommand)]
    Events(forms::EventsCommand),
    /// Cut an identity off at once, or let it in again
    Quarantine(quarantine::QuarantineArgs),
    /// Print a link that logs you in to the web UI, once
    Ui(engine::PlainArgs),
    /// Act on budgets
    #[command(subcommand)]
    Budgets(engine::BudgetsCommand),
    /// Say what is in force and how the engine is
    Status(engine::PlainArgs),
    /// Verify that the record is complete and unaltered
    Verify(verify::VerifyArgs),
    /// Write a bundle of evidence that can be verified offline
    Export(export::ExportArgs),
    /// Write what happened in a period, signed, with the evidence
    Report(report::ReportArgs),
}

/// Runs a command: 0 when it did what was asked, else 1; `verify` has codes of its own.
pub(crate) async fn run(command: ClientCommand, home: Home) -> ExitCode {
    let done = match command {
        ClientCommand::Requests(args) => requests::list(args, home).await,
        ClientCommand::Approve(args) => requests::approve(args, home).await,
        ClientCommand::Deny(args) => requests::deny(args, home).await,
        ClientCommand::Sessions(args) => sessions::list(args, home).await,
        ClientCommand::Query(args) => query::query(args, home).await,
        ClientCommand::Questions(args) => questions::list(args, home).await,
        ClientCommand::Ask(args) => questions::ask(args, home).await,
        ClientCommand::Replay(args) => replay::replay(args, home).await,
        ClientCommand::Tail(args) => query::tail(args, home).await,
        ClientCommand::Events(forms::EventsCommand::Export(args)) => {
            forms::export(args, home).await
        }
        ClientCommand::Quarantine(args) => quarantine::run(args, home).await,
        ClientCommand::Budgets(engine::BudgetsCommand::Reset(args)) => {
            engine::reset_budgets(args, home).await
        }
        ClientCommand::Ui(args) => engine::ui(args, home).await,
        ClientCommand::Status(args) => engine::status(args, home).await,
        ClientCommand::Export(args) => export::export(args, home).await,
        ClientCommand::Report(args) => report::report(args, home).await,
        ClientCommand::Verify(args) => return verify::verify(args, home).await,
    };
    match done {
        Ok(()) | Err(Failure::Enough) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {}", text::one_line(&failure.to_string()));
            ExitCode::FAILURE
        }
    }
}
