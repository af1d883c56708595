//! Where the hosts are that names stand for.
//!
//! A name may decide which policy a connection is under. In a pod, `/etc/hosts` and `/etc/resolv.conf` are files that
//! all containers share and that a root among them may write, so there only name servers are asked, those that were
//! known before the application ran, and for a name as it is: no hosts file, no search list. Elsewhere the files are
//! the administrator's, and the system answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;

use domain::base::Name;
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};

/// Where name servers listen.
const PORT: u16 = 53;

/// Answers where a name is.
#[derive(Debug)]
pub struct Resolver(Source);

#[derive(Debug)]
enum Source {
    System,
    Servers(Box<StubResolver>),
    Nobody,
}

impl Resolver {
    /// As every program of this machine finds hosts.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// By these name servers alone, in this order; without one nothing is known.
    #[must_use]
    pub fn of(servers: &[IpAddr]) -> Self {
        let places = servers.iter().map(|ip| SocketAddr::new(*ip, PORT));
        Self::at(places.collect())
    }

    fn at(servers: Vec<SocketAddr>) -> Self {
        if servers.is_empty() {
            return Self(Source::Nobody);
        }
        let mut conf = ResolvConf::new();
        let servers = servers.into_iter();
        conf.servers = servers
            .map(|at| ServerConf::new(at, Transport::UdpTcp))
            .collect();
        Self(Source::Servers(Box::new(StubResolver::from_conf(conf))))
    }

    /// The addresses of a host, of both families.
    ///
    /// # Errors
    /// The text is no name, or nobody knows an address of it.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let resolver = match &self.0 {
            Source::System => {
                let found = tokio::net::lookup_host((name, 0)).await?;
                return Ok(found.map(|address| address.ip()).collect());
            }
            Source::Nobody => return Err(io::Error::other("the pod has no name server")),
            Source::Servers(resolver) => resolver,
        };
        let name = Name::<Vec<u8>>::from_str(name).map_err(io::Error::other)?;
        let addresses: Vec<IpAddr> = resolver.lookup_host(&name).await?.iter().collect();
        if addresses.is_empty() {
            return Err(io::Error::other("no name server knows an address of it"));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use domain::base::iana::Rcode;
    use domain::base::{Message, MessageBuilder, Rtype, Ttl};
    use domain::rdata::A;
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that knows one name.
    async fn server(knows: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let place = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let message = Message::from_octets(buffer[..length].to_vec()).unwrap();
                let question = message.first_question().unwrap();
                let known = question.qname().to_string() == knows;
                let code = if known {
                    Rcode::NOERROR
                } else {
                    Rcode::NXDOMAIN
                };
                let answer = MessageBuilder::new_vec();
                let mut answer = answer.start_answer(&message, code).unwrap();
                if known && question.qtype() == Rtype::A {
                    let data = A::new(Ipv4Addr::new(192, 0, 2, 7));
                    let name = question.qname();
                    answer.push((name, Ttl::from_secs(30), data)).unwrap();
                }
                socket.send_to(&answer.finish(), from).await.unwrap();
            }
        });
        place
    }

    #[tokio::test]
    async fn only_the_servers_are_asked_and_only_for_the_name_itself() {
        let resolver = Resolver::at(vec![server("orders.corp.example").await]);
        let found = resolver.addresses("orders.corp.example").await.unwrap();
        assert_eq!(found, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        // the system's files know it
        assert!(resolver.addresses("localhost").await.is_err());
        assert!(resolver.addresses("orders").await.is_err());
        assert!(resolver.addresses("a..b").await.is_err());
    }

    #[tokio::test]
    async fn a_pod_without_name_servers_knows_no_host() {
        assert!(Resolver::of(&[]).addresses("localhost").await.is_err());
        assert!(
            !Resolver::system()
                .addresses("localhost")
                .await
                .unwrap()
                .is_empty()
        );
    }
}
