//! How an application comes to trust what the sidecar shows it: variables, a read-only volume, and
//! the bundle over files that an image pins.
//!
//! A file mounted by `subPath` is the file that was there when the container started. Here that is
//! right: the sidecar writes the bundle before any other container starts and never replaces it,
//! because the pod's CA lives as long as the pod.

use serde_json::{Map, Value, json};

use crate::names::{BUNDLE_FILE, CA_FILE, CA_FILES, JAVA_FILE, TRUST_PATH, TRUST_VOLUME};
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
/// At most so many files of an image are covered.
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

/// Mounts the bundle over files of the image, and the Java trust store over those that are one.
pub(crate) fn mount_files(
    container: &mut Map<String, Value>,
    name: &str,
    files: &[&str],
) -> Result<(), Refusal> {
    for path in files {
        let mount = json!({
            "name": TRUST_VOLUME, "mountPath": path, "subPath": content(path), "readOnly": true,
        });
        mount_at(container, name, path, mount)?;
    }
    Ok(())
}

/// The file that stands in for one of that name.
fn content(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("cacerts" | "jssecacerts") => JAVA_FILE,
        Some(name) if name.ends_with(".jks") => JAVA_FILE,
        _ => BUNDLE_FILE,
    }
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
pub(crate) fn files(annotation: &str) -> Result<Vec<&str>, Refusal> {
    let refuse = |why: String| Refusal::Annotation {
        name: CA_FILES,
        why,
    };
    let mut files: Vec<&str> = Vec::new();
    for path in annotation
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
