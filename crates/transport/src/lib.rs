//! Everything between a socket and a protocol engine.
//!
//! * [`redirect`]: an nftables table, written through netlink, that no outbound
//!   TCP connection can avoid;
//! * [`exclusion`]: how Weir's own connections are told apart (cgroup v2);
//! * [`selftest`]: proof, before anything is served, that both of these hold;
//! * [`addr`]: who dials, where to, and where Weir dials in turn;
//! * [`listen`]: accepting with a cap, a loop guard and a drain;
//! * [`pair`]: a connection with both ends here, for a protocol inside another;
//! * [`tls`]: terminating with minted certificates, originating with verification;
//! * [`privileges`]: giving up what programming the namespace needed, for good;
//! * [`names`]: how a static program looks up users and hosts;
//! * [`netns`]: the sealed network namespace of `weir run`;
//! * [`resident`]: the program's own code, given back while it is not in use.
//!
//! Refuses: to fall back. A destination that cannot be read, a rule that cannot
//! be installed, a cgroup that is shared: each is an error, never a guess.
//! This is the only crate that holds `unsafe` code; each such module is small
//! and states why it is sound.

pub mod addr;
pub mod exclusion;
pub mod listen;
pub mod names;
pub mod netns;
pub mod pair;
pub mod privileges;
pub mod redirect;
pub mod resident;
pub mod resolver;
pub mod selftest;
pub mod tls;

mod netlink;
mod sys;
