//! How a session's bytes become the text that the server reads.
//!
//! The server converts what a client sends from `client_encoding` before it looks at it. Weir does the same
//! where a conversion is certain: from UTF-8, and from encodings of one byte a character whose first half is
//! ASCII, so that what is a letter, a quote or a comment is the same before and after. It refuses to guess:
//! bytes beyond ASCII in any other encoding have no text.

use std::borrow::Cow;

use encoding_rs::{
    IBM866, ISO_8859_2, ISO_8859_5, ISO_8859_15, KOI8_R, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252,
    WINDOWS_1254,
};

/// The encodings of a session, as the server last reported them.
#[derive(Debug)]
pub(super) struct Encodings {
    client: Client,
    /// The database's is UTF-8; false until the server says so.
    server_is_utf8: bool,
}

#[derive(Debug, Clone, Copy)]
enum Client {
    Utf8,
    /// None: bytes are taken for what the database has.
    AsServer,
    Latin1,
    /// One byte a character, by a table.
    Table(&'static encoding_rs::Encoding),
    Unknown,
}

impl Default for Encodings {
    fn default() -> Self {
        Self {
            client: Client::Utf8,
            server_is_utf8: false,
        }
    }
}

impl Encodings {
    /// What the server calls the client's encoding.
    pub(super) fn client_is(&mut self, name: &[u8]) {
        self.client = match name {
            b"UTF8" => Client::Utf8,
            b"SQL_ASCII" => Client::AsServer,
            b"LATIN1" => Client::Latin1,
            b"LATIN2" => Client::Table(ISO_8859_2),
            b"LATIN9" => Client::Table(ISO_8859_15),
            b"ISO_8859_5" => Client::Table(ISO_8859_5),
            b"KOI8R" => Client::Table(KOI8_R),
            b"WIN866" => Client::Table(IBM866),
            b"WIN1250" => Client::Table(WINDOWS_1250),
            b"WIN1251" => Client::Table(WINDOWS_1251),
            b"WIN1252" => Client::Table(WINDOWS_1252),
            b"WIN1254" => Client::Table(WINDOWS_1254),
            _ => Client::Unknown,
        };
    }

    /// What the server calls the database's encoding.
    pub(super) fn server_is(&mut self, name: &[u8]) {
        self.server_is_utf8 = name == b"UTF8";
    }

    /// Whether bytes mean what they mean in UTF-8.
    pub(super) fn is_utf8(&self) -> bool {
        match self.client {
            Client::Utf8 => true,
            Client::AsServer => self.server_is_utf8,
            Client::Latin1 | Client::Table(_) | Client::Unknown => false,
        }
    }

    /// The text that the server reads in `bytes`; `None` where that is not certain.
    pub(super) fn text<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        if self.is_utf8() || bytes.is_ascii() {
            return std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
        }
        match self.client {
            Client::Latin1 if self.server_is_utf8 => {
                Some(bytes.iter().copied().map(char::from).collect())
            }
            Client::Table(table) if self.server_is_utf8 => {
                table.decode_without_bom_handling_and_without_replacement(bytes)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encodings(client: &[u8], server: &[u8]) -> Encodings {
        let mut encodings = Encodings::default();
        encodings.client_is(client);
        encodings.server_is(server);
        encodings
    }

    #[test]
    fn one_byte_a_character_is_read_as_the_server_converts_it() {
        for (client, bytes, text) in [
            (
                &b"LATIN1"[..],
                &b"select '\xe4\xa4\x80'"[..],
                "select 'ä¤\u{80}'",
            ),
            (b"LATIN9", b"\xa4", "€"),
            (b"WIN1252", b"\x80 \xe4", "€ ä"),
            (b"WIN1251", b"\xf0", "р"),
            (b"KOI8R", b"\xd2", "р"),
            (b"SQL_ASCII", "ä".as_bytes(), "ä"),
        ] {
            let read = encodings(client, b"UTF8");
            assert_eq!(read.text(bytes).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_not_certain_has_no_text() {
        let bytes = b"select '\x83\x5c'";
        assert_eq!(encodings(b"SJIS", b"UTF8").text(bytes), None);
        assert_eq!(encodings(b"GBK", b"UTF8").text(bytes), None);
        assert_eq!(encodings(b"LATIN1", b"LATIN1").text(b"\xe4"), None);
        assert_eq!(
            encodings(b"SQL_ASCII", b"EUC_JP").text("ä".as_bytes()),
            None
        );
        assert_eq!(encodings(b"UTF8", b"UTF8").text(b"\xe4"), None);
        let mut early = Encodings::default();
        early.client_is(b"LATIN1");
        assert_eq!(early.text(b"\xe4"), None);
        assert_eq!(early.text(b"select 1").as_deref(), Some("select 1"));
    }
}
