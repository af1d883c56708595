//! Where a forward leads, however that is spelt.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ssh::ForwardKind;

/// The address that a host's text stands for, as resolvers read it: also in fewer parts than four, in
/// octal or hexadecimal numbers, mapped into IPv6, and with a zone.
pub fn host_address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let bare = bare.unwrap_or(host);
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
    let parsed = bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    parsed.or_else(|| numbers(bare).map(IpAddr::V4))
}

fn numbers(host: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u32>> = host.split('.').map(number).collect();
    let parts = parts?;
    let (last, first) = parts.split_last()?;
    let bits = 32_u32.checked_sub(8 * u32::try_from(first.len()).ok()?)?;
    let fits = bits > 0 && last.checked_shr(bits).unwrap_or(0) == 0;
    if !fits || first.iter().any(|part| *part > 255) {
        return None;
    }
    let shifts = [24, 16, 8];
    let front = first.iter().zip(shifts).map(|(part, by)| part << by);
    Some(Ipv4Addr::from_bits(
        front.fold(*last, |all, part| all | part),
    ))
}

fn number(text: &str) -> Option<u32> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, radix).ok().filter(|_| plain)
}

/// Everything that a rule may call the destination, itself first. `*` stands for text that is not known.
pub(crate) fn spellings(kind: ForwardKind, destination: &str) -> Vec<String> {
    let mut found = vec![destination.to_owned()];
    match kind {
        ForwardKind::DirectTcpip | ForwardKind::TcpipForward | ForwardKind::ForwardedTcpip => {
            if let Some((host, port)) = destination.rsplit_once(':') {
                let hosts = hosts(host);
                found.extend(hosts.iter().map(|host| format!("{host}:{port}")));
            }
        }
        ForwardKind::DirectStreamlocal
        | ForwardKind::StreamlocalForward
        | ForwardKind::ForwardedStreamlocal => found.extend(sockets(destination)),
        ForwardKind::X11 | ForwardKind::Agent | ForwardKind::Tun => {}
    }
    found
}

fn hosts(host: &str) -> Vec<String> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let ip = host_address(&name);
    let local = matches!(
        name.as_str(),
        "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback"
    );
    let local = local || name.ends_with(".localhost") || ip.is_some_and(|ip| ip.is_loopback());
    let any = matches!(name.as_str(), "" | "*") || ip.is_some_and(|ip| ip.is_unspecified());
    let mut found = vec![name];
    found.extend(ip.map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    // Whoever dials no address in particular reaches what listens on the loopback, and whoever listens
    // there listens on it too.
    if local || any {
        let loopback = format!("[{}]", Ipv6Addr::LOCALHOST);
        found.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), loopback]);
    }
    if any {
        found.extend(["", "*", "0.0.0.0", "[::]"].map(str::to_owned));
    }
    found
}

fn sockets(path: &str) -> Vec<String> {
    let mut kept: Vec<&str> = Vec::new();
    // What is behind the last `..`, which may lead out of a link.
    let mut behind = None;
    let absolute = path.starts_with('/');
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            behind = Some(Vec::new());
            kept.pop();
        } else {
            kept.push(part);
            behind.iter_mut().for_each(|behind| behind.push(part));
        }
    }
    let mut found = Vec::new();
    // A process's own directories lead elsewhere.
    let link = match kept.as_slice() {
        ["proc", _, "task", _, link @ ..] | ["proc", _, link @ ..] => link,
        ["dev", link @ ..] => link,
        _ => &[],
    };
    match link {
        ["root", rest @ ..] if absolute => {
            found.extend(sockets(&format!("/{}", rest.join("/"))));
        }
        ["cwd", rest @ ..] | ["fd" | "map_files", _, rest @ ..] if absolute => {
            found.push(format!("*/{}", rest.join("/")));
        }
        _ => {}
    }
    if absolute {
        found.push(format!("/{}", kept.join("/")));
        match kept.as_slice() {
            ["var", rest @ ..] if rest.first() == Some(&"run") => {
                found.push(format!("/{}", rest.join("/")));
            }
            ["run", ..] => found.push(format!("/var/{}", kept.join("/"))),
            _ => {}
        }
    } else {
        found.push(format!("*/{}", kept.join("/")));
    }
    found.extend(behind.map(|behind| format!("*/{}", behind.join("/"))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_in_every_spelling_of_resolvers() {
        for (host, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("10.1.513", "10.1.2.1"),
            ("0xA.0X0.0.1", "10.0.0.1"),
            ("0", "0.0.0.0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("[fe80::1%eth0]", "fe80::1"),
        ] {
            assert_eq!(host_address(host), Some(ip.parse().unwrap()), "{host}");
        }
        for host in [
            "",
            "db",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.16777216",
            "4294967296",
            "+1",
            "1.",
            "0x",
            "08",
            "1.-2",
        ] {
            assert_eq!(host_address(host), None, "{host}");
        }
    }

    fn spelt(kind: ForwardKind, destination: &str, as_what: &str) -> bool {
        spellings(kind, destination)
            .iter()
            .any(|one| one == as_what)
    }

    #[test]
    fn a_place_is_the_same_place_however_it_is_spelt() {
        let tcp = |destination, what| spelt(ForwardKind::DirectTcpip, destination, what);
        for local in [
            "localhost:22",
            "LOCALHOST.:22",
            "[::1]:22",
            "127.1:22",
            "0:22",
            "[::]:22",
            ":22",
            "a.localhost:22",
            "[::ffff:127.0.0.1]:22",
        ] {
            assert!(tcp(local, "127.0.0.1:22"), "{local}");
            assert!(tcp(local, "localhost:22"), "{local}");
        }
        assert!(tcp("DB.Internal.:5432", "db.internal:5432"));
        assert!(!tcp("10.0.0.1:22", "127.0.0.1:22"));
        assert!(!tcp("localhost:22", "0.0.0.0:22"));
        assert!(spelt(ForwardKind::TcpipForward, ":80", "0.0.0.0:80"));
        let socket = |path, what| spelt(ForwardKind::DirectStreamlocal, path, what);
        for path in [
            "/run//docker.sock",
            "/run/./docker.sock",
            "/var/run/docker.sock",
            "/x/../run/docker.sock",
            "/proc/self/root/run/docker.sock",
            "/proc/1/task/1/root/proc/self/root/run/docker.sock",
        ] {
            assert!(socket(path, "/run/docker.sock"), "{path}");
            assert!(socket(path, "/var/run/docker.sock"), "{path}");
        }
        assert!(socket("/link/../docker.sock", "*/docker.sock"));
        assert!(socket("docker.sock", "*/docker.sock"));
        assert!(socket("/proc/self/cwd/docker.sock", "*/docker.sock"));
        assert!(socket("/dev/fd/7/docker.sock", "*/docker.sock"));
        assert!(!socket("/run/docker.sock", "*/docker.sock"));
    }
}
