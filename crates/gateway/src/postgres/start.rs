//! A connection's first packets: TLS or not, cancel or session, and whether it may begin at all.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use weir_audit::{ConnectionClosed, ConnectionOpened, Names, Record};
use weir_policy::{
    ClientTls, Credentials, Effect, EffectSet, Operation, Scope, SqlOperation, Target, TlsMode,
    Verdict,
};
use weir_sql::LexSettings;
use weir_transport::tls::{LeafNames, Rewound, Stream, terminate};
use weir_wire_postgres::startup::{self, CancelKey, FirstPacket, Startup};

use super::definitions::Seat;
use super::dial::Dialer;
use super::login;
use super::refusal::Refusal;
use super::session::{CLIENT, Session, SessionEnd, Side};
use super::statement::Evidence;
use super::{Connection, cancel_soon, judgement};
use crate::engine::{Route, Shared};
use crate::incoming::Incoming;
use crate::moment::Moment;
use crate::place::Place;
use crate::rarely::Rarely;
use crate::{millis, wall_clock};

/// How long a client may take from connecting to logging in, as the server's own default.
const LOGIN: Duration = Duration::from_secs(60);

/// How often a client may ask for encryption before it starts.
const MAX_REQUESTS: usize = 3;

/// A client that is about to start.
pub(super) struct Client {
    pub(super) stream: Stream,
    /// Read and not used yet.
    pub(super) rest: BytesMut,
    /// `tls-server-end-point` of the certificate it was shown, if it is on TLS.
    pub(super) end_point: Option<Vec<u8>>,
}

/// What a connection turned out to be for.
enum Purpose {
    Session(Startup),
    Cancel(CancelKey),
}

/// Why a connection did not become a session.
enum Refused {
    /// The client is told, then closed.
    Told(Refusal),
    /// There is nobody to tell.
    Silent(String),
}

/// Serves one connection.
pub(crate) async fn serve(shared: &Arc<Shared>, incoming: Incoming, route: Route) {
    let bundle = Arc::clone(&route.bundle);
    let Some(target) = bundle.target(route.target) else {
        return;
    };
    let id = shared.next_session();
    let mut audit = incoming.session(id, Some(&target.name), Some("postgresql"));
    let Incoming { stream, leash, .. } = incoming;
    let client = Client {
        stream: Stream::from(stream),
        rest: BytesMut::new(),
        end_point: None,
    };
    // Each phase has its own allocation: a session keeps nothing of its login.
    let first = Box::pin(first_packets(shared, client, &route, target));
    let purpose = tokio::select! {
        pulled = leash.stopping() => Err(pulled.recorded()),
        purpose = tokio::time::timeout(LOGIN, first) => match purpose {
            Ok(purpose) => purpose,
            Err(_) => Err("the login took too long".to_owned()),
        },
    };
    let (mut client, startup) = match purpose {
        Ok((mut client, Purpose::Cancel(key))) => {
            cancel(shared, &route, target, &key).await;
            drop(client.stream.shutdown().await);
            return;
        }
        Ok((client, Purpose::Session(startup))) => (client, startup),
        Err(reason) => return shared.refused(Arc::new(audit), &reason, Names::empty()),
    };
    describe(&mut audit, &startup);
    let beginning = Box::pin(begin(shared, &mut client, &route, target, &startup, &audit));
    let begun = tokio::select! {
        pulled = leash.pulled() => Err(Refused::Told(Refusal::ended(&pulled.told()))),
        begun = tokio::time::timeout(LOGIN, beginning) => match begun {
            Ok(begun) => begun,
            Err(_) => Err(Refused::Silent("the login took too long".to_owned())),
        },
    };
    let audit = Arc::new(audit);
    let refused = match begun {
        Ok(begun) => return Box::pin(run(shared, client, begun, &audit, leash)).await,
        Err(refused) => refused,
    };
    let (reason, rules) = match refused {
        Refused::Silent(reason) => (reason, Vec::new()),
        Refused::Told(refusal) => {
            let refusal = refusal.with_audit_id(&audit.id.to_string(), 0);
            let mut bytes = Vec::new();
            refusal.write_fatal(&mut bytes);
            let told = async {
                drop(client.stream.write_all(&bytes).await);
                drop(client.stream.shutdown().await);
            };
            drop(tokio::time::timeout(Duration::from_secs(2), told).await);
            (refusal.message, refusal.rules)
        }
    };
    tracing::info!(session = %audit.id, %reason, "connection refused");
    shared.refused(audit, &reason, judgement::names(&rules));
}

async fn first_packets(
    shared: &Shared,
    mut client: Client,
    route: &Route,
    target: &Target,
) -> Result<(Client, Purpose), String> {
    let mut requests = 0;
    loop {
        let untouched = requests == 0 && client.end_point.is_none();
        if untouched && client.rest.first() == Some(&0x16) {
            if target.client_tls == ClientTls::Refuse {
                return Err("direct TLS to a target that refuses TLS".to_owned());
            }
            client = start_tls(shared, client, &route.place, target, true).await?;
            requests = MAX_REQUESTS;
            continue;
        }
        let parsed = startup::parse(&client.rest);
        match parsed.map_err(|error| format!("invalid start-up packet: {error}"))? {
            Some((first, used)) => {
                drop(client.rest.split_to(used));
                let offered = target.client_tls == ClientTls::Offer && client.end_point.is_none();
                match first {
                    FirstPacket::Cancel(key) => return Ok((client, Purpose::Cancel(key))),
                    FirstPacket::Startup(mut startup) => {
                        startup.settle_names();
                        return Ok((client, Purpose::Session(startup)));
                    }
                    _ if requests >= MAX_REQUESTS => {
                        return Err("too many encryption requests".to_owned());
                    }
                    FirstPacket::SslRequest if offered => {
                        answer(&mut client, b"S").await?;
                        client = start_tls(shared, client, &route.place, target, false).await?;
                    }
                    FirstPacket::SslRequest | FirstPacket::GssEncRequest => {
                        answer(&mut client, b"N").await?;
                    }
                }
                requests += 1;
            }
            None => {
                let read = client.stream.read_buf(&mut client.rest).await;
                if read.map_err(|error| error.to_string())? == 0 {
                    return Err("closed before start-up".to_owned());
                }
            }
        }
    }
}

async fn answer(client: &mut Client, byte: &[u8]) -> Result<(), String> {
    client
        .stream
        .write_all(byte)
        .await
        .map_err(|error| error.to_string())
}

async fn start_tls(
    shared: &Shared,
    client: Client,
    place: &Place,
    target: &Target,
    direct: bool,
) -> Result<Client, String> {
    if !direct && !client.rest.is_empty() {
        // Bytes that came before the handshake were not encrypted; the server refuses them too
        // (CVE-2021-23222).
        return Err("unencrypted bytes after a TLS request".to_owned());
    }
    let hosts = target.client_names();
    let local = place
        .ip()
        .is_some_and(|ip| ip.is_loopback())
        .then_some("localhost");
    let names = hosts
        .iter()
        .map(String::as_str)
        .chain(target.upstream_tls.server_name.as_deref())
        .chain(local);
    let leaf = LeafNames::new(names, place.ip());
    let Stream::Plain(socket) = client.stream else {
        return Err("TLS inside of TLS".to_owned());
    };
    let rewound = Rewound::with_prefix(client.rest.freeze(), socket);
    let terminated = terminate(rewound, &shared.authority, &leaf, &[b"postgresql"])
        .await
        .map_err(|error| format!("TLS with the client failed: {error}"))?;
    if direct && terminated.alpn.as_deref() != Some(b"postgresql") {
        return Err("direct TLS without ALPN postgresql".to_owned());
    }
    let end_point = Some(terminated.leaf.end_point().to_vec());
    Ok(Client {
        stream: Stream::from(terminated.stream),
        rest: BytesMut::new(),
        end_point,
    })
}

/// Passes a CancelRequest on, and ends the hold of the session that it means. The server is told
/// first: what it is doing must have ended before the client learns of it.
async fn cancel(shared: &Shared, route: &Route, target: &Target, key: &CancelKey) {
    match Dialer::new(route, target, &*shared.credentials) {
        Ok(dialer) => dialer.cancel(key).await,
        Err(error) => tracing::warn!(%error, "a cancel request could not be passed on"),
    }
    shared.cancels.ring(&target.name, key);
}

fn describe(audit: &mut weir_audit::Session, startup: &Startup) {
    let text = |name| {
        let value = startup.parameter(name)?;
        Some(Arc::<str>::from(String::from_utf8_lossy(value)))
    };
    audit.user = text("user");
    audit.database = text("database");
    audit.application = text("application_name");
}

/// What a session begins with.
struct Begun {
    logged_in: login::LoggedIn,
    scope: Arc<Scope>,
    revision: u64,
    replication: bool,
    dialer: Dialer,
    upstream_tls: bool,
    target: String,
    database: Vec<u8>,
}

async fn begin(
    shared: &Arc<Shared>,
    client: &mut Client,
    route: &Route,
    target: &Target,
    startup: &Startup,
    audit: &weir_audit::Session,
) -> Result<Begun, Refused> {
    let told = |reason: &str| Refused::Told(Refusal::unjudged(reason));
    let bundle = shared.policies.current();
    let (subject, _) = shared
        .identities
        .current()
        .map_err(|reason| told(&reason))?;
    if let Some(reason) = shared.barred() {
        return Err(told(&reason));
    }
    if let Some(reason) = &target.refused {
        return Err(told(&format!(
            "target \"{}\" is refused: {reason}",
            target.name
        )));
    }
    // The policy may have changed since the connection was routed, and with it the targets' ids.
    let scope = bundle.target_named(&target.name).and_then(|(target, _)| {
        let scopes = &shared.scopes;
        scopes.find(&bundle, &subject, target, millis())
    });
    let scope = scope.ok_or_else(|| {
        told(&format!(
            "no policy lets {} use target \"{}\"",
            audit.identity.name, target.name
        ))
    })?;
    shared
        .sink
        .healthy()
        .map_err(|reason| Refused::Told(Refusal::unrecorded(&reason)))?;
    let led = route.way.is_led();
    if led && target.credentials != Credentials::PassThrough && !is_verified(target) {
        // Whoever runs the host in between could answer in the server's place, and ask for the password.
        return Err(told(
            "a brokered login through another host needs upstreamTLS with verification",
        ));
    }
    let replication = may_begin(shared, &scope, startup).await?;
    let dialer = Dialer::new(route, target, &*shared.credentials)
        .map_err(|error| unreachable_server(&error.to_string()))?;
    let dialled = dialer
        .dial()
        .await
        .map_err(|error| unreachable_server(&error.to_string()))?;
    let upstream_tls = dialled.tls;
    let logged_in = login::log_in(shared, client, dialled, target, startup)
        .await
        .map_err(|error| match error {
            login::LoginError::Told(refusal) => Refused::Told(refusal),
            login::LoginError::Silent(reason) => Refused::Silent(reason),
        })?;
    let database = startup.parameter("database");
    Ok(Begun {
        logged_in,
        scope,
        revision: bundle.revision(),
        replication,
        dialer,
        upstream_tls,
        target: target.name.clone(),
        database: database.unwrap_or_default().to_vec(),
    })
}

/// Whether the server proves who it is.
fn is_verified(target: &Target) -> bool {
    matches!(
        target.upstream_tls.mode,
        TlsMode::VerifyCA | TlsMode::VerifyFull
    )
}

fn unreachable_server(reason: &str) -> Refused {
    Refused::Told(Refusal {
        sqlstate: "08001",
        message: format!("weir: {reason}"),
        detail: None,
        hint: None,
        rules: Vec::new(),
        may_be_mistake: false,
    })
}

/// Judges what the start-up message sets, and whether it asks for replication.
async fn may_begin(shared: &Shared, scope: &Scope, startup: &Startup) -> Result<bool, Refused> {
    let settings = startup_settings(startup);
    let names: Vec<&str> = settings.iter().map(String::as_str).collect();
    if !names.is_empty() {
        let sql = SqlOperation {
            effects: EffectSet::of(&[Effect::Set]),
            settings: &names,
            ..SqlOperation::default()
        };
        permit(shared, scope, &Operation::Sql(&sql)).await?;
    }
    let asked = startup.parameter("replication").is_some_and(|value| {
        !matches!(
            value.to_ascii_lowercase().as_slice(),
            b"false" | b"off" | b"no" | b"0"
        )
    });
    if asked {
        permit(shared, scope, &Operation::Replication).await?;
    }
    Ok(asked)
}

async fn permit(shared: &Shared, scope: &Scope, operation: &Operation<'_>) -> Result<(), Refused> {
    let mut decision = None;
    loop {
        shared.budgets.read(&mut |counters| {
            decision = Some(scope.decide(operation, counters, millis()));
        });
        let exhausted = decision
            .as_ref()
            .map_or(&[][..], |found| found.exhausted.as_slice());
        if exhausted.is_empty() || !shared.budgets.replenish(exhausted).await {
            break;
        }
    }
    match decision.map(|decision| decision.verdict) {
        Some(Verdict::Permit(_)) => Ok(()),
        Some(Verdict::Deny(denial)) => Err(Refused::Told(Refusal::denied(
            &denial.rule,
            &denial.reason,
            denial.hint,
        ))),
        Some(Verdict::Hold(_)) => Err(Refused::Told(Refusal::unjudged(
            "a start-up message cannot be held",
        ))),
        None => Err(Refused::Told(Refusal::unjudged(
            "budgets could not be read",
        ))),
    }
}

/// Names of the settings that a start-up message changes, lower case: its own parameters and the
/// `-c name=value` and `--name=value` of its `options`.
fn startup_settings(startup: &Startup) -> Vec<String> {
    const NOT_SETTINGS: [&[u8]; 4] = [b"user", b"database", b"replication", b"options"];
    let own = startup
        .parameters
        .iter()
        .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_slice()) && !name.starts_with(b"_pq_."))
        .map(|(name, _)| String::from_utf8_lossy(name).to_lowercase());
    let options = startup.parameter("options").unwrap_or_default();
    let mut words = option_words(options).into_iter();
    let mut found: Vec<String> = own.collect();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().unwrap_or_default(),
            Some(setting) => setting.to_owned(),
            None => {
                found.push("*".to_owned());
                continue;
            }
        };
        let name = setting.split('=').next().unwrap_or_default();
        found.push(name.replace('-', "_").to_lowercase());
    }
    found
}

/// The words of `options`, as the server splits them: at white space, but for what stands behind a backslash, which
/// is left out.
fn option_words(options: &[u8]) -> Vec<String> {
    let is_space = |byte: u8| byte.is_ascii_whitespace() || byte == 0x0b;
    let mut words: Vec<Vec<u8>> = Vec::new();
    let (mut inside, mut escaped) = (false, false);
    for byte in options.iter().copied() {
        if !escaped && is_space(byte) {
            inside = false;
            continue;
        }
        if !std::mem::replace(&mut inside, true) {
            words.push(Vec::new());
        }
        if !escaped && byte == b'\\' {
            escaped = true;
            continue;
        }
        escaped = false;
        if let Some(word) = words.last_mut() {
            word.push(byte);
        }
    }
    let text = |word: Vec<u8>| String::from_utf8_lossy(&word).into_owned();
    words.into_iter().map(text).collect()
}

async fn run(
    shared: &Arc<Shared>,
    client: Client,
    begun: Begun,
    audit: &Arc<weir_audit::Session>,
    leash: crate::leash::Leash,
) {
    let started = Moment::now();
    let Begun {
        logged_in, scope, ..
    } = begun;
    let opened = ConnectionOpened {
        client_tls: client.end_point.is_some(),
        upstream_tls: begun.upstream_tls,
        policies: scope.policy_names().map(Arc::from).collect(),
    };
    let record = Record::session(started.wall(), Arc::clone(audit), opened);
    shared.sink.record(record);
    let cancelled = Arc::new(Notify::new());
    let registered = logged_in.key.as_ref().map(|key| {
        shared
            .cancels
            .enter(&begun.target, key, Arc::clone(&cancelled))
    });
    let durable = scope.delivery() != weir_policy::Delivery::Batch;
    let place = (begun.target.clone(), begun.database.clone());
    let (dialer, key) = (begun.dialer.clone(), logged_in.key.clone());
    let seat = Seat::take(shared, place, move || {
        drop(cancel_soon(&dialer, key.as_ref()))
    });
    let mut session = Session {
        client: Side::new(Box::new(client.stream), &client.rest, CLIENT),
        server: Side::new(Box::new(logged_in.stream), &logged_in.rest, "server"),
        pending: Default::default(),
        named: Default::default(),
        shared: Arc::clone(shared),
        scope,
        evidence: Evidence {
            sink: Arc::clone(&shared.sink),
            session: Arc::clone(audit),
            durable,
            strict: false,
        },
        connection: Connection {
            target: begun.target,
            database: begun.database,
            dialer: begun.dialer,
            key: logged_in.key,
            cancelling: None,
            cancelled,
            replication: begun.replication,
            poisoned: false,
            muted: false,
        },
        catalog: Default::default(),
        judged_at: seat.turn(),
        begun_at: seat.turn(),
        compared_at: seat.turn(),
        seat,
        capture: Default::default(),
        status: b'I',
        touched: false,
        lex: LexSettings::default(),
        encodings: Default::default(),
        reading_unsure: false,
        code_ran: false,
        batch_open: false,
        terminated: false,
        statements: 0,
        totals: Default::default(),
        crossing: None,
        durable: Vec::new(),
        revision: begun.revision,
        keyword: Default::default(),
        taken: started,
        identified: started.steady(),
        server_was_last: false,
    };
    for (name, value) in &logged_in.parameters {
        session.track(name, value);
    }
    let end = tokio::select! {
        biased;
        pulled = Rarely::new(leash.pulled()) => {
            Err(session.end(Refusal::ended(&pulled.told())).await)
        }
        end = async {
            if session.connection.replication {
                session.relay_replication().await
            } else {
                session.run().await
            }
        } => end,
    };
    if matches!(&end, Err(SessionEnd::Io { side, .. }) if *side == CLIENT) {
        // A process that ends records what it knows.
        tokio::select! {
            () = session.hear_out() => {}
            () = leash.draining() => {}
        }
    }
    drop(registered);
    let reason = match &end {
        Ok(()) if session.terminated => "terminated by the client".to_owned(),
        Ok(()) => "closed".to_owned(),
        Err(SessionEnd::Io { side, source }) => format!("{side}: {source}"),
        Err(error) => error.to_string(),
    };
    let totals = session.totals;
    let statements = session.statements;
    drop(session);
    let closed = ConnectionClosed {
        statements,
        rows: totals.rows,
        bytes_in: totals.to_server,
        bytes_out: totals.to_client,
        duration_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        reason: reason.into(),
    };
    shared
        .sink
        .record(Record::session(wall_clock(), Arc::clone(audit), closed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_the_server_splits_them() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"-c rol\\e=support", &["-c", "role=support"]),
            (b"--ro\\le=x", &["--role=x"]),
            (b"-c\x0brole=x\n -c\ta=b", &["-c", "role=x", "-c", "a=b"]),
            (b"-c a=b\\ c", &["-c", "a=b c"]),
            (b"a\\\\b \\", &["a\\b", ""]),
            (b"  ", &[]),
        ];
        for (options, words) in cases {
            assert_eq!(option_words(options), words);
        }
    }

    #[test]
    fn startup_options_are_settings_like_any_other() {
        let startup = Startup {
            version: (3, 0),
            parameters: vec![
                (b"user".to_vec(), b"u".to_vec()),
                (
                    b"options".to_vec(),
                    b"-c Search_Path=x --session-replication-role=replica -c a=b -B 8".to_vec(),
                ),
                (b"DateStyle".to_vec(), b"ISO".to_vec()),
            ],
        };
        let expected = [
            "datestyle",
            "search_path",
            "session_replication_role",
            "a",
            "*",
            "*",
        ]
        .map(str::to_owned);
        assert_eq!(startup_settings(&startup), expected);
    }
}
