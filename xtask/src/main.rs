//! Generated things and checks of the tree: `cargo xtask TASK`.

mod arrows;
mod bench_check;
mod checks;
mod deprecations;
mod dump;
mod errors;
mod manifests;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  check-arrows      which crate may depend on which
  errors            write docs/errors/README.md from the pages beside it
  errors --check    every code has its page, every page its code, the index is current
  checks            write the READMEs of docs/checks, docs/lint and docs/diagnoses from their pages
  checks --check    every code of a finding has its page, every page its code, the index is current
  deprecations      write the table of API versions from crates/analysis/data
  deprecations --check          the table is what these files give
  deprecations --gather MINOR   read schemas and lifecycle tags up to 1.MINOR (needs the network)
  deprecations --judge MINOR    read the discovery that tests hold the table against (network)
  bench-check FERRISWHEEL [KUBE-SCORE]
                    measure `check` over such manifests, and write docs/benchmarks.md
  dump DIR NODES    write a cluster's dump, 20 pods a node, to measure the drain simulation with
  manifests DIR     write 10,000 manifests (10 MiB in 2,000 files, 3 % of them old) to measure with";

#[expect(clippy::print_stderr, reason = "a tool for people at a terminal")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check-arrows"] => arrows::check(&root()),
        ["errors"] => errors::write(&root()),
        ["errors", "--check"] => errors::check(&root()),
        ["checks"] => checks::write(&root()),
        ["checks", "--check"] => checks::check(&root()),
        ["bench-check", own] => bench_check::run(&root(), own.as_ref(), None),
        ["bench-check", own, other] => {
            bench_check::run(&root(), own.as_ref(), Some(other.as_ref()))
        }
        ["manifests", directory] => manifests::write(directory.as_ref()),
        ["dump", directory, nodes] => match nodes.parse() {
            Ok(nodes) => dump::write(directory.as_ref(), nodes),
            Err(_) => Err(anyhow::anyhow!("{nodes:?} is not a number of nodes")),
        },
        ["deprecations"] => deprecations::write(&root()),
        ["deprecations", "--check"] => deprecations::check(&root()),
        ["deprecations", flag @ ("--gather" | "--judge"), minor] => match minor.parse() {
            Ok(minor) if flag == "--gather" => deprecations::gather(&root(), minor),
            Ok(minor) => deprecations::discovery(&root(), minor),
            Err(_) => Err(anyhow::anyhow!("{minor:?} is not the minor of 1.x")),
        },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's directory.
fn root() -> PathBuf {
    // Where cargo runs this from; a cached build of another checkout must not look there.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), PathBuf::from)
}
