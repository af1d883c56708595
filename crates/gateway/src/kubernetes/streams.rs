//! exec, attach and port-forward: requests that go on as streams once the server has agreed.
//!
//! What a stream may do was asked before. Here the two upgraded connections are joined, by what reads
//! them: [`upgraded`] for commands, [`port_forward`] for connections. The record ends with the stream.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use weir_audit::{Outcome, RecordingChunk};
use weir_wire_kube::channel::{Subprotocol, parse_ports};

use super::answer::{Answer, Body, full};
use super::exchange::{Exchange, Permitted, note_answer};
use super::gate::Gate;
use super::port_forward::{self, Forwarded, Served};
use super::refusal::Refusal;
use super::serve::Session;
use super::statement::Active;
use super::upgraded::{self, Ended, Flow, Reason, Transport, Upgraded};
use super::withheld;
use crate::evidence::Evidence;
use crate::incoming::Peer;
use crate::judge;

/// The version of a SPDY stream's own protocol.
const STREAM_VERSION: &str = "x-stream-protocol-version";
/// The version of port-forwards.
const FORWARD_VERSION: &str = "portforward.k8s.io";
/// What precedes it where SPDY is inside a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+";
/// Most bytes of a pod that is asked for.
const POD: usize = 4 << 20;

/// Sends a request for a stream on; where the server agrees, both go on as one.
pub(super) async fn upgrade(
    exchange: &mut Exchange,
    head: request::Parts,
    permitted: Permitted,
) -> Result<Response<Body>, Refusal> {
    if exchange.session.upstream.is_http2() {
        return Err(Refusal::bad_request("HTTP/2 has no upgrades"));
    }
    let mut asked = Request::from_parts(head, ());
    let client = hyper::upgrade::on(&mut asked);
    let (head, ()) = asked.into_parts();
    let protocol = head.headers.get(UPGRADE).cloned();
    let protocol = protocol.ok_or_else(|| Refusal::bad_request("no protocol is asked for"))?;
    let forwards = permitted.asked.command_tag().ends_with("/portforward");
    let addresses = match forwards {
        true => addresses(exchange, &head, &permitted).await?,
        false => Vec::new(),
    };
    let mut request = exchange.outgoing(head, &permitted)?;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
    // What would be compressed could not be read.
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    let sent = exchange.session.upstream.send(request).await;
    let mut response = sent.map_err(|error| Refusal::bad_gateway(&error))?;
    let Some(mut active) = exchange.active.take() else {
        return Err(Refusal::unjudged("the request is over"));
    };
    note_answer(&mut active, response.status(), response.headers());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let code = response.status().as_str().into();
        active.outcome = Some(Outcome::Failed { code });
        let (mut head, body) = response.into_parts();
        super::head::strip(&mut head.headers);
        if permitted.asked.refusal_quotes() {
            return Ok(Box::pin(withheld::withheld(head, body, active)).await);
        }
        let reader = match permitted.reader(&head.headers, false, true) {
            Ok(reader) => reader,
            Err(refusal) => {
                exchange.active = Some(active);
                return Err(refusal);
            }
        };
        let mut answer = Answer::new(body, reader, permitted.gate, active, false);
        answer.ends = true;
        return Ok(answer.into_response(head, false).await);
    }
    let server = hyper::upgrade::on(&mut response);
    let session = Arc::clone(&exchange.session);
    let carried = match forwards {
        true => forwarded(&response, &permitted).map(Carried::Connections),
        false => transport(&response).map(Carried::Command),
    };
    let Some(carried) = carried else {
        exchange.active = Some(active);
        return Err(Refusal::bad_gateway(
            "it agreed to a version of streams that is not known",
        ));
    };
    let (head, _) = response.into_parts();
    let joined = Joined {
        flow: StreamFlow::new(&session, permitted.gate.clone(), active),
        session: Arc::clone(&session),
        permitted,
    };
    match carried {
        Carried::Command(transport) => session.keep(joined.command(client, server, transport)),
        Carried::Connections(transport) => {
            session.keep(joined.forward(client, server, transport, addresses));
        }
    }
    Ok(Response::from_parts(head, full(Bytes::new())))
}

/// The addresses of the pod that a port-forward leads to, as the server says to whoever asks for the
/// forward.
async fn addresses(
    exchange: &Exchange,
    head: &request::Parts,
    permitted: &Permitted,
) -> Result<Vec<IpAddr>, Refusal> {
    let unknown = |why: &str| {
        let text = format!("where the port-forward leads is not known: {why}");
        Refusal::unjudged(&text)
    };
    let path = &permitted.asked.request.path;
    let pod = path
        .strip_suffix("/portforward")
        .ok_or_else(|| unknown("it names no pod"))?;
    let uri = http::Uri::try_from(pod).map_err(|_| unknown("the pod's name"))?;
    let mut asked = Request::builder()
        .uri(uri)
        .body(())
        .map_err(|_| unknown("the pod's name"))?;
    if let Some(token) = head.headers.get(AUTHORIZATION) {
        asked.headers_mut().insert(AUTHORIZATION, token.clone());
    }
    asked
        .headers_mut()
        .insert(ACCEPT, HeaderValue::from_static("application/json"));
    let (asked, ()) = asked.into_parts();
    let request = exchange.outgoing(asked, permitted)?;
    let sent = exchange.session.upstream.send_alone(request).await;
    let response = sent.map_err(|error| Refusal::bad_gateway(&error))?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(unknown(&format!(
            "the API server says {status} about the pod"
        )));
    }
    let read = Limited::new(response.into_body(), POD).collect().await;
    let bytes = read
        .map_err(|_| unknown("the pod cannot be read"))?
        .to_bytes();
    let pod: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let ips = pod
        .pointer("/status/podIPs")
        .and_then(serde_json::Value::as_array);
    let ips = ips
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok());
    Ok(ips.collect())
}

/// What a stream carries, and how.
enum Carried {
    Command(Transport),
    Connections(port_forward::Transport),
}

fn text<'a, T>(response: &'a Response<T>, name: &str) -> Option<&'a str> {
    let value = response.headers().get(name);
    value.and_then(|value| value.to_str().ok())
}

fn is_websocket<T>(response: &Response<T>) -> bool {
    text(response, UPGRADE.as_str()).is_some_and(|it| it.eq_ignore_ascii_case("websocket"))
}

/// How commands' channels are carried; none for a version that is not known.
fn transport<T>(response: &Response<T>) -> Option<Transport> {
    match is_websocket(response) {
        true => {
            let version = text(response, SEC_WEBSOCKET_PROTOCOL.as_str());
            Subprotocol::parse(version).map(Transport::WebSocket)
        }
        false => Subprotocol::parse(text(response, STREAM_VERSION)).map(Transport::Spdy),
    }
}

/// How connections are carried; none for a version that is not known.
fn forwarded<T>(response: &Response<T>, permitted: &Permitted) -> Option<port_forward::Transport> {
    if !is_websocket(response) {
        let version = text(response, STREAM_VERSION)?;
        return (version == FORWARD_VERSION).then_some(port_forward::Transport::Spdy);
    }
    let version = text(response, SEC_WEBSOCKET_PROTOCOL.as_str());
    if version.is_some_and(|it| it.strip_prefix(TUNNELLED) == Some(FORWARD_VERSION)) {
        return Some(port_forward::Transport::Tunnel);
    }
    let subprotocol = Subprotocol::parse(version).filter(|it| !it.has_close())?;
    let ports = parse_ports(permitted.asked.request.query.all("ports")).ok()?;
    Some(port_forward::Transport::Channels(subprotocol, ports))
}

/// A stream that both sides have agreed to.
struct Joined {
    session: Arc<Session>,
    permitted: Permitted,
    flow: StreamFlow,
}

impl Joined {
    /// Ends and begins the connections of a port-forward.
    async fn forward(
        self,
        client: OnUpgrade,
        server: OnUpgrade,
        transport: port_forward::Transport,
        addresses: Vec<IpAddr>,
    ) {
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => return self.flow.broken(&error.to_string()).await,
        };
        let session = &self.session;
        let resource = self.permitted.asked.request.resource.as_ref();
        let of = |part: Option<&String>| part.cloned().unwrap_or_default();
        let namespace = of(resource.and_then(|it| it.namespace.as_ref()));
        let name = of(resource.and_then(|it| it.name.as_ref()));
        let served = Served {
            shared: Arc::clone(&session.shared),
            identity: Arc::clone(&session.audit.identity),
            peer: Peer::Forwarded {
                client: session.client,
                through: session.audit.id,
                depth: session.depth + 1,
            },
            leash: session.leash.inside(),
            ips: addresses,
            pod: format!("{namespace}/{name}").into(),
        };
        let stopping = Arc::clone(session);
        let flow = Arc::new(self.flow);
        let forwarded = Forwarded {
            client: TokioIo::new(client),
            client_transport: transport.clone(),
            server: TokioIo::new(server),
            server_transport: transport,
            stop: Box::pin(async move { stopping.leash.pulled().await.told() }),
        };
        let ended = port_forward::forward(forwarded, Arc::clone(&flow), &served).await;
        flow.finish_forward(&ended).await;
    }

    /// Relays a command's channels to their end.
    async fn command(self, client: OnUpgrade, server: OnUpgrade, transport: Transport) {
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(both) => both,
            Err(error) => return self.flow.broken(&error.to_string()).await,
        };
        let asked = &self.permitted.asked;
        let terminal = asked.request.query.flag("tty");
        let full = judge::full(&self.permitted.decision);
        let masks = self
            .permitted
            .masks
            .as_ref()
            .filter(|_| !asked.moves_archive());
        let recorder = self.flow.recorder(full, terminal).await;
        let session = Arc::clone(&self.session);
        let ended = upgraded::relay(
            Upgraded {
                client: TokioIo::new(client),
                server: TokioIo::new(server),
                transport,
                stdin: asked.request.query.flag("stdin"),
                recorder,
                started: tokio::time::Instant::now(),
                scanner: masks.and_then(|masks| masks.scanner().cloned()),
                stop: Box::pin(async move { session.leash.pulled().await.told() }),
            },
            &self.flow,
        )
        .await;
        self.flow.finish(&ended).await;
    }
}

/// Judges, counts and records what a stream shows.
struct StreamFlow {
    evidence: Evidence,
    held: Mutex<Option<(Gate, Active)>>,
}

impl StreamFlow {
    fn new(session: &Session, gate: Gate, active: Active) -> Self {
        Self {
            evidence: session.evidence(),
            held: Mutex::new(Some((gate, active))),
        }
    }

    async fn recorder(&self, full: bool, terminal: bool) -> Option<weir_audit::ChannelRecorder> {
        let held = self.held.lock().await;
        let (_, active) = held.as_ref().filter(|_| full)?;
        Some(active.stream_recorder(terminal))
    }

    /// The stream never began.
    async fn broken(&self, reason: &str) {
        if let Some((_, mut active)) = self.held.lock().await.take() {
            active.record.reason = Some(reason.into());
            active.finish(Outcome::Aborted);
        }
    }

    /// Writes the record, once: `outcome` says how it ended.
    async fn end(&self, outcome: impl FnOnce(&mut Active) -> Outcome) {
        let Some((_, mut active)) = self.held.lock().await.take() else {
            return;
        };
        let outcome = outcome(&mut active);
        active.finish_kept(outcome).await;
    }

    /// The end of a command's channels.
    async fn finish(&self, ended: &Ended) {
        self.end(|active| {
            active.masked.extend(ended.masked.iter().map(Arc::from));
            match (&ended.reason, ended.exit) {
                (Reason::Refused(text) | Reason::Stopped(text), _) => stopped(active, text),
                (Reason::BadClient(text) | Reason::BadServer(text), _) => broken(active, text),
                (_, Some(code)) => Outcome::exited(code.unsigned_abs()),
                (Reason::Client, None) => Outcome::Cancelled,
                (Reason::Server, None) => match &ended.failure {
                    Some(text) => Outcome::Failed {
                        code: text.as_str().into(),
                    },
                    None => Outcome::Completed,
                },
            }
        })
        .await;
    }

    /// The end of a port-forward.
    async fn finish_forward(&self, ended: &port_forward::Ended) {
        use port_forward::Reason;
        self.end(|active| match &ended.reason {
            Reason::Client | Reason::Server | Reason::Done => Outcome::Completed,
            Reason::Refused(text) | Reason::Stopped(text) => stopped(active, text),
            Reason::BadClient(text) | Reason::BadServer(text) => broken(active, text),
        })
        .await;
    }
}

/// It was not let go on.
fn stopped(active: &mut Active, text: &str) -> Outcome {
    active.record.reason = Some(text.into());
    active.outcome.take().unwrap_or(Outcome::Aborted)
}

/// A side does not keep to the protocol.
fn broken(active: &mut Active, text: &str) -> Outcome {
    active.record.reason = Some(text.into());
    Outcome::Aborted
}

impl Flow for StreamFlow {
    async fn pass(&self, bytes: u64) -> Result<(), String> {
        let mut held = self.held.lock().await;
        let Some((gate, active)) = held.as_mut() else {
            return Err("the stream has ended".to_owned());
        };
        let told = |refusal: &Refusal, active: &Active| {
            format!("{} (audit id {})", refusal.text, active.audit_id())
        };
        if let Err(refusal) = gate.still_holds(active).await {
            return Err(told(&refusal, active));
        }
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Err(refusal) = gate.pass(active, 0, size).await {
            return Err(told(&refusal, active));
        }
        active.bytes += bytes;
        Ok(())
    }

    fn record(&self, chunk: RecordingChunk) {
        self.evidence.pieces([chunk]);
    }

    async fn ending(&self, ended: &Ended) {
        self.finish(ended).await;
    }
}
