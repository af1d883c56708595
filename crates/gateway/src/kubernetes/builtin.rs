//! What the API server itself serves: its own resources, and the names that its field selectors have for fields.
//!
//! Everything else is somebody's own: a custom resource, or one of an API server behind it.

use weir_wire_kube::{FieldPattern, Resource, Segment};

/// Resources by group, where others can be added to the group: a custom resource may be in any that has a dot.
const OWN: [(&str, &[&str]); 19] = [
    (
        "admissionregistration.k8s.io",
        &[
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ],
    ),
    ("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ("apiregistration.k8s.io", &["apiservices"]),
    (
        "authentication.k8s.io",
        &["selfsubjectreviews", "tokenreviews"],
    ),
    (
        "authorization.k8s.io",
        &[
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        ],
    ),
    (
        "certificates.k8s.io",
        &[
            "certificatesigningrequests",
            "clustertrustbundles",
            "podcertificaterequests",
        ],
    ),
    ("coordination.k8s.io", &["leasecandidates", "leases"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("events.k8s.io", &["events"]),
    (
        "flowcontrol.apiserver.k8s.io",
        &["flowschemas", "prioritylevelconfigurations"],
    ),
    ("imagepolicy.k8s.io", &["imagereviews"]),
    ("internal.apiserver.k8s.io", &["storageversions"]),
    (
        "networking.k8s.io",
        &[
            "ingressclasses",
            "ingresses",
            "ipaddresses",
            "networkpolicies",
            "servicecidrs",
        ],
    ),
    ("node.k8s.io", &["runtimeclasses"]),
    (
        "rbac.authorization.k8s.io",
        &[
            "clusterrolebindings",
            "clusterroles",
            "rolebindings",
            "roles",
        ],
    ),
    (
        "resource.k8s.io",
        &[
            "deviceclasses",
            "resourceclaims",
            "resourceclaimtemplates",
            "resourceslices",
        ],
    ),
    ("scheduling.k8s.io", &["priorityclasses"]),
    (
        "storage.k8s.io",
        &[
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
    ),
    ("storagemigration.k8s.io", &["storageversionmigrations"]),
];
/// Groups that nobody adds to.
const CLOSED: [&str; 6] = ["", "apps", "autoscaling", "batch", "extensions", "policy"];

/// A resource, and what its field selectors call which fields.
type Named = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

/// What the server selects by, beside name and namespace, and the fields that this tells of. Some names are no
/// paths, some fields stand in an object twice.
const SELECTED: [Named; 15] = [
    (
        "",
        "pods",
        &[
            ("spec.nodeName", &["spec.nodeName"]),
            ("spec.host", &["spec.nodeName"]),
            ("spec.restartPolicy", &["spec.restartPolicy"]),
            ("spec.schedulerName", &["spec.schedulerName"]),
            (
                "spec.serviceAccountName",
                &["spec.serviceAccountName", "spec.serviceAccount"],
            ),
            ("spec.hostNetwork", &["spec.hostNetwork"]),
            ("status.phase", &["status.phase"]),
            ("status.podIP", &["status.podIP", "status.podIPs"]),
            ("status.podIPs", &["status.podIP", "status.podIPs"]),
            ("status.nominatedNodeName", &["status.nominatedNodeName"]),
        ],
    ),
    (
        "",
        "nodes",
        &[("spec.unschedulable", &["spec.unschedulable"])],
    ),
    (
        "",
        "replicationcontrollers",
        &[("status.replicas", &["status.replicas"])],
    ),
    ("", "namespaces", &[("status.phase", &["status.phase"])]),
    ("", "secrets", &[("type", &["type"])]),
    (
        "",
        "services",
        &[
            ("spec.clusterIP", &["spec.clusterIP", "spec.clusterIPs"]),
            ("spec.type", &["spec.type"]),
        ],
    ),
    (
        "",
        "events",
        &[
            ("involvedObject.kind", &["involvedObject.kind"]),
            ("involvedObject.namespace", &["involvedObject.namespace"]),
            ("involvedObject.name", &["involvedObject.name"]),
            ("involvedObject.uid", &["involvedObject.uid"]),
            ("involvedObject.apiVersion", &["involvedObject.apiVersion"]),
            (
                "involvedObject.resourceVersion",
                &["involvedObject.resourceVersion"],
            ),
            ("involvedObject.fieldPath", &["involvedObject.fieldPath"]),
            ("reason", &["reason"]),
            ("reportingComponent", &["reportingComponent"]),
            ("source", &["source", "reportingComponent"]),
            ("type", &["type"]),
        ],
    ),
    (
        "events.k8s.io",
        "events",
        &[
            ("regarding.kind", &["regarding.kind"]),
            ("regarding.namespace", &["regarding.namespace"]),
            ("regarding.name", &["regarding.name"]),
            ("regarding.uid", &["regarding.uid"]),
            ("regarding.apiVersion", &["regarding.apiVersion"]),
            ("regarding.resourceVersion", &["regarding.resourceVersion"]),
            ("regarding.fieldPath", &["regarding.fieldPath"]),
            ("reason", &["reason"]),
            ("reportingController", &["reportingController"]),
            ("type", &["type"]),
        ],
    ),
    (
        "batch",
        "jobs",
        &[("status.successful", &["status.succeeded"])],
    ),
    (
        "apps",
        "replicasets",
        &[("status.replicas", &["status.replicas"])],
    ),
    (
        "apps",
        "statefulsets",
        &[("status.successful", &["status.replicas"])],
    ),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &[("spec.signerName", &["spec.signerName"])],
    ),
    (
        "certificates.k8s.io",
        "clustertrustbundles",
        &[("spec.signerName", &["spec.signerName"])],
    ),
    (
        "certificates.k8s.io",
        "podcertificaterequests",
        &[
            ("spec.signerName", &["spec.signerName"]),
            ("spec.podName", &["spec.podName"]),
            ("spec.nodeName", &["spec.nodeName"]),
        ],
    ),
    (
        "resource.k8s.io",
        "resourceslices",
        &[
            ("spec.nodeName", &["spec.nodeName"]),
            ("spec.driver", &["spec.driver"]),
        ],
    ),
];
/// Events are served by two groups: what fields of the first are called in the second.
const EVENTS: [&str; 2] = ["", "events.k8s.io"];
const RENAMED: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

/// What every resource is selected by.
const ALWAYS: [&str; 2] = ["metadata.name", "metadata.namespace"];

/// Whether a resource is one of the API's own: what its fields and its Tables are is known.
pub(super) fn is_builtin(resource: &Resource) -> bool {
    let group = resource.group.as_str();
    let own = OWN.iter().find(|(known, _)| *known == group);
    let own = own.is_some_and(|(_, kinds)| kinds.contains(&resource.resource.as_str()));
    own || CLOSED.contains(&group)
}

/// The fields that a field selector of this name tells of; none where that is not known.
pub(super) fn selected<'a>(resource: &Resource, name: &'a str) -> Option<Vec<&'a str>> {
    // Selectors of custom resources are named by the path of their field.
    if ALWAYS.contains(&name) || !is_builtin(resource) {
        return Some(vec![name]);
    }
    let (_, _, names) = SELECTED
        .iter()
        .find(|(group, kind, _)| *group == resource.group && *kind == resource.resource)?;
    let (_, paths) = names.iter().find(|(known, _)| *known == name)?;
    Some(paths.to_vec())
}

/// The groups that serve the same objects under a resource's name, its own first.
pub(super) fn groups<'a>(group: &'a str, resource: &str) -> Vec<&'a str> {
    let mut groups = vec![group];
    if resource == "events" && EVENTS.contains(&group) {
        groups.extend(EVENTS.iter().filter(|other| **other != group));
    }
    groups
}

/// What a field of an event is called in either group.
pub(super) fn names_of_event_field(field: &str) -> Vec<String> {
    let (any, rest) = match field.strip_prefix("**.") {
        Some(rest) => ("**.", rest),
        None => ("", field),
    };
    let (first, below) = match rest.strip_prefix("[\"") {
        Some(quoted) => quoted.split_once("\"]").unwrap_or((quoted, "")),
        None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
    };
    let mut names = vec![field.to_owned()];
    let Ok(pattern) = FieldPattern::parse(first) else {
        return names;
    };
    let is = |name: &str| pattern.covers(&[Segment::Member(name.into())]);
    for (core, other) in RENAMED {
        for (name, called) in [(core, other), (other, core)] {
            if is(name) {
                names.push(format!("{any}{called}{below}"));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, resource: &str) -> Resource {
        Resource {
            group: group.to_owned(),
            resource: resource.to_owned(),
            ..Resource::default()
        }
    }

    #[test]
    fn groups_are_builtin_by_what_the_server_serves_in_them() {
        for (group, kind, expected) in [
            ("", "pods", true),
            ("apps", "deployments", true),
            ("networking.k8s.io", "ingresses", true),
            ("storage.k8s.io", "storageclasses", true),
            ("storage.k8s.io", "things", false),
            ("snapshot.storage.k8s.io", "volumesnapshots", false),
            ("things.k8s.io", "things", false),
            ("metrics.k8s.io", "pods", false),
            ("gateway.networking.k8s.io", "gateways", false),
            ("things", "things", false),
            ("example.com", "widgets", false),
        ] {
            assert_eq!(
                is_builtin(&resource(group, kind)),
                expected,
                "{group} {kind}"
            );
        }
    }

    #[test]
    fn fields_of_events_have_a_name_in_each_group() {
        for (field, expected) in [
            ("message", vec!["message", "note"]),
            ("note", vec!["note", "message"]),
            (
                "source.component",
                vec!["source.component", "deprecatedSource.component"],
            ),
            ("**.note", vec!["**.note", "**.message"]),
            ("[\"note\"]", vec!["[\"note\"]", "message"]),
            ("mess*", vec!["mess*", "note"]),
            ("reason", vec!["reason"]),
            ("related.name", vec!["related.name"]),
        ] {
            assert_eq!(names_of_event_field(field), expected, "{field}");
        }
        assert_eq!(groups("", "events"), ["", "events.k8s.io"]);
        assert_eq!(groups("events.k8s.io", "events"), ["events.k8s.io", ""]);
        assert_eq!(groups("example.com", "events"), ["example.com"]);
        assert_eq!(groups("", "pods"), [""]);
    }

    #[test]
    fn selectors_are_read_by_the_names_that_the_server_has() {
        let pods = resource("", "pods");
        assert_eq!(selected(&pods, "spec.host"), Some(vec!["spec.nodeName"]));
        assert_eq!(
            selected(&pods, "status.podIP"),
            Some(vec!["status.podIP", "status.podIPs"])
        );
        assert_eq!(
            selected(&pods, "metadata.name"),
            Some(vec!["metadata.name"])
        );
        assert_eq!(selected(&pods, "spec.unknown"), None);
        assert_eq!(
            selected(&resource("batch", "jobs"), "status.successful"),
            Some(vec!["status.succeeded"])
        );
        assert_eq!(selected(&resource("", "configmaps"), "data.x"), None);
        let own = resource("example.com", "widgets");
        assert_eq!(selected(&own, "spec.pin"), Some(vec!["spec.pin"]));
    }
}
