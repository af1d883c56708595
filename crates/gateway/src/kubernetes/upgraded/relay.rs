//! The loop of one stream: both sides in one task, so that neither waits for the other.

use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use weir_wire_kube::channel::{self, Exit, Sizes};

use super::recording::Recording;
use super::wire::{Channel, Said, Side, Wire};
use super::{Ended, Flow, Reason, Upgraded};
use crate::kubernetes::line::Line;
use crate::masking::{Masking, PATIENCE};

/// Bytes that wait for a slow side before no more is taken from the other.
const BACKLOG: usize = 64 << 10;
/// The same for what answers a side itself: pings, refusals of streams.
const ANSWERS: usize = 4 * BACKLOG;
/// How long a side may take to close once the other has.
const LINGER: Duration = Duration::from_secs(5);
/// What was recorded leaves after this at the latest.
const CHUNK: Duration = Duration::from_secs(1);

type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the server said and what it waits for.
enum Held<'a> {
    /// To be let pass.
    Pass(Waiting<'a, Result<(), String>>, Said),
    /// To be told, since it says that the command has ended.
    Ending(Waiting<'a, ()>, Said),
}

struct Relay<'a, C, S, F: Flow> {
    client: Line<C>,
    server: Line<S>,
    wire: Wire,
    version: channel::Subprotocol,
    stdin: bool,
    flow: &'a F,
    recording: Recording<'a, F>,
    masking: Option<Masking>,
    /// When text that waits for the rest of its line goes on without it.
    settle: Option<Instant>,
    sizes: Option<Sizes>,
    ended: Ended,
    /// What the error channel has said.
    status: Vec<u8>,
    /// The end was told.
    told: bool,
    /// The client has said that it closes.
    closes: bool,
}

/// Relays a stream to its end.
pub(in crate::kubernetes) async fn relay<C, S, F>(upgraded: Upgraded<C, S>, flow: &F) -> Ended
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow,
{
    let version = upgraded.transport.subprotocol();
    let mut relay = Relay {
        client: Line::new(upgraded.client),
        server: Line::new(upgraded.server),
        wire: Wire::new(upgraded.transport, upgraded.stdin),
        version,
        stdin: upgraded.stdin,
        flow,
        recording: Recording::new(upgraded.recorder, upgraded.started, flow),
        masking: upgraded.scanner.map(Masking::new),
        settle: None,
        sizes: Some(Sizes::default()),
        ended: Ended::default(),
        status: Vec::new(),
        told: false,
        closes: false,
    };
    let mut stop = upgraded.stop;
    relay.ended.reason = relay.run(&mut stop).await;
    relay.close(&mut stop).await;
    relay.recording.finish();
    relay.ended
}

/// Waits for what is held.
async fn wait(held: &mut Option<Held<'_>>) -> Result<(), String> {
    match held {
        Some(Held::Pass(future, _)) => future.await,
        Some(Held::Ending(future, _)) => {
            future.await;
            Ok(())
        }
        None => pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// What a future gives at once, if it does.
fn at_once<T>(future: &mut Waiting<'_, T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl<'a, C, S, F> Relay<'a, C, S, F>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Flow,
{
    async fn run(&mut self, stop: &mut super::Stop) -> Reason {
        let mut held = None;
        let mut chunks = interval(CHUNK);
        chunks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left: Option<Instant> = None;
        loop {
            if let Err(reason) = self.hear_client() {
                return reason;
            }
            if let Err(reason) = self.hear_server(&mut held) {
                return reason;
            }
            let client_left = self.client.ended || self.closes;
            if self.client.broken || (client_left && held.is_some()) {
                return Reason::Client;
            }
            // All that it has said was taken, or more of it would have been.
            if self.server.ended && held.is_none() && self.client.output.len() < BACKLOG {
                return Reason::Server;
            }
            if self.client.ended && left.is_none() && self.server.is_flushed() {
                left = Some(Instant::now() + LINGER);
                if timeout(LINGER, self.server.shut()).await.is_err() {
                    return Reason::Client;
                }
            }
            let client_may =
                self.server.output.len() < BACKLOG && self.client.output.len() < ANSWERS;
            let server_may = held.is_none() && self.client.output.len() < BACKLOG;
            tokio::select! {
                () = self.client.turn(client_may) => {}
                () = self.server.turn(server_may) => {}
                result = wait(&mut held) => {
                    let said = match held.take() {
                        Some(Held::Pass(_, said) | Held::Ending(_, said)) => said,
                        None => continue,
                    };
                    match result {
                        Ok(()) => self.show(said),
                        Err(text) => return Reason::Refused(text),
                    }
                }
                () = at(self.settle) => self.settle(),
                _ = chunks.tick(), if self.recording.is_on() => self.recording.flush(),
                () = at(left) => return Reason::Client,
                text = &mut *stop => return Reason::Stopped(text),
            }
        }
    }

    /// Takes what the client has said.
    fn hear_client(&mut self) -> Result<(), Reason> {
        while self.server.output.len() < BACKLOG && self.client.output.len() < ANSWERS {
            let (input, back) = (&mut self.client.input, &mut self.client.output);
            let said = self.wire.hear(Side::Client, input, back);
            let Some(said) = said.map_err(Reason::BadClient)? else {
                return Ok(());
            };
            let said = match said {
                Said::Data(Channel::Stdin, data, last) if self.stdin => {
                    self.ended.bytes_in += data.len() as u64;
                    self.recording
                        .keep(|recorder, at| recorder.input(at, &data));
                    Said::Data(Channel::Stdin, data, last)
                }
                Said::Data(Channel::Resize, data, last) => {
                    self.ended.bytes_in += data.len() as u64;
                    self.resize(&data);
                    Said::Data(Channel::Resize, data, last)
                }
                // The server reads nothing on the others, but a stream may end there.
                Said::Data(_, _, false) => continue,
                Said::Data(channel, _, true) => Said::Data(channel, Bytes::new(), true),
                Said::Unwanted(_) => {
                    self.wire.say(Side::Client, &said, &mut self.client.output);
                    continue;
                }
                said => {
                    self.closes |= matches!(said, Said::Close(_));
                    said
                }
            };
            self.wire.say(Side::Server, &said, &mut self.server.output);
        }
        Ok(())
    }

    /// Keeps sizes of the terminal; what is no size ends them, as it does at the server.
    fn resize(&mut self, data: &[u8]) {
        let Some(sizes) = self.sizes.as_mut() else {
            return;
        };
        match sizes.take(data) {
            Ok(sizes) => {
                for (columns, rows) in sizes {
                    self.recording.keep(|recorder, at| {
                        recorder.resize(at, columns.into(), rows.into());
                    });
                }
            }
            Err(_) => self.sizes = None,
        }
    }

    /// Takes what the server has said, until something has to wait.
    fn hear_server(&mut self, held: &mut Option<Held<'a>>) -> Result<(), Reason> {
        while held.is_none() && self.client.output.len() < BACKLOG {
            let (input, back) = (&mut self.server.input, &mut self.server.output);
            let said = self.wire.hear(Side::Server, input, back);
            let Some(said) = said.map_err(Reason::BadServer)? else {
                return Ok(());
            };
            let flow = self.flow;
            match &said {
                Said::Data(Channel::Stdout | Channel::Stderr, data, _) if !data.is_empty() => {
                    let bytes = data.len() as u64;
                    let mut pass: Waiting<'a, _> = Box::pin(flow.pass(bytes));
                    match at_once(&mut pass) {
                        Some(Ok(())) => self.show(said),
                        Some(Err(text)) => return Err(Reason::Refused(text)),
                        None => *held = Some(Held::Pass(pass, said)),
                    }
                }
                _ if self.says_the_end(&said) => {
                    self.told = true;
                    self.settle();
                    self.recording.flush();
                    let ended = self.so_far();
                    let ending: Waiting<'a, ()> =
                        Box::pin(async move { flow.ending(&ended).await });
                    *held = Some(Held::Ending(ending, said));
                }
                _ => self.show(said),
            }
        }
        Ok(())
    }

    /// Whether something of the server's says that the command has ended, for the first time.
    fn says_the_end(&mut self, said: &Said) -> bool {
        if let Said::Data(Channel::Error, data, _) = said {
            let room = channel::MAX_STATUS.saturating_sub(self.status.len());
            let data = data.get(..room).unwrap_or(data);
            self.status.extend_from_slice(data);
        }
        let ends = match said {
            Said::Data(Channel::Error, data, last) => !data.is_empty() || *last,
            Said::Reset(Channel::Error, _) | Said::Close(_) => true,
            _ => false,
        };
        ends && !self.told
    }

    /// How it has ended, as far as was said.
    fn so_far(&mut self) -> Ended {
        if let Some(masking) = &self.masking {
            self.ended.masked = masking.labels();
        }
        // Nothing said is success in the first versions, and nothing known where it was cut.
        if !self.status.is_empty() {
            match channel::exit(self.version, &self.status) {
                Exit::Code(code) => self.ended.exit = Some(code),
                Exit::Failed(text) => self.ended.failure = Some(text),
            }
        }
        self.ended.clone()
    }

    /// Something of the server's goes on.
    fn show(&mut self, said: Said) {
        match said {
            Said::Data(channel @ (Channel::Stdout | Channel::Stderr), data, last) => {
                self.ended.bytes_out += data.len() as u64;
                let is_error = channel == Channel::Stderr;
                let Some(masking) = self.masking.as_mut() else {
                    return self.put(channel, data, last);
                };
                let is_sign = data.is_empty() && !last;
                let mut shown = Vec::with_capacity(data.len());
                if masking.take(is_error, &data, &mut shown) {
                    self.settle = Some(Instant::now() + PATIENCE);
                }
                if last {
                    masking.flush(is_error, &mut shown);
                }
                if !shown.is_empty() || last || is_sign {
                    self.put(channel, shown.into(), last);
                }
            }
            Said::Data(Channel::Stdin | Channel::Resize, _, false) => {}
            said => {
                self.settle();
                self.wire.say(Side::Client, &said, &mut self.client.output);
            }
        }
    }

    /// Shows text that waits for the rest of its line.
    fn settle(&mut self) {
        self.settle = None;
        for channel in [Channel::Stdout, Channel::Stderr] {
            let mut shown = Vec::new();
            if let Some(masking) = self.masking.as_mut() {
                masking.flush(channel == Channel::Stderr, &mut shown);
            }
            if !shown.is_empty() {
                self.put(channel, shown.into(), false);
            }
        }
    }

    /// What is shown is recorded, and sent.
    fn put(&mut self, channel: Channel, data: Bytes, last: bool) {
        self.recording.keep(|recorder, at| match channel {
            Channel::Stderr => recorder.errors(at, &data),
            _ => recorder.output(at, &data),
        });
        let said = Said::Data(channel, data, last);
        self.wire.say(Side::Client, &said, &mut self.client.output);
    }

    /// Ends both sides, in a way that the client shows where it was not the server that ended.
    async fn close(&mut self, stop: &mut super::Stop) {
        self.settle();
        let ended = self.so_far();
        let text = match ended.reason.clone() {
            Reason::Server | Reason::Client => None,
            Reason::Refused(text) | Reason::Stopped(text) => Some(text),
            Reason::BadClient(text) => Some(format!("weir: the client sent {text}")),
            Reason::BadServer(text) => Some(format!("weir: the server sent {text}")),
        };
        if let Some(text) = text {
            let out = &mut self.client.output;
            self.wire.refuse(self.version, &text, out);
            self.wire.hang_up(Side::Server, &mut self.server.output);
        } else if !self.told {
            self.recording.finish();
            self.flow.ending(&ended).await;
        }
        if ended.reason == Reason::Server {
            // The client may read what is left as slowly as it likes.
            tokio::select! {
                () = self.client.delivered() => {}
                _ = stop => {}
            }
        }
        let client = async {
            self.client.shut().await;
            self.client.drain().await;
        };
        let server = async {
            self.server.shut().await;
            self.server.drain().await;
        };
        let both = async { tokio::join!(client, server) };
        drop(timeout(LINGER, both).await);
    }
}
