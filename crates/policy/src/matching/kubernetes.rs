//! Whether a rule's match holds for a request to the Kubernetes API, in both readings.
//!
//! A restricting rule counts what a request leaves open as meant: a list may hold an object of any
//! name, a list over all namespaces one of any namespace. An Allow rule counts it as not meant, and one
//! that names no subresource allows none: who may read pods may not run commands in them. So it is with verbs:
//! an apply may create what it names, which a rule about `create` restricts, and an Allow rule has to name.

use super::ssh::{is_within, may_run, of_sql, test};
use super::{Facts, Field};
use crate::kubernetes::{Endpoint, KubernetesMatch, KubernetesOperation, KubernetesResource};
use crate::name::Glob;
use crate::rule::Match;

use weir_condition::{Condition, Object};

/// The verb of what makes objects.
const CREATE: &str = "create";

/// The restricting reading.
pub(super) fn restricts(matches: &Match, facts: &Facts<'_>) -> Result<(), Field> {
    let Some(operation) = facts.kubernetes else {
        return test(Field::Kubernetes, matches.kubernetes.is_none());
    };
    of_sql(matches)?;
    let Some(kubernetes) = &matches.kubernetes else {
        return Ok(());
    };
    let mut verbs = operation.verbs();
    test(Field::Verbs, verbs.any(|verb| one(&kubernetes.verbs, verb)))?;
    endpoint(kubernetes, &operation.endpoint, true)?;
    test(
        Field::KubernetesEffects,
        kubernetes.effects.is_empty() || effects(kubernetes, operation),
    )?;
    test(
        Field::KubernetesCommands,
        kubernetes.commands.is_empty() || runs(&kubernetes.commands, operation),
    )?;
    test(
        Field::ForeignIdentity,
        !kubernetes.foreign_identity || operation.foreign_identity,
    )?;
    // Who names no subresource speaks of the resource's own objects.
    let object = match operation.is_about_another && kubernetes.subresources.is_empty() {
        true => &Object::Another,
        false => &operation.object,
    };
    let holds = |when: &Condition| {
        let mut verbs = operation.verbs();
        verbs.any(|verb| {
            one(&kubernetes.verbs, verb) && when.restricts(&operation.request(verb), object)
        })
    };
    test(Field::When, kubernetes.when.as_ref().is_none_or(holds))
}

/// The reading of Allow rules.
pub(super) fn allows(matches: &Match, facts: &Facts<'_>) -> Result<(), Field> {
    let Some(operation) = facts.kubernetes else {
        return test(Field::Kubernetes, matches.kubernetes.is_none());
    };
    of_sql(matches)?;
    let Some(kubernetes) = &matches.kubernetes else {
        test(Field::ForeignIdentity, !operation.foreign_identity)?;
        return test(Field::Resources, !has_subresource(&operation.endpoint));
    };
    // Whether the object is there already is not known.
    let mut makes = operation.also.iter().filter(|verb| **verb == CREATE);
    let named =
        one(&kubernetes.verbs, operation.verb) && makes.all(|verb| one(&kubernetes.verbs, verb));
    test(Field::Verbs, named)?;
    endpoint(kubernetes, &operation.endpoint, false)?;
    let named = |effect| kubernetes.effects.contains(effect);
    test(
        Field::KubernetesEffects,
        kubernetes.effects.is_empty() || operation.effects.iter().all(named),
    )?;
    let within = |command| is_within(&kubernetes.commands, command);
    test(
        Field::KubernetesCommands,
        kubernetes.commands.is_empty() || operation.command.is_some_and(within),
    )?;
    test(
        Field::ForeignIdentity,
        kubernetes.foreign_identity == operation.foreign_identity,
    )?;
    let holds =
        |when: &Condition| when.allows(&operation.request(operation.verb), &operation.object);
    test(Field::When, kubernetes.when.as_ref().is_none_or(holds))
}

/// Whether the match names what is refused unless it is named.
pub(crate) fn names(matches: &Match, operation: &KubernetesOperation<'_>) -> bool {
    let Some(kubernetes) = &matches.kubernetes else {
        return false;
    };
    match operation.endpoint {
        Endpoint::Resource(_) => !kubernetes.subresources.is_empty(),
        Endpoint::Path { .. } => !kubernetes.paths.is_empty(),
    }
}

fn effects(kubernetes: &KubernetesMatch, operation: &KubernetesOperation<'_>) -> bool {
    let mut brought = operation.effects.iter();
    brought.any(|effect| kubernetes.effects.contains(effect))
}

/// Whether one of the commands may run. What an attached terminal runs is not known.
pub(crate) fn runs(commands: &[Glob], operation: &KubernetesOperation<'_>) -> bool {
    use crate::kubernetes::KubernetesEffect::RunsCommand;
    match operation.command {
        Some(command) => {
            command.opaque.is_some() || commands.iter().any(|glob| may_run(glob, command))
        }
        None => operation.effects.contains(&RunsCommand),
    }
}

fn endpoint(
    kubernetes: &KubernetesMatch,
    endpoint: &Endpoint<'_>,
    unknown: bool,
) -> Result<(), Field> {
    match endpoint {
        Endpoint::Path { path, .. } => {
            test(Field::Resources, !names_resources(kubernetes))?;
            test(Field::Paths, one(&kubernetes.paths, path))
        }
        Endpoint::Resource(resource) => {
            test(Field::Paths, kubernetes.paths.is_empty())?;
            of_resource(kubernetes, resource, unknown)
        }
    }
}

fn of_resource(
    kubernetes: &KubernetesMatch,
    resource: &KubernetesResource<'_>,
    unknown: bool,
) -> Result<(), Field> {
    let open = |globs: &[Glob], value: Option<&str>| {
        globs.is_empty() || value.map_or(unknown, |value| one(globs, value))
    };
    let subresource = match kubernetes.subresources.as_slice() {
        [] => unknown || resource.subresource.is_empty(),
        globs => one(globs, resource.subresource),
    };
    // Events are the same objects in both groups.
    let twin = match (resource.group, resource.resource) {
        ("", "events") => Some("events.k8s.io"),
        ("events.k8s.io", "events") => Some(""),
        _ => None,
    };
    let twin = twin.filter(|_| unknown);
    test(
        Field::Resources,
        (one(&kubernetes.groups, resource.group)
            || twin.is_some_and(|group| one(&kubernetes.groups, group)))
            && one(&kubernetes.resources, resource.resource)
            && subresource,
    )?;
    test(
        Field::Namespaces,
        open(&kubernetes.namespaces, resource.namespace),
    )?;
    // A proxy's name may say scheme and port: `https:NAME:443`.
    let proxied = resource
        .name
        .filter(|_| unknown && resource.subresource == "proxy");
    let plain = proxied.map(|name| {
        let mut parts = name.split(':');
        let (first, second) = (parts.next(), parts.next());
        let third = parts.next();
        third.and(second).or(first).unwrap_or(name)
    });
    let named = open(&kubernetes.names, resource.name)
        || plain.is_some_and(|name| one(&kubernetes.names, name));
    test(Field::Names, named)
}

const fn names_resources(kubernetes: &KubernetesMatch) -> bool {
    !(kubernetes.groups.is_empty()
        && kubernetes.resources.is_empty()
        && kubernetes.subresources.is_empty()
        && kubernetes.namespaces.is_empty()
        && kubernetes.names.is_empty())
}

const fn has_subresource(endpoint: &Endpoint<'_>) -> bool {
    match endpoint {
        Endpoint::Resource(resource) => !resource.subresource.is_empty(),
        Endpoint::Path { .. } => false,
    }
}

fn one(globs: &[Glob], value: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(value))
}
