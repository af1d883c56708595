//! Writes the chart's `_injected.tpl` from what this crate injects, or says that it is out of date.
//!
//! `injectgen write ROOT` and `injectgen check ROOT`, ROOT being the top of the repository. The
//! file holds the containers and volumes as CEL literals for the admission policies, so that what
//! the webhook writes and what the policies compare cannot differ. It changes nothing else.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use weir_injection::{AUDIENCE, Kubernetes, PROBE, Resources, SIDECAR, Settings};

const TEMPLATE: &str = "charts/weir/templates/_injected.tpl";
const NOTE: &str = "{{/* Generated from crates/injection by `make generated`. Do not edit. */}}\n";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["write", root] => write(Path::new(root)).map(|()| true),
        ["check", root] => check(Path::new(root)),
        _ => Err("usage: injectgen write|check ROOT".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("{TEMPLATE} is out of date: run `make generated`");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("injectgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(root: &Path) -> Result<(), Failure> {
    let path = root.join(TEMPLATE);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(std::fs::write(path, template())?)
}

fn check(root: &Path) -> Result<bool, Failure> {
    match std::fs::read_to_string(root.join(TEMPLATE)) {
        Ok(found) => Ok(found == template()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What stands for a value that the policies take from the pod once they have judged it, and for
/// one that Helm fills in.
const HOLES: [(&str, &str); 7] = [
    (
        ", \"--controller-address=<addresses>\", ",
        "] + variables.addresses + [",
    ),
    ("\"<image>\"", "variables.image"),
    ("\"<pullPolicy>\"", "variables.pullPolicy"),
    ("\"<ca>\"", "variables.ca"),
    ("\"<stateSize>\"", "variables.stateSize"),
    ("<namespace>", "{{ .Release.Namespace }}"),
    ("<trustDomain>", "{{ .Values.trustDomain }}"),
];

/// The file: names, and what is injected with Weir before the Kubernetes API and without.
fn template() -> String {
    let mut text = NOTE.to_owned();
    for (name, content) in [
        ("sidecarName", SIDECAR),
        ("probeName", PROBE),
        ("audience", AUDIENCE),
    ] {
        define(&mut text, name, cel(&content.into()));
    }
    for (set, kubernetes) in [("kubernetes", Some(Kubernetes::default())), ("plain", None)] {
        let settings = settings(kubernetes);
        let sidecar = weir_injection::sidecar(&settings, true);
        let probe = weir_injection::probe(&settings);
        let volumes = Value::from(weir_injection::volumes(&settings));
        for (name, content) in [
            ("sidecar", container(sidecar, "sidecarResources")),
            ("probe", container(probe, "probeResources")),
            ("volumes", cel(&volumes)),
        ] {
            define(&mut text, &format!("{set}.{name}"), content);
        }
    }
    text
}

fn define(text: &mut String, name: &str, mut content: String) {
    for (hole, with) in HOLES {
        content = content.replace(hole, with);
    }
    text.push_str(&format!(
        "{{{{- define \"weir.injected.{name}\" -}}}}\n{content}\n{{{{- end }}}}\n"
    ));
}

/// Settings with a mark wherever the policies or Helm fill something in.
fn settings(kubernetes: Option<Kubernetes>) -> Settings {
    let hole = |name: &str| format!("<{name}>");
    Settings {
        version: hole("version"),
        namespace: hole("namespace"),
        image: hole("image"),
        controller_addresses: vec![hole("addresses")],
        pull_policy: hole("pullPolicy"),
        trust_domain: hole("trustDomain"),
        ca: hole("ca"),
        resources: Resources::default(),
        state_size: hole("stateSize"),
        kubernetes,
    }
}

/// A container as CEL; its resources are judged apart, since limit ranges may add to them.
fn container(mut container: Value, resources: &str) -> String {
    if let Some(fields) = container.as_object_mut() {
        fields.insert("resources".to_owned(), Value::from("<resources>"));
    }
    cel(&container).replace("\"<resources>\"", &format!("variables.{resources}"))
}

/// JSON as a CEL literal. Values of maps are `dyn`, since literals of Kubernetes' CEL are uniform.
fn cel(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(name, value)| format!("{}: dyn({})", Value::from(name.as_str()), cel(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(cel).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
