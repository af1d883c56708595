//! Targets of requests, and what a client accepts: what is read can be read in one way only, and reads
//! the same when it is written once more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::{at_most, utf8};
use weir_wire_kube::{Request, accept_json, parse};

const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT",
];

/// The path with everything encoded that may be, for a resource without a rest.
fn encoded(request: &Request) -> String {
    let byte = |b: u8| match b {
        b'/' => "/".to_owned(),
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    request.path.bytes().map(byte).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let text = utf8(rest);
    let accepted = at_most(1 << 20, || accept_json(text.split('\n')));
    if let Ok(Some(line)) = &accepted {
        let json = |clause: &str| clause.trim().starts_with("application/json");
        assert!(line.split(',').all(json), "{line}");
        // What is sent on may be sent on as it is.
        assert_eq!(accept_json(std::iter::once(line.as_str())), Ok(None));
    }

    let method = METHODS[usize::from(*first) % METHODS.len()];
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let read = at_most(4 << 20, || parse(method, path, query));
    let Ok(request) = read else {
        return;
    };
    assert!(request.path.starts_with('/') && !request.path.contains('\0'));
    let proxied = request
        .resource
        .as_ref()
        .is_some_and(|resource| resource.subresource == "proxy");
    if proxied {
        return;
    }
    let parts = || request.path.split('/').skip(1);
    assert!(request.path == "/" || parts().all(|part| !matches!(part, "" | "." | "..")));
    assert!(!request.path.contains(['\\', '%']));
    // A reader that decodes twice, one that decodes nothing, and one that drops slashes all agree.
    let again = parse(method, &encoded(&request), query).unwrap();
    assert_eq!(again, request);
    let slash = format!("{}/", path.trim_end_matches('/'));
    assert_eq!(parse(method, &slash, query).as_ref(), Ok(&request));
    if let Some(resource) = &request.resource {
        for name in [&resource.group, &resource.version, &resource.resource] {
            assert!(!name.contains('/'));
        }
        assert!(!resource.resource.is_empty() && !resource.version.is_empty());
        assert!(["api", "apis"].contains(&parts().next().unwrap()));
    }
});
