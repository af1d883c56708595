//! The client's side: what it is told before it is let in, and how it logs in.
//!
//! With brokered credentials whatever the client offers is accepted, or the placeholder that the
//! Target asks for: where it runs is its identity, and Weir logs in to the server. With its own
//! credentials, passwords and answers to prompts are handed to the server, which decides; a public
//! key cannot be (its signature is bound to this leg), but the agent that has it can be asked, where
//! policy permits to forward one; else the client is told so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse};
use russh::keys::{Certificate, PublicKey};
use russh::server::{self, Auth, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Disconnect, MethodKind, MethodSet};
use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;

use super::relay::{Event, Inbox};
use super::upstream::{BrokeredLogin, Unmet, Upstream};

/// Most prompts that are handed on.
const MAX_PROMPTS: usize = 32;

type Met = Result<(Upstream, Option<PublicKey>), Unmet>;

/// Who logs in, and how far that is.
pub(super) struct Login {
    state: tokio::sync::Mutex<State>,
    mode: Mode,
    identity: String,
    /// Why nobody is let in, once that is so.
    failed: Mutex<Option<String>>,
    /// Whether another host answers than the one that the Target means.
    another: AtomicBool,
    /// The key that the client has shown; its agent is to be asked.
    shown: Mutex<Option<PublicKey>>,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each session")]
enum State {
    Connecting(JoinHandle<Met>),
    Met(Upstream, Option<PublicKey>),
    Nothing,
}

/// Who logs in.
pub(super) enum Mode {
    /// The client; perhaps by the agent that it forwards.
    PassThrough { agent: bool },
    /// Weir, and what the client must show.
    Brokered {
        login: BrokeredLogin,
        user: Option<String>,
        placeholder: Option<Vec<u8>>,
    },
    /// Nobody.
    Refused,
}

impl Login {
    /// A login to a server that is being connected to.
    pub(super) fn new(mode: Mode, identity: &str, connecting: JoinHandle<Met>) -> Self {
        Self {
            state: tokio::sync::Mutex::new(State::Connecting(connecting)),
            mode,
            identity: identity.to_owned(),
            failed: Mutex::default(),
            another: AtomicBool::default(),
            shown: Mutex::default(),
        }
    }

    /// A login that fails for this reason.
    pub(super) fn refused(reason: String) -> Self {
        Self {
            state: tokio::sync::Mutex::new(State::Nothing),
            mode: Mode::Refused,
            identity: String::new(),
            failed: Mutex::new(Some(reason)),
            another: AtomicBool::default(),
            shown: Mutex::default(),
        }
    }

    /// Why nobody is let in.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether another host answers than the one that the Target means.
    pub(super) fn is_another_host(&self) -> bool {
        self.another.load(Ordering::Relaxed)
    }

    fn fail(&self, reason: String) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(reason);
    }

    /// Waits until the server was met, or was not. A client of which that was not is let in, only to be
    /// told: what a banner says many do not show.
    async fn met(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().await;
        if let State::Connecting(connecting) = &mut *state {
            let met = connecting.await;
            *state = match met {
                Ok(Ok((upstream, first))) => State::Met(upstream, first),
                Ok(Err(unmet)) => {
                    let another = matches!(unmet, Unmet::Another(_));
                    self.another.store(another, Ordering::Relaxed);
                    self.fail(unmet.to_string());
                    State::Nothing
                }
                Err(error) => {
                    self.fail(format!("the server could not be met: {error}"));
                    State::Nothing
                }
            };
        }
        state
    }

    /// The connection, once the client is let in; and the key that was trusted on first use.
    pub(super) async fn take(&self) -> Option<(Upstream, Option<PublicKey>)> {
        match std::mem::replace(&mut *self.met().await, State::Nothing) {
            State::Met(upstream, first) => Some((upstream, first)),
            _ => None,
        }
    }

    async fn banner(&self) -> Option<String> {
        let state = self.met().await;
        match &*state {
            State::Met(upstream, _) => {
                let said = upstream.banner.lock();
                let said = said.unwrap_or_else(PoisonError::into_inner);
                (!said.is_empty()).then(|| said.clone())
            }
            _ => None,
        }
    }

    /// Weir's own login, for a client that has shown what it must.
    async fn broker(&self, client: &str) -> Auth {
        let mut state = self.met().await;
        if self.failure().is_some() {
            return Auth::Accept;
        }
        let (Mode::Brokered { login, user, .. }, State::Met(upstream, _)) =
            (&self.mode, &mut *state)
        else {
            return nothing();
        };
        let user = login.user.as_deref().or(user.as_deref()).unwrap_or(client);
        if let Err(reason) = upstream.log_in(user, &login.secret, &self.identity).await {
            // The client is let in only to be told.
            self.fail(reason);
        }
        Auth::Accept
    }

    fn wants(&self, password: &str) -> bool {
        match &self.mode {
            Mode::Brokered {
                placeholder: Some(placeholder),
                ..
            } => same(placeholder, password.as_bytes()),
            _ => true,
        }
    }

    fn placeholder(&self) -> bool {
        matches!(
            &self.mode,
            Mode::Brokered {
                placeholder: Some(_),
                ..
            }
        )
    }

    fn passes_through(&self) -> bool {
        matches!(self.mode, Mode::PassThrough { .. })
    }

    fn takes_agents(&self) -> bool {
        matches!(self.mode, Mode::PassThrough { agent: true })
    }

    fn show(&self, key: &PublicKey) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(key.clone());
    }

    /// The key that the client has shown, where its agent is to be asked for the login.
    pub(super) fn by_agent(&self) -> Option<PublicKey> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// What the server still accepts, as far as it can be handed on.
    fn left(&self, remaining: &MethodSet, partial_success: bool) -> Auth {
        let mut passable = vec![MethodKind::KeyboardInteractive, MethodKind::Password];
        if self.takes_agents() && !partial_success {
            passable.push(MethodKind::PublicKey);
        }
        passable.retain(|kind| remaining.contains(kind));
        only(&passable, partial_success)
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Refused, and nothing else is worth trying.
fn nothing() -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::empty()),
        partial_success: false,
    }
}

fn only(methods: &[MethodKind], partial_success: bool) -> Auth {
    Auth::Reject {
        proceed_with_methods: Some(MethodSet::from(methods)),
        partial_success,
    }
}

/// One client.
pub(super) struct Handler {
    login: Arc<Login>,
    inbox: Inbox,
    user: String,
    prompting: bool,
}

impl Handler {
    pub(super) fn new(login: Arc<Login>, inbox: Inbox) -> Self {
        Self {
            login,
            inbox,
            user: String::new(),
            prompting: false,
        }
    }

    /// Something that the client shows and Weir may take.
    async fn shown(&mut self, user: &str, enough: bool) -> Auth {
        user.clone_into(&mut self.user);
        if self.login.passes_through() {
            return nothing();
        }
        if !enough {
            return only(&[MethodKind::Password], false);
        }
        self.login.broker(user).await
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    fn packet(&mut self, payload: Vec<u8>) -> Result<Option<Vec<u8>>, Self::Error> {
        self.inbox.put(Event::Client(payload))?;
        Ok(None)
    }

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.login.banner().await)
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        if !self.login.passes_through() {
            let enough = !self.login.placeholder();
            return Ok(self.shown(user, enough).await);
        }
        user.clone_into(&mut self.user);
        let mut state = self.login.met().await;
        let State::Met(upstream, _) = &mut *state else {
            return Ok(Auth::Accept);
        };
        Ok(match upstream.handle.authenticate_none(user).await? {
            AuthResult::Success => Auth::Accept,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => {
                let answer = self.login.left(&remaining_methods, partial_success);
                if answer == nothing() {
                    let text = "the server asks for a public key, which cannot pass Weir: the \
                                target needs brokered credentials, or a rule that allows agents";
                    self.login.fail(text.to_owned());
                    // Let in only to be told.
                    return Ok(Auth::Accept);
                }
                answer
            }
        })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if !self.login.passes_through() {
            let enough = self.login.wants(password);
            return Ok(self.shown(user, enough).await);
        }
        user.clone_into(&mut self.user);
        let mut state = self.login.met().await;
        let State::Met(upstream, _) = &mut *state else {
            return Ok(Auth::Accept);
        };
        let result = upstream.handle.authenticate_password(user, password).await;
        Ok(match result? {
            AuthResult::Success => Auth::Accept,
            AuthResult::Failure {
                remaining_methods,
                partial_success,
            } => self.login.left(&remaining_methods, partial_success),
        })
    }

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.login.takes_agents() {
            return Ok(Auth::Accept);
        }
        if self.login.passes_through() {
            return Ok(only(
                &[MethodKind::KeyboardInteractive, MethodKind::Password],
                false,
            ));
        }
        Ok(if self.login.placeholder() {
            only(&[MethodKind::Password], false)
        } else {
            Auth::Accept
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.login.takes_agents() {
            user.clone_into(&mut self.user);
            self.login.show(key.public_key);
            return Ok(Auth::Accept);
        }
        let enough = !self.login.placeholder();
        Ok(self.shown(user, enough).await)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        _: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let enough = !self.login.placeholder();
        Ok(self.shown(user, enough).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        if !self.login.passes_through() {
            let enough = !self.login.placeholder();
            return Ok(self.shown(user, enough).await);
        }
        user.clone_into(&mut self.user);
        let mut state = self.login.met().await;
        let State::Met(upstream, _) = &mut *state else {
            return Ok(Auth::Accept);
        };
        let said = match response {
            Some(response) if self.prompting => {
                let answers = response
                    .take(MAX_PROMPTS)
                    .map(|answer| String::from_utf8_lossy(&answer).into_owned());
                upstream
                    .handle
                    .authenticate_keyboard_interactive_respond(answers.collect())
                    .await?
            }
            _ => {
                upstream
                    .handle
                    .authenticate_keyboard_interactive_start(user, None)
                    .await?
            }
        };
        self.prompting = false;
        Ok(match said {
            KeyboardInteractiveAuthResponse::Success => Auth::Accept,
            KeyboardInteractiveAuthResponse::Failure {
                remaining_methods,
                partial_success,
            } => self.login.left(&remaining_methods, partial_success),
            KeyboardInteractiveAuthResponse::InfoRequest {
                name,
                instructions,
                prompts,
            } => {
                self.prompting = true;
                let prompts = prompts.into_iter().take(MAX_PROMPTS);
                Auth::Partial {
                    name: name.into(),
                    instructions: instructions.into(),
                    prompts: prompts
                        .map(|prompt| (prompt.prompt.into(), prompt.echo))
                        .collect::<Vec<_>>()
                        .into(),
                }
            }
        })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        if let Some(reason) = self.login.failure() {
            return session.disconnect(Disconnect::ByApplication, &format!("weir: {reason}"), "en");
        }
        self.inbox.put(Event::Ready {
            user: std::mem::take(&mut self.user),
            handle: session.handle(),
        })
    }
}
