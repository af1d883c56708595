//! The web UI: holds are decided, and evidence is read, by people in a browser.
//!
//! Invariants
//! - Nobody sees or does anything before a login; who somebody is was proved by an identity provider,
//!   the cluster, or the operating system, and never typed.
//! - What a person may read is asked at each request, and each read of evidence is evidence before it
//!   is answered, as with the API. What they may decide is the [`Desk`]'s to say.
//! - Sessions and credentials are kept in memory, on this side. A browser holds one cookie.
//! - Pages carry no script and no style of their own, load nothing from elsewhere, and cannot be framed.
//!
//! It refuses forms of other origins, and to be served without TLS to anybody but this machine.

mod access;
mod assets;
mod chart;
mod door;
mod evidence;
mod frame;
mod guard;

mod holds;
mod html;
mod links;
mod overview;
mod pending;
mod problem;
mod proof;
mod questions;
mod replay;
mod report;
mod request;
mod rows;
mod secret;
mod sessions;
mod show;
mod sql;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use weir_fetch::Endpoint;
use weir_oidc::Login;
use weir_serve::Body;

use crate::api::{Api, Desk};
use crate::evidence::Evidence;

pub(crate) use access::Access;
pub use links::LIFE as LINK_LIFE;
pub(crate) use report::report_page;

use frame::{Frame, Here, see, trouble};
use links::Links;
use pending::Logins;
use problem::Problem;
use request::Asked;
use sessions::{Oidc, Proof, Session, Sessions, Who};

/// A proof that ends so soon is renewed first.
const SOON: Duration = Duration::from_secs(30);

/// How people reach the UI.
#[derive(Clone, Debug)]
pub struct UiConfig {
    url: Option<String>,
    tls: bool,
    login: Option<Login>,
}

impl UiConfig {
    /// `url` is the UI's address as people type it, `https://weir.example`, without a path; a login at a
    /// provider comes back to it. `tls` is whether the port that serves it has TLS.
    ///
    /// # Errors
    /// When the address is none, is plain HTTP to another machine, or is missing with a `login`.
    pub fn new(url: Option<String>, tls: bool, login: Option<Login>) -> Result<Self, String> {
        let url = url.map(|url| url.trim_end_matches('/').to_ascii_lowercase());
        if let Some(url) = &url {
            let origin =
                Endpoint::parse(url, true).map_err(|error| format!("the address: {error}"))?;
            if origin.path() != "/" || url.contains(['?', '#']) {
                return Err("the address has no path: the pages are below /ui".to_owned());
            }
            if url.starts_with("http://") && tls {
                return Err("this port has TLS, so the address begins with https://".to_owned());
            }
        } else if login.is_some() {
            return Err("a login at a provider needs an address to come back to".to_owned());
        }
        Ok(Self { url, tls, login })
    }
}

/// The UI over a store. Cheap to clone.
#[derive(Clone)]
pub struct Ui {
    inner: Arc<Inner>,
}

struct Inner {
    evidence: Evidence,
    api: Api,
    desk: Option<Arc<dyn Desk>>,
    access: Arc<Access>,
    login: Option<Login>,
    /// The provider's name for people: the host of its address.
    provider: Option<String>,
    url: Option<String>,
    tls: bool,
    /// Whether browsers send cookies over TLS only.
    secure: bool,
    sessions: Arc<Sessions>,
    links: Links,
    logins: Logins,
    /// One at a time renews a proof.
    renewing: tokio::sync::Mutex<()>,
}

/// What the UI shows and asks.
pub(crate) struct Parts {
    pub(crate) api: Api,
    pub(crate) desk: Option<Arc<dyn Desk>>,
    pub(crate) access: Access,
}

impl Ui {
    /// The UI of one machine: its users log in by links, and people of `auditors`, groups at the provider,
    /// may read evidence.
    #[must_use]
    pub fn of_machine(
        config: UiConfig,
        api: Api,
        desk: Arc<dyn Desk>,
        auditors: Vec<String>,
    ) -> Self {
        let parts = Parts {
            api,
            desk: Some(desk),
            access: Access::Machine { auditors },
        };
        Self::new(config, parts)
    }

    pub(crate) fn new(config: UiConfig, parts: Parts) -> Self {
        let url = config.url;
        let secure = config.tls || url.as_ref().is_some_and(|url| url.starts_with("https://"));
        let provider = config
            .login
            .as_ref()
            .map(|login| host(login.issuer()).to_owned());
        Self {
            inner: Arc::new(Inner {
                evidence: parts.api.evidence().clone(),
                api: parts.api,
                desk: parts.desk,
                access: Arc::new(parts.access),
                login: config.login,
                provider,
                url,
                tls: config.tls,
                secure,
                sessions: Arc::default(),
                links: Links::default(),
                logins: Logins::default(),
                renewing: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// A link that logs an operating system's user in, once, within [`LINK_LIFE`]. None without
    /// randomness, and where nobody is logged in so.
    #[must_use]
    pub fn link(&self, user: &str) -> Option<String> {
        let inner = &self.inner;
        let url = inner.url.as_ref().filter(|_| inner.access.takes_links())?;
        let key = inner.links.make(user)?;
        Some(format!("{url}/ui/login/once?key={key}"))
    }

    /// Whether a path is the UI's.
    pub(crate) fn serves(path: &str) -> bool {
        path == "/" || path == "/ui" || path.starts_with("/ui/")
    }

    /// Answers a request for such a path.
    pub(crate) async fn answer(
        &self,
        from: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let asked = Asked::read(from, &request);
        let session = self.inner.session(&asked).await;
        let done = match &session {
            Ok(session) => self.inner.route(&asked, session.as_ref(), request).await,
            Err(problem) => Err(problem.clone()),
        };
        let response = match done {
            Ok(response) => response,
            Err(problem) => {
                let session = session.ok().flatten();
                self.inner.refused(&asked, session.as_ref(), &problem).await
            }
        };
        guard::guarded(response)
    }
}

impl Inner {
    async fn route(
        &self,
        asked: &Asked,
        session: Option<&Session>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        let path = asked.path.as_str();
        let get = match asked.method {
            Method::GET | Method::HEAD => true,
            Method::POST => false,
            _ => {
                return Err(Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "There is no such method here.",
                ));
            }
        };
        if get && path.starts_with("/ui/assets/") {
            return assets::at(path).ok_or_else(|| Problem::not_found("There is no such file."));
        }
        if path.starts_with("/ui/login") {
            return self.door(asked, session, get, request).await;
        }
        if matches!(path, "/" | "/ui") && get {
            return Ok(see("/ui/"));
        }
        let Some(session) = session else {
            return Ok(self.to_the_door(asked));
        };
        if !get {
            let form = self.checked_form(asked, session, request).await?;
            return match path {
                "/ui/logout" => Ok(self.log_out(session)),
                "/ui/namespace" => Ok(self.look_at(session, &form)),
                "/ui/hold/decide" => self.decide(session, &form).await,
                _ => Err(Problem::not_found("Nothing is sent to this address.")),
            };
        }
        match path {
            "/ui/" => Ok(see(if self.desk.is_some() {
                "/ui/holds"
            } else {
                "/ui/sessions"
            })),
            "/ui/hold/list" => self.hold_list(session, asked).await,
            "/ui/hold/state" => self.hold_state(session, asked).await,
            "/ui/hold/statement" => self.hold_statement(session, asked).await,
            "/ui/hold/live" => self.hold_live(session, asked).await,
            "/ui/sessions" => self.session_page(session, asked).await,
            "/ui/search" => self.search_page(session, asked).await,
            "/ui/findings" => self.findings_page(session, asked).await,
            "/ui/overview" => self.overview_page(session, asked).await,
            "/ui/questions" => self.questions_page(session, asked, "").await,
            "/ui/proof" => self.proof_page(session, asked).await,
            _ => {
                if let Some(rest) = path.strip_prefix("/ui/holds") {
                    return self.holds_page(session, asked, rest).await;
                }
                if let Some(rest) = path.strip_prefix("/ui/sessions/") {
                    return self.replay_page(session, asked, rest).await;
                }
                if let Some(name) = path.strip_prefix("/ui/questions/") {
                    return self.questions_page(session, asked, name).await;
                }
                if let Some(rest) = path.strip_prefix("/ui/api/") {
                    return self.through_api(session, asked, rest, request).await;
                }
                Err(Problem::not_found("There is no page at this address."))
            }
        }
    }

    /// The session of a request, with a proof that still counts.
    async fn session(&self, asked: &Asked) -> Result<Option<Session>, Problem> {
        let cookie = asked.cookie(self.cookie_name());
        let Some(session) = cookie.and_then(|c| self.sessions.find(c, !asked.is_fragment())) else {
            return Ok(None);
        };
        if !soon(&session.who) {
            return Ok(Some(session));
        }
        let _turn = self.renewing.lock().await;
        let again = cookie.and_then(|cookie| self.sessions.find(cookie, false));
        let Some(session) = again.filter(|session| soon(&session.who)) else {
            return Ok(cookie.and_then(|cookie| self.sessions.find(cookie, false)));
        };
        match self.renewed(&session).await {
            Some(proof) => self.sessions.prove_again(&session, proof),
            None => self.sessions.end(&session),
        }
        Ok(cookie.and_then(|cookie| self.sessions.find(cookie, false)))
    }

    async fn renewed(&self, session: &Session) -> Option<Proof> {
        let (Proof::Oidc(oidc), Some(login)) = (&session.who.proof, &self.login) else {
            return None;
        };
        let token = oidc.refresh_token.as_deref()?;
        match login.refresh(token, &oidc.claims.subject).await {
            Ok(again) => Some(Proof::Oidc(Arc::new(Oidc {
                id_token: again.id_token,
                refresh_token: again.refresh_token,
                claims: again.claims,
            }))),
            Err(error) => {
                tracing::info!(user = %session.who.name, %error, "a login ends");
                None
            }
        }
    }

    /// The frame of a person's page.
    async fn frame(&self, session: &Session, here: Here) -> Frame {
        let namespace = session.namespace.as_deref();
        let evidence = self.access.shows_evidence(&session.who, namespace).await;
        Frame {
            here,
            who: Arc::clone(&session.who.name),
            csrf: Arc::clone(&session.csrf),
            namespace: session.namespace.clone(),
            notice: self.sessions.told(session),
            holds: self.desk.is_some(),
            evidence,
        }
    }

    /// A refusal, as whoever asked can take it.
    async fn refused(
        &self,
        asked: &Asked,
        session: Option<&Session>,
        problem: &Problem,
    ) -> Response<Body> {
        let Some(session) = session.filter(|_| !asked.is_fragment()) else {
            return trouble(problem, None);
        };
        if problem.log_in {
            self.sessions.end(session);
            return trouble(problem, None);
        }
        let frame = self.frame(session, Here::Nowhere).await;
        if problem.choose
            && let Ok(response) = Self::which_namespace(frame, asked, &problem.text)
        {
            return response;
        }
        trouble(problem, Some(self.frame(session, Here::Nowhere).await))
    }

    /// The own origins, as browsers write them.
    fn origins(&self, asked: &Asked) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        let by_host = format!("{scheme}://{}", asked.authority());
        self.url.iter().cloned().chain([by_host]).collect()
    }

    fn cookie_name(&self) -> &'static str {
        if self.secure { "__Host-weir" } else { "weir" }
    }
}

/// Whether a proof must be renewed before it is used.
fn soon(who: &Who) -> bool {
    let expires = who.expires();
    expires.is_some_and(|expires| expires <= SystemTime::now() + SOON)
}

/// The host of a URL.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
