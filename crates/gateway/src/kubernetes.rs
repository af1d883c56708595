//! The Kubernetes API: the client's connection ends here, the server's begins here, and every request
//! between the two passes [`exchange`].
//!
//! `hyper` does HTTP on both sides, so that what a client sends is read once and written anew: nothing
//! of its framing reaches the server. What may happen is asked of the policy before a request goes on,
//! never after; what its answer shows is decided as it goes by.

mod answer;
mod asked;
mod builtin;
mod conditions;
mod copies;
mod credentials;
mod effects;
mod exchange;
mod explain;
mod gate;
mod head;
mod line;
mod memory;
mod objects;
mod people;
mod placeholder;
mod port_forward;
mod refusal;
mod reviewed;
mod serve;
mod statement;
mod streams;
mod upgraded;
mod upstream;
mod withheld;

pub use explain::{KubernetesAnswer, KubernetesQuestion, explain_kubernetes};
pub(crate) use memory::Memory;
pub use placeholder::{PlaceholderClaims, Placeholders};
pub(crate) use port_forward::PortForward;
pub(crate) use serve::serve;
