//! The deprecation check alone, or the drain simulation alone, over a directory, to measure them
//! without the rest of the binary:
//! `cargo run --release -p ferriswheel-analysis --example check_directory -- DIR 1.36 [drain|resilience|all]`
//! (`resilience` comes on top of the deprecations, `all` is everything).

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::drain::Settings;
use ferriswheel_analysis::manifest::{Reading, Want, read};
use ferriswheel_analysis::resilience;

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (directory, target, more) = match arguments.as_slice() {
        [_, directory, target] => (directory, target, ""),
        [_, directory, target, more] if ["drain", "resilience", "all"].contains(&more.as_str()) => {
            (directory, target, more.as_str())
        }
        _ => return Err("usage: check_directory DIR VERSION [drain|resilience|all]".into()),
    };
    let want = match more {
        "drain" => Want::Sketches,
        "resilience" => Want::Checks,
        "all" => Want::All,
        _ => Want::Names,
    };
    let target = Target::parse([target.as_str()])?;
    let mut open = vec![std::path::PathBuf::from(directory)];
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Reading::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut own = Reading::default();
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Ok(bytes) = std::fs::read(path) {
                        own.append(read(&path.display().to_string(), &bytes, want));
                    }
                }
                if let Ok(mut all) = all.lock() {
                    all.append(own);
                }
            });
        }
    });
    let reading = all.into_inner().map_err(|_| "a thread died")?;
    let objects = reading.objects.len();
    let scope = match more {
        "drain" => Scope {
            api_versions: false,
            drain: Some(Settings::default()),
            ..Scope::API_VERSIONS
        },
        "resilience" => Scope {
            resilience: Some(resilience::Settings::default()),
            ..Scope::API_VERSIONS
        },
        "all" => Scope {
            api_versions: true,
            resilience: Some(resilience::Settings::default()),
            drain: Some(Settings::default()),
        },
        _ => Scope::API_VERSIONS,
    };
    let report = check(reading, &target, &scope);
    if let Some(drain) = &report.drain {
        let drained = drain.pools.iter().map(|pool| pool.drained).sum::<u32>();
        let evictions = drain.pools.iter().map(|pool| pool.evictions).sum::<u32>();
        println!(
            "{drained} of {} nodes drain, {evictions} evictions",
            drain.nodes.len()
        );
    }
    println!(
        "{objects} objects, {} findings, {} skipped",
        report.findings.len(),
        report.skipped.len()
    );
    Ok(())
}
