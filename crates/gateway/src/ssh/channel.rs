//! One channel: its two numbers, its two directions, and what waits in it.

use std::collections::VecDeque;

use tokio::task::AbortHandle;
use weir_audit::{Direction, Statement, TransferProtocol};
use weir_policy::{Decision, Hold};

use super::asked::Asked;
use super::data::Waited;
use super::flow::{Flow, MAX_WINDOW};
use super::packet::{self, Build};
use super::scp::Scp;
use super::sftp::Sftp;
use super::statement::Active;
use super::through::Dial;
use crate::pipe::Pipe;

/// Who opened a channel, or sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    /// The one at the other end.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The exit status of what may not run, or not go on: a shell's for what it may not execute.
const REFUSED_STATUS: u32 = 126;
/// Messages of a client that may wait behind a request that is not decided; its window bounds the data.
const MAX_WAITING: usize = 256;
/// Data that waits there is joined up to this: what is typed comes in single bytes.
const JOINED: usize = 32 << 10;

/// A request that is being decided or runs.
pub(super) struct Request {
    pub(super) asked: Asked,
    /// The message that asks.
    pub(super) packet: Vec<u8>,
    pub(super) want_reply: bool,
    pub(super) number: u64,
    /// Whether it opens its channel.
    pub(super) opens: Option<Side>,
    /// Its number inside the SFTP subsystem.
    pub(super) id: u32,
}

/// A request that waits for people, budgets or evidence.
pub(super) struct Parked {
    pub(super) ticket: u64,
    /// Taken out when its turn has come.
    pub(super) request: Option<Request>,
    pub(super) decided: Option<(Decision, Statement)>,
    pub(super) hold: Option<Hold>,
    pub(super) task: AbortHandle,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whose answer to a request comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The server's.
    Server,
    /// The server's, to a program.
    Started,
    /// Weir's: refused.
    Refused,
    /// Weir's, in the place of a program that may not run: it begins, says this on standard error, and
    /// ends. A client that is told of a failure instead leaves before it shows anything.
    Ended {
        /// Whether the client waits to be told that it begins.
        want_reply: bool,
        /// What it says.
        text: String,
    },
}

/// Requests in order: one that is being decided holds back those behind it.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) parked: Option<Parked>,
    pub(super) waiting: VecDeque<Vec<u8>>,
    pub(super) replies: VecDeque<Reply>,
}

impl Lane {
    /// Keeps a message back.
    ///
    /// # Errors
    /// Too many wait.
    pub(super) fn wait(&mut self, message: Vec<u8>) -> Result<(), &'static str> {
        if let Some(before) = self.waiting.back_mut()
            && packet::join(before, &message, JOINED)
        {
            return Ok(());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err("too many messages behind a request that is held");
        }
        self.waiting.push_back(message);
        Ok(())
    }
}

/// Something of the server's that has not been counted yet.
pub(super) enum Arrival {
    Data(Option<u32>, Vec<u8>),
    Message(Vec<u8>),
}

/// A result that a limit holds back.
pub(super) struct Stopped {
    pub(super) ticket: u64,
    /// What for; nothing for a pause.
    pub(super) waited: Option<Waited>,
    /// What is given up with it; nothing of what keeps evidence.
    pub(super) task: Option<AbortHandle>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Who has closed a channel, and who was told.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Closing {
    pub(super) by_client: bool,
    pub(super) by_server: bool,
    pub(super) to_client: bool,
    pub(super) to_server: bool,
}

/// A channel.
pub(super) struct Channel {
    pub(super) opener: Side,
    pub(super) is_session: bool,
    /// The client's number.
    pub(super) client: Option<u32>,
    /// The server's number.
    pub(super) server: Option<u32>,
    /// Window and longest message that the opener offers.
    offered: (u32, u32),
    /// Most that a sender may send ahead.
    pub(super) window: u32,
    /// To the server.
    pub(super) up: Flow,
    /// To the client.
    pub(super) down: Flow,
    pub(super) lane: Lane,
    pub(super) arrivals: VecDeque<Arrival>,
    pub(super) stopped: Option<Stopped>,
    pub(super) active: Option<Active>,
    pub(super) closing: Closing,
    /// The other side was asked to open it.
    pub(super) asked: bool,
    pub(super) confirmed: bool,
    /// A program was asked for, and the server has not refused it.
    pub(super) started: bool,
    /// The size of its terminal, if it has one.
    pub(super) terminal: Option<(u32, u32)>,
    /// Variables that were set in it.
    pub(super) sent: Vec<(String, String)>,
    pub(super) sftp: Option<Box<Sftp>>,
    pub(super) scp: Option<Box<Scp>>,
    /// What the server has said of how it ended, until that is kept.
    pub(super) last: Vec<Vec<u8>>,
    /// What its command moves in a protocol that is counted and not read.
    pub(super) stream: Option<Stream>,
    /// Its connection, where its data is led through the engine.
    pub(super) pipe: Option<Pipe<Side>>,
    /// Who waits for it, where it is one of Weir's own.
    pub(super) dial: Option<Dial>,
}

/// What a command moves as a whole.
pub(super) struct Stream {
    pub(super) protocol: TransferProtocol,
    pub(super) direction: Direction,
    pub(super) path: String,
    /// Bytes of the client's so far.
    pub(super) sent: u64,
}

/// A channel gets the whole window while so many others are open at most; then a part of it.
const ROOMY: usize = 16;
const SMALL_WINDOW: u32 = 256 << 10;

impl Channel {
    /// A channel that is asked for, beside `others`.
    pub(super) fn new(
        opener: Side,
        number: u32,
        offered: (u32, u32),
        is_session: bool,
        others: usize,
    ) -> Self {
        let (client, server) = match opener {
            Side::Client => (Some(number), None),
            Side::Server => (None, Some(number)),
        };
        let window = if others < ROOMY {
            MAX_WINDOW
        } else {
            SMALL_WINDOW
        };
        Self {
            opener,
            is_session,
            client,
            server,
            offered,
            window,
            up: Flow::new(0, 0, 1, window),
            down: Flow::new(0, 0, 1, window),
            lane: Lane::default(),
            arrivals: VecDeque::new(),
            stopped: None,
            active: None,
            closing: Closing::default(),
            asked: false,
            confirmed: false,
            started: false,
            terminal: None,
            sent: Vec::new(),
            sftp: None,
            scp: None,
            last: Vec::new(),
            stream: None,
            pipe: None,
            dial: None,
        }
    }

    /// The window that the other side is told of.
    pub(super) fn offer(&self) -> u32 {
        self.offered.0.min(self.window)
    }

    /// The other side has opened it too, under this number and with this window and longest message.
    pub(super) fn confirm(&mut self, number: u32, window: u32, max_packet: u32) {
        let (offered, longest) = self.offered;
        let (towards_opener, towards_other) = match self.opener {
            Side::Client => {
                self.server = Some(number);
                (&mut self.down, &mut self.up)
            }
            Side::Server => {
                self.client = Some(number);
                (&mut self.up, &mut self.down)
            }
        };
        let opener = match self.opener {
            Side::Client => self.client,
            Side::Server => self.server,
        };
        *towards_opener = Flow::new(opener.unwrap_or(0), offered, longest, self.window);
        *towards_other = Flow::new(number, window, max_packet, self.window);
        self.confirmed = true;
    }

    /// Whether an answer to its opening is due, to that side: what still waits to be judged was not
    /// asked yet.
    pub(super) fn may_be_answered(&self, opener: Side) -> bool {
        self.asked && !self.confirmed && self.opener == opener
    }

    /// What the client may send ahead.
    pub(super) fn up_window(&self) -> u32 {
        self.up.granted()
    }

    /// Ends it for the client, as a program that may not run would. The server's side is closed when
    /// the client has answered.
    pub(super) fn end(&mut self) {
        if self.closing.to_client {
            return;
        }
        self.closing.to_client = true;
        let recipient = self.client.unwrap_or(0);
        if self.is_session {
            let status = Build::new(packet::CHANNEL_REQUEST)
                .u32(recipient)
                .string(b"exit-status")
                .flag(false)
                .u32(REFUSED_STATUS);
            self.down.message(status.done());
        }
        self.down.message(Build::channel(packet::EOF, recipient));
        self.down.message(Build::channel(packet::CLOSE, recipient));
    }

    /// Whether one end of it is at this side: of a forward that is led through the engine, and of a
    /// channel of Weir's own, the other end is Weir's.
    pub(super) fn ends_at(&self, side: Side) -> bool {
        match (&self.pipe, &self.dial) {
            (Some(pipe), _) => pipe.side() == side,
            (None, Some(_)) => side == Side::Server,
            (None, None) => true,
        }
    }

    /// Whether a program may be asked for: it is a session, and none was.
    pub(super) fn may_start(&self) -> bool {
        self.is_session && !self.started
    }

    /// Whether what the client sends waits for a file of scp's to be decided.
    pub(super) fn holds_requests(&self) -> bool {
        self.scp.as_ref().is_some_and(|scp| scp.holds_requests())
    }

    /// Whether results wait to be counted.
    pub(super) fn holds_results(&self) -> bool {
        let held = self.sftp.as_ref().is_some_and(|sftp| sftp.holds())
            || self.scp.as_ref().is_some_and(|scp| scp.holds_results());
        self.stopped.is_some() || !self.arrivals.is_empty() || held
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_channel_with_a_connection_is_its_peers_and_nobody_elses() {
        let mut channel = Channel::new(Side::Client, 1, (1, 1), false, 0);
        assert!(channel.ends_at(Side::Client) && channel.ends_at(Side::Server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (side, other) in [(Side::Client, Side::Server), (Side::Server, Side::Client)] {
            let near = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            channel.pipe = Some(Pipe::new(side, near, |_| std::future::ready(true)));
            assert!(channel.ends_at(side) && !channel.ends_at(other));
        }
    }

    #[test]
    fn an_opening_is_answered_once_it_was_asked_for_and_by_the_other_side() {
        let mut channel = Channel::new(Side::Server, 1, (1, 1), false, 0);
        assert!(!channel.may_be_answered(Side::Server), "it is still held");
        channel.asked = true;
        assert!(channel.may_be_answered(Side::Server));
        assert!(!channel.may_be_answered(Side::Client));
        channel.confirm(7, 1, 1);
        assert!(!channel.may_be_answered(Side::Server), "it was answered");
    }

    #[test]
    fn a_session_starts_one_program_and_nothing_else_does() {
        let mut session = Channel::new(Side::Client, 1, (1, 1), true, 0);
        assert!(session.may_start());
        session.started = true;
        assert!(!session.may_start());
        assert!(!Channel::new(Side::Client, 1, (1, 1), false, 0).may_start());
    }

    #[test]
    fn what_waits_is_bounded_by_messages_and_single_bytes_are_joined() {
        let mut lane = Lane::default();
        for _ in 0..10_000 {
            lane.wait(packet::data(1, None, b"x")).unwrap();
        }
        assert_eq!(lane.waiting.len(), 1);
        let resize = || Build::channel(packet::CHANNEL_REQUEST, 1);
        while lane.waiting.len() < MAX_WAITING {
            lane.wait(resize()).unwrap();
        }
        assert!(lane.wait(resize()).is_err());
    }
}
