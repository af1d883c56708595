//! What a connection's first bytes say it speaks. Only a cross-check: routing never depends on it.

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sniffed {
    /// A protocol that Weir governs.
    Governed(&'static str),
    /// Something else.
    Other,
    /// Too little to tell.
    More,
}

const STARTUP_CODES: [u32; 3] = [80_877_102, 80_877_103, 80_877_104];

/// Judges what a client sent first.
pub(crate) fn client(bytes: &[u8]) -> Sniffed {
    match bytes {
        [] => Sniffed::More,
        [0x16, ..] => tls(bytes),
        [b'S', ..] => prefix(bytes, b"SSH-", "SSH"),
        [0, ..] => postgres(bytes),
        _ => Sniffed::Other,
    }
}

/// Judges what a server sent first, before the client sent anything.
pub(crate) fn server(bytes: &[u8]) -> Sniffed {
    match prefix(bytes, b"SSH-", "SSH") {
        Sniffed::Other => mysql(bytes),
        ssh => ssh,
    }
}

/// A greeting: a length of three bytes, of which the last is 0 in any greeting, packet number 0,
/// protocol 10, and a version.
fn mysql(bytes: &[u8]) -> Sniffed {
    match bytes {
        [_, _, 0, 0, 10, version, ..] if version.is_ascii_digit() => Sniffed::Governed("MySQL"),
        [] | [_] | [_, _] | [_, _, 0] | [_, _, 0, 0] | [_, _, 0, 0, 10] => Sniffed::More,
        _ => Sniffed::Other,
    }
}

fn prefix(bytes: &[u8], want: &[u8], name: &'static str) -> Sniffed {
    let common = bytes
        .iter()
        .zip(want)
        .take_while(|(have, want)| have == want)
        .count();
    if common == want.len() {
        Sniffed::Governed(name)
    } else if common == bytes.len() {
        Sniffed::More
    } else {
        Sniffed::Other
    }
}

/// A start-up packet: a length of at most 10,000, then a protocol version or a request code.
fn postgres(bytes: &[u8]) -> Sniffed {
    let Some(&[a, b, c, d]) = bytes.first_chunk::<4>() else {
        return Sniffed::More;
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(8..=weir_wire_postgres::frame::MAX_STARTUP).contains(&length) {
        return Sniffed::Other;
    }
    let Some(&code) = bytes.get(4..).and_then(|rest| rest.first_chunk::<4>()) else {
        return Sniffed::More;
    };
    let code = u32::from_be_bytes(code);
    if STARTUP_CODES.contains(&code) || (2..=3).contains(&(code >> 16)) {
        Sniffed::Governed("PostgreSQL")
    } else {
        Sniffed::Other
    }
}

/// The name that every API server has in its own cluster, as a hello asks for it: a name of type 0 and
/// its length stand before it.
const API_SERVER: &[u8] = b"kubernetes";

/// The longest TLS hello that a server takes: as OpenSSL bounds it.
const MAX_HELLO: usize = 131_396;

/// A TLS hello that offers ALPN `postgresql`, or asks for an API server by its name. Both may lie
/// anywhere in the hello, so the whole of it is waited for, in however many records it comes.
fn tls(bytes: &[u8]) -> Sniffed {
    let mut hello = Vec::new();
    let mut rest = bytes;
    let mut is_whole = false;
    while !is_whole {
        let Some((&[kind, major, _, high, low], behind)) = rest.split_first_chunk::<5>() else {
            break;
        };
        if kind != 0x16 || major != 3 {
            return Sniffed::Other;
        }
        let record = usize::from(u16::from_be_bytes([high, low]));
        let part = behind.get(..record).unwrap_or(behind);
        hello.extend_from_slice(part);
        rest = behind.get(part.len()..).unwrap_or_default();
        if let Some(&[_, high, middle, low]) = hello.first_chunk::<4>() {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MAX_HELLO {
                return Sniffed::Other;
            }
            is_whole = hello.len() >= 4 + length;
        }
        if part.len() < record {
            break;
        }
    }
    if memchr::memmem::find(&hello, b"\x0apostgresql").is_some() {
        return Sniffed::Governed("PostgreSQL");
    }
    if memchr::memmem::find_iter(&hello, API_SERVER).any(|at| is_api_server(&hello, at)) {
        return Sniffed::Governed("the Kubernetes API");
    }
    if is_whole {
        Sniffed::Other
    } else {
        Sniffed::More
    }
}

/// Whether the name of a server that begins there is `kubernetes` or one of its longer forms.
fn is_api_server(hello: &[u8], at: usize) -> bool {
    let length = at.checked_sub(3).and_then(|from| hello.get(from..at));
    let Some(&[0, high, low]) = length else {
        return false;
    };
    let name = hello.get(at..at + usize::from(u16::from_be_bytes([high, low])));
    let rest = name.and_then(|name| name.strip_prefix(API_SERVER));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TLS hello of this body, in records of so many bytes.
    fn hello(body: &[u8], size: usize) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1], &length[1..], body].concat();
        let mut bytes = Vec::new();
        for part in message.chunks(size.min(1 << 14)) {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            bytes.extend([0x16, 3, 1]);
            bytes.extend(length);
            bytes.extend(part);
        }
        bytes
    }

    #[test]
    fn an_api_server_is_known_by_the_name_that_is_asked_for() {
        let asking = |name: &str| {
            let length = u8::try_from(name.len()).unwrap();
            hello(&[&[0, 0, length], name.as_bytes()].concat(), usize::MAX)
        };
        for (name, governed) in [
            ("kubernetes", true),
            ("kubernetes.default.svc.cluster.local", true),
            ("kubernetes.io", false),
            ("my-kubernetes", false),
        ] {
            let sniffed = client(&asking(name));
            let expected = match governed {
                true => Sniffed::Governed("the Kubernetes API"),
                false => Sniffed::Other,
            };
            assert_eq!(sniffed, expected, "{name}");
        }
    }

    #[test]
    fn recognises_governed_protocols_one_byte_at_a_time() {
        let startup: &[u8] = &[0, 0, 0, 9, 0, 3, 0, 0, 0];
        for (bytes, name) in [
            (startup, "PostgreSQL"),
            (b"SSH-2.0-x\r\n".as_slice(), "SSH"),
        ] {
            let first = (1..=bytes.len())
                .map(|n| client(&bytes[..n]))
                .find(|s| *s != Sniffed::More);
            assert_eq!(first, Some(Sniffed::Governed(name)));
        }
    }

    #[test]
    fn a_hello_is_read_in_however_many_records_it_comes() {
        for size in [1, 2, 7, 100] {
            let bytes = hello(b"....\x0apostgresql.....", size);
            assert_eq!(client(&bytes), Sniffed::Governed("PostgreSQL"), "{size}");
            assert_eq!(client(&bytes[..9]), Sniffed::More, "{size}");
        }
        let endless = hello(&vec![b'x'; MAX_HELLO + 1], 1 << 14);
        assert_eq!(client(&endless), Sniffed::Other);
        let broken = [hello(b"....", 2), b"\x17\x03\x01\0\x01x".to_vec()].concat();
        assert_eq!(client(&broken[..7]), Sniffed::More);
        assert_eq!(
            client(&[&broken[..7], b"\x17\x03\x01\0\x01x"].concat()),
            Sniffed::Other
        );
    }

    #[test]
    fn recognises_a_server_one_byte_at_a_time_whatever_its_greeting_s_length() {
        for length in 0..=u8::MAX {
            let greeting = [&[length, 0, 0, 0], b"\x0a5.5.5-10.11".as_slice()].concat();
            let first = (1..=greeting.len())
                .map(|n| server(&greeting[..n]))
                .find(|s| *s != Sniffed::More);
            assert_eq!(first, Some(Sniffed::Governed("MySQL")), "length {length}");
        }
        assert_eq!(server(b"SSH-2.0-x"), Sniffed::Governed("SSH"));
        assert_eq!(server(b"SMTP ready"), Sniffed::Other);
    }

    #[test]
    fn what_follows_a_hello_is_no_part_of_it() {
        let hello = hello(b"abc", usize::MAX);
        let more = [&hello[..], b"\x0apostgresql"].concat();
        assert_eq!(client(&more), Sniffed::Other);
    }

    #[test]
    fn lets_other_protocols_pass() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"SMTP",
            b"\0\0\0\x02xx",
            b"\x16\x03\x01\0\x05\x01\0\0\x01a",
        ] {
            assert_eq!(client(bytes), Sniffed::Other, "{bytes:?}");
        }
    }
}
