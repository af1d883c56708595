//! What every answer says to the browser, so that a page can do nothing but what it is for.

use hyper::{Response, header};
use weir_serve::Body;

const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                   connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// The terminal of a recording is WebAssembly inside of the player's script.
const CSP_PLAYER: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
                          img-src 'self'; connect-src 'self'; form-action 'self'; \
                          frame-ancestors 'none'; base-uri 'none'";

/// A mark in an answer's extensions: its page has the player.
#[derive(Clone, Copy)]
pub(super) struct WithPlayer;

/// Adds the headers to an answer.
pub(super) fn guarded(mut response: Response<Body>) -> Response<Body> {
    let player = response.extensions_mut().remove::<WithPlayer>().is_some();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| {
        headers.insert(name, header::HeaderValue::from_static(value));
    };
    set(
        "content-security-policy",
        if player { CSP_PLAYER } else { CSP },
    );
    set("x-frame-options", "DENY");
    set("x-content-type-options", "nosniff");
    // With `no-referrer` browsers would not say where a form comes from.
    set("referrer-policy", "same-origin");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", "same-origin");
    set(
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    );
    set("x-robots-tag", "noindex");
    if !headers.contains_key(header::CACHE_CONTROL) {
        let never = header::HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, never);
    }
    response
}
