//! May somebody read evidence? The cluster's authentication and RBAC decide.
//!
//! Invariant: only the collector asks; it has verified a user's client certificate itself, or it
//! hands over a token that is good for the API server, or an ID token that is verified here.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use weir_oidc::Verifier;
use weir_uplink::control::{Person, Review, ReviewRequest};

use crate::decisions::people::PeopleError;
use crate::decisions::proof::prove;

/// What RBAC calls evidence.
const GROUP: &str = "weir.dev";
const RESOURCE: &str = "auditevents";

/// Answers the collector.
pub(crate) async fn review(
    client: &Client,
    verifier: Option<&Verifier>,
    request: ReviewRequest,
) -> Result<Review, PeopleError> {
    let person = Person {
        token: request.token,
        id_token: request.id_token,
        user: request.user,
        groups: request.groups,
    };
    let user = match prove(client, verifier, person).await {
        Ok(proved) => proved.user,
        Err(PeopleError::Unauthenticated(reason)) => return Ok(refused(String::new(), &reason)),
        Err(error) => return Err(error),
    };
    let name = user.username.clone().unwrap_or_default();
    if !matches!(request.verb.as_str(), "get" | "list") {
        return Ok(refused(name, "evidence can only be read"));
    }
    let ask = SubjectAccessReview {
        spec: access(user, request.namespace, request.verb),
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &ask).await;
    let answer = answer.map_err(|error| PeopleError::Unavailable(crate::text::why(&error)))?;
    let status = answer.status.unwrap_or_default();
    let allowed = status.allowed && status.denied != Some(true);
    let reason = status.reason.filter(|reason| !reason.is_empty());
    Ok(Review {
        user: name,
        allowed,
        reason: match (allowed, reason) {
            (_, Some(reason)) => reason,
            (true, None) => String::new(),
            (false, None) => format!("no role allows it: resource {RESOURCE}, group {GROUP}"),
        },
    })
}

fn access(user: UserInfo, namespace: Option<String>, verb: String) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        resource_attributes: Some(ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(RESOURCE.to_owned()),
            version: Some("*".to_owned()),
            verb: Some(verb),
            namespace,
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

fn refused(user: String, reason: &str) -> Review {
    Review {
        user,
        allowed: false,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rbac_is_asked_with_everything_that_is_known_of_the_user() {
        let user = UserInfo {
            username: Some("jane".to_owned()),
            groups: Some(vec!["auditors".to_owned()]),
            extra: Some([("scopes".to_owned(), vec!["x".to_owned()])].into()),
            uid: Some("1".to_owned()),
        };
        let spec = access(user, Some("billing".to_owned()), "get".to_owned());
        assert_eq!(spec.user.as_deref(), Some("jane"));
        assert_eq!(spec.groups, Some(vec!["auditors".to_owned()]));
        assert!(spec.extra.is_some() && spec.uid.is_some());
        let resource = spec.resource_attributes.unwrap();
        assert_eq!(resource.group.as_deref(), Some("weir.dev"));
        assert_eq!(resource.resource.as_deref(), Some("auditevents"));
        assert_eq!(resource.namespace.as_deref(), Some("billing"));
        // All namespaces is no namespace.
        let all = access(UserInfo::default(), None, "list".to_owned());
        assert_eq!(all.resource_attributes.unwrap().namespace, None);
    }
}
