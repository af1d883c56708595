//! Gives back pages of the program's own code that are not in use.
//!
//! The kernel maps sixteen pages around each page of code that runs, and start-up and logins run
//! through much code once. A sidecar is there in every pod, so what it keeps mapped counts. The
//! pages stay in the page cache: code that runs again is mapped again, without reading a disk.
//!
//! Refuses to touch anything but read-only, executable pages of the program's file: nothing else
//! is known to be the same in memory as on disk.
#![expect(unsafe_code, reason = "madvise has no safe wrapper")]

use std::io;
use std::ops::Range;

/// Unmaps the code; what is in use is mapped again at once. Takes about 0.1 ms.
///
/// # Errors
/// `/proc` is not mounted, or the kernel refuses.
pub fn release_code() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    for range in maps
        .lines()
        .filter_map(|line| code(line, program.to_str()?))
    {
        // SAFETY: the range is a whole mapping of this process. It is private, backed by a file
        // and was never writable, so each page is the file's: dropping it changes no content, and
        // the next access reads it again from the page cache.
        let done = unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(range.start),
                range.len(),
                libc::MADV_DONTNEED,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The addresses of a line of `/proc/self/maps`, if it is code of the program.
fn code(line: &str, program: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (addresses, permissions) = (fields.next()?, fields.next()?);
    let path = fields.nth(3)?;
    if permissions != "r-xp" || path != program {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped_code_kb() -> usize {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut ours = false;
        let mut total = 0;
        for line in smaps.lines() {
            let first = line.split_ascii_whitespace().next();
            if first.is_some_and(|field| field.contains('-')) {
                ours = code(line, program.to_str().unwrap()).is_some();
            } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| ours) {
                total += rest.trim_end_matches("kB").trim().parse::<usize>().unwrap();
            }
        }
        total
    }

    #[test]
    fn code_is_given_back_and_the_program_goes_on() {
        let before = mapped_code_kb();
        release_code().unwrap();
        let after = mapped_code_kb();
        assert!(after < before, "{before} kB before, {after} kB after");
    }

    #[test]
    fn only_the_programs_own_code_is_given_back() {
        let line = |permissions: &str, path: &str| {
            code(
                &format!("1000-3000 {permissions} 00000000 08:01 42 {path}"),
                "/bin/weir",
            )
        };
        assert_eq!(line("r-xp", "/bin/weir"), Some(0x1000..0x3000));
        for (permissions, path) in [
            ("rwxp", "/bin/weir"),
            ("r--p", "/bin/weir"),
            ("r-xs", "/bin/weir"),
            ("r-xp", "/lib/libc.so.6"),
            ("r-xp", "[vdso]"),
        ] {
            assert_eq!(line(permissions, path), None, "{permissions} {path}");
        }
    }
}
