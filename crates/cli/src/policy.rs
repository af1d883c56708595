//! `weir policy check`: what the engine would say about policy files.

use std::path::PathBuf;
use std::process::ExitCode;

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
    let options = CompileOptions { revision: 1 };
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
                (compiled.warnings, Some(summary))
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

fn as_json(diagnostic: &Diagnostic) -> serde_json::Value {
    serde_json::json!({
        "severity": match diagnostic.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        "file": &*diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "field": diagnostic.field,
        "message": diagnostic.message,
        "suggestion": diagnostic.suggestion,
    })
}
