//! What a request asks for, read as the API server reads it.
//!
//! The rules are those of `RequestInfoFactory` in `k8s.io/apiserver/pkg/endpoints/request` and of Go's
//! `net/url`: the path is percent-decoded once and not normalised, `/api/V/…` and `/apis/G/V/…` name
//! resources, `watch/` and `proxy/` in front of a resource are verbs, and a query is what `ParseQuery`
//! makes of it.
//!
//! Invariants: what [`parse`] accepts can be read in one way only, by this server, by one that decodes
//! twice and by one that normalises; the work is linear in the input, which is bounded.
//!
//! Refuses: encoded separators, dot segments and empty segments, controls, upper-case names of resources,
//! parameters that the server would drop or that are given twice and differ.

mod path;
mod query;
mod selector;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use query::Query;
pub use selector::{FieldTerm, Relation};

/// The longest path that is read, in bytes as sent.
pub const MAX_PATH: usize = 16 * 1024;
/// The longest query that is read, in bytes as sent. A command of `exec` stands in it.
pub const MAX_QUERY: usize = 64 * 1024;
/// The most parameters that a query may have.
pub const MAX_PARAMETERS: usize = 4096;

/// Why a request cannot be read in one way only. The text is for people, and holds nothing of the request
/// but names of parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The method is none that the API serves.
    #[error("this HTTP method is not served")]
    Method,
    /// The path or the query is longer than [`MAX_PATH`] or [`MAX_QUERY`].
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// Bytes that have to be percent-encoded.
    #[error("the {0} holds a character that has to be percent-encoded")]
    Character(&'static str),
    /// A percent sign that two hexadecimal digits do not follow, or what they encode is not UTF-8.
    #[error("the {0} holds a broken percent-encoding")]
    Encoding(&'static str),
    /// An encoded slash, backslash, percent sign or control.
    #[error("a part of the path holds an encoded separator or control character")]
    Separator,
    /// `.` or `..`, plain or encoded.
    #[error("the path holds a dot segment")]
    DotSegment,
    /// Two slashes, or none at the beginning.
    #[error("the path holds an empty segment")]
    EmptySegment,
    /// `watch` or `proxy` and nothing that it stands for.
    #[error("the path names no resource")]
    NoResource,
    /// Names of groups, versions, resources and subresources are lower case.
    #[error("the name of an API group, version or resource is not lower case")]
    Case,
    /// A pair that the server drops in silence.
    #[error("a parameter of the query holds a semicolon")]
    Semicolon,
    /// One parameter, two values.
    #[error("parameter {0} is given twice with different values")]
    Twice(String),
    /// More than [`MAX_PARAMETERS`].
    #[error("the query holds too many parameters")]
    Parameters,
    /// A number that is none.
    #[error("parameter {0} is not a number")]
    Number(&'static str),
    /// A field selector that the server does not accept.
    #[error("the field selector cannot be read")]
    Selector,
}

/// A request, as the API server understands its method and URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What authorization judges: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or
    /// `deletecollection`; for a URL that names no resource the HTTP method in lower case. `create` for
    /// exec, attach and port-forward by whatever method.
    pub verb: &'static str,
    /// None: a URL that names no resource.
    pub resource: Option<Resource>,
    /// The path, decoded once, without slashes at its end.
    pub path: String,
    /// The parameters.
    pub query: Query,
    /// `dryRun` is given in the URL. A delete that has a body takes its options from there only.
    pub dry_run: bool,
    /// The field selector as it was sent.
    pub field_selector: Option<String>,
    /// What the field selector compares; all of these hold for what is selected.
    pub field_terms: Vec<FieldTerm>,
    /// The label selector as it was sent.
    pub label_selector: Option<String>,
    /// The labels that it looks at.
    pub label_keys: Vec<String>,
    /// The most objects of one page. None: all of them.
    pub limit: Option<u64>,
    /// Where the page before ended.
    pub continue_token: Option<String>,
    /// The answer is a stream of watch events.
    pub watch: bool,
    /// A watch begins with every object that there is (`sendInitialEvents`).
    pub initial_events: bool,
    /// What rows of a Table carry: `None`, `Metadata` or `Object`.
    pub include_object: Option<String>,
    /// When the client or the server gives up: the smaller of `timeout` and, for lists and watches,
    /// `timeoutSeconds`.
    pub timeout: Option<Duration>,
}

/// A resource, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version, `v1`.
    pub version: String,
    /// The plural name, `pods`.
    pub resource: String,
    /// `exec`, `status`; empty: the resource itself.
    pub subresource: String,
    /// The namespace. Of a Namespace itself, its name. None: of the cluster, or of all namespaces.
    pub namespace: Option<String>,
    /// The object's name. For a list or watch whose field selector asks for one name, that name, as the
    /// server has it.
    pub name: Option<String>,
    /// What follows the subresource, as it was sent, without a slash in front; for `proxy` the path of
    /// the request that is relayed.
    pub rest: String,
}

/// URLs that name no resource, by what they give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// Which groups, versions and resources there are.
    Discovery,
    /// Schemas.
    OpenApi,
    /// Whether the server is well.
    Health,
    /// Counters of the server.
    Metrics,
    /// The server's version.
    Version,
    /// Keys and addresses of the token issuer.
    OpenId,
    /// Profiles, flags, other callers' requests, log files.
    Debug,
    /// None of these.
    Other,
}

/// Reads a request from its method and the two halves of its target, as they were sent.
///
/// # Errors
/// Where the target could be understood in more than one way.
pub fn parse(method: &str, path: &str, query: Option<&str>) -> Result<Request, Refused> {
    let path = path::Path::parse(path)?;
    let located = path.locate(method)?;
    let proxied = located
        .as_ref()
        .is_some_and(|(_, resource)| resource.subresource == "proxy");
    let query = Query::parse(query.unwrap_or_default(), proxied)?;
    let (verb, resource) = match located {
        Some((verb, resource)) => (verb, Some(resource)),
        None => (path::method(method)?, None),
    };
    let mut request = Request {
        verb,
        resource,
        path: path.decoded(),
        query: Query::default(),
        dry_run: false,
        field_selector: None,
        field_terms: Vec::new(),
        label_selector: None,
        label_keys: Vec::new(),
        limit: None,
        continue_token: None,
        watch: verb == "watch",
        initial_events: false,
        include_object: None,
        timeout: None,
    };
    if !proxied {
        request.read(&query)?;
    }
    request.query = query;
    Ok(request)
}

impl Request {
    /// Parameters that the server itself understands.
    fn read(&mut self, query: &Query) -> Result<(), Refused> {
        let text = |name| query.first(name).map(str::to_owned);
        self.dry_run = query.first("dryRun").is_some();
        self.include_object = text("includeObject");
        self.timeout = query.first("timeout").and_then(query::duration);
        let Some(resource) = &mut self.resource else {
            return Ok(());
        };
        if resource.name.is_none() && self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" };
            self.watch = self.verb == "watch";
        }
        if resource.name.is_none() && self.verb == "delete" {
            self.verb = "deletecollection";
        }
        // What is not a list has no such options: the server does not look at them.
        if !matches!(self.verb, "list" | "watch" | "deletecollection") {
            return Ok(());
        }
        self.field_selector = text("fieldSelector").filter(|text| !text.is_empty());
        self.label_selector = text("labelSelector").filter(|text| !text.is_empty());
        self.label_keys = selector::label_keys(self.label_selector.as_deref().unwrap_or_default());
        self.field_terms = selector::terms(self.field_selector.as_deref().unwrap_or_default())?;
        self.continue_token = text("continue").filter(|text| !text.is_empty());
        self.initial_events = self.watch && query.flag("sendInitialEvents");
        self.limit = query.number("limit")?.filter(|limit| *limit > 0);
        if let Some(seconds) = query.number("timeoutSeconds")?.filter(|s| *s > 0) {
            let seconds = Duration::from_secs(seconds);
            self.timeout = Some(self.timeout.map_or(seconds, |own| own.min(seconds)));
        }
        if self.verb != "deletecollection" && resource.name.is_none() {
            resource.name = self
                .field_terms
                .iter()
                .find(|term| term.field == "metadata.name" && term.relation == Relation::Equals)
                .map(|term| term.value.clone())
                .filter(|name| {
                    !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '%'])
                });
        }
        Ok(())
    }

    /// The command of an exec, in order; empty for anything else.
    pub fn command(&self) -> Vec<&str> {
        match &self.resource {
            Some(resource) if resource.subresource == "exec" => self.query.all("command").collect(),
            _ => Vec::new(),
        }
    }

    /// What a URL that names no resource is for; [`Known::Other`] for one that does.
    pub fn known(&self) -> Known {
        if self.resource.is_some() {
            return Known::Other;
        }
        let mut parts = self.path.split('/').skip(1);
        let first = parts.next().unwrap_or_default();
        match (first, parts.next(), parts.count()) {
            ("", None, 0) | ("api" | "apis", _, _) => Known::Discovery,
            ("openapi", Some("v2" | "v3"), _) | ("openapi", None, 0) => Known::OpenApi,
            ("healthz" | "livez" | "readyz", _, _) => Known::Health,
            ("metrics", None, 0) | ("metrics", Some("slis"), 0) => Known::Metrics,
            ("version", None, 0) => Known::Version,
            (".well-known", Some("openid-configuration"), 0) | ("openid", Some("v1"), 1) => {
                Known::OpenId
            }
            ("debug" | "logs" | "configz" | "statusz" | "flagz", _, _) => Known::Debug,
            _ => Known::Other,
        }
    }
}
