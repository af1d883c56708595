//! Values whose names come behind them: their object is read once more when it is whole.
//!
//! Objects are known again by their number: what is replaced or left out moves none.

use super::{Event, Rewriter, Values};

impl Rewriter {
    /// Hides in the object that was written last, which is in `out` from `mark` on, what names say that came
    /// behind their values.
    pub fn hide_late<V: Values>(&mut self, out: &mut Vec<u8>, mark: usize, values: &mut V) {
        let late = std::mem::take(&mut self.stack.late);
        if late.is_empty() {
            return;
        }
        let object = out.get(mark..).unwrap_or_default();
        let mut again = Rewriter::new([].into(), self.limits);
        again.stack.know(late);
        again.embedded = true;
        let (mut rest, mut hidden) = (object, Vec::with_capacity(object.len()));
        let mut read = Ok(Event::ObjectBegins);
        while matches!(read, Ok(event) if event != Event::None) {
            read = again.feed(&mut rest, &mut hidden, values);
        }
        // What was written by a rewriter is read by one.
        if read.is_ok() {
            out.truncate(mark);
            out.extend_from_slice(&hidden);
        }
    }
}
