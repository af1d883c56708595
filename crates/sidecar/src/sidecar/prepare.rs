//! What needs privileges, and giving them up.

use std::net::{IpAddr, TcpListener};

use weir_transport::{listen, privileges};

use crate::config::Config;
use crate::part::{PartError, part};
use crate::redirect::{self, RedirectSettings};

/// Whom a sidecar runs as; no other container of the pod may.
const USER: u32 = 2177;

/// A network namespace that is programmed, seen by a process that cannot change it any more.
pub struct Prepared {
    pub(super) config: Config,
    /// Where captured connections arrive; they are refused until these are opened.
    pub(super) captured: Vec<TcpListener>,
    pub(super) admin: TcpListener,
    /// Who is asked for names.
    pub(super) resolvers: Vec<IpAddr>,
}

impl Prepared {
    /// Programs the namespace and becomes an ordinary user. Call it while the process has one
    /// thread.
    ///
    /// # Errors
    /// Anything is missing: the process must end then.
    pub fn new(config: Config) -> Result<Self, PartError> {
        let resolvers = redirect::first_resolvers(&config.state_dir)?;
        let settings = RedirectSettings {
            port: config.redirect_port,
            enforced: config.enforced,
            resolvers: Some(resolvers.clone()),
        };
        let captured = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(part("the runtime"))?
            .block_on(redirect::install(&settings))?;
        for listener in &captured {
            listen::close(listener).map_err(part("the redirect's port"))?;
        }
        let admin = TcpListener::bind(config.admin).map_err(part("the admin address"))?;
        let groups: Vec<u32> = config.group()?.into_iter().collect();
        privileges::give_up(USER, &groups).map_err(part("privileges"))?;
        Ok(Self {
            config,
            captured,
            admin,
            resolvers,
        })
    }
}
