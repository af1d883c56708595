//! What the API server says about a token.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};

use super::EnrolError;
use super::token::Claims;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Asks the API server whether a token is good for an audience and of the very pod that it names.
pub(crate) async fn vouch(
    client: &Client,
    token: &str,
    audience: &str,
    claims: &Claims,
) -> Result<(), EnrolError> {
    let user = review(client, token, Some(audience)).await?;
    agree(&user, claims).map_err(|what| EnrolError::Review(what.to_owned()))
}

/// The user of a token that is good for the API server itself.
pub(crate) async fn user_of(client: &Client, token: &str) -> Result<UserInfo, EnrolError> {
    review(client, token, None).await
}

async fn review(
    client: &Client,
    token: &str,
    audience: Option<&str>,
) -> Result<UserInfo, EnrolError> {
    let ask = TokenReview {
        spec: TokenReviewSpec {
            audiences: audience.map(|audience| vec![audience.to_owned()]),
            token: Some(token.to_owned()),
        },
        ..TokenReview::default()
    };
    let reviews = Api::<TokenReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &ask).await;
    let answer = answer.map_err(|error| EnrolError::Unavailable(error.to_string()))?;
    let status = answer.status.unwrap_or_default();
    if status.authenticated != Some(true) {
        let why = status
            .error
            .unwrap_or_else(|| "not authenticated".to_owned());
        return Err(EnrolError::Review(why));
    }
    // A server that knows no audiences says nothing about them.
    if let Some(audience) = audience
        && !status.audiences.iter().flatten().any(|one| one == audience)
    {
        return Err(EnrolError::Review("it is for another audience".to_owned()));
    }
    status
        .user
        .ok_or_else(|| EnrolError::Review("it names no user".to_owned()))
}

fn agree(user: &UserInfo, claims: &Claims) -> Result<(), &'static str> {
    let name = format!(
        "system:serviceaccount:{}:{}",
        claims.namespace, claims.service_account
    );
    let extra = |key: &str| {
        let values = user.extra.as_ref()?.get(key)?.as_slice();
        match values {
            [one] => Some(one.as_str()),
            _ => None,
        }
    };
    if user.username.as_deref() != Some(name.as_str()) {
        return Err("it is of another user");
    }
    if extra(POD_NAME) != Some(&claims.pod) || extra(POD_UID) != Some(&claims.uid) {
        return Err("it is of another pod");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, pod: &str, uid: &str) -> UserInfo {
        let extra = [(POD_NAME, pod), (POD_UID, uid)];
        let extra = extra.map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        UserInfo {
            username: Some(name.to_owned()),
            extra: Some(extra.into()),
            ..UserInfo::default()
        }
    }

    #[test]
    fn both_witnesses_must_name_the_same_pod() {
        let claims = Claims {
            namespace: "billing".into(),
            service_account: "reporter".into(),
            pod: "p".into(),
            uid: "1".into(),
        };
        let name = "system:serviceaccount:billing:reporter";
        assert_eq!(agree(&user(name, "p", "1"), &claims), Ok(()));
        for other in [
            user("system:serviceaccount:billing:admin", "p", "1"),
            user(name, "q", "1"),
            user(name, "p", "2"),
            UserInfo {
                extra: None,
                ..user(name, "p", "1")
            },
        ] {
            assert!(agree(&other, &claims).is_err(), "{other:?}");
        }
    }
}
