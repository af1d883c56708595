//! Writes what is generated from the types of this crate, or says what is out of date.
//!
//! `crdgen write ROOT` and `crdgen check ROOT`, ROOT being the top of the repository. Directories
//! that hold generated files only are kept free of others. It changes nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use weir_api::crd::{self, Crd};

const MANIFESTS: &str = "manifests/crds";
const CHART: &str = "charts/weir-crds/Chart.yaml";
const TEMPLATES: &str = "charts/weir-crds/templates";
const REFERENCE: &str = "docs/crds.md";
const NOTE: &str = "# Generated from the types in crates/api by `make generated`. Do not edit.\n";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["write", root] => write(Path::new(root)).map(|()| true),
        ["check", root] => check(Path::new(root)),
        _ => Err("usage: crdgen write|check ROOT".into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Every generated file with its content.
fn generate() -> Result<BTreeMap<PathBuf, String>, Failure> {
    let crds = crd::all()?;
    let mut files = BTreeMap::new();
    for crd in &crds {
        let file = format!("{}.yaml", crd.plural);
        let plain = serde_saphyr::to_string(&crd.definition)?;
        files.insert(Path::new(MANIFESTS).join(&file), format!("{NOTE}{plain}"));
        files.insert(Path::new(TEMPLATES).join(&file), template(crd)?);
    }
    files.insert(PathBuf::from(CHART), chart());
    files.insert(PathBuf::from(REFERENCE), crd::reference(&crds));
    Ok(files)
}

/// The chart, of the same version as the types.
fn chart() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "{NOTE}apiVersion: v2\nname: weir-crds\ndescription: The custom resource definitions of Weir\n\
         type: application\nversion: {version}\nappVersion: {version}\nkubeVersion: \">=1.33.0-0\"\n"
    )
}

/// The definition as a template of the chart: `helm uninstall` keeps it, and with it every policy.
fn template(crd: &Crd) -> Result<String, Failure> {
    let mut definition = crd.definition.clone();
    if let Some(metadata) = definition
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
    {
        let keep = json!({"helm.sh/resource-policy": "keep"});
        metadata.insert("annotations".to_owned(), keep);
    }
    let text = serde_saphyr::to_string(&definition)?;
    if text.contains("{{") {
        return Err(format!("{}: contains what Helm takes for a template", crd.kind).into());
    }
    Ok(format!("{NOTE}{text}"))
}

fn write(root: &Path) -> Result<(), Failure> {
    let files = generate()?;
    for path in surplus(root, &files)? {
        std::fs::remove_file(root.join(path))?;
    }
    for (path, content) in files {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Whether everything is as it would be written; what is not is named.
fn check(root: &Path) -> Result<bool, Failure> {
    let files = generate()?;
    let mut stale: Vec<String> = Vec::new();
    for (path, content) in &files {
        match std::fs::read_to_string(root.join(path)) {
            Ok(found) if found == *content => {}
            Ok(_) => stale.push(format!("{} differs", path.display())),
            Err(error) => stale.push(format!("{}: {error}", path.display())),
        }
    }
    for path in surplus(root, &files)? {
        stale.push(format!("{} is not generated any more", path.display()));
    }
    for line in &stale {
        eprintln!("{line}");
    }
    if !stale.is_empty() {
        eprintln!("generated files are out of date: run `make generated`");
    }
    Ok(stale.is_empty())
}

/// Files in generated directories that nothing generates.
fn surplus(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>, Failure> {
    let mut surplus = Vec::new();
    for directory in [MANIFESTS, TEMPLATES] {
        let listing = match std::fs::read_dir(root.join(directory)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        for entry in listing {
            let path = Path::new(directory).join(entry?.file_name());
            if !files.contains_key(&path) {
                surplus.push(path);
            }
        }
    }
    Ok(surplus)
}
