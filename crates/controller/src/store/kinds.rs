//! The kinds of `weir.dev` that snapshots are made from, each object parsed once.

use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use weir_api::kinds::API_VERSION;
use weir_api::{Diagnostic, Resources, load_str};

/// A kind that snapshots are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Target,
    DataLabel,
    ClusterGuardPolicy,
    GuardPolicy,
    PolicyException,
    Quarantine,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Target,
        Self::DataLabel,
        Self::ClusterGuardPolicy,
        Self::GuardPolicy,
        Self::PolicyException,
        Self::Quarantine,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "Target",
            Self::DataLabel => "DataLabel",
            Self::ClusterGuardPolicy => "ClusterGuardPolicy",
            Self::GuardPolicy => "GuardPolicy",
            Self::PolicyException => "PolicyException",
            Self::Quarantine => "Quarantine",
        }
    }

    pub(crate) const fn plural(self) -> &'static str {
        match self {
            Self::Target => "targets",
            Self::DataLabel => "datalabels",
            Self::ClusterGuardPolicy => "clusterguardpolicies",
            Self::GuardPolicy => "guardpolicies",
            Self::PolicyException => "policyexceptions",
            Self::Quarantine => "quarantines",
        }
    }

    /// How the API server calls it.
    pub(crate) fn resource(self) -> ApiResource {
        api_resource(self.as_str(), self.plural())
    }
}

/// A kind of `weir.dev`, as the API server calls it.
pub(crate) fn api_resource(kind: &str, plural: &str) -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Names an object: what diagnostics call the file that it stands in.
pub(crate) type Id = Arc<str>;

/// One object that was read.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// `apiVersion`, `kind`, name, namespace and `spec`.
    pub(crate) manifest: Arc<Value>,
    /// The object alone.
    pub(crate) parsed: Arc<Resources>,
}

/// The latest version of an object.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: Id,
    pub(crate) generation: Option<i64>,
    pub(crate) status: Value,
    manifest: Arc<Value>,
    /// Read, or what is wrong with it.
    pub(crate) object: Result<Object, Arc<[Diagnostic]>>,
}

/// Two versions are one as long as they ask for the same.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation && self.manifest == other.manifest
    }
}

/// What is kept of an object. An unchanged one is not parsed again.
pub(crate) fn held(kind: Kind, object: DynamicObject, before: Option<&Held>) -> Held {
    let name = object.metadata.name.unwrap_or_default();
    let mut metadata = json!({"name": name});
    let id = match object.metadata.namespace {
        Some(namespace) => {
            let id = format!("{}/{namespace}/{name}", kind.as_str());
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            id
        }
        None => format!("{}/{name}", kind.as_str()),
    };
    let mut data = object.data;
    let mut part = |name: &str| data.get_mut(name).map(Value::take).unwrap_or_default();
    let (spec, status) = (part("spec"), part("status"));
    let manifest = json!({
        "apiVersion": API_VERSION,
        "kind": kind.as_str(),
        "metadata": metadata,
        "spec": spec,
    });
    let generation = object.metadata.generation;
    if let Some(before) = before.filter(|before| *before.manifest == manifest) {
        return Held {
            generation,
            status,
            ..before.clone()
        };
    }
    let id: Id = id.into();
    let manifest = Arc::new(manifest);
    // JSON is YAML.
    let object = match load_str(&id, &manifest.to_string()) {
        Ok(parsed) => Ok(Object {
            manifest: Arc::clone(&manifest),
            parsed: Arc::new(parsed),
        }),
        Err(errors) => Err(errors.into()),
    };
    Held {
        id,
        generation,
        status,
        manifest,
        object,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An object as the API server sends it.
    pub(crate) fn dynamic(
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
        spec: Value,
    ) -> DynamicObject {
        let mut object = DynamicObject::new(name, &kind.resource()).data(json!({"spec": spec}));
        object.metadata.namespace = namespace.map(str::to_owned);
        object.metadata.generation = Some(1);
        object
    }

    #[test]
    fn an_object_is_read_without_its_annotations_and_status() {
        let spec = json!({"detectors": ["ssn"]});
        let mut object = dynamic(Kind::DataLabel, None, "pii.ssn", spec.clone());
        object.metadata.annotations = Some([("a".to_owned(), "b".to_owned())].into());
        object.data["status"] = json!({"conditions": []});
        let held = held(Kind::DataLabel, object, None);
        assert_eq!(&*held.id, "DataLabel/pii.ssn");
        let read = held.object.unwrap();
        assert_eq!(read.parsed.labels.len(), 1);
        assert_eq!(
            *read.manifest,
            json!({"apiVersion": "weir.dev/v1alpha1", "kind": "DataLabel",
                   "metadata": {"name": "pii.ssn"}, "spec": spec})
        );
    }

    #[test]
    fn a_malformed_object_is_an_entry_that_says_what_is_wrong() {
        let object = dynamic(
            Kind::GuardPolicy,
            Some("billing"),
            "p",
            json!({"rulez": []}),
        );
        let held = held(Kind::GuardPolicy, object, None);
        assert_eq!(&*held.id, "GuardPolicy/billing/p");
        let errors = held.object.unwrap_err();
        assert!(errors[0].message.contains("rulez"), "{}", errors[0]);
    }

    #[test]
    fn a_change_of_status_is_no_change() {
        let mut object = dynamic(Kind::DataLabel, None, "l", json!({"detectors": ["ssn"]}));
        let first = held(Kind::DataLabel, object.clone(), None);
        object.data["status"] = json!({"observedGeneration": 1});
        let second = held(Kind::DataLabel, object, Some(&first));
        assert_eq!(first, second);
        assert_eq!(second.status, json!({"observedGeneration": 1}));
    }
}
