//! A stand-in for Weir in namespace tests: it says what it captured and relays.
//!
//! `relay EXCLUSION`: installs the redirect, runs the self-test, and relays
//! every captured connection to where it wanted to go, after a line
//! `CAPTURED <destination>`. `stranger`: the other half of a self-test. `serve`: a server that answers `SERVER <peer>`.
//! `sandbox [KEY=VALUE…] -- CMD`: runs CMD sealed, with such a relay outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a failure is a failed test"
)]

use std::error::Error;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use weir_transport::addr::{Routed, UpstreamAddr};
use weir_transport::exclusion::{self, Cgroup};
use weir_transport::listen::{self, Accepted, Acceptor, Limits, Mode, bind_wildcard, drain};
use weir_transport::netns::{Config as SandboxConfig, DnsRelay, Sandbox, stage2_if_asked};
use weir_transport::privileges;
use weir_transport::redirect::{Config, Dns, Exclusion, Redirect};
use weir_transport::selftest::{self, Stranger};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Anywhere(SocketAddr);

impl Routed for Anywhere {
    fn upstream(&self) -> SocketAddr {
        self.0
    }
}

fn main() -> Outcome<ExitCode> {
    weir_transport::names::use_built_in_lookups()?;
    stage2_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match args.first().map(String::as_str) {
            Some("serve") => serve().await,
            Some("relay") => relay(&args[1..]).await,
            Some("sandbox") => sandbox(&args[1..]).await,
            Some("stranger") => {
                selftest::dial_probe().await?;
                println!("captured");
                Ok(ExitCode::SUCCESS)
            }
            Some("cgroup") => {
                println!("{:?} {:?}", exclusion::own()?, exclusion::own_by_socket()?);
                Ok(ExitCode::SUCCESS)
            }
            Some("counters") => {
                println!("{:?}", Redirect::installed()?.counters()?);
                Ok(ExitCode::SUCCESS)
            }
            Some("uninstall") => Ok(Redirect::uninstall().map(|()| ExitCode::SUCCESS)?),
            _ => Err("serve | relay | stranger | sandbox | cgroup | counters | uninstall".into()),
        }
    })
}

async fn serve() -> Outcome<ExitCode> {
    // The last two are the resolvers' addresses in one of the tests.
    for address in ["[::]:5432", "[::]:443", "10.77.0.2:53", "10.77.0.53:53"] {
        let Ok(udp) = UdpSocket::bind(address).await else {
            continue;
        };
        tokio::spawn(async move {
            let mut buf = [0; 2048];
            while let Ok((_, peer)) = udp.recv_from(&mut buf).await {
                let _ = udp.send_to(format!("SERVER {peer}").as_bytes(), peer).await;
            }
        });
    }
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 5432)).await?;
    println!("ready");
    loop {
        let (mut stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = stream
                .write_all(format!("SERVER {peer}\n").as_bytes())
                .await;
            let mut buf = [0; 2048];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..n]).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn relay(args: &[String]) -> Outcome<ExitCode> {
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let value = |key: &str| {
        args.iter()
            .find_map(|arg| arg.strip_prefix(key))
            .map(str::to_owned)
    };
    let exclusion = match value("uid=") {
        Some(uid) => Exclusion::Uid(uid.parse()?),
        None => Exclusion::Cgroup(own_cgroup(has("by-socket"))?),
    };
    let listeners = bind_wildcard(15001)?;
    let rules = Redirect::install(&Config {
        port: 15001,
        exclusion,
        redirect_loopback: false,
        enforced: has("enforced"),
        dns: Dns::Resolvers(vec!["10.77.0.53".parse()?]),
    })?;
    if let Some(dir) = value("stranger=") {
        selftest::run(&listeners, &rules, &Stranger::Cgroup(dir.into())).await?;
        println!("self-test passed");
    } else if has("own-half") {
        selftest::own(&listeners, &rules).await?;
    }
    if has("give-up") {
        listeners.iter().try_for_each(listen::close)?;
        privileges::give_up(2177, &[])?;
        if Redirect::uninstall().is_ok() {
            return Err("the rules can still be changed".into());
        }
        listeners.iter().try_for_each(listen::open)?;
    }
    for listener in listeners {
        accept(listener, Vec::new())?;
    }
    println!("ready");
    std::future::pending().await
}

fn own_cgroup(by_socket: bool) -> Outcome<Cgroup> {
    Ok(if by_socket {
        exclusion::own_by_socket()?
    } else {
        exclusion::own()?
    })
}

fn accept(listener: std::net::TcpListener, map: Vec<(SocketAddr, SocketAddr)>) -> Outcome<()> {
    let (drain, drained) = drain();
    let limits = Limits { connections: 512 };
    let own = SocketAddr::from(([0, 0, 0, 0], 443));
    let mut acceptor = Acceptor::new(listener, Mode::Redirect, limits, drained)?.forbid([own]);
    tokio::spawn(async move {
        let _drain = drain;
        while let Some(accepted) = acceptor.accept().await {
            let map = map.clone();
            tokio::spawn(async move {
                if let Err(error) = pass(accepted, &map).await {
                    eprintln!("relay: {error}");
                }
            });
        }
    });
    Ok(())
}

async fn pass(mut accepted: Accepted, map: &[(SocketAddr, SocketAddr)]) -> Outcome<()> {
    let wanted = accepted.destination.ok_or("no destination")?;
    if selftest::is_probe(wanted) {
        return Ok(selftest::answer(accepted.stream).await?);
    }
    let wanted = wanted.addr();
    accepted
        .stream
        .write_all(format!("CAPTURED {wanted}\n").as_bytes())
        .await?;
    let there = map
        .iter()
        .find(|(from, _)| *from == wanted)
        .map_or(wanted, |(_, to)| *to);
    let mut upstream = TcpStream::connect(UpstreamAddr::routed(&Anywhere(there)).addr()).await?;
    copy_bidirectional(&mut accepted.stream, &mut upstream).await?;
    Ok(())
}

async fn sandbox(args: &[String]) -> Outcome<ExitCode> {
    let at = args.iter().position(|arg| arg == "--").ok_or("no --")?;
    let (options, command) = args.split_at(at);
    let mut config = SandboxConfig::new(&command[1], &command[2..]);
    let mut created = Vec::new();
    for option in options {
        match option.split_once('=').ok_or("KEY=VALUE")? {
            ("uid", uid) => config.uid = Some(uid.parse()?),
            ("hide", path) => config.hide.push(path.into()),
            ("keep", path) => config.keep.push(path.into()),
            ("cgroups", name) => {
                let outer = exclusion::create(name)?;
                let inside = exclusion::create(&format!("{name}/cmd"))?;
                exclusion::create(&format!("{name}/engine"))?.move_pid(std::process::id())?;
                config.cgroup = inside.path().map(Into::into);
                created.push((inside, outer));
            }
            _ => return Err("unknown option".into()),
        }
    }
    let mut sandbox = Sandbox::create(&config)?;
    for listener in sandbox.take_listeners() {
        accept(listener, Vec::new())?;
    }
    tokio::spawn(DnsRelay::new(sandbox.take_dns())?.run());
    let mut running = sandbox.start()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let status = loop {
        tokio::select! {
            status = running.wait() => break status?,
            _ = terminate.recv() => {}
        }
        running.signal(15)?;
    };
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .unwrap_or(125);
    Ok(ExitCode::from(u8::try_from(code)?))
}
