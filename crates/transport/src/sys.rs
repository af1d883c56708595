//! The system calls that no safe wrapper covers: capability sets, `prctl`
//! flags, a seccomp filter, and descriptors received over a socket.
//!
//! Invariants: every `unsafe` block passes only pointers to values that live
//! across the call, and turns its result into `io::Result`.
