//! A blocking client of few words: it logs in where it is trusted, sends prepared bytes, and
//! counts messages without looking into them.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::{Fail, Peer};

/// The largest message that is believed: nothing here is larger.
const MAX_MESSAGE: usize = 64 << 20;

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection that is ready for statements.
pub(crate) struct Client {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What came back for one statement.
#[derive(Default)]
pub(crate) struct Counted {
    /// DataRow messages.
    pub(crate) rows: u64,
    /// Bytes of all messages.
    pub(crate) bytes: u64,
}

impl Client {
    /// Connects and logs in.
    pub(crate) fn connect(peer: &Peer) -> Result<Self, Fail> {
        let mut stream = TcpStream::connect(peer.address)?;
        stream.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match &peer.tls {
            None => Box::new(stream),
            Some(roots) => {
                stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
                let mut answer = [0];
                stream.read_exact(&mut answer)?;
                if answer != *b"S" {
                    return Err("TLS was refused".into());
                }
                let connection = tls(File::open(roots)?)?;
                Box::new(StreamOwned::new(connection, stream))
            }
        };
        let mut client = Self {
            wire,
            buffer: vec![0; 256 << 10],
            start: 0,
            end: 0,
        };
        client.log_in(peer)?;
        Ok(client)
    }

    fn log_in(&mut self, peer: &Peer) -> Result<(), Fail> {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (key, value) in [("user", &peer.user), ("database", &peer.database)] {
            body.extend(key.as_bytes());
            body.push(0);
            body.extend(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut packet = u32::try_from(body.len() + 4)?.to_be_bytes().to_vec();
        packet.extend(body);
        self.run(&packet).map(|_| ())
    }

    /// Sends bytes and reads up to ReadyForQuery. An ErrorResponse is an error.
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Result<Counted, Fail> {
        self.wire.write_all(bytes)?;
        self.wire.flush()?;
        let mut counted = Counted::default();
        loop {
            self.need(5)?;
            let head = self.buffer.get(self.start..self.start + 5);
            let Some(&[kind, a, b, c, d]) = head else {
                return Err("the buffer lost a message".into());
            };
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))? + 1;
            if length > MAX_MESSAGE {
                return Err(format!("a message of {length} bytes").into());
            }
            self.need(length)?;
            counted.bytes += length as u64;
            match kind {
                b'D' => counted.rows += 1,
                b'E' => {
                    let body = self.buffer.get(self.start + 5..self.start + length);
                    let text = String::from_utf8_lossy(body.unwrap_or_default()).replace('\0', " ");
                    return Err(format!("the server says {text}").into());
                }
                _ => {}
            }
            self.start += length;
            if kind == b'Z' {
                return Ok(counted);
            }
        }
    }

    /// Makes sure that `count` bytes are buffered.
    fn need(&mut self, count: usize) -> Result<(), Fail> {
        while self.end - self.start < count {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buffer.len() < count {
                self.buffer.resize(count, 0);
            }
            let Some(free) = self.buffer.get_mut(self.end..) else {
                return Err("the buffer is full".into());
            };
            let read = self.wire.read(free)?;
            if read == 0 {
                return Err("closed by the other side".into());
            }
            self.end += read;
        }
        Ok(())
    }
}

fn tls(roots: File) -> Result<ClientConnection, Fail> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(BufReader::new(roots)) {
        store.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

/// A message with a type and a length.
pub(crate) fn message(kind: u8, body: &[u8]) -> Result<Vec<u8>, Fail> {
    let mut bytes = vec![kind];
    bytes.extend(u32::try_from(body.len() + 4)?.to_be_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// A simple Query.
pub(crate) fn query(sql: &str) -> Result<Vec<u8>, Fail> {
    let mut body = sql.as_bytes().to_vec();
    body.push(0);
    message(b'Q', &body)
}
