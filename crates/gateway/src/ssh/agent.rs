//! Logging in with the agent that the client forwards.
//!
//! A signature is bound to the connection that it was made for, so a public key cannot be handed on. An
//! agent can be asked again: the client shows a key to Weir, opens its session, and forwards its agent
//! (`ssh -A`), as policy permits; Weir has that agent sign its own login to the server. What the client
//! sends meanwhile is kept, in order, for the relay.
//!
//! The session is confirmed to the client before the server has opened it, with the number that servers
//! give to their first channel.
//! Refuses: a client that starts a program without its agent, and a server that numbers otherwise.

use russh::keys::PublicKey;
use russh::server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::UnboundedReceiver;

use super::channel::{Channel, Side};
use super::packet::{self, Build, Message};
use super::relay::{Event, Inbox};
use super::upstream::Upstream;

/// The number of the first channel that a server opens.
const FIRST: u32 = 0;
/// Weir's number of the channel to the agent.
const AGENT: u32 = 1 << 31;
const AGENT_WINDOW: u32 = 1 << 20;
const MAX_PACKET: u32 = 32 << 10;
/// Most messages that are kept for the relay.
const MAX_KEPT: usize = 256;

/// A session that is open on both sides, and what came after it.
pub(super) struct Early {
    pub(super) channel: Channel,
    pub(super) client: u32,
    pub(super) server: u32,
    pub(super) rest: Vec<Event>,
}

/// The client and the server, as far as they are not joined yet.
struct Meeting<'a> {
    client: &'a server::Handle,
    inbox: &'a Inbox,
    events: &'a mut UnboundedReceiver<Event>,
    kept: Vec<Event>,
}

/// Logs in to the server as `user` with the key that the client has shown.
///
/// # Errors
/// The client forwards no agent, the agent does not have the key, or the server refuses it: why.
pub(super) async fn log_in(
    upstream: &mut Upstream,
    client: &server::Handle,
    (inbox, events): (&Inbox, &mut UnboundedReceiver<Event>),
    user: &str,
    key: &PublicKey,
) -> Result<Early, String> {
    let mut meeting = Meeting {
        client,
        inbox,
        events,
        kept: Vec::new(),
    };
    let (number, offered, open) = meeting.session().await?;
    meeting.agent_requested().await?;
    let agent = meeting.open_agent().await?;
    meeting.authenticate(upstream, agent, user, key).await?;
    meeting.close_agent(agent).await?;
    let mut channel = Channel::new(Side::Client, number, offered, true, 0);
    let open = packet::with_window(&open, channel.offer());
    drop(upstream.sender().raw(open));
    let (server, window, max_packet) = meeting.opened(number).await?;
    channel.confirm(server, window, max_packet);
    Ok(Early {
        channel,
        client: number,
        server,
        rest: meeting.kept,
    })
}

impl Meeting<'_> {
    /// The next message of the client's; what the server says is kept.
    async fn of_client(&mut self) -> Result<Vec<u8>, String> {
        loop {
            let event = self.events.recv().await;
            match event {
                Some(Event::Client(message)) => return Ok(message),
                Some(Event::ServerEnded(reason)) => return Err(reason),
                Some(event) => self.keep(event)?,
                None => return Err("closed".to_owned()),
            }
        }
    }

    fn keep(&mut self, event: Event) -> Result<(), String> {
        if self.kept.len() >= MAX_KEPT {
            return Err("too much comes before the login".to_owned());
        }
        self.kept.push(event);
        Ok(())
    }

    fn to_client(&self, message: Vec<u8>) {
        drop(self.client.raw(message));
    }

    /// Waits for the session that the client opens, and lets it believe that it is open.
    async fn session(&mut self) -> Result<(u32, (u32, u32), Vec<u8>), String> {
        loop {
            let message = self.of_client().await?;
            let parsed = Message::parse(&message).map_err(|error| format!("client: {error}"))?;
            if let Message::Open {
                kind: b"session",
                sender,
                window,
                max_packet,
                ..
            } = parsed
            {
                let confirmation = Build::new(packet::OPEN_CONFIRMATION)
                    .u32(sender)
                    .u32(FIRST)
                    .u32(0)
                    .u32(MAX_PACKET);
                self.to_client(confirmation.done());
                self.inbox.taken(&Event::Client(message.clone()));
                return Ok((sender, (window, max_packet), message));
            }
            self.keep(Event::Client(message))?;
        }
    }

    /// Waits until the client says that its agent may be asked.
    async fn agent_requested(&mut self) -> Result<(), String> {
        loop {
            let message = self.of_client().await?;
            let parsed = Message::parse(&message).map_err(|error| format!("client: {error}"))?;
            let (requested, starts) = match parsed {
                Message::Request { name, .. } => (
                    matches!(name, b"auth-agent-req@openssh.com" | b"auth-agent-req"),
                    matches!(name, b"shell" | b"exec" | b"subsystem"),
                ),
                _ => (false, false),
            };
            if starts {
                let reason = "a public key cannot pass Weir, but an agent can: forward it (ssh -A)";
                return Err(reason.to_owned());
            }
            self.keep(Event::Client(message))?;
            if requested {
                return Ok(());
            }
        }
    }

    /// Opens a channel to the agent; the client's number of it.
    async fn open_agent(&mut self) -> Result<u32, String> {
        let open = Build::new(packet::OPEN)
            .string(b"auth-agent@openssh.com")
            .u32(AGENT)
            .u32(AGENT_WINDOW)
            .u32(MAX_PACKET);
        self.to_client(open.done());
        loop {
            let message = self.of_client().await?;
            match Message::parse(&message).map_err(|error| format!("client: {error}"))? {
                Message::Confirmation {
                    recipient: AGENT,
                    sender,
                    ..
                } => {
                    self.inbox.taken(&Event::Client(message));
                    return Ok(sender);
                }
                Message::OpenFailure { recipient: AGENT } => {
                    let said = packet::failure_text(&message);
                    return Err(format!("the client's agent cannot be reached: {said}"));
                }
                _ => self.keep(Event::Client(message))?,
            }
        }
    }

    /// Has the agent sign the login.
    async fn authenticate(
        &mut self,
        upstream: &mut Upstream,
        agent: u32,
        user: &str,
        key: &PublicKey,
    ) -> Result<(), String> {
        let (near, far) = tokio::io::duplex(MAX_PACKET as usize);
        let (mut questions, mut answers) = tokio::io::split(near);
        let mut login = std::pin::pin!(upstream.log_in_by_agent(user, key, far));
        let mut question = Vec::with_capacity(MAX_PACKET as usize);
        loop {
            tokio::select! {
                done = &mut login => return done,
                read = questions.read_buf(&mut question) => {
                    if matches!(read, Ok(1..)) {
                        self.to_client(packet::data(agent, None, &question));
                        question.clear();
                    }
                }
                message = self.of_client() => {
                    let message = message?;
                    match Message::parse(&message).map_err(|error| format!("client: {error}"))? {
                        Message::Data { recipient: AGENT, data } => {
                            let given = answers.write_all(data).await;
                            given.map_err(|error| format!("the agent: {error}"))?;
                            self.inbox.taken(&Event::Client(message));
                        }
                        Message::Close { recipient: AGENT } | Message::Eof { recipient: AGENT } => {
                            return Err("the client's agent has gone".to_owned());
                        }
                        Message::WindowAdjust { recipient: AGENT, .. } => {}
                        _ => self.keep(Event::Client(message))?,
                    }
                }
            }
        }
    }

    /// The agent is not asked any more.
    async fn close_agent(&mut self, agent: u32) -> Result<(), String> {
        self.to_client(Build::channel(packet::CLOSE, agent));
        loop {
            let message = self.of_client().await?;
            match Message::parse(&message).map_err(|error| format!("client: {error}"))? {
                Message::Close { recipient: AGENT } => return Ok(()),
                Message::Data {
                    recipient: AGENT, ..
                }
                | Message::Eof { recipient: AGENT }
                | Message::WindowAdjust {
                    recipient: AGENT, ..
                } => {}
                _ => self.keep(Event::Client(message))?,
            }
        }
    }

    /// Waits until the server has opened the session: its number, window and longest message.
    async fn opened(&mut self, number: u32) -> Result<(u32, u32, u32), String> {
        loop {
            let event = self.events.recv().await;
            let message = match event {
                Some(Event::Server(message)) => message,
                Some(Event::ServerEnded(reason)) => return Err(reason),
                Some(event) => {
                    self.keep(event)?;
                    continue;
                }
                None => return Err("closed".to_owned()),
            };
            match Message::parse(&message).map_err(|error| format!("server: {error}"))? {
                Message::Confirmation {
                    recipient,
                    sender: FIRST,
                    window,
                    max_packet,
                } if recipient == number => {
                    self.inbox.taken(&Event::Server(message));
                    return Ok((FIRST, window, max_packet));
                }
                Message::Confirmation { .. } => {
                    return Err("the server numbers its first channel in its own way".to_owned());
                }
                Message::OpenFailure { .. } => return Err(packet::failure_text(&message)),
                _ => self.keep(Event::Server(message))?,
            }
        }
    }
}
