//! What the cluster's RBAC says of somebody: SubjectAccessReviews, and nothing else.
//!
//! Invariant: an error is never a yes. Answers are remembered for seconds where a person only looks, and
//! never where they decide.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

/// How long an answer is remembered, and how many are.
const REMEMBERED: Duration = Duration::from_secs(5);
const MOST: usize = 4096;

/// What somebody may want to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    /// See access requests, of one namespace or of all.
    SeeRequests(Option<String>),
    /// Decide on access requests of a namespace.
    Decide(String),
    /// Act as a service account: impersonate it.
    Impersonate { namespace: String, account: String },
    /// Act as a service account: have a token of it made.
    MakeTokens { namespace: String, account: String },
    /// Read evidence, of one namespace or of all.
    ReadEvidence(Option<String>),
}

impl Right {
    /// The ways to act as a service account.
    pub(crate) fn acting_as(namespace: &str, account: &str) -> [Self; 2] {
        let (namespace, account) = (namespace.to_owned(), account.to_owned());
        [
            Self::Impersonate {
                namespace: namespace.clone(),
                account: account.clone(),
            },
            Self::MakeTokens { namespace, account },
        ]
    }

    fn attributes(&self) -> ResourceAttributes {
        let of = |group: &str, resource: &str, verb: &str| ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            version: Some("*".to_owned()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let weir = |resource: &str, verb: &str, namespace: &Option<String>| ResourceAttributes {
            namespace: namespace.clone(),
            ..of("weir.dev", resource, verb)
        };
        let accounts = |verb: &str, namespace: &str, account: &str| ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            name: Some(account.to_owned()),
            ..of("", "serviceaccounts", verb)
        };
        match self {
            Self::SeeRequests(namespace) => weir("accessrequests", "list", namespace),
            Self::Decide(namespace) => ResourceAttributes {
                subresource: Some("status".to_owned()),
                ..weir("accessrequests", "update", &Some(namespace.clone()))
            },
            Self::Impersonate { namespace, account } => accounts("impersonate", namespace, account),
            Self::MakeTokens { namespace, account } => ResourceAttributes {
                subresource: Some("token".to_owned()),
                ..accounts("create", namespace, account)
            },
            Self::ReadEvidence(namespace) => weir("auditevents", "list", namespace),
        }
    }
}

/// An answer that takes time.
pub(crate) type May<'a> = Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>>;

/// Says what somebody may do: the cluster.
pub(crate) trait Access: Send + Sync {
    /// Whether they may, asked now.
    fn may<'a>(&'a self, user: &'a UserInfo, right: &'a Right) -> May<'a>;
}

/// Whether somebody may act as the requester.
pub(crate) async fn may_act_as(
    access: &dyn Access,
    user: &UserInfo,
    account: Option<(&str, &str)>,
) -> Result<bool, String> {
    let Some((namespace, account)) = account else {
        return Ok(false);
    };
    for right in Right::acting_as(namespace, account) {
        if access.may(user, &right).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The API server's answers.
#[derive(Clone)]
pub(crate) struct Rbac(pub(crate) Client);

impl Access for Rbac {
    fn may<'a>(&'a self, user: &'a UserInfo, right: &'a Right) -> May<'a> {
        Box::pin(async move {
            let ask = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: user.username.clone(),
                    uid: user.uid.clone(),
                    groups: user.groups.clone(),
                    extra: user.extra.clone(),
                    resource_attributes: Some(right.attributes()),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let reviews = Api::<SubjectAccessReview>::all(self.0.clone());
            let answer = reviews.create(&PostParams::default(), &ask).await;
            let answer = answer.map_err(|error| crate::text::why(&error))?;
            let status = answer.status.unwrap_or_default();
            Ok(status.allowed && status.denied != Some(true))
        })
    }
}

/// Who, and what they want to do.
type Question = (Option<String>, Option<Vec<String>>, Right);

/// Answers of a moment ago.
pub(crate) struct Remembering {
    access: Arc<dyn Access>,
    known: Mutex<HashMap<Question, (Instant, bool)>>,
}

impl Remembering {
    pub(crate) fn new(access: Arc<dyn Access>) -> Self {
        Self {
            access,
            known: Mutex::default(),
        }
    }
}

impl Access for Remembering {
    fn may<'a>(&'a self, user: &'a UserInfo, right: &'a Right) -> May<'a> {
        Box::pin(async move {
            let question = (user.username.clone(), user.groups.clone(), right.clone());
            let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = |at: &Instant| at.elapsed() < REMEMBERED;
            if let Some((at, may)) = known().get(&question)
                && fresh(at)
            {
                return Ok(*may);
            }
            let may = self.access.may(user, right).await?;
            let mut known = known();
            if known.len() >= MOST {
                known.retain(|_, (at, _)| fresh(at));
            }
            if known.len() < MOST {
                known.insert(question, (Instant::now(), may));
            }
            Ok(may)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rights by who has them; `Err` where the cluster does not say.
    #[derive(Default)]
    pub(crate) struct Rights {
        pub(crate) given: Vec<(&'static str, Right)>,
        pub(crate) silent: bool,
        pub(crate) asked: Mutex<usize>,
    }

    impl Access for Rights {
        fn may<'a>(&'a self, user: &'a UserInfo, right: &'a Right) -> May<'a> {
            *self.asked.lock().unwrap() += 1;
            let name = user.username.clone().unwrap_or_default();
            let may = self
                .given
                .iter()
                .any(|(who, what)| *who == name && what == right);
            let answer = if self.silent {
                Err("no answer".to_owned())
            } else {
                Ok(may)
            };
            Box::pin(std::future::ready(answer))
        }
    }

    pub(crate) fn user(name: &str) -> UserInfo {
        UserInfo {
            username: Some(name.to_owned()),
            ..UserInfo::default()
        }
    }

    #[tokio::test]
    async fn whoever_impersonates_or_makes_tokens_acts_as_the_account() {
        let [impersonate, make_tokens] = Right::acting_as("shop", "web");
        let rights = Rights {
            given: vec![("admin", impersonate), ("minter", make_tokens)],
            ..Rights::default()
        };
        let web = Some(("shop", "web"));
        for (who, acts) in [("admin", true), ("minter", true), ("alice", false)] {
            assert_eq!(may_act_as(&rights, &user(who), web).await, Ok(acts));
        }
        let other = Some(("shop", "other"));
        assert_eq!(may_act_as(&rights, &user("admin"), other).await, Ok(false));
        let silent = Rights {
            silent: true,
            ..Rights::default()
        };
        assert!(may_act_as(&silent, &user("alice"), web).await.is_err());
    }

    #[test]
    fn rights_are_asked_for_as_rbac_names_them() {
        let [impersonate, tokens] = Right::acting_as("shop", "web").map(|right| right.attributes());
        assert_eq!(impersonate.verb.as_deref(), Some("impersonate"));
        assert_eq!(impersonate.resource.as_deref(), Some("serviceaccounts"));
        assert_eq!(impersonate.name.as_deref(), Some("web"));
        assert_eq!(impersonate.group.as_deref(), Some(""));
        assert_eq!(tokens.subresource.as_deref(), Some("token"));
        let decide = Right::Decide("shop".to_owned()).attributes();
        assert_eq!(decide.verb.as_deref(), Some("update"));
        assert_eq!(decide.subresource.as_deref(), Some("status"));
        assert_eq!(decide.namespace.as_deref(), Some("shop"));
        assert_eq!(Right::SeeRequests(None).attributes().namespace, None);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered_for_seconds_and_errors_are_not() {
        let rights = Arc::new(Rights::default());
        let remembering = Remembering::new(Arc::clone(&rights) as _);
        let see = Right::SeeRequests(None);
        for _ in 0..3 {
            assert_eq!(remembering.may(&user("alice"), &see).await, Ok(false));
        }
        assert_eq!(*rights.asked.lock().unwrap(), 1);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(remembering.may(&user("alice"), &see).await, Ok(false));
        assert_eq!(*rights.asked.lock().unwrap(), 2);
        let silent = Arc::new(Rights {
            silent: true,
            ..Rights::default()
        });
        let remembering = Remembering::new(Arc::clone(&silent) as _);
        for _ in 0..2 {
            assert!(remembering.may(&user("alice"), &see).await.is_err());
        }
        assert_eq!(*silent.asked.lock().unwrap(), 2);
    }
}
