//! How a static program looks names up.
//!
//! glibc answers for users, groups and hosts by modules that `/etc/nsswitch.conf` names, and loads
//! them into a static program as well, where they crash. What is built in (files and DNS) does
//! without them.

use std::io;

/// Uses what is built in, from here on. Call it first in a program; in one that is linked dynamically
/// it does nothing.
///
/// # Errors
/// The C library does not take it.
pub fn use_built_in_lookups() -> io::Result<()> {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    for (database, services) in [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
        (c"hosts", c"files dns"),
    ] {
        crate::sys::configure_lookup(database, services)?;
    }
    Ok(())
}
