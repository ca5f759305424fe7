//! Bytes as a script, a page of Markdown or a pipeline: every finding stands on a line of the text.

#![no_main]

use ferriswheel_analysis::lint::lint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    for name in ["f.sh", "f.md", "f.yaml"] {
        for finding in lint(name, bytes).findings {
            let line = usize::try_from(finding.line).expect("a line");
            assert!((1..=lines).contains(&line), "{name}: line {line} of {lines}");
        }
    }
});
