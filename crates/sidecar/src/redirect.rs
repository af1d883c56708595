//! The redirect in a network namespace that Weir shares with what it governs, as in a pod.
//!
//! Invariants: rules first, then Weir's own half of the self-test, and only then is anything served.
//! The other half is `weir probe` in another container, which the application waits for. The rules
//! stay when Weir ends: connections are refused until it is back.
//! Refuses: to serve where its own connections cannot be told apart by cgroup.

use std::net::{IpAddr, TcpListener};
use std::time::Instant;

use weir_transport::exclusion;
use weir_transport::listen::bind_wildcard;
use weir_transport::redirect::{Config, Dns, Exclusion, Redirect};
use weir_transport::selftest;

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
}
