//! Policy files: read strictly and compiled, or refused with the place of what is wrong; the same
//! text means the same each time, and neither its size nor its shape explodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_api::{CompileOptions, Diagnostic, Severity, Size, Span, compile, load_str};
use weir_fuzz::{at_most, utf8};

/// What a file of this size may take: a tree, its paths, and the globs that are made of it.
const BOUND: usize = 64 << 20;

fuzz_target!(|data: &[u8]| {
    let text = utf8(data);
    units(text);
    at_most(BOUND, || file(text, CompileOptions::default()));
});

fn file(text: &str, options: CompileOptions) {
    // A carriage return alone ends a line in YAML too.
    let lines = text.split(['\n', '\r']).count() as u64;
    let resources = match load_str("policy.yaml", text) {
        Ok(resources) => resources,
        Err(errors) => return placed(&errors, lines, Severity::Error),
    };
    let described = format!("{resources:?}");
    let again = load_str("policy.yaml", text).expect("the same text");
    assert_eq!(
        format!("{again:?}"),
        described,
        "the same text means something else"
    );
    match compile(&resources, &options) {
        Ok(compiled) => {
            let warning = |finding: &Diagnostic| finding.severity == Severity::Warning;
            assert!(
                compiled.diagnostics.iter().all(warning),
                "an error that compiles"
            );
            placed(&compiled.diagnostics, lines, Severity::Warning);
        }
        Err(findings) => placed(&findings, lines, Severity::Error),
    }
}

/// What is wrong is somewhere in the text, and is said on one line.
fn placed(findings: &[Diagnostic], lines: u64, severity: Severity) {
    assert!(severity == Severity::Warning || findings.iter().any(|f| f.severity == severity));
    for finding in findings {
        assert!(finding.line <= lines, "line {} of {lines}", finding.line);
        assert!(!finding.message.is_empty());
    }
}

/// Durations and sizes mean the same when they are written again.
fn units(text: &str) {
    let line = text.lines().next().unwrap_or_default();
    if let Some(span) = Span::parse(line) {
        assert_eq!(Span::parse(&span.to_string()), Some(span));
    }
    if let Some(size) = Size::parse(line) {
        assert_eq!(Size::parse(&size.to_string()), Some(size));
    }
}
