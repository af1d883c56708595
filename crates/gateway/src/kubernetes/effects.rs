//! What a request brings about, beside reading or changing its object, by its verb and its resource.
//! What its object adds is in `asked`.

use weir_policy::KubernetesEffect as Effect;
use weir_wire_kube::{FieldPattern, Request, Resource, Segment};

/// Groups whose objects decide what the API server does for everybody.
const SERVER: [&str; 2] = ["admissionregistration.k8s.io", "apiregistration.k8s.io"];
const RBAC: &str = "rbac.authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const EXTENSIONS: &str = "apiextensions.k8s.io";

/// The effects of a request, its object apart.
pub(super) fn of(request: &Request) -> Vec<Effect> {
    let Some(resource) = &request.resource else {
        return Vec::new();
    };
    let (group, kind) = (resource.group.as_str(), resource.resource.as_str());
    let sub = resource.subresource.as_str();
    let writes = matches!(request.verb, "create" | "update" | "patch");
    let mut effects = Vec::new();
    match (group, kind, sub) {
        ("", "pods", "exec" | "attach") => effects.push(Effect::RunsCommand),
        ("", "pods", "ephemeralcontainers") if writes => effects.push(Effect::RunsCommand),
        // The kubelet's own API runs commands, too.
        ("", "nodes", "proxy") => effects.extend([Effect::RunsCommand, Effect::Tunnels]),
        ("", _, "portforward" | "proxy") => effects.push(Effect::Tunnels),
        ("", "serviceaccounts", "token") if writes => effects.push(Effect::IssuesCredentials),
        (CERTIFICATES, _, _) if writes => effects.push(Effect::IssuesCredentials),
        _ => {}
    }
    let changes = writes || matches!(request.verb, "delete" | "deletecollection");
    if group == RBAC && writes || matches!(request.verb, "bind" | "escalate" | "impersonate") {
        effects.push(Effect::GrantsRights);
    }
    let serves = SERVER.contains(&group) || (group == EXTENSIONS && writes);
    if serves && changes {
        effects.push(Effect::ChangesAdmission);
    }
    effects
}

/// Resources, by group, that a PUT makes where they are not there: `AllowCreateOnUpdate` of the API server's.
const PUT_MAKES: [(&str, &[&str]); 5] = [
    ("", &["endpoints", "events", "limitranges", "services"]),
    ("coordination.k8s.io", &["leasecandidates", "leases"]),
    ("events.k8s.io", &["events"]),
    ("node.k8s.io", &["runtimeclasses"]),
    (
        RBAC,
        &[
            "clusterrolebindings",
            "clusterroles",
            "rolebindings",
            "roles",
        ],
    ),
];

/// Verbs that a request may amount to, beside its own: what is applied, and some of what is put, is created where it
/// is not there; a collection, and pods by an eviction, are deleted. `applies`: its body is a server-side apply.
pub(super) fn also(request: &Request, applies: bool) -> &'static [&'static str] {
    let Some(resource) = &request.resource else {
        return &[];
    };
    let (group, kind) = (resource.group.as_str(), resource.resource.as_str());
    let puts = |(known, kinds): &(&str, &[&str])| *known == group && kinds.contains(&kind);
    match (request.verb, resource.subresource.as_str()) {
        ("patch", "") if applies => &["create"],
        ("update", "") if PUT_MAKES.iter().any(puts) => &["create"],
        ("create", "eviction") => &["delete"],
        ("deletecollection", _) => &["delete"],
        _ => &[],
    }
}

/// Whether the object of a request decides what the request brings about.
pub(super) fn depends_on_object(resource: &Resource) -> bool {
    let (group, kind) = (resource.group.as_str(), resource.resource.as_str());
    match group {
        "" => matches!(
            kind,
            "pods" | "podtemplates" | "replicationcontrollers" | "secrets" | "serviceaccounts"
        ),
        "apps" | "batch" => true,
        _ => false,
    }
}

/// Fields of a pod that the server quotes where it cannot lead to one of its containers, with those below.
const QUOTED: [&[&str]; 5] = [
    &["status"],
    &["spec", "nodeName"],
    &["spec", "containers", "name"],
    &["spec", "initContainers", "name"],
    &["spec", "ephemeralContainers", "name"],
];

/// Whether the server's refusal of a request may quote one of these fields, although what it asks for is not made
/// of objects: where a pod runs, and how it is.
pub(super) fn refusal_quotes<'a>(
    resource: &Resource,
    mut labelled: impl Iterator<Item = &'a FieldPattern>,
) -> bool {
    if shows_objects(resource) {
        return false;
    }
    if (resource.group.as_str(), resource.resource.as_str()) != ("", "pods") {
        return labelled.next().is_some();
    }
    let quoted = QUOTED.map(|path| {
        let mut segments = Vec::new();
        for name in path {
            segments.push(Segment::Member((*name).into()));
            if name.ends_with("ontainers") {
                segments.push(Segment::Item);
            }
        }
        segments
    });
    labelled.any(|field| {
        let mut quoted = quoted.iter();
        quoted.any(|path| field.covers(path) || field.is_below(path))
    })
}

/// Whether what answers a request is made of objects: of the resource itself, of lists of it.
pub(super) fn shows_objects(resource: &Resource) -> bool {
    !matches!(
        resource.subresource.as_str(),
        "log" | "exec" | "attach" | "portforward" | "proxy"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(method: &str, path: &str) -> Vec<Effect> {
        of(&weir_wire_kube::parse(method, path, None).unwrap())
    }

    #[test]
    fn refusals_quote_where_a_pod_runs_and_how_it_is() {
        for (path, field, expected) in [
            ("/api/v1/namespaces/n/pods/p/log", "spec.nodeName", true),
            ("/api/v1/namespaces/n/pods/p/exec", "status.hostIP", true),
            ("/api/v1/namespaces/n/pods/p/attach", "spec.**", true),
            (
                "/api/v1/namespaces/n/pods/p/portforward",
                "spec.containers[*].name",
                true,
            ),
            (
                "/api/v1/namespaces/n/pods/p/log",
                "spec.containers[*].env[*].value",
                false,
            ),
            (
                "/api/v1/namespaces/n/pods/p/log",
                "metadata.annotations",
                false,
            ),
            ("/api/v1/namespaces/n/pods/p", "spec.nodeName", false),
            ("/api/v1/nodes/n/proxy/x", "status.addresses", true),
        ] {
            let request = weir_wire_kube::parse("GET", path, None).unwrap();
            let field = FieldPattern::parse(field).unwrap();
            let quotes = refusal_quotes(&request.resource.unwrap(), [&field].into_iter());
            assert_eq!(quotes, expected, "{path} {field}");
        }
    }

    #[test]
    fn what_makes_or_takes_away_by_another_way_amounts_to_that() {
        for (method, path, applies, expected) in [
            (
                "PATCH",
                "/api/v1/namespaces/n/pods/p",
                true,
                &["create"][..],
            ),
            ("PATCH", "/api/v1/namespaces/n/pods/p", false, &[]),
            ("PATCH", "/api/v1/namespaces/n/pods/p/status", true, &[]),
            ("PUT", "/api/v1/namespaces/n/services/s", false, &["create"]),
            ("PUT", "/api/v1/namespaces/n/pods/p", false, &[]),
            (
                "PUT",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
                false,
                &["create"],
            ),
            (
                "POST",
                "/api/v1/namespaces/n/pods/p/eviction",
                false,
                &["delete"],
            ),
            ("DELETE", "/api/v1/namespaces/n/pods", false, &["delete"]),
            ("DELETE", "/api/v1/namespaces/n/pods/p", false, &[]),
            ("GET", "/api/v1/namespaces/n/pods", false, &[]),
        ] {
            let request = weir_wire_kube::parse(method, path, None).unwrap();
            assert_eq!(also(&request, applies), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_a_request_brings_about_is_known_by_its_resource() {
        use Effect::*;
        for (method, path, expected) in [
            ("GET", "/api/v1/namespaces/n/pods/p/exec", vec![RunsCommand]),
            (
                "POST",
                "/api/v1/namespaces/n/pods/p/attach",
                vec![RunsCommand],
            ),
            (
                "PATCH",
                "/api/v1/namespaces/n/pods/p/ephemeralcontainers",
                vec![RunsCommand],
            ),
            (
                "GET",
                "/api/v1/namespaces/n/pods/p/ephemeralcontainers",
                vec![],
            ),
            (
                "GET",
                "/api/v1/nodes/n/proxy/run/x",
                vec![RunsCommand, Tunnels],
            ),
            (
                "GET",
                "/api/v1/namespaces/n/services/s/proxy/x",
                vec![Tunnels],
            ),
            (
                "POST",
                "/api/v1/namespaces/n/serviceaccounts/s/token",
                vec![IssuesCredentials],
            ),
            (
                "POST",
                "/apis/certificates.k8s.io/v1/certificatesigningrequests",
                vec![IssuesCredentials],
            ),
            (
                "PUT",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
                vec![GrantsRights],
            ),
            (
                "DELETE",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
                vec![],
            ),
            (
                "DELETE",
                "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/x",
                vec![ChangesAdmission],
            ),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                vec![],
            ),
            ("GET", "/api/v1/namespaces/n/secrets", vec![]),
        ] {
            assert_eq!(effects(method, path), expected, "{method} {path}");
        }
    }
}
