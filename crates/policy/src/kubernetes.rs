//! What is asked of the Kubernetes API, in the terms that rules use.
//!
//! The caller over-approximates: an effect that it cannot rule out is in here, and so is every use of a
//! label. What a request leaves open, such as the names of the objects of a list, counts as meant by
//! rules that restrict and as not meant by rules that allow.

use serde::{Deserialize, Serialize};
use weir_condition::Condition;

use crate::name::Glob;
use crate::operation::{LabelUse, Output};
use crate::ssh::{SshCommand, vocabulary};

/// One request.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubernetesOperation<'a> {
    /// The verb as the API server's authorizers know it, such as `get` or `deletecollection`; for a path
    /// that is no resource, the method in lower case.
    pub verb: &'a str,
    /// Verbs that it may amount to, beside its own: `create` where it makes what is not there yet, `delete` where it
    /// takes away what is there by another way. A rule that restricts means them, too.
    pub also: &'a [&'a str],
    /// What it is about.
    pub endpoint: Endpoint<'a>,
    /// What it brings about, beside reading or changing its object.
    pub effects: &'a [KubernetesEffect],
    /// It impersonates, or brings a credential that is not the pod's.
    pub foreign_identity: bool,
    /// The command that it runs, if it runs one and says which.
    pub command: Option<&'a SshCommand<'a>>,
    /// How labelled fields are used, other than being shown.
    pub label_uses: &'a [LabelUse],
    /// What the answer may hold: one entry for each label that lies on the resource.
    pub outputs: &'a [Output<'a>],
    /// Why its object could not be read, if it has one that matters.
    pub opaque: Option<&'a str>,
    /// Its object would store what is the output of a mask.
    pub masked_value_written: bool,
    /// Nothing is to be stored.
    pub dry_run: bool,
    /// Its object, for conditions.
    pub object: weir_condition::Object<'a>,
    /// That is none of the resource itself: it is about a subresource, such as `exec`.
    pub is_about_another: bool,
}

impl<'a> KubernetesOperation<'a> {
    /// The verbs that it amounts to, its own first.
    pub(crate) fn verbs(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        std::iter::once(self.verb).chain(self.also.iter().copied())
    }

    /// The request under one of its verbs, as conditions have it.
    pub(crate) fn request(&self, verb: &'a str) -> weir_condition::Request<'a> {
        let verb = weir_condition::Request {
            verb,
            dry_run: self.dry_run,
            ..weir_condition::Request::default()
        };
        match self.endpoint {
            Endpoint::Resource(resource) => weir_condition::Request {
                group: resource.group,
                version: resource.version,
                resource: resource.resource,
                subresource: resource.subresource,
                namespace: resource.namespace,
                name: resource.name,
                ..verb
            },
            Endpoint::Path { .. } => verb,
        }
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint<'a> {
    /// A resource.
    Resource(KubernetesResource<'a>),
    /// A path that is none.
    Path {
        /// The path, decoded.
        path: &'a str,
        /// Discovery, versions, health, metrics: what every client needs and nobody can misuse.
        known: bool,
    },
}

impl Default for Endpoint<'_> {
    fn default() -> Self {
        Endpoint::Path {
            path: "",
            known: false,
        }
    }
}

/// A resource, as a request names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubernetesResource<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The resource, such as `pods`.
    pub resource: &'a str,
    /// The subresource, such as `exec`; empty where there is none.
    pub subresource: &'a str,
    /// The namespace; none for all of them, and for what lies in none.
    pub namespace: Option<&'a str>,
    /// The name of the object; none where the request names none.
    pub name: Option<&'a str>,
}

vocabulary! {
    /// What a request to the Kubernetes API brings about, beside reading or changing its object.
    KubernetesEffect {
        /// A command runs in a container that is there: exec, attach, ephemeral containers.
        RunsCommand = "RunsCommand",
        /// A connection is led through the API server: port-forward, and the proxies of pods, Services
        /// and nodes.
        Tunnels = "Tunnels",
        /// A pod, or what makes pods, reads Secrets: mounted, projected or as environment. ConfigMaps that have
        /// labelled fields count as Secrets.
        MountsSecrets = "MountsSecrets",
        /// An object names a Secret in whatever way, also one that a controller reads or writes itself.
        NamesSecrets = "NamesSecrets",
        /// A pod, or what makes pods, names the service account that it runs as.
        NamesServiceAccount = "NamesServiceAccount",
        /// A pod, or what makes pods, reaches the node: privileged, capabilities, host namespaces, host
        /// paths.
        Privileged = "Privileged",
        /// Rights are granted: roles, bindings, `bind`, `escalate`, `impersonate`.
        GrantsRights = "GrantsRights",
        /// A credential is issued: tokens, token Secrets, certificate signing requests.
        IssuesCredentials = "IssuesCredentials",
        /// What the API server does for everybody changes: admission, aggregation, conversion.
        ChangesAdmission = "ChangesAdmission",
    }
}

/// What a rule names of a request. All given fields must hold, and in a list one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesMatch {
    /// Verbs.
    pub verbs: Vec<Glob>,
    /// API groups; an empty text is the core group.
    pub groups: Vec<Glob>,
    /// Resources.
    pub resources: Vec<Glob>,
    /// Subresources; an Allow rule that names none allows none.
    pub subresources: Vec<Glob>,
    /// Namespaces.
    pub namespaces: Vec<Glob>,
    /// Names of objects.
    pub names: Vec<Glob>,
    /// Paths that are no resources.
    pub paths: Vec<Glob>,
    /// Effects.
    pub effects: Vec<KubernetesEffect>,
    /// Commands.
    pub commands: Vec<Glob>,
    /// Requests with a credential that is not the pod's, or that impersonate.
    pub foreign_identity: bool,
    /// A condition on the request and its object. Left out of the text that budgets are named after when
    /// not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}
