//! Whether admission asks Weir, trusts it, and judges without it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::super::access::Cluster;
use super::super::error::ClusterError;
use super::super::object::{list, name, text};
use super::super::tunnel::roots;
use super::Finding;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const WEBHOOKS: &str = "webhooks";
const POLICIES: &str = "weir's policies";

/// Webhook configurations and admission policies.
pub(super) async fn check(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let roots = roots(cluster).await;
    for (kind, plural) in [
        ("mutating", "mutatingwebhookconfigurations"),
        ("validating", "validatingwebhookconfigurations"),
    ] {
        let found = cluster.get(&format!("{GROUP}/{plural}/weir")).await;
        findings.push(match (found, &roots) {
            (Ok(found), Ok(roots)) => configuration(kind, found.as_ref(), roots),
            (Err(error), _) => Finding::unread(WEBHOOKS, &error),
            (_, Err(error)) => Finding::unread(WEBHOOKS, error),
        });
    }
    let read = async |plural: &str| -> Result<Vec<Value>, ClusterError> {
        let mut found = cluster.list(&format!("{GROUP}/{plural}")).await?;
        let found = found.take().unwrap_or_default().into_iter();
        Ok(found
            .filter(|object| name(object).starts_with("weir"))
            .collect())
    };
    let policies_found = read("validatingadmissionpolicies").await;
    let bindings = read("validatingadmissionpolicybindings").await;
    match (policies_found, bindings) {
        (Ok(found), Ok(bindings)) => findings.extend(policies(&found, &bindings)),
        (Err(error), _) | (_, Err(error)) => findings.push(Finding::unread(POLICIES, &error)),
    }
}

/// A webhook configuration: every webhook must trust the root that is in force.
pub(super) fn configuration(
    kind: &str,
    found: Option<&Value>,
    roots: &[CertificateDer<'_>],
) -> Finding {
    let Some(found) = found else {
        return Finding::fail(
            WEBHOOKS,
            format!("the {kind} configuration `weir` is missing"),
        );
    };
    let hooks = list(found, "/webhooks");
    if hooks.is_empty() {
        return Finding::fail(WEBHOOKS, format!("the {kind} configuration asks nobody"));
    }
    for hook in hooks {
        let hook_name = text(hook, "/name");
        if let Some(why) = distrusted(text(hook, "/clientConfig/caBundle"), roots) {
            return Finding::fail(WEBHOOKS, format!("{kind} {hook_name}: {why}"));
        }
    }
    let open: Vec<&str> = hooks
        .iter()
        .filter(|hook| text(hook, "/failurePolicy") == "Ignore")
        .map(|hook| text(hook, "/name"))
        .collect();
    let trusting = format!("{} {kind} trust Weir's root", hooks.len());
    if open.is_empty() {
        Finding::ok(WEBHOOKS, trusting)
    } else {
        Finding::ok(
            WEBHOOKS,
            format!(
                "{trusting}; open while the controller is down: {}",
                open.join(", ")
            ),
        )
    }
}

/// Why the API server would not trust the controller, if it would not.
fn distrusted(bundle: &str, roots: &[CertificateDer<'_>]) -> Option<String> {
    if bundle.is_empty() {
        return Some("it has no caBundle yet: the controller's leader writes it".to_owned());
    }
    let Ok(pem) = STANDARD.decode(bundle) else {
        return Some("its caBundle is not Base64".to_owned());
    };
    let trusted: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    // The first is the root in force.
    match roots.first() {
        Some(root) if trusted.contains(root) => None,
        _ => Some(
            "its caBundle is not the root in ConfigMap weir-admission: the API server cannot \
             reach the controller"
                .to_owned(),
        ),
    }
}

/// The policy of the chart that judges nothing.
const PARAMETERS: &str = "weir-params";

/// The policies that judge the final pod, and whether they are in force.
pub(super) fn policies(policies: &[Value], bindings: &[Value]) -> Vec<Finding> {
    if policies.is_empty() {
        return vec![Finding::fail(
            POLICIES,
            "there is no ValidatingAdmissionPolicy of Weir: enforced namespaces are not tight",
        )];
    }
    let mut findings = Vec::new();
    // One of them judges nothing: it keeps the API server's watch of the parameters alive.
    for policy in policies.iter().filter(|policy| name(policy) != PARAMETERS) {
        let policy_name = name(policy);
        let binding = bindings
            .iter()
            .find(|binding| text(binding, "/spec/policyName") == policy_name);
        let Some(binding) = binding else {
            let text = format!("{policy_name} has no binding: it is not in force");
            findings.push(Finding::fail(POLICIES, text));
            continue;
        };
        let denies = list(binding, "/spec/validationActions")
            .iter()
            .any(|action| action == "Deny");
        if !denies {
            findings.push(Finding::fail(
                POLICIES,
                format!("{policy_name} does not deny"),
            ));
        }
        let warnings = list(policy, "/status/typeChecking/expressionWarnings");
        if let Some(first) = warnings.first() {
            let text = format!(
                "{policy_name}: {}: {}",
                text(first, "/fieldRef"),
                text(first, "/warning").lines().next().unwrap_or_default()
            );
            findings.push(Finding::warn(POLICIES, text));
        }
    }
    if findings.is_empty() {
        let text = format!(
            "{} ValidatingAdmissionPolicies are in force",
            policies.len()
        );
        findings.push(Finding::ok(POLICIES, text));
    }
    findings
}
