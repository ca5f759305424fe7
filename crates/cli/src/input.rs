//! Files out of directories, read by several threads.
//!
//! Results are put together in the order of the paths, whatever the threads did first.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferriswheel_analysis::findings::Skipped;
use ferriswheel_analysis::manifest::{self, MAX_FILE, Reading, Want};

use crate::failure::Failure;

/// Reading is bound by the processor, and each thread may hold one file of [`MAX_FILE`].
const MAX_THREADS: usize = 8;

/// The parsers recurse as deep as a document nests, which they limit; unoptimised code needs about
/// 30 KiB a level.
const STACK: usize = 16 << 20;

/// Files that a thread takes at once: taking one by one costs more than reading a small manifest.
const BATCH: usize = 16;

/// Deeper trees are links that go round.
const MAX_DEPTH: usize = 64;

/// Reads everything under the paths. Says how many files were read.
pub fn read(paths: &[PathBuf], want: Want) -> Result<(Reading, usize), Failure> {
    let mut files = Vec::new();
    let mut skipped = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            files.push(path.clone());
            continue;
        }
        let about = std::fs::metadata(path).map_err(|e| {
            Failure::input(format!("{} cannot be read: {e}", path.display()))
                .fix("say --from with a directory, a file, or - for standard input")
        })?;
        if about.is_dir() {
            walk(path, &mut files, &mut skipped);
        } else {
            files.push(path.clone());
        }
    }
    let next = AtomicUsize::new(0);
    let parts = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let started = std::thread::scope(|scope| {
        let mut started = 0;
        for _ in 0..threads
            .min(MAX_THREADS)
            .min(files.len().div_ceil(BATCH).max(1))
        {
            let work = || {
                let mut own = Vec::new();
                let mut buffer = Vec::new();
                loop {
                    let start = next.fetch_add(BATCH, Ordering::Relaxed);
                    let Some(batch) = files.get(start..files.len().min(start + BATCH)) else {
                        break;
                    };
                    if batch.is_empty() {
                        break;
                    }
                    let mut reading = Reading::default();
                    for file in batch {
                        reading.append(one(file, want, &mut buffer));
                    }
                    own.push((start, reading));
                }
                if let Ok(mut parts) = parts.lock() {
                    parts.append(&mut own);
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK);
            started += usize::from(thread.spawn_scoped(scope, work).is_ok());
        }
        started
    });
    if started == 0 {
        return Err(
            Failure::input("no thread could be started").fix("raise the limit of processes")
        );
    }
    let mut parts = parts.into_inner().map_err(|_| {
        Failure::input("a file could not be read to its end")
            .fix("run again with RUST_BACKTRACE=1 and report the file")
    })?;
    parts.sort_by_key(|(start, _)| *start);
    let mut whole = Reading::default();
    for (_, part) in parts {
        whole.append(part);
    }
    whole.skipped.append(&mut skipped);
    Ok((whole, files.len()))
}

/// Reads a text that is in memory already, with the stack that reading needs.
pub fn text(name: &str, bytes: &[u8], want: Want) -> std::io::Result<Reading> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, || manifest::read(name, bytes, want))?;
        thread
            .join()
            .map_err(|_| std::io::Error::other(format!("{name} could not be read to its end")))
    })
}

fn one(path: &Path, want: Want, buffer: &mut Vec<u8>) -> Reading {
    let name = if path.as_os_str() == "-" {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    };
    buffer.clear();
    let taken = if path.as_os_str() == "-" {
        take(std::io::stdin().lock(), buffer)
    } else {
        std::fs::File::open(path).and_then(|file| take(file, buffer))
    };
    match taken {
        Ok(()) => manifest::read(&name, buffer, want),
        Err(e) => Reading {
            skipped: vec![Skipped {
                file: name,
                reason: format!("cannot be read: {e}"),
            }],
            ..Reading::default()
        },
    }
}

/// Takes a byte more than is allowed, so that the reader sees that it is too large.
fn take(source: impl Read, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    source
        .take(MAX_FILE as u64 + 1)
        .read_to_end(buffer)
        .map(drop)
}

/// Finds the files of a tree in the order of their names.
fn walk(root: &Path, files: &mut Vec<PathBuf>, skipped: &mut Vec<Skipped>) {
    let mut skip = |path: &Path, reason: String| {
        skipped.push(Skipped {
            file: path.display().to_string(),
            reason,
        });
    };
    let mut open = vec![(root.to_path_buf(), 0)];
    while let Some((directory, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            skip(
                &directory,
                "directories inside directories without end".to_owned(),
            );
            continue;
        }
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) => {
                skip(&directory, format!("cannot be read: {e}"));
                continue;
            }
        };
        for entry in entries {
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            // A link may lead anywhere; what it leads to counts.
            let Ok(about) = entry.file_type().and_then(|kind| {
                if kind.is_symlink() {
                    std::fs::metadata(&path).map(|m| m.file_type())
                } else {
                    Ok(kind)
                }
            }) else {
                skip(&path, "a link to nothing".to_owned());
                continue;
            };
            if about.is_dir() {
                if hidden {
                    skip(&path, "a hidden directory".to_owned());
                } else if goes_round(&directory, &path) {
                    skip(&path, "a link to a directory that it is in".to_owned());
                } else {
                    open.push((path, depth + 1));
                }
            } else if !about.is_file() {
                skip(&path, "not a file".to_owned());
            } else if is_manifest(&path) {
                files.push(path);
            } else {
                skip(
                    &path,
                    "not a manifest by its name (.yaml, .yml, .json, .jsonl, .prom, .tgz)"
                        .to_owned(),
                );
            }
        }
    }
    files.sort();
}

/// Does a path in a directory lead back to it, or above it?
fn goes_round(directory: &Path, path: &Path) -> bool {
    path.is_symlink()
        && match (directory.canonicalize(), path.canonicalize()) {
            (Ok(directory), Ok(path)) => directory.starts_with(path),
            _ => false,
        }
}

fn is_manifest(path: &Path) -> bool {
    let end = path
        .extension()
        .and_then(|end| end.to_str())
        .unwrap_or_default();
    ["yaml", "yml", "json", "jsonl", "prom", "tgz", "gz"]
        .iter()
        .any(|known| end.eq_ignore_ascii_case(known))
}
