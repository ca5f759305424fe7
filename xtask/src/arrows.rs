//! Which crate may depend on which.
//!
//! The pure crates stay pure, the judge shares no code with what it judges, and the sandbox is an
//! honest opponent that knows nothing of plans. Dependencies of tests are free: a test may hold any
//! two crates against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Each crate with what it may use. What is not listed may use nothing of ours.
const MAY_USE: &[(&str, &[&str])] = &[
    ("plan", &[]),
    ("model", &[]),
    ("probe", &[]),
    ("azure-emulator", &[]),
    ("analysis", &["plan", "model"]),
    ("engine", &["plan"]),
    ("actuators", &["plan", "engine"]),
    ("sandbox", &["azure-emulator"]),
    // Drives programs; of the judge it knows the certificate.
    ("bench", &["probe"]),
    // Tests only: nobody may use it but tests.
    ("testbed", &["actuators"]),
    (
        "rehearsal",
        &["plan", "engine", "actuators", "model", "azure-emulator"],
    ),
    ("controller", &["plan", "analysis", "engine", "actuators"]),
    (
        "cli",
        &[
            "plan",
            "analysis",
            "engine",
            "actuators",
            "probe",
            "sandbox",
            "rehearsal",
            "controller",
        ],
    ),
];

/// Crates without tasks, clients, clocks and chance, and what would bring these in.
const PURE: [&str; 3] = ["plan", "analysis", "model"];
const IMPURE: [&str; 8] = [
    "tokio",
    "kube",
    "reqwest",
    "rand",
    "rusqlite",
    "tokio-postgres",
    "nix",
    "uuid",
];

const PREFIX: &str = "ferriswheel-";

/// Refuses an arrow that the house does not have.
pub fn check(root: &Path) -> Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let metadata = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let wrong = judge(&uses(&metadata)?);
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("arrows between crates:\n  {}", wrong.join("\n  "))
}

/// Names of what each crate of the workspace uses outside of its tests.
fn uses(metadata: &Value) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .context("cargo metadata has no packages")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut found = BTreeMap::new();
    for package in packages {
        let name = text(package, "name").context("a package without a name")?;
        let dependencies = package
            .get("dependencies")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let used = dependencies
            .iter()
            .filter(|dependency| text(dependency, "kind").as_deref() != Some("dev"))
            .filter_map(|dependency| text(dependency, "name"))
            .collect();
        found.insert(name, used);
    }
    Ok(found)
}

fn judge(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (package, used) in uses {
        let Some(name) = package.strip_prefix(PREFIX) else {
            continue;
        };
        let Some((_, allowed)) = MAY_USE.iter().find(|(of, _)| *of == name) else {
            wrong.push(format!(
                "{name} has no place in the house (xtask/src/arrows.rs)"
            ));
            continue;
        };
        for other in used {
            if let Some(ours) = other.strip_prefix(PREFIX)
                && !allowed.contains(&ours)
            {
                wrong.push(format!("{name} must not use {ours}"));
            }
            if PURE.contains(&name) && IMPURE.contains(&other.as_str()) {
                wrong.push(format!("{name} is pure and must not use {other}"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house(arrows: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        arrows
            .iter()
            .map(|(of, used)| {
                let used = used.iter().map(|name| (*name).to_owned()).collect();
                ((*of).to_owned(), used)
            })
            .collect()
    }

    #[test]
    fn good_arrows_pass() {
        let good = house(&[
            ("ferriswheel-engine", &["ferriswheel-plan", "tokio"]),
            ("ferriswheel-plan", &["serde"]),
            ("xtask", &["anyhow"]),
        ]);
        assert!(judge(&good).is_empty());
    }

    #[test]
    fn wrong_arrows_are_named() {
        let bad = house(&[
            ("ferriswheel-probe", &["ferriswheel-plan"]),
            ("ferriswheel-plan", &["tokio"]),
            ("ferriswheel-helpers", &[]),
        ]);
        assert_eq!(
            judge(&bad),
            [
                "helpers has no place in the house (xtask/src/arrows.rs)",
                "plan is pure and must not use tokio",
                "probe must not use plan",
            ]
        );
    }

    #[test]
    fn nobody_is_used_by_whom_he_uses() {
        let may = |of: &str, other: &str| {
            MAY_USE
                .iter()
                .any(|(name, used)| *name == of && used.contains(&other))
        };
        for (one, _) in MAY_USE {
            for (two, _) in MAY_USE {
                assert!(!(may(one, two) && may(two, one)), "{one} and {two}");
            }
        }
    }
}
