//! What a request asks for, in the policy's terms: the only place where the types of `wire-kube` and
//! of `policy` meet.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_audit::{LabelledColumns, Names};
use weir_detect::{Kind, names_secret};
use weir_policy::{
    Endpoint, KubernetesEffect as Effect, KubernetesOperation, KubernetesResource, LabelId,
    LabelUse, Operation, Output, Scope, Use,
};
use weir_wire_kube::body::{self, BodyFacts, Taken};
use weir_wire_kube::rewrite::is_named_elsewhere;
use weir_wire_kube::{BodyKind, FieldPattern, Known, Request, Resource, Segment};
use weir_wire_ssh::command::{self, Command};

use super::builtin;
use super::conditions::Carried;
use super::effects;
use super::objects::HANDLES;
use crate::command::stated;

/// Verbs whose requests carry an object.
const WRITES: [&str; 3] = ["create", "update", "patch"];

/// Types of Secrets that the API server takes for credentials, or makes them of.
const TOKENS: [&str; 2] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
];

/// A request that is judged.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) foreign: bool,
    effects: Vec<Effect>,
    /// Verbs that it may amount to, beside its own.
    also: &'static [&'static str],
    command: Option<Command>,
    /// Labelled fields of the resource.
    pub(super) labels: Vec<(FieldPattern, LabelId)>,
    shown: Vec<LabelId>,
    uses: Vec<LabelUse>,
    opaque: Option<String>,
    masked_value_written: bool,
    /// Its object, for conditions.
    carried: Carried,
}

/// A request's object as it came.
pub(super) struct Object<'a> {
    pub(super) kind: BodyKind,
    pub(super) bytes: &'a [u8],
}

impl Asked {
    /// What it does, for people: its verb and what else it brings about.
    pub(super) fn effect_names(&self) -> Names {
        let verb = std::iter::once(self.request.verb);
        let effects = self.effects.iter().map(|effect| effect.name());
        verb.chain(effects).collect()
    }

    /// The fields behind its labels.
    pub(super) fn labelled(&self, scope: &Scope) -> Vec<LabelledColumns> {
        let mut found: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for (field, id) in &self.labels {
            if let Some(label) = scope.label(*id) {
                found
                    .entry(label)
                    .or_default()
                    .push(field.to_string().into());
            }
        }
        let found = found.into_iter();
        found
            .map(|(label, columns)| LabelledColumns {
                label,
                columns: columns.into(),
            })
            .collect()
    }

    /// What a request asks for under the labels of a scope.
    pub(super) fn new(
        request: Request,
        foreign: bool,
        object: Option<&Object<'_>>,
        scope: &Scope,
    ) -> Self {
        let words = request.command();
        let command =
            (!words.is_empty()).then(|| command::analyze(shell_text(&words).as_bytes(), &[]));
        let applies = object.is_some_and(|object| object.kind.applies());
        let mut asked = Self {
            effects: effects::of(&request),
            also: effects::also(&request, applies),
            foreign,
            command,
            labels: Vec::new(),
            shown: Vec::new(),
            uses: Vec::new(),
            opaque: None,
            masked_value_written: false,
            carried: Carried::before_reading(object.is_some()),
            request,
        };
        let Some(resource) = asked.request.resource.clone() else {
            return asked;
        };
        asked.labels = labels(scope, &resource);
        if effects::shows_objects(&resource) {
            asked.shown = asked.labels.iter().map(|(_, id)| *id).collect();
        }
        asked.read_selectors(&resource);
        if let Some(object) = object.filter(|_| WRITES.contains(&asked.request.verb)) {
            asked.read_object(&resource, object, scope);
        }
        asked
    }

    /// A selector that compares a labelled field tells what it holds. One that is not known may compare any.
    fn read_selectors(&mut self, resource: &Resource) {
        let mut paths: Vec<Vec<&str>> = Vec::new();
        for term in &self.request.field_terms {
            let Some(fields) = builtin::selected(resource, &term.field) else {
                let all = self.labels.iter().map(|(_, id)| used(*id, Use::Predicate));
                self.uses.extend(all);
                continue;
            };
            paths.extend(fields.iter().map(|field| field.split('.').collect()));
        }
        let labels = self.request.label_keys.iter();
        paths.extend(labels.map(|key| vec!["metadata", "labels", key.as_str()]));
        for path in paths {
            let path: Vec<Segment> = path
                .into_iter()
                .map(|name| Segment::Member(name.into()))
                .collect();
            for (pattern, id) in &self.labels {
                if pattern.covers(&path) || pattern.is_below(&path) {
                    self.uses.push(used(*id, Use::Predicate));
                }
            }
        }
    }

    fn read_object(&mut self, resource: &Resource, object: &Object<'_>, scope: &Scope) {
        let facts = body::facts(resource, object.kind, object.bytes);
        // A ConfigMap that has labelled fields is as good as a Secret.
        let labelled = || !scope.labels().of_resource("", "configmaps").is_empty();
        if facts.reads_secrets || facts.reads_configs && labelled() {
            self.effects.push(Effect::MountsSecrets);
        }
        if facts.names_secrets {
            self.effects.push(Effect::NamesSecrets);
        }
        if facts.service_account.is_some() {
            self.effects.push(Effect::NamesServiceAccount);
        }
        if facts.privileged {
            self.effects.push(Effect::Privileged);
        }
        let is_secret = resource.group.is_empty() && resource.resource == "secrets";
        let token = facts
            .secret_type
            .as_deref()
            .is_some_and(|kind| TOKENS.contains(&kind));
        if is_secret && (token || facts.opaque.is_some()) {
            self.effects.push(Effect::IssuesCredentials);
        }
        self.read_fields(&facts, object.kind);
        self.read_names(&facts, scope);
        let constants = scope.constant_masks();
        let is_mask = |text: &str| constants.iter().any(|mask| mask == text) || is_starred(text);
        self.masked_value_written = scope.has_masks() && facts.any_string(is_mask);
        if let Some(reason) = facts.opaque.as_deref() {
            let matters = effects::depends_on_object(resource) || !self.labels.is_empty();
            if matters {
                let all = [
                    Effect::MountsSecrets,
                    Effect::NamesSecrets,
                    Effect::NamesServiceAccount,
                    Effect::Privileged,
                ];
                self.effects.extend(all);
                self.opaque = Some(format!("its object cannot be read: {reason}"));
            }
        }
        if scope.reads_objects() {
            self.carried = Carried::new(facts, object);
        }
    }

    /// A JSON patch takes values that are found by the names beside or above them away from these, or compares them,
    /// or puts any value where none is looked for.
    fn read_names(&mut self, facts: &BodyFacts, scope: &Scope) {
        let says = |name: &str| names_secret(name) || is_named_elsewhere(name);
        for (name, taken) in facts.taken() {
            let how = match (name, taken) {
                (Some(name), Taken::Compared) if says(name) => Use::Predicate,
                (Some(name), Taken::From) if says(name) => Use::Write,
                // What lies in a list may be a word behind its name.
                (None, Taken::From) => Use::Write,
                (Some(name), Taken::To) if HANDLES.contains(&name) => {
                    let all = scope.detected_by(|_| true);
                    self.uses.extend(all.map(|id| used(id, Use::Write)));
                    continue;
                }
                _ => continue,
            };
            let by_name = scope.detected_by(|detector| detector.parse() == Ok(Kind::Password));
            self.uses.extend(by_name.map(|id| used(id, how)));
        }
    }

    /// How the object of a request uses labelled fields.
    fn read_fields(&mut self, facts: &BodyFacts, kind: BodyKind) {
        let forced = self.request.query.flag("force");
        let conflicts = kind.applies() && !forced;
        // What is to be created is not compared with anything.
        let resource = self.request.resource.as_ref();
        let creates = self.request.verb == "create"
            && resource.is_some_and(|resource| resource.subresource.is_empty());
        for (pattern, id) in &self.labels {
            if facts.tests_or_copies(pattern) {
                self.uses.push(used(*id, Use::Write));
            }
            // A conflict, or what a dry run answers, tells whether the value is the one that is there.
            let sets = facts.sets(pattern) || facts.sets_applied(pattern);
            if sets && (conflicts || self.request.dry_run && !creates) {
                self.uses.push(used(*id, Use::Predicate));
            }
        }
    }

    /// Whether the server's refusal may quote a labelled field, although the answer shows none.
    pub(super) fn refusal_quotes(&self) -> bool {
        let fields = self.labels.iter().map(|(field, _)| field);
        let resource = self.request.resource.as_ref();
        resource.is_some_and(|resource| effects::refusal_quotes(resource, fields))
    }

    /// Calls `with` on the operation.
    pub(super) fn judge<T>(&self, with: impl FnOnce(&Operation<'_>) -> T) -> T {
        match &self.command {
            Some(command) => stated(command, |command| self.operation(Some(command), with)),
            None => self.operation(None, with),
        }
    }

    fn operation<T>(
        &self,
        command: Option<&weir_policy::SshCommand<'_>>,
        with: impl FnOnce(&Operation<'_>) -> T,
    ) -> T {
        let outputs: Vec<Output<'_>> = self.shown.chunks(1).map(Output::Labelled).collect();
        let endpoint = match &self.request.resource {
            Some(resource) => Endpoint::Resource(KubernetesResource {
                group: &resource.group,
                version: &resource.version,
                resource: &resource.resource,
                subresource: &resource.subresource,
                namespace: resource.namespace.as_deref(),
                name: resource.name.as_deref(),
            }),
            None => Endpoint::Path {
                path: &self.request.path,
                known: self.is_known(),
            },
        };
        with(&Operation::Kubernetes(&KubernetesOperation {
            verb: self.request.verb,
            also: self.also,
            endpoint,
            effects: &self.effects,
            foreign_identity: self.foreign,
            command,
            label_uses: &self.uses,
            outputs: &outputs,
            opaque: self.opaque.as_deref(),
            masked_value_written: self.masked_value_written,
            dry_run: self.request.dry_run,
            object: self.carried.object(),
            is_about_another: self.is_about_another(),
        }))
    }

    /// Whether what it carries, if anything, is never of the resource's kind, nor becomes a part of its object.
    fn is_about_another(&self) -> bool {
        let resource = self.request.resource.as_ref();
        resource.is_some_and(|resource| {
            matches!(
                (
                    resource.group.as_str(),
                    resource.resource.as_str(),
                    resource.subresource.as_str()
                ),
                (
                    "",
                    "pods",
                    "exec" | "attach" | "portforward" | "eviction" | "log"
                ) | ("", "pods" | "services" | "nodes", "proxy")
                    | ("", "serviceaccounts", "token")
            )
        })
    }

    /// Whether the server answers it whole, as soon as it can.
    pub(super) fn is_brief(&self) -> bool {
        let resource = self.request.resource.as_ref();
        matches!(self.request.verb, "get" | "list") && resource.is_none_or(effects::shows_objects)
    }

    /// Whether it is a path that is no resource, which every client may read.
    fn is_known(&self) -> bool {
        let reads = matches!(self.request.verb, "get" | "head" | "options");
        reads && !matches!(self.request.known(), Known::Debug | Known::Other)
    }

    /// `get pods/exec`: what evidence calls it.
    pub(super) fn command_tag(&self) -> String {
        let what = match &self.request.resource {
            Some(resource) if resource.subresource.is_empty() => resource.resource.clone(),
            Some(resource) => format!("{}/{}", resource.resource, resource.subresource),
            None => return self.request.verb.to_owned(),
        };
        format!("{} {what}", self.request.verb)
    }

    /// A stream in words that people read: which container, and what runs in it.
    pub(super) fn stream(&self) -> Option<String> {
        let resource = self.request.resource.as_ref()?;
        let what = match resource.subresource.as_str() {
            "exec" => "exec in",
            "attach" => "attach to",
            "portforward" => "port-forward to",
            _ => return None,
        };
        let namespace = resource.namespace.as_deref().unwrap_or_default();
        let pod = resource.name.as_deref().unwrap_or_default();
        let mut words = format!("{what} {namespace}/{pod}");
        if let Some(container) = self.request.query.first("container") {
            words.push_str(&format!(" ({container})"));
        }
        if let Some(command) = &self.command {
            words.push_str(": ");
            words.push_str(&command.text);
        }
        let ports: Vec<&str> = self.request.query.all("ports").collect();
        if !ports.is_empty() {
            words.push_str(&format!(" port {}", ports.join(", ")));
        }
        Some(words)
    }

    /// What evidence finds it by: `secrets`, `deployments.apps`.
    pub(super) fn table(&self) -> Option<Arc<str>> {
        let resource = self.request.resource.as_ref()?;
        Some(match resource.group.as_str() {
            "" => resource.resource.as_str().into(),
            group => format!("{}.{group}", resource.resource).into(),
        })
    }

    /// Whether the command is the one by which `kubectl cp` fetches files: an archive, whose bytes are no
    /// text. Another `tar` may print what it holds.
    pub(super) fn moves_archive(&self) -> bool {
        matches!(self.request.command().as_slice(), ["tar", "cf", "-", _])
    }
}

fn used(label: LabelId, how: Use) -> LabelUse {
    LabelUse { label, how }
}

fn labels(scope: &Scope, resource: &Resource) -> Vec<(FieldPattern, LabelId)> {
    let labels = scope.labels();
    // What binds a pod is answered with the pod's fields.
    let name = match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "bindings") => "pods",
        (_, name) => name,
    };
    let mut found = Vec::new();
    let groups = builtin::groups(&resource.group, name);
    for group in &groups {
        for (text, id) in labels.of_resource(group, name) {
            let names = match groups.len() {
                1 => vec![text.to_owned()],
                _ => builtin::names_of_event_field(text),
            };
            // The compiler has read it before.
            let fields = names
                .iter()
                .filter_map(|text| FieldPattern::parse(text).ok());
            found.extend(fields.map(|field| (field, id)));
        }
    }
    found
}

/// What a partial mask leaves of a value: a run of stars that nobody types.
fn is_starred(text: &str) -> bool {
    text.contains("********")
}

/// A command's words as a shell would be given them.
fn shell_text(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            (*word).to_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
