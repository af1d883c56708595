//! Files and directories to resources. Every error names file, line, column and field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Reason, Severity, suggest};
use crate::kinds::{
    API_VERSION, AccessRequestSpec, ClusterGuardPolicySpec, DataLabelSpec, GuardPolicySpec, KINDS,
    Manifest, Metadata, PolicyExceptionSpec, QuarantineSpec, TargetSpec,
};
use crate::tree::{self, Node, Origin, Place};

/// A resource and where it stands.
#[derive(Clone, Debug)]
pub struct Resource<S> {
    /// Its name.
    pub metadata: Metadata,
    /// What it asks for.
    pub spec: S,
    /// Where it stands.
    pub origin: Origin,
}

/// Everything that was loaded.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// What is governed.
    pub targets: Vec<Resource<TargetSpec>>,
    /// What is sensitive.
    pub labels: Vec<Resource<DataLabelSpec>>,
    /// Who may do what.
    pub cluster_policies: Vec<Resource<ClusterGuardPolicySpec>>,
    /// What namespaces tighten.
    pub policies: Vec<Resource<GuardPolicySpec>>,
    /// Holds.
    pub requests: Vec<Resource<AccessRequestSpec>>,
    /// Loosenings.
    pub exceptions: Vec<Resource<PolicyExceptionSpec>>,
    /// Who is cut off.
    pub quarantines: Vec<Resource<QuarantineSpec>>,
}

/// What cannot be read is wrong in itself.
const GRAVE: (Severity, Reason) = (Severity::Error, Reason::Invalid);
/// Directories deeper than this are an error.
const MAX_DEPTH: usize = 8;
/// Files larger than this are an error.
const MAX_FILE: u64 = 4 << 20;

impl Resources {
    /// Takes over everything of another set. A cluster loads each object for itself and merges, so
    /// that one malformed object stops no other.
    pub fn merge(&mut self, other: Resources) {
        self.targets.extend(other.targets);
        self.labels.extend(other.labels);
        self.cluster_policies.extend(other.cluster_policies);
        self.policies.extend(other.policies);
        self.requests.extend(other.requests);
        self.exceptions.extend(other.exceptions);
        self.quarantines.extend(other.quarantines);
    }

    /// Every object as [`load_str`] reads it, without labels and annotations.
    ///
    /// # Errors
    /// An object cannot be written as JSON.
    pub fn manifests(&self) -> Result<Vec<serde_json::Value>, serde_json::Error> {
        let mut manifests = Vec::new();
        write("Target", &self.targets, &mut manifests)?;
        write("DataLabel", &self.labels, &mut manifests)?;
        write("ClusterGuardPolicy", &self.cluster_policies, &mut manifests)?;
        write("GuardPolicy", &self.policies, &mut manifests)?;
        write("AccessRequest", &self.requests, &mut manifests)?;
        write("PolicyException", &self.exceptions, &mut manifests)?;
        write("Quarantine", &self.quarantines, &mut manifests)?;
        Ok(manifests)
    }
}

fn write<S: Clone + Serialize>(
    kind: &str,
    resources: &[Resource<S>],
    into: &mut Vec<serde_json::Value>,
) -> Result<(), serde_json::Error> {
    for resource in resources {
        into.push(serde_json::to_value(Manifest {
            api_version: Some(API_VERSION.to_owned()),
            kind: kind.to_owned(),
            metadata: Metadata {
                name: resource.metadata.name.clone(),
                namespace: resource.metadata.namespace.clone(),
                ..Metadata::default()
            },
            spec: resource.spec.clone(),
        })?);
    }
    Ok(())
}

/// Loads files, and `*.yaml` and `*.yml` of directories. All errors are reported, not the first.
pub fn load(paths: &[PathBuf]) -> Result<Resources, Vec<Diagnostic>> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        find_files(path, 0, &mut files, &mut errors);
    }
    let mut resources = Resources::default();
    for path in files {
        let file: Arc<str> = path.to_string_lossy().into();
        match std::fs::read_to_string(&path) {
            Ok(text) => read(&file, &text, &mut resources, &mut errors),
            Err(error) => errors.push(whole_file(&file, format!("cannot be read: {error}"))),
        }
    }
    if errors.is_empty() {
        Ok(resources)
    } else {
        Err(errors)
    }
}

/// Loads the documents of one text. `file` is what errors call it.
pub fn load_str(file: &str, text: &str) -> Result<Resources, Vec<Diagnostic>> {
    let mut resources = Resources::default();
    let mut errors = Vec::new();
    read(&file.into(), text, &mut resources, &mut errors);
    if errors.is_empty() {
        Ok(resources)
    } else {
        Err(errors)
    }
}

fn find_files(path: &Path, depth: usize, into: &mut Vec<PathBuf>, errors: &mut Vec<Diagnostic>) {
    let fail = |message: String| whole_file(&path.to_string_lossy().into(), message);
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return errors.push(fail(format!("cannot be read: {error}"))),
    };
    if metadata.is_file() {
        if metadata.len() > MAX_FILE {
            return errors.push(fail(format!("is larger than {MAX_FILE} bytes")));
        }
        return into.push(path.to_owned());
    }
    if depth == MAX_DEPTH {
        return errors.push(fail(format!("is more than {MAX_DEPTH} directories deep")));
    }
    let mut entries = Vec::new();
    match std::fs::read_dir(path) {
        Ok(listing) => {
            for entry in listing {
                match entry {
                    Ok(entry) => entries.push(entry.path()),
                    Err(error) => errors.push(fail(format!("cannot be listed: {error}"))),
                }
            }
        }
        Err(error) => return errors.push(fail(format!("cannot be listed: {error}"))),
    }
    entries.sort();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = entry
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "yml");
        if !hidden && (yaml || entry.is_dir()) {
            find_files(&entry, depth + 1, into, errors);
        }
    }
}

fn read(file: &Arc<str>, text: &str, into: &mut Resources, errors: &mut Vec<Diagnostic>) {
    match tree::parse(text) {
        Ok(documents) => {
            for document in &documents {
                if let Err(error) = read_document(file, document, into) {
                    errors.push(*error);
                }
            }
        }
        Err(malformed) => errors.push(Diagnostic {
            line: malformed.place.0,
            column: malformed.place.1,
            ..whole_file(file, format!("is not YAML: {}", malformed.message))
        }),
    }
}

fn read_document(
    file: &Arc<str>,
    node: &Node,
    into: &mut Resources,
) -> Result<(), Box<Diagnostic>> {
    let mut places = BTreeMap::new();
    node.places("", &mut places);
    let origin = Origin {
        file: Arc::clone(file),
        places: Arc::new(places),
    };
    let wrong = |field: &str, message: String, suggestion| {
        Box::new(at(&origin, field, GRAVE, message, suggestion))
    };
    match node.text("kind") {
        Some("Target") => into.targets.push(resource(&origin, node)?),
        Some("DataLabel") => into.labels.push(resource(&origin, node)?),
        Some("ClusterGuardPolicy") => into.cluster_policies.push(resource(&origin, node)?),
        Some("GuardPolicy") => into.policies.push(resource(&origin, node)?),
        Some("AccessRequest") => into.requests.push(resource(&origin, node)?),
        Some("PolicyException") => into.exceptions.push(resource(&origin, node)?),
        Some("Quarantine") => into.quarantines.push(resource(&origin, node)?),
        Some(kind) => {
            return Err(wrong(
                "kind",
                format!("unknown kind `{kind}`"),
                suggest(kind, KINDS),
            ));
        }
        None => {
            return Err(wrong(
                "kind",
                "field `kind` is missing".to_owned(),
                suggest("", KINDS),
            ));
        }
    }
    Ok(())
}

fn resource<S: for<'de> Deserialize<'de>>(
    origin: &Origin,
    node: &Node,
) -> Result<Resource<S>, Box<Diagnostic>> {
    let manifest = Manifest::<S>::deserialize(node).map_err(|error| {
        let (line, column): Place = error.place.unwrap_or(node.place);
        Box::new(Diagnostic {
            severity: Severity::Error,
            reason: Reason::Invalid,
            file: Arc::clone(&origin.file),
            line,
            column,
            field: error.field(),
            message: error.message,
            suggestion: error.suggestion,
        })
    })?;
    if let Some(version) = manifest
        .api_version
        .filter(|version| version != API_VERSION)
    {
        let message = format!("unknown version `{version}`");
        let known = Some(format!("known: {API_VERSION}"));
        return Err(Box::new(at(origin, "apiVersion", GRAVE, message, known)));
    }
    Ok(Resource {
        metadata: manifest.metadata,
        spec: manifest.spec,
        origin: origin.clone(),
    })
}

/// A finding about a field.
pub(crate) fn at(
    origin: &Origin,
    field: &str,
    (severity, reason): (Severity, Reason),
    message: String,
    suggestion: Option<String>,
) -> Diagnostic {
    let (line, column) = origin.place(field);
    let field = field.to_owned();
    Diagnostic {
        severity,
        reason,
        file: Arc::clone(&origin.file),
        line,
        column,
        field,
        message,
        suggestion,
    }
}

fn whole_file(file: &Arc<str>, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        reason: Reason::Invalid,
        file: Arc::clone(file),
        line: 0,
        column: 0,
        field: String::new(),
        message,
        suggestion: None,
    }
}
