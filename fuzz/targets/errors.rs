//! Bytes as the text of an error.

#![no_main]

use ferriswheel_analysis::diagnose::{Text, diagnose};
use ferriswheel_analysis::manifest::Reading;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let error = Text {
        name: "<error>".to_owned(),
        text: text.to_owned(),
    };
    let report = diagnose(Reading::default(), &[error], None);
    assert!(!report.diagnoses.is_empty(), "an error is always told");
});
