//! What the cluster's RBAC says of somebody: SubjectAccessReviews, and nothing else.
//!
//! Invariant: an error is never a yes. Answers are remembered for seconds where a person only looks, and
//! never where they decide.

use std::collections::HashMap;
use std::fmt;
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
/// Rights of one person that are asked for at once.
const AT_ONCE: usize = 8;

/// What somebody may want to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    /// See access requests, of one namespace or of all.
    SeeRequests(Option<String>),
    /// Decide on access requests of a namespace.
    Decide(String),
    /// Act as a requester, in one of the ways that there are.
    Act(Acting),
    /// Read evidence, of one namespace or of all.
    ReadEvidence(Option<String>),
}

/// A way to act as a requester: an operation of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Acting {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    sub_resource: &'static str,
    /// None: in the whole cluster.
    namespace: Option<String>,
    /// None: of any name.
    name: Option<String>,
}

/// Who asks for something, as far as others may act as it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) account: &'a str,
    pub(crate) pod: Option<&'a str>,
    /// Kind and name of what makes its pods.
    pub(crate) workload: Option<(&'a str, &'a str)>,
}

/// Which name a right is asked for.
#[derive(Clone, Copy)]
enum Of {
    Account,
    Pod,
    Any,
    /// What makes pods: the requester's own, if it is of that kind, else any.
    Maker(&'static str),
    /// Any, in the whole cluster.
    Cluster,
}

/// Of which name, verbs, group, resource and subresource.
type Way = (
    Of,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static str,
);

/// The ways to run something as a requester: as its service account, inside of its pod, in a pod of one's
/// own with that service account, or in one that a controller makes.
const WAYS: [Way; 18] = [
    (Of::Account, &["impersonate"], "", "serviceaccounts", ""),
    (Of::Account, &["create"], "", "serviceaccounts", "token"),
    // By GET as well: WebSockets begin with one.
    (Of::Pod, &["create", "get"], "", "pods", "exec"),
    (Of::Pod, &["create", "get"], "", "pods", "attach"),
    (
        Of::Pod,
        &["update", "patch"],
        "",
        "pods",
        "ephemeralcontainers",
    ),
    // Another image.
    (Of::Pod, &["update", "patch"], "", "pods", ""),
    (Of::Any, &["create"], "", "pods", ""),
    (Of::Cluster, &["create", "get"], "", "nodes", "proxy"),
    (Of::Maker("Deployment"), MAKES, "apps", "deployments", ""),
    (Of::Maker("StatefulSet"), MAKES, "apps", "statefulsets", ""),
    (Of::Maker("DaemonSet"), MAKES, "apps", "daemonsets", ""),
    (Of::Maker("ReplicaSet"), MAKES, "apps", "replicasets", ""),
    (Of::Maker("Job"), MAKES, "batch", "jobs", ""),
    (Of::Maker("CronJob"), MAKES, "batch", "cronjobs", ""),
    (
        Of::Maker("ReplicationController"),
        MAKES,
        "",
        "replicationcontrollers",
        "",
    ),
    // Any of these rights, of one's own making.
    (Of::Any, &["escalate"], ROLES, "roles", ""),
    (Of::Any, &["bind"], ROLES, "roles", ""),
    (Of::Any, &["bind"], ROLES, "clusterroles", ""),
];
const ROLES: &str = "rbac.authorization.k8s.io";
/// What decides which pods a controller makes.
const MAKES: &[&str] = &["create", "update", "patch"];

impl Acting {
    /// The ways to act as a requester.
    pub(crate) fn ways(actor: Actor<'_>) -> Vec<Self> {
        let way = |way: &Way| {
            let (of, verbs, group, resource, sub_resource) = *way;
            verbs.iter().map(move |verb| {
                let name = match of {
                    Of::Account => Some(actor.account),
                    Of::Pod => actor.pod,
                    // Rights by name are not asked for where something is made that has none yet.
                    Of::Maker(kind) if *verb != "create" => {
                        let own = actor.workload.filter(|(own, _)| *own == kind);
                        own.map(|(_, name)| name)
                    }
                    Of::Any | Of::Maker(_) | Of::Cluster => None,
                };
                let namespace = (!matches!(of, Of::Cluster)).then(|| actor.namespace.to_owned());
                Self {
                    verb,
                    group,
                    resource,
                    sub_resource,
                    namespace,
                    name: name.map(str::to_owned),
                }
            })
        };
        WAYS.iter().flat_map(way).collect()
    }
}

/// As `create pods/exec in namespace shop`.
impl fmt::Display for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.sub_resource.is_empty() {
            write!(f, "/{}", self.sub_resource)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

impl Right {
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
        match self {
            Self::SeeRequests(namespace) => weir("accessrequests", "list", namespace),
            Self::Decide(namespace) => ResourceAttributes {
                subresource: Some("status".to_owned()),
                ..weir("accessrequests", "update", &Some(namespace.clone()))
            },
            Self::Act(acting) => ResourceAttributes {
                namespace: acting.namespace.clone(),
                name: acting.name.clone(),
                subresource: (!acting.sub_resource.is_empty())
                    .then(|| acting.sub_resource.to_owned()),
                ..of(acting.group, acting.resource, acting.verb)
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

/// A way in which somebody may act as the requester, if there is one.
pub(crate) async fn may_act_as(
    access: &dyn Access,
    user: &UserInfo,
    actor: Option<Actor<'_>>,
) -> Result<Option<Acting>, String> {
    let ways = actor.map(Acting::ways).unwrap_or_default();
    let rights: Vec<Right> = ways.iter().cloned().map(Right::Act).collect();
    let mut silent = None;
    for (ways, rights) in ways.chunks(AT_ONCE).zip(rights.chunks(AT_ONCE)) {
        let answers = rights.iter().map(|right| access.may(user, right));
        let answers = futures_util::future::join_all(answers).await;
        for (way, answer) in ways.iter().zip(answers) {
            match answer {
                Ok(true) => return Ok(Some(way.clone())),
                Ok(false) => {}
                Err(why) => silent = Some(why),
            }
        }
    }
    silent.map_or(Ok(None), Err)
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

    /// The way to act as somebody whose text begins so.
    pub(crate) fn acting(actor: Actor<'_>, says: &str) -> Right {
        let mut ways = Acting::ways(actor).into_iter();
        let way = ways.find(|way| way.to_string().starts_with(says));
        Right::Act(way.expect(says))
    }

    pub(crate) fn user(name: &str) -> UserInfo {
        UserInfo {
            username: Some(name.to_owned()),
            ..UserInfo::default()
        }
    }

    const WEB: Actor<'_> = Actor {
        namespace: "shop",
        account: "web",
        pod: Some("web-1"),
        workload: Some(("Deployment", "web")),
    };

    #[tokio::test]
    async fn whoever_runs_something_as_the_requester_acts_as_it_whichever_way() {
        let web = Some(WEB);
        for way in Acting::ways(WEB) {
            let rights = Rights {
                given: vec![("admin", Right::Act(way.clone()))],
                ..Rights::default()
            };
            let nobody = may_act_as(&rights, &user("alice"), web).await;
            assert_eq!(nobody, Ok(None), "{way}");
            let found = may_act_as(&rights, &user("admin"), web).await;
            assert_eq!(found, Ok(Some(way)));
        }
        let rights = Rights {
            given: vec![("admin", acting(WEB, "impersonate serviceaccounts"))],
            ..Rights::default()
        };
        let other = Some(Actor {
            account: "other",
            ..WEB
        });
        assert_eq!(may_act_as(&rights, &user("admin"), other).await, Ok(None));
        assert_eq!(may_act_as(&rights, &user("admin"), None).await, Ok(None));
        let silent = Rights {
            silent: true,
            ..Rights::default()
        };
        assert!(may_act_as(&silent, &user("alice"), web).await.is_err());
    }

    #[test]
    fn rights_are_asked_for_as_rbac_names_them() {
        let attributes = |says: &str| acting(WEB, says).attributes();
        let impersonate = attributes("impersonate serviceaccounts");
        let tokens = attributes("create serviceaccounts/token");
        assert_eq!(impersonate.verb.as_deref(), Some("impersonate"));
        assert_eq!(impersonate.resource.as_deref(), Some("serviceaccounts"));
        assert_eq!(impersonate.name.as_deref(), Some("web"));
        assert_eq!(impersonate.group.as_deref(), Some(""));
        assert_eq!(impersonate.subresource, None);
        assert_eq!(tokens.subresource.as_deref(), Some("token"));
        assert_eq!(tokens.name.as_deref(), Some("web"));
        let exec = attributes("get pods/exec");
        assert_eq!(exec.resource.as_deref(), Some("pods"));
        assert_eq!(exec.subresource.as_deref(), Some("exec"));
        assert_eq!(exec.verb.as_deref(), Some("get"));
        assert_eq!(exec.namespace.as_deref(), Some("shop"));
        // Whoever may enter any pod may enter this one; whoever may enter this one alone may as well.
        assert_eq!(exec.name.as_deref(), Some("web-1"));
        assert_eq!(attributes("create pods in").name, None);
        assert_eq!(attributes("create nodes/proxy").namespace, None);
        // Whoever may change the requester's own Deployment alone, too.
        let deployment = attributes("patch deployments");
        assert_eq!(deployment.group.as_deref(), Some("apps"));
        assert_eq!(deployment.name.as_deref(), Some("web"));
        assert_eq!(attributes("create deployments").name, None);
        assert_eq!(attributes("patch statefulsets").name, None);
        let bind = attributes("bind clusterroles");
        assert_eq!(bind.group.as_deref(), Some("rbac.authorization.k8s.io"));
        assert_eq!(bind.namespace.as_deref(), Some("shop"));
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
