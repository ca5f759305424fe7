//! What was made, to a directory or to stdout.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use ferriswheel_analysis::generate::{File, Generated};

use crate::Output;
use crate::failure::Failure;
use crate::stdout::{out, outln};

/// Gives it to the user; what is left out and what to know goes to stderr.
pub fn give(
    made: &Generated,
    directory: Option<&Path>,
    output: Output,
    quiet: bool,
) -> Result<(), Failure> {
    if let Some(directory) = directory {
        write(&made.files, directory)?;
    }
    match (output, directory) {
        (Output::Json, _) => outln!(
            "{}",
            serde_json::to_string(made).map_err(|e| Failure::unexpected(&e))?
        ),
        (Output::Text, Some(directory)) => {
            for file in &made.files {
                outln!("{}", directory.join(&file.name).display());
            }
        }
        (Output::Text, None) => stream(&made.files)?,
    }
    if !quiet {
        tell(made);
    }
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "what is left out and what to know are notes"
)]
fn tell(made: &Generated) {
    for left in &made.left_out {
        eprintln!("left out: {}: {}", left.object, left.reason);
    }
    for note in &made.notes {
        eprintln!("note: {note}");
    }
    if made.files.is_empty() {
        eprintln!("nothing is missing that could be written");
    }
}

/// Several files make one stream where they are objects; else each would have to be cut out again.
fn stream(files: &[File]) -> Result<(), Failure> {
    if files.len() > 1 && !files.iter().all(File::streams) {
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        return Err(
            Failure::input(format!("there are {} files and one stdout", files.len()))
                .evidence(names.join(", "))
                .fix("say --out DIR, or --output json"),
        );
    }
    for (i, file) in files.iter().enumerate() {
        if i > 0 {
            outln!("---");
        }
        out!("{}", file.text());
    }
    Ok(())
}

fn write(files: &[File], directory: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, e: std::io::Error| {
        let fix = if e.kind() == ErrorKind::AlreadyExists {
            "nothing is replaced: name another directory, or remove the file"
        } else {
            "check the directory and its permissions"
        };
        Failure::input(format!("{} cannot be written: {e}", path.display())).fix(fix)
    };
    fs::create_dir_all(directory).map_err(|e| failed(directory, e))?;
    // All or none: a directory with half of it looks like one with all of it.
    for file in files {
        let path = directory.join(&file.name);
        if path.exists() {
            return Err(failed(&path, ErrorKind::AlreadyExists.into()));
        }
    }
    for file in files {
        let path = directory.join(&file.name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut target| target.write_all(file.text().as_bytes()))
            .map_err(|e| failed(&path, e))?;
    }
    Ok(())
}
