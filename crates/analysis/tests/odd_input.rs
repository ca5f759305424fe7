//! Objects whose fields have odd types and values: no check panics on them, and conversions give text
//! that is read again.

#![expect(clippy::expect_used, reason = "a broken assumption fails the test")]

use std::path::Path;

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::convert::convert;
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::manifest::{Want, read};
use ferriswheel_analysis::resilience::Settings;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Objects taken at once: those of a few fixtures beside each other, which share names.
const SOME: usize = 12;

/// Every object of the fixtures.
fn objects() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resilience");
    let mut all = Vec::new();
    let mut directories: Vec<_> = std::fs::read_dir(root)
        .expect("fixtures")
        .map(|directory| directory.expect("an entry").path())
        .collect();
    directories.sort();
    for directory in directories {
        let path = directory.join("fails.yaml");
        let text = std::fs::read_to_string(path).expect("a fixture");
        let found: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        all.extend(found);
    }
    all
}

/// Replaces the `nth` value of a tree, in the order of a walk.
fn replace(value: &mut Value, nth: &mut usize, with: &Value) -> bool {
    if *nth == 0 {
        *value = with.clone();
        return true;
    }
    *nth -= 1;
    match value {
        Value::Object(fields) => fields
            .iter_mut()
            .any(|(_, below)| replace(below, nth, with)),
        Value::Array(entries) => entries.iter_mut().any(|below| replace(below, nth, with)),
        _ => false,
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([{}, null, "x", 1])),
        Just(json!({ "a": { "b": [] } })),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-z0-9%./:=&?@, -]{0,24}".prop_map(Value::from),
        "(jdbc:postgresql|mongodb|postgres)://[a-z0-9.@,:/?=&-]{0,30}".prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_check_panics(
        start in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, odd()), 1..8),
    ) {
        static ALL: std::sync::LazyLock<Vec<Value>> = std::sync::LazyLock::new(objects);
        let mut all: Vec<Value> = ALL.iter().cycle().skip(start.index(ALL.len())).take(SOME).cloned().collect();
        for (which, nth, with) in changes {
            let at = which.index(all.len());
            replace(&mut all[at], &mut { nth }, &with);
        }
        let text = json!({ "apiVersion": "v1", "kind": "List", "items": all }).to_string();
        let scope = Scope {
            api_versions: true,
            resilience: Some(Settings::default()),
            drain: None,
        };
        let target = Target::parse(["1.36"]).expect("a target");
        let report = check(read("a.json", text.as_bytes(), Want::Bodies), &target, &scope);
        prop_assert!(serde_json::to_string(&report).is_ok());
        // What is kept for the checks alone is all that they ask.
        let briefly = check(read("a.json", text.as_bytes(), Want::Checks), &target, &scope);
        prop_assert_eq!(&briefly, &report);
        if let Some(new) = convert(&text, &target).text {
            prop_assert!(serde_json::from_str::<Value>(&new).is_ok());
        }
    }

    #[test]
    fn settings_of_any_text(text in "(\\PC|\n|: |=|jdbc:mysql://|-0\\.){0,80}") {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" },
            "data": { "a.yaml": format!("{text}\njdbc:postgresql://h/d"), "B": text },
        });
        let scope = Scope {
            api_versions: false,
            resilience: Some(Settings::default()),
            drain: None,
        };
        let target = Target::parse(["1.36"]).expect("a target");
        check(read("a.json", map.to_string().as_bytes(), Want::Bodies), &target, &scope);
    }
}
