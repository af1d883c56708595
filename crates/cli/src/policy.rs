//! `weir policy check`: what the engine would say about policy files.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_api::{CompileOptions, Diagnostic, Severity};

use crate::commands::connect::{Failure, Form, document, write};

/// Subcommands of `weir policy`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check files and directories as one set; ends with 1 if they cannot be used
    Check {
        /// Files, or directories of `.yaml` and `.yml` files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
        output: Form,
    },
}

/// Runs it.
pub(crate) fn run(command: &PolicyCommand) -> ExitCode {
    let PolicyCommand::Check { files, output } = command;
    let options = CompileOptions {
        now: now(),
        ..CompileOptions::default()
    };
    let (diagnostics, summary) = match weir_api::load(files) {
        Err(diagnostics) => (diagnostics, None),
        Ok(resources) => match weir_api::compile(&resources, &options) {
            Err(diagnostics) => (diagnostics, None),
            Ok(compiled) => {
                let bundle = &compiled.bundle;
                let summary = format!(
                    "{} targets, {} labels, {} policies; digest {}",
                    bundle.targets().count(),
                    bundle
                        .all_labels()
                        .iter()
                        .filter(|label| !label.anonymous)
                        .count(),
                    bundle.policies().len(),
                    bundle.digest()
                );
                (compiled.diagnostics, Some(summary))
            }
        },
    };
    if *output != Form::Table {
        let list: Vec<serde_json::Value> = diagnostics.iter().map(as_json).collect();
        match document(&list, *output).and_then(|text| write(&text)) {
            Ok(()) | Err(Failure::Enough) => {}
            Err(failure) => eprintln!("weir: {failure}"),
        }
    } else {
        for diagnostic in &diagnostics {
            println!("{diagnostic}");
        }
        if let Some(summary) = &summary {
            println!("ok: {summary}");
        }
    }
    if summary.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The time as policies count it.
pub(crate) fn now() -> weir_policy::Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    weir_policy::Timestamp(u64::try_from(millis).unwrap_or(u64::MAX))
}

fn as_json(diagnostic: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "severity": match diagnostic.severity {
            Severity::Warning => "warning",
            Severity::Unready => "unready",
            Severity::Error => "error",
        },
        "file": &*diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "reason": diagnostic.reason.as_str(),
        "field": diagnostic.field,
        "message": diagnostic.message,
        "suggestion": diagnostic.suggestion,
    })
}
