//! The redirect in a network namespace that Weir shares with what it governs, as in a pod.
//!
//! Invariants: rules first, then Weir's own half of the self-test, and only then is anything served.
//! The other half is `weir probe` in another container, which the application waits for. The rules
//! stay when Weir ends: connections are refused until it is back.
//! Refuses: to serve where its own connections cannot be told apart by cgroup.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use weir_transport::exclusion;
use weir_transport::listen::bind_wildcard;
use weir_transport::redirect::{Config, Dns, Exclusion, Redirect};
use weir_transport::selftest;

use crate::files;
use crate::part::{PartError, part};

/// Where a container's resolvers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How the namespace is programmed.
#[derive(Clone, Debug)]
pub struct RedirectSettings {
    /// The port that captured connections are led to.
    pub port: u16,
    /// Whether everything that is not TCP is dropped, save DNS to the resolvers.
    pub enforced: bool,
    /// Who may be asked for names; without it those of `/etc/resolv.conf`.
    pub resolvers: Option<Vec<IpAddr>>,
}

/// Programs the namespace and proves that Weir itself gets out; nothing is accepted yet.
///
/// # Errors
/// Rules cannot be installed, or the proof failed. Weir must not serve then.
pub async fn install(config: &RedirectSettings) -> Result<Vec<TcpListener>, PartError> {
    let resolvers = match &config.resolvers {
        Some(resolvers) => resolvers.clone(),
        None => nameservers(&std::fs::read_to_string(RESOLV_CONF).map_err(part(RESOLV_CONF))?),
    };
    let own = exclusion::own().map_err(part("the redirect"))?;
    let listeners = bind_wildcard(config.port).map_err(part("the redirect's port"))?;
    let began = Instant::now();
    let rules = Redirect::install(&Config {
        port: config.port,
        exclusion: Exclusion::Cgroup(own.clone()),
        redirect_loopback: false,
        enforced: config.enforced,
        dns: Dns::Resolvers(resolvers.clone()),
    })
    .map_err(part("the redirect"))?;
    let installed = began.elapsed();
    selftest::own(&listeners, &rules)
        .await
        .map_err(part("the redirect"))?;
    tracing::info!(
        cgroup = own.id(),
        ?resolvers,
        install_us = installed.as_micros(),
        test_us = (began.elapsed() - installed).as_micros(),
        "redirect in force"
    );
    Ok(listeners)
}

/// The name servers of the pod as they were before its application ran: all containers of a pod share one
/// `/etc/resolv.conf`, and a root among them may write it. They are read once and kept in `state`, which is the
/// sidecar's alone, for when it starts again.
///
/// # Errors
/// They cannot be read or kept.
pub(crate) fn first_resolvers(state: &Path) -> Result<Vec<IpAddr>, PartError> {
    resolvers_of(Path::new(RESOLV_CONF), &state.join("resolvers")).map_err(part("the name servers"))
}

fn resolvers_of(conf: &Path, kept: &Path) -> std::io::Result<Vec<IpAddr>> {
    match std::fs::read_to_string(kept) {
        Ok(known) => return Ok(nameservers(&known)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let found = nameservers(&std::fs::read_to_string(conf)?);
    let lines = found.iter().map(|server| format!("nameserver {server}\n"));
    files::replace(kept, lines.collect::<String>().as_bytes(), 0o444)?;
    Ok(found)
}

/// The addresses in a resolv.conf(5).
fn nameservers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_those_of_the_container() {
        let text = "# nameserver 192.0.2.9\nsearch a.b\nnameserver 10.96.0.10\n\
                    nameserver\tfd00::10 # second\nnameserver fe80::1%eth0\noptions ndots:5\n";
        let expected: Vec<IpAddr> =
            vec!["10.96.0.10".parse().unwrap(), "fd00::10".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }

    #[test]
    fn what_the_application_writes_later_changes_no_resolver() {
        let dir = tempfile::tempdir().unwrap();
        let (conf, kept) = (dir.path().join("resolv.conf"), dir.path().join("resolvers"));
        std::fs::write(&conf, "nameserver 10.96.0.10\nnameserver fd00::10\n").unwrap();
        let first = resolvers_of(&conf, &kept).unwrap();
        assert_eq!(first.len(), 2);
        std::fs::write(&conf, "nameserver 192.0.2.66\nsearch evil.example\n").unwrap();
        assert_eq!(resolvers_of(&conf, &kept).unwrap(), first);
    }
}
