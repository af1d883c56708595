//! A request to a Kubernetes API, as somebody types it for `weir explain`.

use std::path::Path;

/// A request as HTTP has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) method: &'static str,
    pub(super) url: String,
    /// The content type of an object that comes with it.
    pub(super) content_type: &'static str,
}

impl Typed {
    /// Reads `VERB RESOURCE[.VERSION][.GROUP][/SUBRESOURCE] [NAMESPACE/[NAME]]`, or `METHOD URL`.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn read(words: &[String]) -> Result<Self, String> {
        match words {
            [method, url] if url.starts_with('/') => Self::of_url(method, url),
            [verb, resource] => Self::of_resource(verb, resource, ""),
            [verb, resource, place] => Self::of_resource(verb, resource, place),
            _ => Err("a request is VERB RESOURCE [NAMESPACE/NAME], or METHOD URL".to_owned()),
        }
    }

    fn of_url(method: &str, url: &str) -> Result<Self, String> {
        const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let known = METHODS.into_iter().find(|known| *known == method);
        let method =
            known.ok_or_else(|| format!("`{method}` is no method: {}", METHODS.join(", ")))?;
        Ok(Self {
            method,
            url: url.to_owned(),
            content_type: content_type(method),
        })
    }

    fn of_resource(verb: &str, typed: &str, place: &str) -> Result<Self, String> {
        const VERBS: [(&str, &str); 8] = [
            ("get", "GET"),
            ("list", "GET"),
            ("watch", "GET"),
            ("create", "POST"),
            ("update", "PUT"),
            ("patch", "PATCH"),
            ("delete", "DELETE"),
            ("deletecollection", "DELETE"),
        ];
        let known = VERBS.into_iter().find(|(name, _)| *name == verb);
        let (_, method) = known.ok_or_else(|| {
            let known: Vec<&str> = VERBS.iter().map(|(name, _)| *name).collect();
            format!("`{verb}` is no verb: {}", known.join(", "))
        })?;
        let (typed, subresource) = typed.split_once('/').unwrap_or((typed, ""));
        let (resource, group) = typed.split_once('.').unwrap_or((typed, ""));
        // `cronjobs.v1beta1.batch`, as kubectl has it.
        let (version, group) = match group.split_once('.') {
            Some((version, group)) if is_version(version) => (version, group),
            _ if is_version(group) => (group, ""),
            _ => ("v1", group),
        };
        let (namespace, name) = match place.split_once('/') {
            Some(parts) => parts,
            None => ("", place),
        };
        // A subresource, and what is created under one, has its object's name in the path.
        let named =
            matches!(verb, "get" | "update" | "patch" | "delete") || !subresource.is_empty();
        if named && name.is_empty() {
            return Err(format!("which object? {verb} {typed} NAMESPACE/NAME"));
        }
        if !named && !name.is_empty() {
            return Err(format!(
                "`{verb}` is for no object by its name: {verb} {typed} NAMESPACE/"
            ));
        }
        let mut url = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        for (what, part) in [
            ("/namespaces/", namespace),
            ("/", resource),
            ("/", name),
            ("/", subresource),
        ] {
            if !part.is_empty() {
                url.push_str(what);
                url.push_str(part);
            }
        }
        if verb == "watch" {
            url.push_str("?watch=true");
        }
        Ok(Self {
            method,
            url,
            content_type: content_type(method),
        })
    }
}

/// `v1`, `v2beta1`.
fn is_version(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = text.strip_prefix('v') else {
        return false;
    };
    let stage = rest.split_once("alpha").or_else(|| rest.split_once("beta"));
    stage.map_or(digits(rest), |(number, stage)| {
        digits(number) && digits(stage)
    })
}

/// Of patches the one that says fields.
fn content_type(method: &str) -> &'static str {
    match method {
        "PATCH" => "application/strategic-merge-patch+json",
        _ => "application/json",
    }
}

/// The object that comes with a request, as JSON. What is typed is YAML, or JSON, which is YAML, too.
///
/// # Errors
/// It cannot be read, or is not one object.
pub(super) fn object(file: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(file) = file else {
        return Ok(None);
    };
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
    let object: serde_json::Map<String, serde_json::Value> =
        serde_saphyr::from_str(&text).map_err(|error| failed(&error))?;
    serde_json::to_vec(&object)
        .map(Some)
        .map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(typed: &str) -> Result<(&'static str, String), String> {
        let words: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
        Typed::read(&words).map(|typed| (typed.method, typed.url))
    }

    #[test]
    fn verbs_and_resources_become_the_url_that_clients_send() {
        for (typed, method, url) in [
            (
                "get secrets shop/db",
                "GET",
                "/api/v1/namespaces/shop/secrets/db",
            ),
            ("list secrets", "GET", "/api/v1/secrets"),
            (
                "list secrets shop/",
                "GET",
                "/api/v1/namespaces/shop/secrets",
            ),
            (
                "watch pods shop/",
                "GET",
                "/api/v1/namespaces/shop/pods?watch=true",
            ),
            (
                "create pods/exec shop/web",
                "POST",
                "/api/v1/namespaces/shop/pods/web/exec",
            ),
            (
                "create deployments.apps shop/",
                "POST",
                "/apis/apps/v1/namespaces/shop/deployments",
            ),
            (
                "patch clusterroles.rbac.authorization.k8s.io /x",
                "PATCH",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
            ),
            (
                "list cronjobs.v1beta1.batch shop/",
                "GET",
                "/apis/batch/v1beta1/namespaces/shop/cronjobs",
            ),
            (
                "list widgets.vendor.example.org",
                "GET",
                "/apis/vendor.example.org/v1/widgets",
            ),
            ("list pods.v1", "GET", "/api/v1/pods"),
            ("get nodes n", "GET", "/api/v1/nodes/n"),
            (
                "deletecollection pods shop/",
                "DELETE",
                "/api/v1/namespaces/shop/pods",
            ),
            ("GET /api/v1/pods?limit=5", "GET", "/api/v1/pods?limit=5"),
        ] {
            assert_eq!(read(typed), Ok((method, url.to_owned())), "{typed}");
        }
    }

    #[test]
    fn an_object_is_one_and_yaml_or_json() {
        let read = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            object(Some(file.path()))
        };
        let json = Ok(Some(br#"{"data":{"a":"b"}}"#.to_vec()));
        assert_eq!(read("data: {a: b}\n"), json);
        assert_eq!(read(r#"{"data": {"a": "b"}}"#), json);
        for wrong in ["- a\n", "text", "a: 1\n---\nb: 2\n", "a: [\n"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(object(Some(Path::new("/nonexistent/object.yaml"))).is_err());
        assert_eq!(object(None), Ok(None));
    }

    #[test]
    fn what_names_no_request_is_refused() {
        for typed in [
            "get",
            "get secrets",
            "list secrets shop/db",
            "read secrets shop/db",
            "FETCH /api",
            "create pods/exec shop/",
        ] {
            assert!(read(typed).is_err(), "{typed}");
        }
    }
}
