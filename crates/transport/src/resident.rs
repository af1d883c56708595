//! Gives back pages of the program's own file that are not in use: code, and constants.
//!
//! The kernel maps sixteen pages around each page that is touched, and start-up and logins run
//! through much code once. A sidecar is there in every pod, so what it keeps mapped counts. The
//! pages stay in the page cache: what is touched again is mapped again, without reading a disk.
//!
//! Refuses to touch anything but read-only mappings of the program's file of which no page was ever
//! written: nothing else is known to be the same in memory as on disk. (Relocated constants are
//! read-only as well, and differ from the file.)
#![expect(unsafe_code, reason = "madvise has no safe wrapper")]

use std::io;
use std::ops::Range;

/// Unmaps them; what is in use is mapped again at once. Takes about 0.2 ms.
///
/// # Errors
/// `/proc` is not mounted, or the kernel refuses.
pub fn release_file_pages() -> io::Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let program = program.to_str().unwrap_or_default();
    for range in unwritten(&maps, program) {
        // SAFETY: the range is a whole mapping of this process. It is private, backed by a file,
        // not writable, and has no page of its own, so each page is the file's: dropping it changes
        // no content, and the next access reads it again from the page cache. Nothing in this
        // program makes such a mapping writable after its start.
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

/// The read-only mappings of the program in `/proc/self/smaps` that have no page of their own.
fn unwritten(smaps: &str, program: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(own) = line.strip_prefix("Anonymous:") {
            let range: Option<Range<usize>> = candidate.take();
            found.extend(range.filter(|_| own.trim() == "0 kB"));
        } else if let Some(mapping) = mapping(line) {
            candidate = read_only(mapping, program);
        }
    }
    found
}

/// Addresses, permissions and path of a mapping, if the line begins one.
fn mapping(line: &str) -> Option<(Range<usize>, &str, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (addresses, permissions) = (fields.next()?, fields.next()?);
    let (start, end) = addresses.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let path = fields.nth(3).unwrap_or_default();
    Some((address(start)?..address(end)?, permissions, path))
}

fn read_only(
    (range, permissions, path): (Range<usize>, &str, &str),
    program: &str,
) -> Option<Range<usize>> {
    let whole = matches!(permissions, "r-xp" | "r--p");
    (whole && path == program).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped_kb() -> usize {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let ranges = unwritten(&smaps, program.to_str().unwrap());
        let mut ours = false;
        let mut total = 0;
        for line in smaps.lines() {
            if let Some((range, _, _)) = mapping(line) {
                ours = ranges.contains(&range);
            } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| ours) {
                total += rest.trim_end_matches("kB").trim().parse::<usize>().unwrap();
            }
        }
        total
    }

    #[test]
    fn pages_are_given_back_and_the_program_goes_on() {
        let before = mapped_kb();
        release_file_pages().unwrap();
        let after = mapped_kb();
        assert!(after < before, "{before} kB before, {after} kB after");
    }

    #[test]
    fn only_what_is_on_disk_as_well_is_given_back() {
        let found = |permissions: &str, path: &str, own: &str| {
            let text = format!(
                "1000-3000 {permissions} 00000000 08:01 42 {path}\nRss:  8 kB\nAnonymous:  {own} kB\n"
            );
            unwritten(&text, "/bin/weir")
        };
        let whole = 0x1000..0x3000;
        for permissions in ["r-xp", "r--p"] {
            assert_eq!(found(permissions, "/bin/weir", "0"), vec![whole.clone()]);
            assert_eq!(found(permissions, "/bin/weir", "4"), [], "relocated");
        }
        for (permissions, path) in [
            ("rwxp", "/bin/weir"),
            ("rw-p", "/bin/weir"),
            ("r-xs", "/bin/weir"),
            ("r-xp", "/lib/libc.so.6"),
            ("r--p", "[vvar]"),
            ("r--p", ""),
        ] {
            assert_eq!(found(permissions, path, "0"), [], "{permissions} {path}");
        }
    }
}
