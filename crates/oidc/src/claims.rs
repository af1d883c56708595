//! What a token says, checked, and turned into names.
//!
//! It refuses to guess: a claim of another form than the specification gives it is a refusal, not an
//! absence.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::Checked;
use crate::secret;
use crate::verify::Refusal;

/// How far the provider's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(60);
const MAX_NAME: usize = 1024;
/// Groups of one person; Entra ID lists 200 at most, others have no bound.
const MAX_GROUPS: usize = 2048;
/// Names that Kubernetes keeps for itself.
const RESERVED: &str = "system:";

/// Somebody, as the provider has proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: never reassigned by the provider, and not made for people to read.
    pub subject: String,
    /// The name for the cluster's RBAC, with its prefix.
    pub username: String,
    /// The groups, with their prefix; those that Kubernetes keeps for itself are left out.
    pub groups: Vec<String>,
    /// Until when this counts.
    pub expires: SystemTime,
}

#[derive(Deserialize)]
struct Registered {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    email_verified: Option<bool>,
    /// Only logout tokens have it.
    events: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Checks everything that a signed token says; with a nonce, it must be this login's.
pub(crate) fn check(
    config: &Checked,
    signed: Map<String, Value>,
    nonce: Option<&str>,
    now: SystemTime,
) -> Result<Claims, Refusal> {
    let username = signed.get(&config.username_claim).cloned();
    let groups = config
        .groups_claim
        .as_ref()
        .and_then(|claim| signed.get(claim))
        .cloned();
    let registered = Registered::deserialize(Value::Object(signed)).map_err(|_| Refusal::Form)?;
    if registered.iss != config.issuer {
        return Err(Refusal::Issuer);
    }
    let audience = registered.aud.all();
    if !audience.contains(&config.client_id) {
        return Err(Refusal::Audience);
    }
    match &registered.azp {
        Some(party) if *party != config.client_id => return Err(Refusal::Party),
        None if audience.len() > 1 => return Err(Refusal::Party),
        _ => {}
    }
    if registered.events.is_some() || registered.sub.is_empty() {
        return Err(Refusal::Form);
    }
    let expires = moment(registered.exp)?;
    if expires <= now {
        return Err(Refusal::Expired);
    }
    for early in [Some(registered.iat), registered.nbf].into_iter().flatten() {
        if moment(early)? > now + AHEAD {
            return Err(Refusal::Early);
        }
    }
    if let Some(nonce) = nonce {
        let theirs = registered.nonce.as_deref();
        if !theirs.is_some_and(|theirs| secret::same(theirs, nonce)) {
            return Err(Refusal::Nonce);
        }
    }
    if config.username_claim == "email" && registered.email_verified == Some(false) {
        return Err(Refusal::Unverified);
    }
    Ok(Claims {
        username: name(config, username)?,
        groups: group_names(config, groups)?,
        subject: registered.sub,
        expires,
    })
}

fn moment(seconds: f64) -> Result<SystemTime, Refusal> {
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::Form)?;
    UNIX_EPOCH.checked_add(since).ok_or(Refusal::Form)
}

fn name(config: &Checked, claim: Option<Value>) -> Result<String, Refusal> {
    let Some(Value::String(name)) = claim else {
        return Err(Refusal::Username);
    };
    let name = usable(&config.username_prefix, &name).ok_or(Refusal::Username)?;
    if name.starts_with(RESERVED) {
        return Err(Refusal::Reserved);
    }
    Ok(name)
}

fn group_names(config: &Checked, claim: Option<Value>) -> Result<Vec<String>, Refusal> {
    let names = match claim {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(list) => Vec::<String>::deserialize(list).map_err(|_| Refusal::Groups)?,
    };
    if names.len() > MAX_GROUPS {
        return Err(Refusal::Groups);
    }
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        let group = usable(&config.groups_prefix, &name).ok_or(Refusal::Groups)?;
        if group.starts_with(RESERVED) {
            tracing::warn!(group, "a provider names a group that is not its to give");
        } else {
            groups.push(group);
        }
    }
    Ok(groups)
}

/// A name with its prefix, if people can tell it from every other.
fn usable(prefix: &str, name: &str) -> Option<String> {
    let plain =
        !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(weir_api::is_hidden);
    plain.then(|| format!("{prefix}{name}"))
}
