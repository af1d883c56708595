//! The requests of one connection that are on their way, so that one without any can be closed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::watch;

use crate::Body;

/// How many there are.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<watch::Sender<usize>>);

impl Running {
    /// Counts a request, until what is returned is dropped.
    pub(crate) fn one(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(Arc::clone(&self.0))
    }

    /// Resolves when there was none for so long.
    pub(crate) async fn idle(self, patience: Option<Duration>) {
        let Some(patience) = patience else {
            return std::future::pending().await;
        };
        let mut count = self.0.subscribe();
        loop {
            // The sender is this one's own.
            let _ = count.wait_for(|count| *count == 0).await;
            let next = count.wait_for(|count| *count > 0);
            if tokio::time::timeout(patience, next).await.is_err() {
                return;
            }
        }
    }
}

/// One request.
pub(crate) struct One(Arc<watch::Sender<usize>>);

impl One {
    /// It lasts until its answer is sent.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Sending { body, _one: self }.boxed()
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct Sending {
    body: Body,
    _one: One,
}

impl hyper::body::Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_while_no_answer_is_on_its_way() {
        let running = Running::default();
        let patience = Duration::from_secs(60);
        let idle = tokio::spawn(running.clone().idle(Some(patience)));
        tokio::time::sleep(patience / 2).await;
        let body = running.one().until_sent(Full::new(Bytes::new()).boxed());
        tokio::time::sleep(patience * 3).await;
        assert!(!idle.is_finished());
        drop(body);
        tokio::time::sleep(patience / 2).await;
        assert!(!idle.is_finished());
        tokio::time::sleep(patience).await;
        assert!(idle.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_said_a_connection_may_stay() {
        let idle = tokio::spawn(Running::default().idle(None));
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        assert!(!idle.is_finished());
    }
}
