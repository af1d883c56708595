//! `weir inject`: manifests with the sidecar written into them, without a cluster.
//!
//! Invariants: what needs nothing comes out byte for byte; a document that changes keeps its leading
//! comments. Refuses: manifests of which one cannot be governed, as a whole.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use weir_injection::{Governed, Kubernetes, Namespace, Settings};

use super::object::text;
use crate::commands::connect::{Failure, write};

/// Manifests larger than this are an error.
const MAX_INPUT: u64 = 64 << 20;

/// Arguments of `weir inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct InjectArgs {
    /// File with manifests, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Image of the sidecar
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// File with Weir's root in PEM: key ca.crt of ConfigMap weir-admission
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = "weir-system")]
    weir_namespace: String,
    /// Trust domain of identities
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    trust_domain: String,
    /// As in a namespace with weir.dev/enforce=true
    #[arg(long)]
    enforced: bool,
    /// Leave service account tokens to the programs: the chart has kubernetes.enabled=false
    #[arg(long)]
    no_kubernetes: bool,
    /// Audience that the API server takes tokens of, besides those without one
    #[arg(long, value_name = "AUDIENCE", conflicts_with = "no_kubernetes")]
    api_audience: Vec<String>,
}

/// Why manifests cannot be injected.
#[derive(Debug, thiserror::Error)]
pub(super) enum InjectError {
    #[error("cannot read {path}: {why}")]
    Read { path: String, why: String },
    #[error("document {number} is not YAML: {why}")]
    Yaml { number: usize, why: String },
    #[error("{what}: {why}")]
    Refused { what: String, why: String },
    #[error("cannot write document {number}: {why}")]
    Write { number: usize, why: String },
}

/// Injects; 1 when it cannot be done.
pub(crate) fn run(args: &InjectArgs) -> ExitCode {
    let failed = |error: &dyn std::fmt::Display| {
        eprintln!("weir: {error}");
        ExitCode::FAILURE
    };
    match inject(args) {
        Ok(output) => {
            for note in &output.notes {
                eprintln!("weir: {note}");
            }
            match write(&output.text) {
                Ok(()) | Err(Failure::Enough) => ExitCode::SUCCESS,
                Err(error) => failed(&error),
            }
        }
        Err(error) => failed(&error),
    }
}

fn inject(args: &InjectArgs) -> Result<Output, InjectError> {
    let settings = Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        namespace: args.weir_namespace.clone(),
        image: args.image.clone(),
        controller_addresses: Vec::new(),
        pull_policy: "IfNotPresent".to_owned(),
        trust_domain: args.trust_domain.clone(),
        ca: read(&args.ca)?,
        resources: weir_injection::Resources::default(),
        state_size: "64Mi".to_owned(),
        kubernetes: (!args.no_kubernetes).then(|| Kubernetes {
            audiences: args.api_audience.clone(),
            may_keep: false,
        }),
    };
    documents(&read(&args.filename)?, args.enforced, &settings)
}

fn read(path: &Path) -> Result<String, InjectError> {
    let wrong = |why: String| InjectError::Read {
        path: path.display().to_string(),
        why,
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_INPUT + 1)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_INPUT + 1).read_to_string(&mut text))
    };
    read.map_err(|error| wrong(error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_INPUT) {
        return Err(wrong(format!("it is larger than {MAX_INPUT} bytes")));
    }
    Ok(text)
}

/// Manifests, and what their author should know.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
}

/// Injects every pod of a stream of documents.
pub(super) fn documents(
    input: &str,
    enforced: bool,
    settings: &Settings,
) -> Result<Output, InjectError> {
    let mut out = Output::default();
    for (index, raw) in split(input).into_iter().enumerate() {
        let number = index + 1;
        let parsed = parse(raw).map_err(|why| InjectError::Yaml { number, why })?;
        let mut object = parsed.unwrap_or_default();
        let before = object.clone();
        inject_object(&mut object, enforced, settings, &mut out.notes)?;
        if object == before {
            out.text.push_str(raw);
            if !raw.ends_with('\n') {
                out.text.push('\n');
            }
        } else {
            let head = head(raw);
            if number > 1 && !head.lines().any(is_marker) {
                out.text.push_str("---\n");
            }
            out.text.push_str(head);
            let written = yaml(&object);
            out.text
                .push_str(&written.map_err(|why| InjectError::Write { number, why })?);
        }
    }
    Ok(out)
}

/// Injects what is in an object: itself, its pod template, or its items.
fn inject_object(
    object: &mut Value,
    enforced: bool,
    settings: &Settings,
    notes: &mut Vec<String>,
) -> Result<(), InjectError> {
    let kind = text(object, "/kind").to_owned();
    if kind.ends_with("List") {
        let items = object.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            inject_object(item, enforced, settings, notes)?;
        }
        return Ok(());
    }
    let Some(template) = template(&kind) else {
        return Ok(());
    };
    let what = format!("{kind}/{}", super::object::name(object));
    let namespace = match text(object, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    };
    let (label, value) = if enforced {
        (weir_injection::ENFORCE, "true")
    } else {
        (weir_injection::INJECT, "enabled")
    };
    let namespace = Namespace {
        name: namespace.to_owned(),
        labels: BTreeMap::from([(label.to_owned(), value.to_owned())]),
    };
    let Some(pod) = object.pointer_mut(template) else {
        let why = format!("it has no pod at {template}");
        return Err(InjectError::Refused { what, why });
    };
    let mut given = pod.clone();
    if settings.kubernetes.is_some() {
        weir_injection::give_account(&mut given);
    }
    let injected = weir_injection::inject(&given, &namespace, settings).map_err(|refusal| {
        let why = refusal.to_string();
        let what = what.clone();
        InjectError::Refused { what, why }
    })?;
    notes.extend(injected.notes.iter().map(|note| format!("{what}: {note}")));
    if matches!(injected.governed, Governed::Asked | Governed::Enforced) {
        *pod = injected.pod;
    }
    Ok(())
}

/// Where a kind keeps its pod.
fn template(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// The documents of a stream, each with the marker that opens it.
fn split(input: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut from, mut at) = (0, 0);
    for line in input.split_inclusive('\n') {
        if is_marker(line) && input.get(from..at).is_some_and(|text| !text.is_empty()) {
            found.extend(input.get(from..at));
            from = at;
        }
        at += line.len();
    }
    found.extend(input.get(from..).filter(|rest| !rest.is_empty()));
    found
}

/// YAML knows this marker in the first column only, whatever surrounds it.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The lines ahead of a document's content: its marker and comments.
fn head(raw: &str) -> &str {
    let mut end = 0;
    for line in raw.split_inclusive('\n') {
        let bare = line.trim();
        let marker = is_marker(line) && (bare == "---" || bare.starts_with("--- #"));
        if !marker && !bare.is_empty() && !bare.starts_with('#') {
            break;
        }
        end += line.len();
    }
    raw.get(..end).unwrap_or_default()
}

/// A document as kubectl reads it: `yes` is true and 0644 is octal. Nothing, if it is empty.
fn parse(raw: &str) -> Result<Option<Value>, String> {
    let empty = |line: &str| {
        let bare = line.trim();
        bare.is_empty() || bare == "---" || bare.starts_with(['#', '%'])
    };
    if raw.lines().all(empty) {
        return Ok(None);
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(raw, options)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// An object as YAML: lines are never folded, so that what is copied stays what it was.
fn yaml(object: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(object, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
