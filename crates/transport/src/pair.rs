//! A TCP connection whose two ends are both this process's own: what comes out of one protocol goes
//! into another as any connection would.
//!
//! Refuses: a peer that is not the other end. Loopback is shared with the governed application, which
//! may dial the port in between.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};

/// Strangers that may dial in between before it is given up.
const STRANGERS: usize = 64;

/// Two ends of one connection, `TCP_NODELAY` set.
///
/// # Errors
/// No socket could be had, or strangers would not let through.
pub async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    let own = near.local_addr()?;
    for _ in 0..STRANGERS {
        let (far, peer) = listener.accept().await?;
        if peer == own {
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            return Ok((near, far));
        }
    }
    Err(io::Error::other("strangers dial a port of Weir's own"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_goes_in_at_one_end_comes_out_at_the_other() {
        let (mut near, mut far) = pair().await.unwrap();
        near.write_all(b"there").await.unwrap();
        far.write_all(b"back").await.unwrap();
        drop(near.shutdown().await);
        let mut there = String::new();
        far.read_to_string(&mut there).await.unwrap();
        let mut back = [0; 4];
        near.read_exact(&mut back).await.unwrap();
        assert_eq!((there.as_str(), &back), ("there", b"back"));
    }
}
