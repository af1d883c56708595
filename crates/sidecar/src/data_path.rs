//! The runtime of the data path: sessions run on it, and nothing that is done from time to time.
//!
//! A runtime in which a timer waits reads the clock and arms a timer of the kernel's each time it has nothing to do, twice
//! a statement: that takes longer than judging a statement that is known. So sessions have a runtime of their own, whose
//! timers are those of sessions that begin, end or are held.

use std::future::pending;
use std::io;

use tokio::runtime::{Builder, Handle};

/// Stack of each thread: deep statements are analysed on them.
pub const STACK: usize = 2 * weir_sql::STACK;

/// Threads for what blocks: large statements, catalogs, files and look-ups.
pub const BLOCKING: usize = 8;

/// Serves sessions until the process ends.
#[derive(Debug, Clone)]
pub struct DataPath(Handle);

impl DataPath {
    /// Starts so many threads that serve; one thread serves without the locks that several need.
    ///
    /// # Errors
    /// The system gives no thread, or no descriptor to wait with.
    pub fn start(threads: usize) -> io::Result<Self> {
        let mut builder = match threads {
            0 | 1 => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        let runtime = builder
            .enable_all()
            .worker_threads(threads.max(1))
            .thread_name("weir-path")
            .thread_stack_size(STACK)
            .max_blocking_threads(BLOCKING)
            .build()?;
        let handle = runtime.handle().clone();
        // A current-thread runtime serves on the thread that blocks on it, so that one needs the stack.
        std::thread::Builder::new()
            .name("weir-path".to_owned())
            .stack_size(STACK)
            .spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(Self(handle))
    }

    /// Where its tasks are spawned, and where its sockets are registered.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.0
    }
}
