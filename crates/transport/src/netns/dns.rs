//! DNS for a sealed namespace: questions in, the host's resolvers out.
//!
//! Datagrams are relayed as they are; TCP streams too. The resolvers are those
//! of the host's `/etc/resolv.conf`, also on loopback (`127.0.0.53`), since
//! Weir asks from the host's namespace.
//!
//! Invariants: at most [`QUESTIONS`] in flight, each with its own socket and
//! [`TIMEOUT`]; an answer is relayed only if it carries its question's id; the
//! next resolver is asked when one is silent. Refuses more (dropped, counted).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Questions and TCP streams in flight.
const QUESTIONS: usize = 256;
/// For one resolver's answer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// For a whole TCP stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest datagram.
const DATAGRAM: usize = 65_535;
/// As many as resolv.conf(5) allows.
const RESOLVERS: usize = 3;

/// The relay's sockets, made inside of the namespace.
#[derive(Debug, Default)]
pub struct DnsSockets {
    pub(super) udp: Vec<std::net::UdpSocket>,
    pub(super) tcp: Vec<std::net::TcpListener>,
}

/// What the relay did, for metrics.
#[derive(Debug, Default)]
pub struct DnsCounters {
    asked: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// Relays questions until it is dropped.
#[derive(Debug)]
pub struct DnsRelay {
    udp: Vec<Arc<UdpSocket>>,
    tcp: Vec<TcpListener>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    resolvers: Vec<SocketAddr>,
    places: Arc<Semaphore>,
    counters: Arc<DnsCounters>,
}

impl DnsCounters {
    /// Questions taken.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers delivered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Questions dropped because too many were in flight.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl DnsRelay {
    /// A relay to the host's resolvers.
    ///
    /// # Errors
    /// When a socket cannot be registered with the runtime.
    pub fn new(sockets: DnsSockets) -> io::Result<Self> {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Self::with_resolvers(sockets, resolvers(&text))
    }

    /// A relay to the given resolvers.
    ///
    /// # Errors
    /// When a socket cannot be registered with the runtime.
    pub fn with_resolvers(sockets: DnsSockets, resolvers: Vec<SocketAddr>) -> io::Result<Self> {
        let udp = sockets.udp.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket).map(Arc::new)
        });
        let tcp = sockets.tcp.into_iter().map(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let places = Arc::new(Semaphore::new(QUESTIONS));
        let shared = Shared {
            resolvers,
            places,
            counters: Arc::default(),
        };
        Ok(Self {
            udp: udp.collect::<io::Result<_>>()?,
            tcp: tcp.collect::<io::Result<_>>()?,
            shared: Arc::new(shared),
        })
    }

    /// Live counters.
    pub fn counters(&self) -> Arc<DnsCounters> {
        self.shared.counters.clone()
    }

    /// Relays; returns only when a socket fails. Run it as a task and abort
    /// that.
    pub async fn run(self) {
        let mut tasks = tokio::task::JoinSet::new();
        for socket in self.udp {
            tasks.spawn(datagrams(socket, self.shared.clone()));
        }
        for listener in self.tcp {
            tasks.spawn(streams(listener, self.shared.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

async fn datagrams(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buf = vec![0; DATAGRAM];
    loop {
        let Ok((n, client)) = socket.recv_from(&mut buf).await else {
            continue;
        };
        let Some(question) = buf.get(..n).filter(|q| q.len() >= 12) else {
            continue;
        };
        shared.counters.asked.fetch_add(1, Ordering::Relaxed);
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let (question, socket, shared) = (question.to_vec(), socket.clone(), shared.clone());
        tokio::spawn(async move {
            if let Some(answer) = ask(&shared.resolvers, &question).await
                && socket.send_to(&answer, client).await.is_ok()
            {
                shared.counters.answered.fetch_add(1, Ordering::Relaxed);
            }
            drop(place);
        });
    }
}

/// Asks one resolver after the other.
async fn ask(resolvers: &[SocketAddr], question: &[u8]) -> Option<Vec<u8>> {
    for resolver in resolvers {
        if let Ok(Ok(answer)) = tokio::time::timeout(TIMEOUT, ask_one(*resolver, question)).await {
            return Some(answer);
        }
    }
    None
}

async fn ask_one(resolver: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut buf = vec![0; DATAGRAM];
    loop {
        let n = socket.recv(&mut buf).await?;
        if buf.get(..2) == question.get(..2) && n >= 12 {
            buf.truncate(n);
            return Ok(buf);
        }
    }
}

async fn streams(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let relay = async {
                for resolver in &shared.resolvers {
                    let connect = tokio::time::timeout(TIMEOUT, TcpStream::connect(resolver));
                    if let Ok(Ok(mut upstream)) = connect.await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(STREAM_TIMEOUT, relay).await;
            drop(place);
        });
    }
}

/// `nameserver` lines of resolv.conf(5); loopback when there is none.
fn resolvers(text: &str) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|value| parse_resolver(value.trim()))
        .take(RESOLVERS)
        .collect();
    if found.is_empty() {
        found.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
    }
    found
}

/// An address, perhaps with a scope (`fe80::1%eth0`).
fn parse_resolver(value: &str) -> Option<SocketAddr> {
    let (address, scope) = match value.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (value, None),
    };
    let mut found = SocketAddr::new(address.parse().ok()?, 53);
    if let (SocketAddr::V6(v6), Some(scope)) = (&mut found, scope) {
        let index = scope
            .parse()
            .ok()
            .or_else(|| nix::net::if_::if_nametoindex(scope).ok());
        v6.set_scope_id(index?);
    }
    Some(found)
}

#[cfg(test)]
mod tests;
