//! Any text as a command: an answer within bounds, the same twice; and a forbidden program that is put
//! behind what was understood is seen.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_fuzz::at_most;
use weir_wire_ssh::command::analyze;

fuzz_target!(|data: &[u8]| {
    if data.len() > 4096 {
        return;
    }
    let command = at_most(256 << 20, || analyze(data, &[("LC_ALL", "C")]));
    assert_eq!(analyze(data, &[("LC_ALL", "C")]), command);
    assert!(command.programs.len() <= 2048 && command.commands.len() <= 2048);
    if let Some(argv) = &command.argv {
        assert!(argv.first().is_some_and(|program| !program.is_empty()));
    }
    // Whole lines that were understood do not hide the next one.
    if command.opaque.is_none() && !data.contains(&b'<') && !data.ends_with(b"\\") {
        let more = [data, b"\npg_dump shop"].concat();
        let more = analyze(&more, &[("LC_ALL", "C")]);
        let seen = more.programs.iter().any(|program| program == "pg_dump");
        assert!(seen || more.opaque.is_some() || open_ended(data));
    }
});

/// The text ends where a command may go on: the next line is then a word of it.
fn open_ended(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    ["case", "for", "select", "[[", "function", "in"]
        .iter()
        .any(|word| text.contains(word))
}
