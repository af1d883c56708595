//! Why something cannot be done in a cluster, in the words of the person who typed the command.

/// By blame: what the person typed or has, the cluster, or Weir in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// There is no usable kubeconfig.
    #[error("cannot tell which cluster is meant: {0}")]
    Config(String),
    /// What was typed makes no sense here.
    #[error("{0}")]
    Usage(String),
    /// The API server does not know who asks.
    #[error("the cluster does not accept your credentials: {0}")]
    Unauthorized(String),
    /// RBAC says no.
    #[error("the cluster does not allow you this: {0}")]
    Forbidden(String),
    /// Admission says no: what it says is meant for people.
    #[error("refused: {0}")]
    Refused(String),
    /// Somebody else changed it in between.
    #[error("{0} was changed at the same time")]
    Conflict(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// The kinds of Weir are not there.
    #[error("this cluster has no AccessRequests or policies: Weir is not installed in it")]
    NotInstalled,
    /// Nobody answers.
    #[error("cannot reach the cluster: {0}")]
    Unreachable(String),
    /// The answer is not what was expected.
    #[error("the cluster's answer cannot be used: {0}")]
    Answer(String),
    /// The collector cannot be reached through the cluster.
    #[error("cannot reach the collector: {0}")]
    Collector(String),
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => status_error(status.code, &status.reason, &status.message),
            kube::Error::Auth(error) => Self::Unauthorized(chain(&error)),
            error @ (kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => {
                Self::Answer(chain(&error))
            }
            error => Self::Unreachable(chain(&error)),
        }
    }
}

/// What a refusal of the API server means.
pub(crate) fn status_error(code: u16, reason: &str, message: &str) -> ClusterError {
    let text = || {
        if message.is_empty() {
            format!("{reason} ({code})")
        } else {
            message.to_owned()
        }
    };
    if let Some(said) = denied(message) {
        return ClusterError::Refused(said.to_owned());
    }
    match code {
        401 => ClusterError::Unauthorized(text()),
        403 => ClusterError::Forbidden(text()),
        404 => ClusterError::NotFound(text()),
        409 => ClusterError::Conflict(text()),
        400 | 422 => ClusterError::Refused(text()),
        _ => ClusterError::Answer(text()),
    }
}

/// What an admission webhook or policy said, without who said it.
fn denied(message: &str) -> Option<&str> {
    const WEBHOOK: &str = "denied the request: ";
    const POLICY: &str = "denied request: ";
    let said = [WEBHOOK, POLICY].iter().find_map(|mark| {
        let at = message.find(mark)?;
        message.get(at + mark.len()..)
    })?;
    Some(said.strip_prefix("weir: ").unwrap_or(said))
}

/// An error with its causes: the outermost alone rarely says what is wrong.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_admission_says_reaches_the_person_without_the_machinery() {
        let message = "admission webhook \"access-requests.weir.dev\" denied the request: weir: \
                       alice cannot approve her own request";
        let error = status_error(403, "Forbidden", message);
        assert_eq!(
            error.to_string(),
            "refused: alice cannot approve her own request"
        );
        let message = "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'weir-pods' with binding \
                       'weir-pods' denied request: hostNetwork is not allowed";
        assert_eq!(
            status_error(422, "Invalid", message).to_string(),
            "refused: hostNetwork is not allowed"
        );
    }

    #[test]
    fn refusals_name_who_is_to_blame() {
        let said = |code| status_error(code, "Reason", "because").to_string();
        assert_eq!(said(403), "the cluster does not allow you this: because");
        assert_eq!(
            said(401),
            "the cluster does not accept your credentials: because"
        );
        assert_eq!(
            status_error(500, "InternalError", "").to_string(),
            "the cluster's answer cannot be used: InternalError (500)"
        );
    }
}
