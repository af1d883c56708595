//! A thread with a stack of a known size, on which inputs are judged one after the other.
//!
//! A stack that overflows kills a process before libFuzzer can save the input, unless its signal
//! handler has a stack of its own; this gives it one.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Room for libFuzzer's handler, which prints and writes a file.
const HANDLER: usize = 256 * 1024;

/// The thread, and what it does with an input.
pub struct Stack(Mutex<(SyncSender<Vec<u8>>, Receiver<()>)>);

impl Stack {
    /// Starts a thread with `bytes` of stack that does `work` with each input.
    ///
    /// # Panics
    /// When the system has no thread for it.
    #[must_use]
    pub fn new(bytes: usize, work: fn(&[u8])) -> Self {
        let (inputs, todo) = sync_channel::<Vec<u8>>(1);
        let (done, results) = sync_channel(1);
        let judge = move || {
            handler_stack();
            for input in todo {
                work(&input);
                if done.send(()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(bytes);
        thread.spawn(judge).expect("a thread");
        Self(Mutex::new((inputs, results)))
    }

    /// Hands the thread an input and waits for it.
    ///
    /// # Panics
    /// When the thread is gone.
    pub fn judge(&self, input: &[u8]) {
        let channels = self.0.lock().expect("the thread lives");
        channels.0.send(input.to_vec()).expect("the thread lives");
        channels.1.recv().expect("the thread lives");
    }
}

/// Lets libFuzzer's handler of SIGSEGV run on a stack of its own; call it before libFuzzer sets
/// its handlers, which keep this flag.
pub fn survive_overflow() {
    // SAFETY: a zeroed `sigaction` is SIG_DFL with an empty mask; the pointers live long enough.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut());
    }
}

fn handler_stack() {
    let memory = Box::leak(vec![0_u8; HANDLER].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is leaked, so it outlives the thread.
    unsafe {
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
    }
}
