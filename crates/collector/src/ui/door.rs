//! Logging in and out.
//!
//! Invariants
//! - A form of the door is answered only with the token of the visit that it was made for, so that
//!   nobody is logged in as somebody else by another site.
//! - A login replaces whatever session the browser had.
//! - Tokens and keys are in no answer, no log, and no address that stays.

use std::sync::Arc;

use askama::Template;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use weir_oidc::{LoginError, Returned};
use weir_serve::Body;

use super::Inner;
use super::assets;
use super::frame::{page, see};
use super::html;
use super::pending;
use super::problem::Problem;
use super::request::{Asked, Fields, form, way_back};
use super::secret;
use super::sessions::{LONGEST, Notice, Oidc, Proof, Session, Who};

const MAX_TOKEN: usize = 16 << 10;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    said: Option<Notice>,
    provider: Option<&'a str>,
    tokens: bool,
    links: bool,
    csrf: String,
    next: &'a str,
}

#[derive(Template)]
#[template(path = "once.html")]
struct OncePage<'a> {
    user: Arc<str>,
    csrf: String,
    key: &'a str,
}

impl Inner {
    /// Everything below `/ui/login`.
    pub(super) async fn door(
        &self,
        asked: &Asked,
        session: Option<&Session>,
        get: bool,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Problem> {
        match (get, asked.path.as_str()) {
            (true, "/ui/login") => self.login_page(asked, None),
            (true, "/ui/login/oidc") => self.to_the_provider(asked).await,
            (true, "/ui/login/return") => self.return_of_provider(asked, session).await,
            (true, "/ui/login/once") => self.once_page(asked),
            (false, "/ui/login/token") => {
                let form = self.visitors_form(asked, request).await?;
                self.token_login(asked, session, &form).await
            }
            (false, "/ui/login/once") => {
                let form = self.visitors_form(asked, request).await?;
                self.once_login(session, &form)
            }
            _ => Err(Problem::not_found("There is no page at this address.")),
        }
    }

    /// Where somebody goes who must log in first.
    pub(super) fn to_the_door(&self, asked: &Asked) -> Response<Body> {
        let mut next = asked.path.clone();
        if !asked.query.is_empty() {
            next.push('?');
            next.push_str(&asked.query);
        }
        let next = match asked.is_fragment() || asked.method != hyper::Method::GET {
            true => "/ui/",
            false => way_back(Some(&next)),
        };
        let door = format!("/ui/login?next={}", encoded(next));
        let mut response = see(&door);
        if asked.is_fragment() {
            // htmx would put the door into a corner of the page.
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response.headers_mut().remove(header::LOCATION);
            let whole = header::HeaderValue::from_static("/ui/login");
            response.headers_mut().insert("hx-redirect", whole);
        }
        response
    }

    fn login_page(&self, asked: &Asked, said: Option<Notice>) -> Result<Response<Body>, Problem> {
        let (visit, cookie) = self.visit(asked)?;
        let out = asked.fields.text("out").map(|_| Notice {
            good: true,
            text: "You are logged out.".to_owned(),
        });
        let status = said
            .as_ref()
            .map_or(StatusCode::OK, |_| StatusCode::UNAUTHORIZED);
        let mut response = page(&LoginPage {
            said: said.or(out),
            provider: self.provider.as_deref(),
            tokens: self.access.takes_tokens(),
            links: self.access.takes_links(),
            csrf: self.logins.csrf(&visit),
            next: way_back(asked.fields.text("next")),
        })?;
        *response.status_mut() = status;
        Ok(with_cookie(response, cookie))
    }

    async fn to_the_provider(&self, asked: &Asked) -> Result<Response<Body>, Problem> {
        let (Some(login), Some(url)) = (&self.login, &self.url) else {
            return Err(Problem::not_found("No identity provider is configured."));
        };
        let (visit, cookie) = self.visit(asked)?;
        let back = format!("{url}/ui/login/return");
        match login.begin(&back).await {
            Ok((begun, to)) => {
                let next = way_back(asked.fields.text("next"));
                self.logins.begin(&visit, begun, next);
                Ok(with_cookie(see(&to), cookie))
            }
            Err(error) => self.login_page(asked, Some(said(&error))),
        }
    }

    async fn return_of_provider(
        &self,
        asked: &Asked,
        session: Option<&Session>,
    ) -> Result<Response<Body>, Problem> {
        let Some(login) = &self.login else {
            return Err(Problem::not_found("No identity provider is configured."));
        };
        let returned = match Returned::read(&asked.query) {
            Ok(returned) => returned,
            Err(error) => return self.login_page(asked, Some(said(&error))),
        };
        let begun = asked
            .cookie(self.visit_name())
            .zip(returned.state())
            .and_then(|(visit, state)| self.logins.take(visit, state));
        let Some((begun, next)) = begun else {
            return self.login_page(asked, Some(said(&LoginError::State)));
        };
        match login.finish(begun, returned).await {
            Ok(logged) => {
                tracing::info!(user = %logged.claims.username, address = %asked.from, "a login");
                let who = Who {
                    name: logged.claims.username.as_str().into(),
                    proof: Proof::Oidc(Arc::new(Oidc {
                        id_token: logged.id_token,
                        refresh_token: logged.refresh_token,
                        claims: logged.claims,
                    })),
                };
                self.log_in(session, who, &next)
            }
            Err(error) => {
                tracing::warn!(address = %asked.from, %error, "a login is refused");
                self.login_page(asked, Some(said(&error)))
            }
        }
    }

    async fn token_login(
        &self,
        asked: &Asked,
        session: Option<&Session>,
        form: &Fields,
    ) -> Result<Response<Body>, Problem> {
        let token = form.text("token").unwrap_or_default();
        let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        let wrong = |text: &str| Notice {
            good: false,
            text: text.to_owned(),
        };
        if token.is_empty() || token.len() > MAX_TOKEN || !plain {
            return self.login_page(asked, Some(wrong("This is not a token.")));
        }
        let proof = Proof::Token(token.into());
        match self.access.name_of(&proof, asked.from.ip()).await {
            Ok(name) => {
                tracing::info!(user = %name, address = %asked.from, "a login");
                let who = Who { name, proof };
                self.log_in(session, who, way_back(form.text("next")))
            }
            Err(problem) => {
                tracing::warn!(address = %asked.from, error = problem.text, "a login is refused");
                self.login_page(asked, Some(wrong(&problem.text)))
            }
        }
    }

    fn once_page(&self, asked: &Asked) -> Result<Response<Body>, Problem> {
        let key = asked.fields.text("key").unwrap_or_default();
        let Some(user) = self.links.whose(key) else {
            return self.login_page(asked, Some(spent()));
        };
        let (visit, cookie) = self.visit(asked)?;
        let csrf = self.logins.csrf(&visit);
        Ok(with_cookie(page(&OncePage { user, csrf, key })?, cookie))
    }

    fn once_login(
        &self,
        session: Option<&Session>,
        form: &Fields,
    ) -> Result<Response<Body>, Problem> {
        let user = self.links.take(form.text("key").unwrap_or_default());
        let name = user.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, spent().text))?;
        tracing::info!(user = %name, "a login");
        let proof = Proof::Local;
        self.log_in(session, Who { name, proof }, "/ui/")
    }

    /// A new session, whatever there was before.
    fn log_in(
        &self,
        before: Option<&Session>,
        who: Who,
        next: &str,
    ) -> Result<Response<Body>, Problem> {
        if let Some(before) = before {
            self.sessions.end(before);
        }
        let cookie = self.sessions.begin(who).ok_or_else(no_randomness)?;
        let cookie = self.cookie(self.cookie_name(), &cookie, LONGEST.as_secs());
        let gone = self.cookie(self.visit_name(), "", 0);
        Ok(with_cookie(
            with_cookie(see(next), Some(cookie)),
            Some(gone),
        ))
    }

    pub(super) fn log_out(&self, session: &Session) -> Response<Body> {
        self.sessions.end(session);
        let gone = self.cookie(self.cookie_name(), "", 0);
        with_cookie(see("/ui/login?out=1"), Some(gone))
    }

    /// The visit of a browser, and the cookie that begins one if there is none.
    fn visit(&self, asked: &Asked) -> Result<(String, Option<String>), Problem> {
        if let Some(visit) = asked
            .cookie(self.visit_name())
            .filter(|visit| visit.len() == 43)
        {
            return Ok((visit.to_owned(), None));
        }
        let visit = secret::fresh().ok_or_else(no_randomness)?;
        let cookie = self.cookie(self.visit_name(), &visit, pending::LIFE.as_secs());
        Ok((visit, Some(cookie)))
    }

    async fn visitors_form(
        &self,
        asked: &Asked,
        request: Request<Incoming>,
    ) -> Result<Fields, Problem> {
        asked.check_origin(&self.origins(asked))?;
        let form = form(request).await?;
        let visit = asked.cookie(self.visit_name());
        let given = form.text("csrf").unwrap_or_default();
        let good = visit.is_some_and(|visit| secret::same(given, &self.logins.csrf(visit)));
        if good {
            Ok(form)
        } else {
            Err(Problem::foreign())
        }
    }

    /// A form of somebody who is logged in.
    pub(super) async fn checked_form(
        &self,
        asked: &Asked,
        session: &Session,
        request: Request<Incoming>,
    ) -> Result<Fields, Problem> {
        asked.check_origin(&self.origins(asked))?;
        let form = form(request).await?;
        let given = form.text("csrf").unwrap_or_default();
        if secret::same(given, &session.csrf) {
            Ok(form)
        } else {
            Err(Problem::foreign())
        }
    }

    fn visit_name(&self) -> &'static str {
        if self.secure {
            "__Host-weir-visit"
        } else {
            "weir-visit"
        }
    }

    fn cookie(&self, name: &str, value: &str, seconds: u64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }
}

fn with_cookie(mut response: Response<Body>, cookie: Option<String>) -> Response<Body> {
    let cookie = cookie.and_then(|cookie| header::HeaderValue::from_str(&cookie).ok());
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn said(error: &LoginError) -> Notice {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    Notice {
        good: false,
        text: format!(
            "{}{}.",
            first.into_iter().collect::<String>(),
            letters.as_str()
        ),
    }
}

fn spent() -> Notice {
    Notice {
        good: false,
        text:
            "This link was used before, or is older than ten minutes. `weir ui` prints a new one."
                .to_owned(),
    }
}

fn no_randomness() -> Problem {
    Problem::failed("The system has no randomness.")
}

pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
