//! The deprecation check alone, over a directory, to measure the reader without the rest of the
//! binary: `cargo run --release -p ferriswheel-analysis --example check_directory -- DIR 1.36`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::manifest::{Reading, Want, read};

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, target] = arguments.as_slice() else {
        return Err("usage: check_directory DIR VERSION".into());
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
                        own.append(read(&path.display().to_string(), &bytes, Want::Names));
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
    let report = check(reading, &target, &Scope::API_VERSIONS);
    println!(
        "{objects} objects, {} findings, {} skipped",
        report.findings.len(),
        report.skipped.len()
    );
    Ok(())
}
