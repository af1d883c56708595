//! How an application comes to trust what the sidecar shows it: variables, a read-only volume, and
//! the volume's files over those that an image pins.
//!
//! A file mounted by `subPath` is the file that was there when the container started. Here that is
//! right: the sidecar writes its files before any other container starts. The bundle is not replaced,
//! because the pod's CA lives as long as the pod; the known hosts are written in place, so that a
//! mount sees hosts that are added. A path that was not there would be mounted as a directory.

use serde_json::{Map, Value, json};

use crate::names::{
    BUNDLE_FILE, CA_FILE, CA_FILES, JAVA_FILE, KNOWN_HOSTS_FILE, KNOWN_HOSTS_FILES,
    KNOWN_HOSTS_PATH, SSH_KEY_FILE, SSH_KEY_FILES, TRUST_PATH, TRUST_VOLUME,
};
use crate::refusal::Refusal;

/// Variables by which programs find roots, and the file that each names. NODE_EXTRA_CA_CERTS adds
/// to what a program trusts; the others replace it.
const VARIABLES: [(&str, &str); 7] = [
    ("SSL_CERT_FILE", BUNDLE_FILE),
    ("PGSSLROOTCERT", BUNDLE_FILE),
    ("NODE_EXTRA_CA_CERTS", CA_FILE),
    ("REQUESTS_CA_BUNDLE", BUNDLE_FILE),
    ("CURL_CA_BUNDLE", BUNDLE_FILE),
    ("AWS_CA_BUNDLE", BUNDLE_FILE),
    ("GIT_SSL_CAINFO", BUNDLE_FILE),
];
/// Options that every JVM reads, however it is started; JDK_JAVA_OPTIONS is the `java` launcher's
/// alone, from version 9 on. What the command line says wins. The kind of the store is not named:
/// JVMs find it out, and a store of the command line's own may be of another.
const JAVA: (&str, &str) = ("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=");
/// Annotations that name files, and the file of the volume that is mounted over them.
const COVERS: [(&str, &str); 3] = [
    (CA_FILES, BUNDLE_FILE),
    (KNOWN_HOSTS_FILES, KNOWN_HOSTS_FILE),
    (SSH_KEY_FILES, SSH_KEY_FILE),
];
/// At most so many files of an image are covered by one annotation.
const MAX_FILES: usize = 16;
/// Directories below which nothing is covered: what Weir and Kubernetes mount themselves.
const RESERVED: [&str; 2] = ["/var/run/", "/run/"];

/// Sets the variables that the container does not set itself; gives those that it does.
pub(crate) fn set_variables(container: &mut Map<String, Value>) -> Vec<&'static str> {
    let mut left = Vec::new();
    let Some(list) = list(container, "env") else {
        return left;
    };
    let paths = VARIABLES.map(|(name, file)| (name, format!("{TRUST_PATH}/{file}")));
    let (java, option) = JAVA;
    let java = (java, format!("{option}{TRUST_PATH}/{JAVA_FILE}"));
    for (name, value) in paths.into_iter().chain([java]) {
        let set = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(name);
        match list.iter().find(set) {
            None => list.push(json!({"name": name, "value": value})),
            Some(found) if !says(found, &value) => left.push(name),
            Some(_) => {}
        }
    }
    left
}

/// Whether one of the words of a variable is this one: others may have added to JAVA_TOOL_OPTIONS.
fn says(variable: &Value, word: &str) -> bool {
    let value = variable.get("value").and_then(Value::as_str);
    value.is_some_and(|value| value.split_whitespace().any(|found| found == word))
}

/// Mounts the certificates.
pub(crate) fn mount_trust(container: &mut Map<String, Value>, name: &str) -> Result<(), Refusal> {
    let mount = json!({"name": TRUST_VOLUME, "mountPath": TRUST_PATH, "readOnly": true});
    mount_at(container, name, TRUST_PATH, mount)
}

/// Files of the image, and the file of the volume that covers each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covers<'a>(Vec<(&'a str, &'static str)>);

impl<'a> Covers<'a> {
    /// Whether an annotation names files.
    pub(crate) fn is_named(annotation: &str) -> bool {
        COVERS.iter().any(|(name, _)| *name == annotation)
    }

    /// Adds the files that an annotation names.
    pub(crate) fn add(&mut self, annotation: &str, value: &'a str) -> Result<(), Refusal> {
        for (name, file) in COVERS.iter().filter(|(name, _)| *name == annotation) {
            let paths = files(name, value)?;
            self.0
                .extend(paths.into_iter().map(|path| (path, stand_in(path, file))));
        }
        Ok(())
    }
}

/// Mounts files of the volume over files of the image.
pub(crate) fn mount_files(
    container: &mut Map<String, Value>,
    name: &str,
    covers: &Covers<'_>,
) -> Result<(), Refusal> {
    for (path, file) in &covers.0 {
        mount_at(container, name, path, covering(path, file))?;
    }
    Ok(())
}

/// What covers a file of that name: a JVM's trust store is covered by one.
fn stand_in(path: &str, file: &'static str) -> &'static str {
    match path.rsplit('/').next() {
        Some(name) if file == BUNDLE_FILE => match name {
            "cacerts" | "jssecacerts" => JAVA_FILE,
            name if name.ends_with(".jks") => JAVA_FILE,
            _ => file,
        },
        _ => file,
    }
}

/// Mounts the known hosts where SSH clients look for them, unless the container mounts something
/// there or above it itself; gives the path then.
pub(crate) fn mount_known_hosts(container: &mut Map<String, Value>) -> Option<&'static str> {
    let mounts = list(container, "volumeMounts")?;
    let ours = covering(KNOWN_HOSTS_PATH, KNOWN_HOSTS_FILE);
    if mounts.contains(&ours) {
        return None;
    }
    let holds = |entry: &Value| {
        let at = entry.get("mountPath").and_then(Value::as_str);
        let below = at.and_then(|at| KNOWN_HOSTS_PATH.strip_prefix(at.trim_end_matches('/')));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    if mounts.iter().any(holds) {
        return Some(KNOWN_HOSTS_PATH);
    }
    mounts.push(ours);
    None
}

fn covering(path: &str, file: &str) -> Value {
    json!({"name": TRUST_VOLUME, "mountPath": path, "subPath": file, "readOnly": true})
}

/// Adds a mount unless it is there; something else at its path is refused.
fn mount_at(
    container: &mut Map<String, Value>,
    name: &str,
    path: &str,
    mount: Value,
) -> Result<(), Refusal> {
    let Some(mounts) = list(container, "volumeMounts") else {
        return Err(Refusal::NotAPod("volumeMounts is not a list"));
    };
    let at = |entry: &&Value| {
        let found = entry.get("mountPath").and_then(Value::as_str);
        found.is_some_and(|found| found.trim_end_matches('/') == path)
    };
    match mounts.iter().find(at) {
        None => mounts.push(mount),
        Some(found) if *found == mount => {}
        Some(_) => {
            return Err(Refusal::Occupied {
                container: name.to_owned(),
                path: path.to_owned(),
            });
        }
    }
    Ok(())
}

/// The files that an annotation names.
fn files<'a>(name: &'static str, value: &'a str) -> Result<Vec<&'a str>, Refusal> {
    let refuse = |why: String| Refusal::Annotation { name, why };
    let mut files: Vec<&str> = Vec::new();
    for path in value
        .split(',')
        .map(str::trim)
        .filter(|path| !path.is_empty())
    {
        let plain = path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains(':')
            && path
                .split('/')
                .skip(1)
                .all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            return Err(refuse(format!("`{path}` is not the plain path of a file")));
        }
        if RESERVED.iter().any(|reserved| path.starts_with(reserved)) {
            return Err(refuse(format!(
                "`{path}` is where Kubernetes mounts, not a file of the image"
            )));
        }
        if !files.contains(&path) {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(refuse(format!("names more than {MAX_FILES} files")));
    }
    Ok(files)
}

/// The list of that name, made if absent; nothing if it is something else.
pub(crate) fn list<'a>(
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Vec<Value>> {
    let entry = object.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!([]);
    }
    entry.as_array_mut()
}
