//! Bytes as a file of a dump: read, checked, converted and diagnosed; nothing panics, and the answer can be written.

#![no_main]

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::convert::convert;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::diagnose::diagnose;
use ferriswheel_analysis::drain;
use ferriswheel_analysis::manifest::{Want, manifests_alone, read};
use ferriswheel_analysis::resilience::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let target = Target::parse(["1.36"]).expect("a target");
    let scope = Scope {
        api_versions: true,
        resilience: Some(Settings::default()),
        drain: Some(drain::Settings {
            pools: Vec::new(),
            order: drain::Order::Batches,
            way: drain::Way::Surge(drain::Share::Percent(33)),
            timeout: 1_800,
            soak: 0,
        }),
    };
    let report = check(read("f", bytes, Want::All), &target, &scope);
    assert!(report.findings.iter().all(|finding| !finding.fix.is_empty()));
    let report = diagnose(read("f", bytes, Want::Diagnosis), &[], Some(1_795_290_000));
    assert!(report.diagnoses.iter().all(|found| !found.next.is_empty()));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = convert(text, &target);
        if let Ok(value) = serde_json::from_str(text) {
            let _ = manifests_alone(&value);
        }
    }
});
