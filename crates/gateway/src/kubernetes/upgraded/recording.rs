//! The recording of one stream, handed over as it fills up and, at the latest, when it is dropped.

use tokio::time::Instant;
use weir_audit::ChannelRecorder;

use super::Flow;

/// Records.
pub(super) struct Recording<'a, F: Flow> {
    recorder: Option<ChannelRecorder>,
    started: Instant,
    flow: &'a F,
}

impl<'a, F: Flow> Recording<'a, F> {
    pub(super) fn new(recorder: Option<ChannelRecorder>, started: Instant, flow: &'a F) -> Self {
        Self {
            recorder,
            started,
            flow,
        }
    }

    /// Whether anything is kept.
    pub(super) fn is_on(&self) -> bool {
        self.recorder.is_some()
    }

    /// Keeps something that went by.
    pub(super) fn keep(&mut self, with: impl FnOnce(&mut ChannelRecorder, u64)) {
        let Some(recorder) = self.recorder.as_mut() else {
            return;
        };
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        with(recorder, at);
        while let Some(chunk) = recorder.take_full() {
            self.flow.record(chunk);
        }
    }

    /// Hands over what was kept so far.
    pub(super) fn flush(&mut self) {
        if let Some(recorder) = self.recorder.as_mut() {
            while let Some(chunk) = recorder.take() {
                self.flow.record(chunk);
            }
        }
    }

    /// Hands over the rest.
    pub(super) fn finish(&mut self) {
        let chunks = self.recorder.take().map(ChannelRecorder::finish);
        for chunk in chunks.into_iter().flatten() {
            self.flow.record(chunk);
        }
    }
}

impl<F: Flow> Drop for Recording<'_, F> {
    fn drop(&mut self) {
        self.finish();
    }
}
