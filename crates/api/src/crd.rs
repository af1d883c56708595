//! The custom resource definitions, made from the types in [`crate::kinds`].
//!
//! The types say what the strict loader accepts; this module says the same in the words of the API
//! server: a structural schema, CEL rules for what one field alone cannot say, and a bound on every
//! length, which keeps the rules' cost within the API server's budget. What needs other objects
//! (does that Target exist?) is the controller's part. This module reads and writes no files.

mod columns;
pub(crate) mod patterns;
mod reference;
pub(crate) mod rules;
mod structural;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::kinds::{
    AccessRequestSpec, AccessRequestStatus, ClusterGuardPolicySpec, DataLabelSpec, GuardPolicySpec,
    PolicyExceptionSpec, QuarantineSpec, ResourceStatus, TargetSpec,
};

pub use reference::reference;

/// The group of all kinds.
pub const GROUP: &str = "weir.dev";
/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Why a type has no schema that an API server takes.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {path}: {message}")]
pub struct NotStructural {
    kind: String,
    path: String,
    message: String,
}

/// One custom resource definition.
#[derive(Clone, Debug)]
pub struct Crd {
    /// The kind, such as `Target`.
    pub kind: &'static str,
    /// The name in URLs and RBAC, such as `targets`.
    pub plural: &'static str,
    /// The name for people in a hurry, such as `tgt`.
    pub short: &'static str,
    /// Whether objects of this kind live in a namespace.
    pub namespaced: bool,
    /// The whole definition.
    pub definition: Value,
}

impl Crd {
    /// The name of the definition, such as `targets.weir.dev`.
    pub fn name(&self) -> String {
        format!("{}.{GROUP}", self.plural)
    }

    /// The schema of an object.
    pub fn schema(&self) -> &Value {
        self.definition
            .pointer("/spec/versions/0/schema/openAPIV3Schema")
            .unwrap_or(&Value::Null)
    }

    /// The columns of `kubectl get`.
    pub fn columns(&self) -> &[Value] {
        self.definition
            .pointer("/spec/versions/0/additionalPrinterColumns")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }
}

/// All definitions, in the order of [`crate::kinds::KINDS`].
pub fn all() -> Result<Vec<Crd>, NotStructural> {
    Ok(vec![
        define::<TargetSpec, ResourceStatus>("Target", "targets", "tgt", false)?,
        define::<DataLabelSpec, ResourceStatus>("DataLabel", "datalabels", "dl", false)?,
        define::<ClusterGuardPolicySpec, ResourceStatus>(
            "ClusterGuardPolicy",
            "clusterguardpolicies",
            "cgp",
            false,
        )?,
        define::<GuardPolicySpec, ResourceStatus>("GuardPolicy", "guardpolicies", "gp", true)?,
        define::<AccessRequestSpec, AccessRequestStatus>(
            "AccessRequest",
            "accessrequests",
            "ar",
            true,
        )?,
        define::<PolicyExceptionSpec, ResourceStatus>(
            "PolicyException",
            "policyexceptions",
            "px",
            false,
        )?,
        define::<QuarantineSpec, ResourceStatus>("Quarantine", "quarantines", "qt", false)?,
    ])
}

fn define<Spec: JsonSchema, Status: JsonSchema>(
    kind: &'static str,
    plural: &'static str,
    short: &'static str,
    namespaced: bool,
) -> Result<Crd, NotStructural> {
    let spec = schema::<Spec>(kind, "spec")?;
    let status = schema::<Status>(kind, "status")?;
    let about = spec.get("description").cloned();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            "labels": {"app.kubernetes.io/name": "weir", "app.kubernetes.io/part-of": "weir"},
        },
        "spec": {
            "group": GROUP,
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
                "shortNames": [short],
                "categories": ["weir"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns::of(kind),
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": about,
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": {"type": "string", "description": "The version of this representation of the object."},
                        "kind": {"type": "string", "description": "The kind of the object."},
                        "metadata": {"type": "object"},
                        "spec": spec,
                        "status": status,
                    },
                }},
            }],
        },
    });
    Ok(Crd {
        kind,
        plural,
        short,
        namespaced,
        definition,
    })
}

fn schema<T: JsonSchema>(kind: &str, root: &str) -> Result<Value, NotStructural> {
    let mut settings = SchemaSettings::draft07();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    structural::structural(schema.to_value(), root).map_err(|(path, message)| NotStructural {
        kind: kind.to_owned(),
        path,
        message,
    })
}

#[cfg(test)]
mod tests;
