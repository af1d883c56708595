//! Scripts and styles, compiled in. Their address names their content, so that browsers keep them for
//! good.

use std::sync::LazyLock;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Response, header};
use sha2::{Digest as _, Sha256};
use weir_serve::Body;

/// One file that browsers fetch.
pub(super) struct Asset {
    /// `/ui/assets/NAME-HASH.EXTENSION`.
    pub(super) path: String,
    kind: &'static str,
    bytes: &'static [u8],
}

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

macro_rules! assets {
    ($($name:ident: $stem:literal, $extension:literal, $kind:expr, $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Asset> = LazyLock::new(|| {
            Asset::new($stem, $extension, $kind, include_bytes!(concat!("../../assets/", $file)))
        });)*

        fn all() -> impl Iterator<Item = &'static Asset> {
            [$(&*$name),*].into_iter()
        }
    };
}

assets! {
    STYLE: "ui", "css", CSS, "ui.css";
    SCRIPT: "ui", "js", JS, "ui.js";
    HTMX: "htmx", "js", JS, "htmx.min.js";
    PLAYER: "player", "js", JS, "asciinema-player.min.js";
    PLAYER_STYLE: "player", "css", CSS, "asciinema-player.css";
    ICON: "icon", "svg", "image/svg+xml", "icon.svg";
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let short: String = hash
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            path: format!("/ui/assets/{stem}-{short}.{extension}"),
            kind,
            bytes,
        }
    }
}

/// The file at a path.
pub(super) fn at(path: &str) -> Option<Response<Body>> {
    let asset = all().find(|asset| asset.path == path)?;
    let mut response = Response::new(Full::new(Bytes::from_static(asset.bytes)).boxed());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(asset.kind),
    );
    let for_good = header::HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, for_good);
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_what_the_list_says() {
        let list = include_str!("../../assets/README.md");
        for bytes in [HTMX.bytes, PLAYER.bytes, PLAYER_STYLE.bytes] {
            let hash: String = Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert!(list.contains(&hash), "{hash}");
        }
    }

    #[test]
    fn an_address_names_the_content() {
        let path = STYLE.path.clone();
        assert!(at(&path).is_some());
        assert!(at("/ui/assets/ui-0000000000000000.css").is_none());
        assert!(at("/ui/assets/../assets/README.md").is_none());
    }
}
