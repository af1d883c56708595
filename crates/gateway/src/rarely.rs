//! What a busy task waits for beside its work, and that hardly ever comes.
//!
//! A task that is woken for one thing polls all that it waits for, and a channel or a select takes a few hundred
//! instructions to say that there is nothing. [`Rarely`] asks its future only after that future itself has
//! called for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is polled first when it is new, and then only after it was woken.
pub(crate) struct Rarely<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl<F: Future> Rarely<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }
}

impl<F: Future> Future for Rarely<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Whoever rings after this wakes the task; whoever rang before is seen below.
        self.bell.task.register(cx.waker());
        if !self.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.bell.rung.store(false, Ordering::Release);
        let this = &mut *self;
        this.future
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn it_is_asked_again_only_when_it_called() {
        let (sender, mut receiver) = watch::channel(0);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut waits =
            Box::pin(async move { receiver.wait_for(|now| *now == 2).await.map(|now| *now) });
        let counted = poll_fn(move |cx| {
            count.fetch_add(1, Ordering::Relaxed);
            waits.as_mut().poll(cx)
        });
        let mut rarely = std::pin::pin!(Rarely::new(counted));
        let look = async |rarely: &mut Pin<&mut Rarely<_>>| {
            poll_fn(|cx| Poll::Ready(rarely.as_mut().poll(cx))).await
        };
        for _ in 0..3 {
            assert!(look(&mut rarely).await.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        sender.send_replace(1);
        assert!(look(&mut rarely).await.is_pending());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        sender.send_replace(2);
        assert_eq!(rarely.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_task_that_waits_is_woken() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let waits = tokio::spawn(Rarely::new(receiver));
        tokio::task::yield_now().await;
        sender.send(7).unwrap();
        assert_eq!(waits.await.unwrap().unwrap(), 7);
    }
}
