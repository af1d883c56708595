//! Who is logged in: kept on this side, found by a cookie that says nothing.
//!
//! Invariants
//! - A login makes a new session with a new cookie; what a browser held before is worth nothing.
//! - A session ends when it was idle for [`IDLE`], after [`LONGEST`], or at logout. What a page asks by
//!   itself does not keep it alive.
//! - Only marks of cookies are kept. How many sessions there are is bounded; the one that was idle
//!   longest makes room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weir_oidc::Claims;

use super::secret::{self, Mark};

/// A session that nobody uses ends.
pub(super) const IDLE: Duration = Duration::from_secs(3600);
/// No session is longer.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 3600);
const MOST: usize = 4096;

/// What proved who somebody is.
#[derive(Clone)]
pub(super) enum Proof {
    /// A bearer token of the cluster.
    Token(Arc<str>),
    /// An ID token, and what a new one is asked for with.
    Oidc(Arc<Oidc>),
    /// The operating system, through a one-time link.
    Local,
}

/// A login at an identity provider.
pub(super) struct Oidc {
    pub(super) id_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) claims: Claims,
}

/// Somebody who is logged in.
#[derive(Clone)]
pub(super) struct Who {
    /// As evidence and decisions name them.
    pub(super) name: Arc<str>,
    pub(super) proof: Proof,
}

impl Who {
    /// Until when the proof counts, where it says so.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        match &self.proof {
            Proof::Oidc(oidc) => Some(oidc.claims.expires),
            Proof::Token(_) | Proof::Local => None,
        }
    }
}

/// A session as one request sees it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) who: Who,
    /// What every form of this session carries.
    pub(super) csrf: Arc<str>,
    /// The one namespace that they look at, where they may not see all.
    pub(super) namespace: Option<Arc<str>>,
    mark: Mark,
}

/// What the next page says once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) good: bool,
    pub(super) text: String,
}

struct Kept {
    session: Session,
    notice: Option<Notice>,
    began: Instant,
    used: Instant,
}

impl Kept {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.began) >= LONGEST
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    kept: Mutex<HashMap<Mark, Kept>>,
}

impl Sessions {
    /// Begins a session; the cookie's value. None without randomness.
    pub(super) fn begin(&self, who: Who) -> Option<String> {
        let cookie = secret::fresh()?;
        let csrf = secret::fresh()?.into();
        let mark = secret::mark(&cookie);
        let now = Instant::now();
        let session = Session {
            who,
            csrf,
            namespace: None,
            mark,
        };
        let mut kept = self.kept();
        if kept.len() >= MOST {
            kept.retain(|_, kept| !kept.is_over(now));
        }
        if kept.len() >= MOST {
            let idle = kept.iter().min_by_key(|(_, kept)| kept.used);
            if let Some(mark) = idle.map(|(mark, _)| *mark) {
                kept.remove(&mark);
            }
        }
        kept.insert(
            mark,
            Kept {
                session,
                notice: None,
                began: now,
                used: now,
            },
        );
        Some(cookie)
    }

    /// The session of a cookie. `acts` is whether a person asked, and not the page by itself.
    pub(super) fn find(&self, cookie: &str, acts: bool) -> Option<Session> {
        let mark = secret::mark(cookie);
        let now = Instant::now();
        let mut kept = self.kept();
        let found = kept.get_mut(&mark)?;
        if found.is_over(now) {
            kept.remove(&mark);
            return None;
        }
        if acts {
            found.used = now;
        }
        Some(found.session.clone())
    }

    /// Whether a session still is.
    pub(super) fn lives(&self, session: &Session) -> bool {
        let kept = self.kept();
        let found = kept.get(&session.mark);
        found.is_some_and(|kept| !kept.is_over(Instant::now()))
    }

    pub(super) fn end(&self, session: &Session) {
        self.kept().remove(&session.mark);
    }

    /// The same person, by a newer proof.
    pub(super) fn prove_again(&self, session: &Session, proof: Proof) {
        if let Some(kept) = self.kept().get_mut(&session.mark) {
            kept.session.who.proof = proof;
        }
    }

    pub(super) fn look_at(&self, session: &Session, namespace: Option<Arc<str>>) {
        if let Some(kept) = self.kept().get_mut(&session.mark) {
            kept.session.namespace = namespace;
        }
    }

    /// Has the next page say something.
    pub(super) fn tell(&self, session: &Session, notice: Notice) {
        if let Some(kept) = self.kept().get_mut(&session.mark) {
            kept.notice = Some(notice);
        }
    }

    /// What the next page says, once.
    pub(super) fn told(&self, session: &Session) -> Option<Notice> {
        self.kept().get_mut(&session.mark)?.notice.take()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Mark, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Who {
        Who {
            name: name.into(),
            proof: Proof::Local,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_idle_or_old_and_pages_by_themselves_do_not_keep_it() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(who("jane")).unwrap();
        let step = IDLE - Duration::from_secs(1);
        tokio::time::advance(step).await;
        assert!(sessions.find(&cookie, false).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sessions.find(&cookie, true).is_none(), "idle");

        let cookie = sessions.begin(who("jane")).unwrap();
        let session = sessions.find(&cookie, true).unwrap();
        let mut spent = Duration::ZERO;
        while spent + step < LONGEST {
            tokio::time::advance(step).await;
            spent += step;
            assert!(sessions.find(&cookie, true).is_some());
        }
        tokio::time::advance(LONGEST - spent).await;
        assert!(!sessions.lives(&session));
        assert!(sessions.find(&cookie, true).is_none(), "old");
    }

    #[tokio::test]
    async fn every_login_has_a_cookie_and_a_form_token_of_its_own() {
        let sessions = Sessions::default();
        let (one, other) = (
            sessions.begin(who("jane")).unwrap(),
            sessions.begin(who("jane")).unwrap(),
        );
        assert_ne!(one, other);
        let csrf = |cookie| sessions.find(cookie, true).unwrap().csrf;
        assert_ne!(csrf(&one), csrf(&other));
        assert!(sessions.find("", true).is_none() && sessions.find("x", true).is_none());
        sessions.end(&sessions.find(&one, true).unwrap());
        assert!(sessions.find(&one, true).is_none());
        assert!(sessions.find(&other, true).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn when_there_is_no_room_the_one_idle_longest_goes() {
        let sessions = Sessions::default();
        let first = sessions.begin(who("first")).unwrap();
        let second = sessions.begin(who("second")).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 2..MOST {
            sessions.begin(who("more")).unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sessions.find(&first, true).is_some());
        sessions.begin(who("one too many")).unwrap();
        assert!(sessions.find(&first, true).is_some());
        assert!(sessions.find(&second, true).is_none());
        assert_eq!(sessions.kept().len(), MOST);
    }

    #[tokio::test]
    async fn a_notice_is_told_once() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(who("jane")).unwrap();
        let session = sessions.find(&cookie, true).unwrap();
        let notice = Notice {
            good: true,
            text: "done".into(),
        };
        sessions.tell(&session, notice.clone());
        assert_eq!(sessions.told(&session), Some(notice));
        assert_eq!(sessions.told(&session), None);
    }
}
