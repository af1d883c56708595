//! A request as pages see it: its parameters, its cookie, and whether it comes from a page of ours.
//!
//! Invariants
//! - What changes something is a POST of a form, from our own origin, with the token of the session
//!   (or of the visit, before there is one).
//! - Where a login leads back to is a path of this UI, and nothing else.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode, header};

use super::problem::Problem;
use crate::api::BODY_PATIENCE;

/// Bytes of a form; a pasted token is the largest thing in one.
const MAX_FORM: usize = 64 << 10;

/// The parameters of a query or a form; the last of a name counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The value of a field, unless it is empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(have, _)| have == name);
        found
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| {
            let wrong = |_| Problem::bad(format!("{name} cannot be {text:?}"));
            text.parse().map_err(wrong)
        };
        self.text(name).map(parse).transpose()
    }
}

/// What was asked, without its body.
pub(super) struct Asked {
    pub(super) from: SocketAddr,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) fields: Fields,
    headers: HeaderMap,
    /// As the browser knows this server: `host:port`.
    authority: String,
}

impl Asked {
    pub(super) fn read(from: SocketAddr, request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default().to_owned();
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = uri.authority().map(|authority| authority.as_str());
        Self {
            from,
            method: request.method().clone(),
            path: uri.path().to_owned(),
            fields: Fields::parse(query.as_bytes()),
            query,
            headers: request.headers().clone(),
            authority: authority.or(host).unwrap_or_default().to_ascii_lowercase(),
        }
    }

    /// Whether it is the page that asks, by itself or by htmx, and not a person who goes somewhere.
    pub(super) fn is_fragment(&self) -> bool {
        self.headers.contains_key("hx-request") || self.path == "/ui/hold/live"
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The only cookie of a name; two of a name are none, since one of them may be planted.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.headers.get_all(header::COOKIE).iter();
        let pairs = headers.filter_map(|value| value.to_str().ok());
        let mut found = pairs
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(have, _)| *have == name)
            .map(|(_, value)| value);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Refuses what another site's page sent.
    ///
    /// # Errors
    /// When the browser says so, or does not say where it comes from.
    pub(super) fn check_origin(&self, own: &[String]) -> Result<(), Problem> {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let ours = match (header("origin"), header("sec-fetch-site")) {
            (Some(origin), _) => own.iter().any(|own| own == origin),
            (None, site) => site == Some("same-origin"),
        };
        if ours {
            Ok(())
        } else {
            Err(Problem::foreign())
        }
    }
}

/// Reads a form.
///
/// # Errors
/// When it is none, or too long.
pub(super) async fn form(request: Request<Incoming>) -> Result<Fields, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::bad("this is not a form".to_owned()));
    }
    let body = Limited::new(request.into_body(), MAX_FORM).collect();
    let body = tokio::time::timeout(BODY_PATIENCE, body)
        .await
        .map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "The form did not arrive in time.",
            )
        })?;
    let body = body.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The form is longer than 64 KiB.",
        )
    })?;
    Ok(Fields::parse(&body.to_bytes()))
}

/// Where to go after a login: a path of the UI, or its first page.
pub(super) fn way_back(wanted: Option<&str>) -> &str {
    let plain = |path: &&str| {
        let rest = path.strip_prefix("/ui/").unwrap_or("/");
        // No second slash or backslash at the beginning, no escape that a browser might see through.
        path.bytes()
            .all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\')
            && !rest.starts_with(['/', '.'])
            && !rest.contains("/.")
            && !rest.starts_with("login")
            && !rest.starts_with("logout")
    };
    wanted.filter(plain).unwrap_or("/ui/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_our_own_pages_only() {
        for good in [
            "/ui/",
            "/ui/holds/billing/weir-1",
            "/ui/search?text=a%20b&since=2026",
        ] {
            assert_eq!(way_back(Some(good)), good);
        }
        for bad in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/ui/",
            "/ui//evil.example",
            "/ui/\\evil.example",
            "/ui/../x",
            "/ui/a/../../x",
            "javascript:alert(1)",
            "/ui/\r\nx",
            "/uix",
            "/ui/login?next=/ui/",
            "/ui/logout",
            "\\\\evil.example",
            "/ui/é",
        ] {
            assert_eq!(way_back(Some(bad)), "/ui/", "{bad:?}");
        }
        assert_eq!(way_back(None), "/ui/");
    }

    fn asked(headers: &[(&'static str, &'static str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, header::HeaderValue::from_static(value));
        }
        Asked {
            from: "127.0.0.1:1".parse().unwrap(),
            method: Method::POST,
            path: "/ui/hold/decide".into(),
            query: String::new(),
            fields: Fields::default(),
            headers: map,
            authority: "weir.example".into(),
        }
    }

    #[test]
    fn what_another_sites_page_sent_is_refused() {
        let own = ["https://weir.example".to_owned()];
        let ours =
            |headers: &[(&'static str, &'static str)]| asked(headers).check_origin(&own).is_ok();
        assert!(ours(&[("origin", "https://weir.example")]));
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(!ours(&[]), "whoever does not say it");
        assert!(!ours(&[("origin", "null")]));
        assert!(!ours(&[("origin", "https://evil.example")]));
        assert!(!ours(&[("origin", "https://weir.example.evil.example")]));
        assert!(!ours(&[
            ("origin", "http://weir.example"),
            ("sec-fetch-site", "same-origin")
        ]));
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(!ours(&[("sec-fetch-site", site)]), "{site}");
        }
    }

    #[test]
    fn of_two_cookies_with_one_name_none_is_believed() {
        let one = asked(&[("cookie", "a=1; weir=x; b=2")]);
        assert_eq!(one.cookie("weir"), Some("x"));
        assert_eq!(one.cookie("b"), Some("2"));
        assert_eq!(one.cookie("wei"), None);
        for planted in [
            &[("cookie", "weir=x; weir=y")][..],
            &[("cookie", "weir=x"), ("cookie", "weir=y")],
        ] {
            assert_eq!(asked(planted).cookie("weir"), None);
        }
    }

    #[test]
    fn the_last_of_a_field_counts_and_empty_is_absent() {
        let fields = Fields::parse(b"a=1&a=2&b=&c=+%20&d=x%26y");
        assert_eq!(fields.text("a"), Some("2"));
        assert_eq!((fields.text("b"), fields.text("c")), (None, None));
        assert_eq!(fields.text("d"), Some("x&y"));
        assert!(fields.parsed::<u32>("d").is_err());
        assert_eq!(fields.parsed::<u32>("a").ok().flatten(), Some(2));
    }
}
