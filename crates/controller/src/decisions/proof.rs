//! Who somebody is.

use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use weir_oidc::{Verifier, VerifyError};
use weir_uplink::control::Person;

use super::people::PeopleError;
use crate::identity::{EnrolError, user_of};

/// Somebody, and what proves them.
pub(crate) struct Proved {
    pub(crate) user: UserInfo,
    pub(crate) by: Proof,
}

/// What proves somebody.
pub(crate) enum Proof {
    /// A token that is good for the API server.
    Token(String),
    /// An ID token, verified here.
    IdToken,
    /// The collector has seen a client certificate.
    Collector,
}

/// Proves a person by the one credential that they bring.
pub(crate) async fn prove(
    client: &Client,
    verifier: Option<&Verifier>,
    person: Person,
) -> Result<Proved, PeopleError> {
    let proved = match person {
        Person {
            token: Some(token),
            id_token: None,
            user: None,
            ..
        } => Proved {
            user: user_of(client, &token).await.map_err(unproved)?,
            by: Proof::Token(token),
        },
        Person {
            token: None,
            id_token: Some(token),
            user: None,
            ..
        } => Proved {
            user: bearer(verifier, &token).await?,
            by: Proof::IdToken,
        },
        Person {
            token: None,
            id_token: None,
            user: Some(name),
            groups,
        } => Proved {
            user: UserInfo {
                username: Some(name),
                groups: Some(authenticated(groups)),
                ..UserInfo::default()
            },
            by: Proof::Collector,
        },
        _ => {
            let text = "exactly one credential is needed";
            return Err(PeopleError::Unauthenticated(text.to_owned()));
        }
    };
    if proved
        .user
        .username
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        let text = "the credential names no user";
        return Err(PeopleError::Unauthenticated(text.to_owned()));
    }
    Ok(proved)
}

/// The bearer of an ID token.
pub(crate) async fn bearer(
    verifier: Option<&Verifier>,
    token: &str,
) -> Result<UserInfo, PeopleError> {
    let verifier = verifier.ok_or_else(|| {
        PeopleError::Unauthenticated("no identity provider is configured here".to_owned())
    })?;
    let claims = verifier.verify(token).await.map_err(|error| match error {
        VerifyError::Refused(_) => PeopleError::Unauthenticated(error.to_string()),
        VerifyError::Unavailable(_) => PeopleError::Unavailable(error.to_string()),
    })?;
    Ok(UserInfo {
        username: Some(claims.username),
        groups: Some(authenticated(claims.groups)),
        ..UserInfo::default()
    })
}

/// What the API server adds to everybody's groups whom it authenticates.
pub(super) fn authenticated(mut groups: Vec<String>) -> Vec<String> {
    const GROUP: &str = "system:authenticated";
    if !groups.iter().any(|group| group == GROUP) {
        groups.push(GROUP.to_owned());
    }
    groups
}

fn unproved(error: EnrolError) -> PeopleError {
    match error {
        EnrolError::Unavailable(_) => PeopleError::Unavailable(error.to_string()),
        error => PeopleError::Unauthenticated(error.to_string()),
    }
}
