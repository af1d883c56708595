//! One SSH connection from accept to record.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::keys::HashAlg;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use weir_audit::{
    ConnectionClosed, ConnectionOpened, Finding, FindingCode, Names, Record,
    Session as AuditSession,
};
use weir_policy::{ClientLogin, Credentials, ForwardKind, Scope, Target, Verdict};

use super::agent::{self, Early};
use super::algorithms;
use super::asked::Asked;
use super::backlog::{Backlog, Buffered};
use super::downstream::{Handler, Login, Mode};
use super::host::HostCheck;
use super::judge::Judge;
use super::keys::Principals;
use super::relay::{End, Event, Inbox, Relay};
use super::upstream::{BrokeredLogin, Unmet, Upstream};
use crate::engine::{Route, Shared};
use crate::evidence::Evidence;
use crate::incoming::{Incoming, Peer};
use crate::leash::Leash;
use crate::place::Place;
use crate::{millis, wall_clock};

/// How long a client may take from connecting to logging in, as OpenSSH's own default.
const LOGIN: Duration = Duration::from_secs(120);
/// How long a client may take to leave once it was told why.
const LEAVE: Duration = Duration::from_secs(2);

/// What a session may begin with.
struct Begun {
    scope: Arc<Scope>,
    revision: u64,
    login: Login,
    /// Lets the server be dialled.
    dial: oneshot::Sender<()>,
}

/// Serves one connection.
pub(crate) async fn serve(shared: &Arc<Shared>, incoming: Incoming, route: Route) {
    let bundle = Arc::clone(&route.bundle);
    let Some(target) = bundle.target(route.target) else {
        return;
    };
    let id = shared.next_session();
    let mut audit = incoming.session(id, Some(&target.name), Some("ssh"));
    let Incoming {
        stream,
        peer,
        leash,
        ..
    } = incoming;
    let dialled = stream.local_addr().ok();
    let principals = principals(target, &route.place, dialled);
    let certificates = shared.host_keys.certificates(&principals);
    let config = Arc::new(algorithms::server(shared.host_keys.keys(), certificates));
    let (inbox, mut events) = Inbox::new();
    let begun = begin(shared, &route, target, &audit, &inbox);
    let (permitted, login, dial) = match begun {
        Ok(begun) => {
            let permitted = (begun.scope, begun.revision);
            (Some(permitted), begun.login, Some(begun.dial))
        }
        Err(reason) => (None, Login::refused(reason), None),
    };
    let login = Arc::new(login);
    let (buffered, backlog) = Buffered::new(stream);
    let handler = Handler::new(Arc::clone(&login), inbox.clone());
    let ready = let_in(config, buffered, handler, dial, &mut events);
    let ready = tokio::select! {
        pulled = leash.pulled() => Err(pulled.recorded()),
        ready = tokio::time::timeout(LOGIN, Box::pin(ready)) => match ready {
            Ok(ready) => ready,
            Err(_) => Err("the login took too long".to_owned()),
        },
    };
    let refused = |audit: AuditSession, reason: &str| {
        tracing::info!(session = %audit.id, %reason, "connection refused");
        shared.refused(Arc::new(audit), reason, Names::empty());
        backlog.cut();
    };
    let (running, user, handle) = match ready {
        Ok(ready) => ready,
        Err(reason) => {
            let reason = login.failure().unwrap_or(reason);
            if login.is_another_host() {
                let audit = Arc::new(audit.clone());
                find(shared, &audit, FindingCode::HostKeyRefused, &reason);
            }
            return refused(audit, &reason);
        }
    };
    audit.user = Some(user.as_str().into());
    let taken = match login.failure() {
        Some(_) => None,
        None => login.take().await,
    };
    let (Some((mut upstream, first)), Some((scope, revision))) = (taken, permitted) else {
        let reason = login
            .failure()
            .unwrap_or_else(|| "the server has gone".to_owned());
        drop(tokio::time::timeout(LEAVE, running).await);
        return refused(audit, &reason);
    };
    let audit = Arc::new(audit);
    if let Some(key) = first {
        let print = key.fingerprint(HashAlg::Sha256);
        let kept = shared
            .host_keys
            .trust(&target.name, &route.place.to_string(), &key);
        let message = format!(
            "the host key {} {print} was trusted on first use",
            key.algorithm()
        );
        find(shared, &audit, FindingCode::HostKeyTrusted, &message);
        if let Err(error) = kept {
            tracing::error!(%error, "a host key that was trusted cannot be kept");
        }
    }
    let mut early = None;
    if let Some(key) = login.by_agent() {
        let asked = agent::log_in(&mut upstream, &handle, (&inbox, &mut events), &user, &key);
        let asked = tokio::select! {
            pulled = leash.pulled() => Err(pulled.recorded()),
            asked = tokio::time::timeout(LOGIN, Box::pin(asked)) => asked
                .unwrap_or_else(|_| Err("the login took too long".to_owned())),
        };
        match asked {
            Ok(found) => early = Some(found),
            Err(reason) => {
                leave(&handle, running, &reason).await;
                return refused((*audit).clone(), &reason);
            }
        }
    }
    let session = Running {
        running,
        handle,
        upstream,
        early,
        backlog,
        peer,
        leash,
    };
    let judge = Judge::new(shared, scope, &target.name, revision);
    Box::pin(run(shared, session, judge, audit, inbox, events)).await;
}

/// Tells the client why its connection ends, and waits a moment until it has gone.
async fn leave(
    handle: &russh::server::Handle,
    running: impl Future<Output = Result<(), russh::Error>>,
    reason: &str,
) {
    let text = format!("weir: {reason}");
    let told = handle.disconnect(russh::Disconnect::ByApplication, text, "en".to_owned());
    drop(tokio::time::timeout(LEAVE, told).await);
    drop(tokio::time::timeout(LEAVE, running).await);
}

/// Records something that an auditor must look at.
fn find(shared: &Shared, audit: &Arc<AuditSession>, code: FindingCode, message: &str) {
    let finding = Finding {
        code,
        message: message.into(),
        subject: None,
        engine: None,
    };
    let record = Record::session(wall_clock(), Arc::clone(audit), finding);
    shared.sink.record(record);
}

/// A session that both sides have begun.
struct Running {
    running: russh::server::RunningSession<Handler>,
    handle: russh::server::Handle,
    upstream: Upstream,
    early: Option<Early>,
    backlog: Arc<Backlog>,
    peer: Peer,
    leash: Leash,
}

async fn run(
    shared: &Arc<Shared>,
    session: Running,
    judge: Judge,
    audit: Arc<AuditSession>,
    inbox: Inbox,
    mut events: UnboundedReceiver<Event>,
) {
    let started = Instant::now();
    let opened = ConnectionOpened {
        client_tls: true,
        upstream_tls: true,
        policies: judge.policies(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), Arc::clone(&audit), opened));
    let Running {
        running,
        handle,
        upstream,
        early,
        backlog,
        peer,
        leash,
    } = session;
    let leash = Arc::new(leash);
    let evidence = Evidence {
        sink: Arc::clone(&shared.sink),
        session: Arc::clone(&audit),
        budgets: Arc::clone(&shared.budgets),
    };
    let mut relay = Relay::new(
        (handle.clone(), Arc::clone(&backlog)),
        (upstream.sender(), Arc::clone(&upstream.backlog)),
        (peer, Arc::clone(&leash)),
        judge,
        evidence,
        inbox,
    );
    let adopted = early.map_or(Ok(()), |early| relay.adopt(early));
    let mut running = std::pin::pin!(running);
    let mut client_gone = false;
    let end = tokio::select! {
        biased;
        end = async {
            match adopted {
                Ok(()) => relay.run(&mut events).await,
                Err(end) => end,
            }
        } => end,
        left = &mut running => {
            client_gone = true;
            match left {
                Ok(()) => End::Gone("closed by the client".to_owned()),
                Err(error) => End::Gone(format!("client: {error}")),
            }
        }
        pulled = leash.pulled() => End::Gone(pulled.recorded()),
    };
    let totals = relay.totals;
    drop(relay);
    if let Some(reason) = upstream.another() {
        find(shared, &audit, FindingCode::HostKeyRefused, &reason);
    }
    drop(upstream);
    let reason = end.to_string();
    if !client_gone {
        leave(&handle, running, &reason).await;
        backlog.cut();
    }
    let closed = ConnectionClosed {
        statements: totals.statements,
        rows: 0,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        reason: reason.into(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), audit, closed));
}

type Ready = (
    russh::server::RunningSession<Handler>,
    String,
    russh::server::Handle,
);

/// Meets the client, until it is let in.
async fn let_in(
    config: Arc<russh::server::Config>,
    stream: Buffered,
    handler: Handler,
    dial: Option<oneshot::Sender<()>>,
    events: &mut UnboundedReceiver<Event>,
) -> Result<Ready, String> {
    let met = russh::server::run_stream(config, stream, handler).await;
    let mut running = met.map_err(|error| format!("the client's greeting: {error}"))?;
    if let Some(dial) = dial {
        let _ = dial.send(());
    }
    loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            left = &mut running => {
                return Err(match left {
                    Ok(()) => "the client left before it was let in".to_owned(),
                    Err(error) => format!("client: {error}"),
                });
            }
        };
        match event {
            Some(Event::Ready { user, handle }) => return Ok((running, user, handle)),
            Some(Event::ServerEnded(reason)) => {
                // Whoever asks for it next is told.
                tracing::debug!(%reason, "the server has gone before the login");
            }
            Some(_) => {}
            None => return Err("closed".to_owned()),
        }
    }
}

fn begin(
    shared: &Arc<Shared>,
    route: &Route,
    target: &Target,
    audit: &AuditSession,
    inbox: &Inbox,
) -> Result<Begun, String> {
    let bundle = shared.policies.current();
    let (subject, _) = shared.identities.current()?;
    if let Some(reason) = shared.barred() {
        return Err(reason.to_string());
    }
    if let Some(reason) = &target.refused {
        return Err(format!("target \"{}\" is refused: {reason}", target.name));
    }
    // The policy may have changed since the connection was routed, and with it the targets' ids.
    let scope = bundle
        .target_named(&target.name)
        .and_then(|(target, _)| shared.scopes.find(&bundle, &subject, target, millis()));
    let scope = scope.ok_or_else(|| {
        format!(
            "no policy lets {} use target \"{}\"",
            audit.identity.name, target.name
        )
    })?;
    shared
        .sink
        .healthy()
        .map_err(|reason| format!("evidence cannot be kept: {reason}"))?;
    let credentials = &*shared.credentials;
    let mode = match &target.credentials {
        Credentials::PassThrough => {
            let mut agent = false;
            let asked = Asked::Forward(ForwardKind::Agent, None);
            shared.budgets.read(&mut |counters| {
                let decided = asked.judge(|it| scope.decide(it, counters, millis()).verdict);
                agent = matches!(decided, Verdict::Permit(_));
            });
            Mode::PassThrough { agent }
        }
        Credentials::Brokered { login, client } => Mode::Brokered {
            login: BrokeredLogin::read(login, credentials)?,
            user: target.ssh.user.clone(),
            placeholder: match client {
                ClientLogin::Any => None,
                ClientLogin::Password(source) => {
                    let mut password = credentials.read(source)?;
                    while password
                        .last()
                        .is_some_and(|byte| matches!(byte, b'\r' | b'\n'))
                    {
                        password.pop();
                    }
                    Some(password)
                }
            },
        },
    };
    let place = &route.place;
    let kept = shared.host_keys.trusted(&target.name, &place.to_string())?;
    let check = HostCheck::new(target, place, credentials, kept)?;
    if check.first_use && route.way.is_led() {
        return Err("through another host, no key is trusted on first use".to_owned());
    }
    let (dial, greeted) = oneshot::channel();
    let (way, inbox) = (route.way.clone(), inbox.clone());
    let connecting = tokio::spawn(async move {
        // Whoever connects and says nothing must not take the server's places for logins.
        if greeted.await.is_err() {
            return Err(Unmet::Unreached("the client has not greeted".to_owned()));
        }
        Upstream::connect(way, check, inbox).await
    });
    Ok(Begun {
        dial,
        scope,
        revision: bundle.revision(),
        login: Login::new(mode, &audit.identity.name, connecting),
    })
}

/// Whom the host certificate names: what the client may have dialled.
fn principals(target: &Target, place: &Place, dialled: Option<SocketAddr>) -> Principals {
    let network = target
        .addresses
        .iter()
        .any(|known| matches!(&known.host, weir_policy::Host::Net(net) if net.single().is_none()));
    if network {
        return Principals::Any;
    }
    let mut names = target.client_names();
    names.extend(place.ip().map(|ip| ip.to_string()));
    if let Some(dialled) = dialled {
        let ip = dialled.ip().to_canonical();
        names.push(ip.to_string());
        if ip.is_loopback() {
            names.push("localhost".to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Principals::Names(names)
}
