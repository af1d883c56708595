//! `weir run -- CMD`: CMD in a network namespace that has no way out but Weir.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_sidecar::part::part;
use weir_transport::exclusion;
use weir_transport::listen::Mode;
use weir_transport::netns::{Config as SandboxConfig, DnsRelay, KNOWN_HOSTS, Sandbox};

use crate::standalone::{Config, Standalone, StartError};

/// Arguments of `weir run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Configuration file, as of `weir standalone`
    #[arg(long, value_name = "FILE", default_value = "weir.yaml")]
    config: PathBuf,
    /// User to run the command as, by number
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
    /// Leave this path visible (a unix socket, or a part of /run)
    #[arg(long, value_name = "PATH")]
    keep: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command; its exit status is ours.
pub(crate) async fn run(args: RunArgs) -> Result<ExitCode, StartError> {
    let mut config = Config::read(&args.config)?;
    config.listeners.clear();
    config.redirect = None;
    let standalone = Standalone::start(config)?;
    let state = standalone.state_dir().to_owned();
    let mut command = args.command.into_iter();
    let program = command.next().unwrap_or_default();
    let mut settings = SandboxConfig::new(program, command);
    settings.uid = args.user;
    settings.hide.push(state);
    settings.keep = args.keep;
    let trust = Trust::publish(&standalone).map_err(part("the trust files"))?;
    settings.env = trust.variables(standalone.has_pass_through_tls());
    settings.known_hosts = Some(trust.known_hosts());
    let own = own_cgroup("weir");
    let guest = own_cgroup("guest");
    settings.cgroup = guest
        .as_ref()
        .and_then(|cgroup| cgroup.path())
        .map(Path::to_owned);
    if let Some(own) = &own
        && let Err(error) = own.move_pid(std::process::id())
    {
        tracing::debug!(%error, "weir stays in the caller's cgroup");
    }
    let mut sandbox = Sandbox::create(&settings).map_err(part("the namespace"))?;
    standalone.serve_operators().await?;
    for listener in sandbox.take_listeners() {
        standalone.accept(listener, Mode::Redirect, None)?;
    }
    let dns = DnsRelay::new(sandbox.take_dns()).map_err(part("the DNS relay"))?;
    tokio::spawn(dns.run());
    let signals = Signals::take().map_err(part("signals"))?;
    let mut running = sandbox.start().map_err(part("the command"))?;
    let ended = signals.forward_until_end(&mut running).await;
    standalone.stop().await;
    drop(trust);
    if let Some(guest) = guest {
        drop(guest.remove());
    }
    let status = ended.map_err(part("the command"))?;
    Ok(exit_code(status))
}

/// What the command has to trust, where it can read it; gone with this value.
struct Trust {
    directory: tempfile::TempDir,
}

impl Trust {
    /// Writes the certificate authorities and the known hosts, the machine's own among them.
    fn publish(standalone: &Standalone) -> std::io::Result<Self> {
        let system = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
        ];
        let roots = system
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok());
        let bundle = format!("{}{}", standalone.ca_pem(), roots.unwrap_or_default());
        let hosts = std::fs::read_to_string(KNOWN_HOSTS).unwrap_or_default();
        let hosts = format!("{}{hosts}", standalone.known_hosts());
        let directory = tempfile::Builder::new()
            .prefix("weir-trust-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()?;
        let trust = Self { directory };
        std::fs::write(trust.authorities(), bundle)?;
        std::fs::write(trust.known_hosts(), hosts)?;
        tracing::debug!(trust = %trust.directory.path().display(), "trust published");
        Ok(trust)
    }

    fn authorities(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    fn known_hosts(&self) -> PathBuf {
        self.directory.path().join("known_hosts")
    }

    /// The variables that name the authorities.
    fn variables(&self, has_pass_through_tls: bool) -> Vec<(OsString, OsString)> {
        let names = [
            "SSL_CERT_FILE",
            "PGSSLROOTCERT",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "AWS_CA_BUNDLE",
            "GIT_SSL_CAINFO",
        ];
        let (kept, free): (Vec<&str>, Vec<&str>) = names
            .into_iter()
            .partition(|name| std::env::var_os(name).is_some());
        let path = self.authorities().into_os_string();
        let mut variables: Vec<(OsString, OsString)> = free
            .into_iter()
            .map(|name| (name.into(), path.clone()))
            .collect();
        if !kept.is_empty() {
            tracing::info!(variables = ?kept, "already set and left: they may not trust weir");
        }
        if has_pass_through_tls && std::env::var_os("PGCHANNELBINDING").is_none() {
            variables.push(("PGCHANNELBINDING".into(), "disable".into()));
        }
        variables
    }
}

fn own_cgroup(role: &str) -> Option<exclusion::Cgroup> {
    match exclusion::create(&format!("weir-run-{}-{role}", std::process::id())) {
        Ok(cgroup) => Some(cgroup),
        Err(error) => {
            tracing::debug!(%error, role, "no cgroup of its own");
            None
        }
    }
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The signals that are taken while the command runs.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The terminal sends INT and QUIT to the command as well; TERM and HUP are handed on.
    async fn forward_until_end(
        mut self,
        running: &mut weir_transport::netns::Running,
    ) -> Result<std::process::ExitStatus, weir_transport::netns::NetnsError> {
        const HANG_UP: i32 = 1;
        const TERMINATE: i32 = 15;
        loop {
            let number = tokio::select! {
                ended = running.wait() => return ended,
                _ = self.interrupt.recv() => continue,
                _ = self.quit.recv() => continue,
                _ = self.terminate.recv() => TERMINATE,
                _ = self.hang_up.recv() => HANG_UP,
            };
            if let Err(error) = running.signal(number) {
                tracing::warn!(%error, number, "a signal did not reach the command");
            }
        }
    }
}
