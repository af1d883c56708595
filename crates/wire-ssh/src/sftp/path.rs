//! Paths by their text.

/// What stands for any path.
pub(super) const ANY: &[u8] = b"*";

/// A path without `.`, `..` and doubled slashes, made absolute where `home` is known. Links are not
/// followed: what lies behind one is known to the server only. A relative path without a known home
/// keeps the `..` that lead out of it. What lies behind `/proc/PID/root` is called by its own name; what
/// lies behind another directory of a process (`cwd`, `fd/N`, `/dev/fd/N`) is relative.
pub fn normalised(path: &[u8], home: Option<&[u8]>) -> Vec<u8> {
    let begins = path.starts_with(b"/");
    let before = home.filter(|_| !begins).unwrap_or_default();
    let absolute = begins || home.is_some();
    let found = resolved(parts(before).chain(parts(path)), absolute);
    let behind = behind_process(&found).filter(|_| absolute);
    let (absolute, found) = behind.unwrap_or((absolute, found));
    joined(absolute, &found)
}

/// Parts without the `..` that lead out of one of them, or above the root.
fn resolved<'a>(parts: impl Iterator<Item = &'a [u8]>, absolute: bool) -> Vec<&'a [u8]> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in parts {
        match part {
            b".." if kept.last().is_some_and(|last| *last != b"..") => {
                kept.pop();
            }
            b".." if absolute => {}
            part => kept.push(part),
        }
    }
    kept
}

/// The path with these parts.
fn joined(absolute: bool, parts: &[&[u8]]) -> Vec<u8> {
    let mut path = if absolute { b"/".to_vec() } else { Vec::new() };
    path.extend_from_slice(&parts.join(&b'/'));
    if path.is_empty() {
        path.push(b'.');
    }
    path
}

/// Where the parts of an absolute path lead that goes through a process's own directories: whether to
/// an absolute path, and its parts.
fn behind_process<'a>(parts: &[&'a [u8]]) -> Option<(bool, Vec<&'a [u8]>)> {
    let mut parts = parts.to_vec();
    let mut found = None;
    loop {
        let link = match parts.as_slice() {
            [b"proc", _, b"task", _, link @ ..] | [b"proc", _, link @ ..] => link,
            [b"dev", link @ ..] if link.first() == Some(&b"fd".as_slice()) => link,
            _ => return found,
        };
        let (absolute, rest) = match link {
            [b"root", rest @ ..] => (true, rest),
            [b"cwd", rest @ ..] | [b"fd" | b"map_files", _, rest @ ..] => (false, rest),
            _ => return found,
        };
        if rest.is_empty() && !absolute {
            return found;
        }
        parts = rest.to_vec();
        found = Some((absolute, parts.clone()));
        if !absolute {
            return found;
        }
    }
}

/// What an absolute path says as the target of a link: where it is a link of a process to a directory or
/// file that it has open, anything.
pub(super) fn behind_open(path: Vec<u8>) -> Vec<u8> {
    let found: Vec<&[u8]> = parts(&path).collect();
    let beyond = [found.as_slice(), &[b"x".as_slice()]].concat();
    match behind_process(&beyond) {
        Some((false, rest)) if rest.len() == 1 => ANY.to_vec(),
        _ => path,
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !matches!(*part, b"" | b"."))
}

/// Where a path may lie that leads up again out of a directory by its name, which may be a link to
/// elsewhere: what is behind the last `..`, relative, for anywhere. None where no such directory is.
pub(crate) fn behind_links(path: &[u8]) -> Option<Vec<u8>> {
    let mut named = false;
    let mut up = false;
    for part in parts(path) {
        up |= named && part == b"..";
        named |= part != b"..";
    }
    up.then(|| behind_parents(path))
}

/// What is behind the last `..` of a path, relative, for anywhere.
pub(super) fn behind_parents(path: &[u8]) -> Vec<u8> {
    let mut behind = Vec::new();
    for part in parts(path) {
        match part {
            b".." => behind.clear(),
            part => behind.push(part),
        }
    }
    if behind.is_empty() {
        return ANY.to_vec();
    }
    behind.join(&b'/')
}

/// Whether a path has a `..` in it.
pub(super) fn has_parents(path: &[u8]) -> bool {
    parts(path).any(|part| part == b"..")
}

/// A path by its text alone, without `..` behind names: where these are links, it is another than the
/// server would find. None where it has no such `..`.
pub(super) fn straight(path: &[u8]) -> Option<Vec<u8>> {
    behind_links(path)?;
    let absolute = path.starts_with(b"/");
    Some(joined(absolute, &resolved(parts(path), absolute)))
}
