//! Lints files and prints lines and codes: how the exact lists of the tests are made.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for file in std::env::args().skip(1) {
        let report = ferriswheel_analysis::lint::lint(&file, &std::fs::read(&file)?);
        for one in &report.findings {
            writeln!(
                out,
                "{} {}:{} {} | {}",
                one.code, one.line, one.column, one.message, one.fix
            )?;
        }
        writeln!(out, "{:?}", report.skipped)?;
    }
    Ok(())
}
