//! Where requests go, from a URL that is checked once.

use std::fmt;
use std::net::IpAddr;

use hyper::header::{HOST, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Method, Request, Uri};

/// Why requests cannot go to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is none.
    #[error("it is no absolute http or https URL")]
    Form,
    /// It carries a login.
    #[error("it holds a user name or a password")]
    Login,
    /// It is plain HTTP, and that is not allowed.
    #[error("plain HTTP is not allowed")]
    Plain,
    /// It is plain HTTP to somewhere else.
    #[error("plain HTTP goes to loopback and to Services of the cluster only")]
    Far,
}

/// A checked URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As in the `Host` header.
    authority: String,
    /// With the query.
    path: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.place()).finish()
    }
}

impl Endpoint {
    /// Takes a URL apart. `plain` allows HTTP without TLS, to loopback and to Services of the cluster.
    ///
    /// # Errors
    /// When requests may not go there.
    pub fn parse(url: &str, plain: bool) -> Result<Self, EndpointError> {
        let uri: Uri = url.trim().parse().map_err(|_| EndpointError::Form)?;
        let authority = uri.authority().ok_or(EndpointError::Form)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Login);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(EndpointError::Form);
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if !plain => return Err(EndpointError::Plain),
            Some("http") if !is_near(&host) => return Err(EndpointError::Far),
            Some("http") => false,
            _ => return Err(EndpointError::Form),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
            host,
        })
    }

    /// Host and port, for people.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As in the `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Another path (with its query) of the same server.
    #[must_use]
    pub fn at(&self, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            ..self.clone()
        }
    }

    /// The beginning of a request to this path.
    pub fn request(&self, method: Method) -> Builder {
        Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
    }
}

/// Loopback, or the full name of a Service (`NAME.NAMESPACE.svc`, with or without the domain).
fn is_near(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let mut labels = host.split('.');
    host == "localhost" || labels.nth(2) == Some("svc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let one = Endpoint::parse("https://hooks.example:8443/a/b?c=d\n", false).unwrap();
        assert!(one.tls);
        assert_eq!((one.host.as_str(), one.port), ("hooks.example", 8443));
        assert_eq!(one.path, "/a/b?c=d");
        assert_eq!(one.authority, "hooks.example:8443");
        let six = Endpoint::parse("https://[2001:db8::1]/", false).unwrap();
        assert_eq!((six.host.as_str(), six.port), ("2001:db8::1", 443));
    }

    #[test]
    fn only_the_place_of_a_url_is_ever_shown() {
        let one = Endpoint::parse("https://hooks.example/s3cret?key=s3cret", false).unwrap();
        assert_eq!(format!("{one:?}"), "Endpoint(\"hooks.example:443\")");
        let other = one.at("/token?x=1");
        assert_eq!((other.path(), other.place()), ("/token?x=1", one.place()));
    }

    #[test]
    fn plain_http_goes_nowhere_unless_it_is_allowed_and_then_not_far() {
        let near = [
            "127.0.0.1:9",
            "[::1]",
            "localhost",
            "hooks.chat.svc",
            "hooks.chat.svc.cluster.local",
        ];
        for host in near {
            let url = format!("http://{host}/x");
            assert_eq!(
                Endpoint::parse(&url, false).unwrap_err(),
                EndpointError::Plain
            );
            assert!(!Endpoint::parse(&url, true).unwrap().tls, "{host}");
        }
        for host in [
            "hooks.example",
            "10.0.0.1",
            "svc",
            "svc.example",
            "a.svc.example",
            "169.254.169.254",
        ] {
            let url = format!("http://{host}/x");
            assert_eq!(
                Endpoint::parse(&url, true).unwrap_err(),
                EndpointError::Far,
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_no_url_of_a_webhook_is_refused() {
        for odd in [
            "",
            "hooks.example",
            "/path",
            "ftp://hooks.example/",
            "https://",
            "https:///x",
        ] {
            assert_eq!(
                Endpoint::parse(odd, true).unwrap_err(),
                EndpointError::Form,
                "{odd}"
            );
        }
        let login = Endpoint::parse("https://me:secret@hooks.example/", true).unwrap_err();
        assert_eq!(login, EndpointError::Login);
    }
}
