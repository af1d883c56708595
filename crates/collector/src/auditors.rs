//! Evidence for auditors: the reading paths of the API, over TLS.
//!
//! Who asks is proved by a bearer token or by a client certificate of the cluster; what they may
//! read is the cluster's to say, asked through the controller.
//!
//! Invariants
//! - Nobody reads without an answer of the controller that they may; no answer is a refusal.
//! - Whoever may not read everything names a namespace, and sees that one only.
//! - People with a browser get the [`Ui`] on the same port, by the same rules.
//! - Every read is evidence itself before it is answered, and leaves a line in the log with target
//!   `access`: who, from where, what, and the answer.
//!
//! It refuses everything that is not reading.

mod client_ca;
mod review;
mod unknown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::{Request, Response, header};
use rustls::{ServerConfig, ServerConnection};
use weir_serve::{Body, Site, Until};

pub use review::{ReviewError, ReviewFuture, Reviewer};

use crate::api::{Api, Caller, Desk, Refusal, Scope, named};
use crate::peer::{self, User};
use crate::tls::{Credentials, Current, Following};
use crate::ui::{Access, Parts, Ui, UiConfig};
use client_ca::ClientCa;
pub(crate) use review::{Credential, Gate};

const MAX_TOKEN: usize = 16 << 10;

/// The port that auditors ask.
#[derive(Clone)]
pub struct Auditors {
    inner: Arc<Inner>,
    ui: Option<Ui>,
}

struct Inner {
    api: Api,
    credentials: Current,
    tls: Following<Option<Version>>,
    client_ca: Option<ClientCa>,
    gate: Arc<Gate>,
}

type Version = client_ca::Version;

/// A client, before it asks for anything.
pub struct Client {
    address: SocketAddr,
    /// The user in the certificate, and until when.
    user: Option<(User, SystemTime)>,
}

impl Auditors {
    /// A port over an API; with the file of the cluster's client roots, client certificates count.
    #[must_use]
    pub fn new(
        api: Api,
        credentials: Current,
        client_ca: Option<PathBuf>,
        reviewer: Arc<dyn Reviewer>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                api,
                credentials,
                tls: Following::new(),
                client_ca: client_ca.map(ClientCa::new),
                gate: Arc::new(Gate::new(reviewer)),
            }),
            ui: None,
        }
    }

    /// The same, with the web UI; holds are decided at `desk`.
    #[must_use]
    pub fn with_ui(self, config: UiConfig, desk: Arc<dyn Desk>) -> Self {
        let parts = Parts {
            api: self.inner.api.clone(),
            desk: Some(desk),
            access: Access::Cluster(Arc::clone(&self.inner.gate)),
        };
        Self {
            ui: Some(Ui::new(config, parts)),
            ..self
        }
    }

    async fn read(
        &self,
        client: &Client,
        request: Request<Incoming>,
        who: &mut String,
    ) -> Result<Response<Body>, Refusal> {
        let credential = credential(client, &request)?;
        let asked = named(request.uri().query(), "namespace").map_err(Refusal::bad)?;
        let from = client.address.ip();
        let allowed = self.inner.gate.admit_from(from, &credential, asked).await;
        let allowed = match allowed {
            Ok(allowed) => allowed,
            Err(denied) => {
                who.clone_from(&denied.user);
                return Err(denied.refusal);
            }
        };
        who.clone_from(&allowed.user);
        let (gate, namespace) = (Arc::clone(&self.inner.gate), allowed.namespace.clone());
        let until = client.user.as_ref().map(|(_, until)| *until);
        let scope = Scope {
            user: allowed.user.as_str().into(),
            address: canonical(client.address).to_string().into(),
            person: credential.person(),
            namespace: allowed.namespace,
            still: Arc::new(move || {
                let (gate, credential) = (Arc::clone(&gate), credential.clone());
                let namespace = namespace.clone();
                Box::pin(async move {
                    let over = until.is_some_and(|until| until <= SystemTime::now());
                    !over && gate.still(&credential, namespace).await
                })
            }),
        };
        let caller = Caller::Auditor(scope);
        self.inner.api.route(request, &caller).await
    }
}

impl Site for Auditors {
    type Client = Arc<Client>;

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        let Inner {
            credentials,
            tls,
            client_ca,
            ..
        } = &*self.inner;
        let roots = client_ca.as_ref().and_then(ClientCa::current);
        let version = roots.as_ref().map(|(version, _)| version.clone());
        tls.get(credentials, &version, |credentials: &Credentials| {
            credentials.for_auditors(roots.map(|(_, roots)| roots))
        })
    }

    fn admit(
        &self,
        address: SocketAddr,
        session: &ServerConnection,
    ) -> Result<(Arc<Client>, Until), String> {
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let user = leaf.map(|leaf| Ok((User::read(leaf)?, peer::ends(leaf)?)));
        let user = user.transpose().map_err(|error: peer::PeerError| {
            tracing::warn!(%address, %error, "a client is refused");
            error.to_string()
        })?;
        let until = user.as_ref().map(|(_, until)| *until);
        Ok((Arc::new(Client { address, user }), until))
    }

    async fn answer(&self, client: Arc<Client>, request: Request<Incoming>) -> Response<Body> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        if let Some(ui) = self.ui.as_ref().filter(|_| Ui::serves(uri.path())) {
            return ui.answer(client.address, request).await;
        }
        let mut who = String::new();
        let read = self.read(&client, request, &mut who).await;
        let response = read.unwrap_or_else(|refusal| refusal.answer());
        tracing::info!(
            target: "access",
            user = %who,
            address = %canonical(client.address),
            %method,
            path = uri.path(),
            query = uri.query().unwrap_or_default(),
            status = response.status().as_u16(),
            "evidence was asked for"
        );
        response
    }
}

/// A bearer token counts before a certificate: it is what this request brought along.
fn credential(client: &Client, request: &Request<Incoming>) -> Result<Credential, Refusal> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    if let Some(value) = headers.next() {
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN);
        let token = token.filter(|_| headers.next().is_none());
        let unusable = || Refusal::unauthorized("the authorization is not one bearer token".into());
        return Ok(Credential::Token(token.ok_or_else(unusable)?.into()));
    }
    match &client.user {
        Some((user, until)) if *until > SystemTime::now() => Ok(Credential::User {
            name: user.name.clone(),
            groups: user.groups.clone(),
        }),
        _ => Err(Refusal::unauthorized(
            "a bearer token or a client certificate of the cluster is needed".into(),
        )),
    }
}

/// An IPv4 client of a port for both versions shows as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
