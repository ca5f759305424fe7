//! The speed of `ferriswheel check` beside other tools: whole processes, taking turns.
//!
//! Wall time is taken around the process; its largest memory is what GNU time says. Every run is
//! kept in the raw data.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{dump, manifests};

/// Runs of each fast tool, and of each slow one.
const FAST: usize = 31;
const SLOW: usize = 5;
/// Nodes of the dump: what the drain simulation is to be at home with.
const NODES: usize = 5_000;
/// Slower than this, in seconds, a tool runs [`SLOW`] times.
const PATIENCE: f64 = 3.0;

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- bench-check: begin -->";
const END: &str = "<!-- bench-check: end -->";

struct Tool {
    name: &'static str,
    version: String,
    command: Vec<String>,
    runs: Vec<(f64, u64)>,
}

/// Measures and writes the page. `others` is a kube-score, where there is one.
pub fn run(root: &Path, ferriswheel: &Path, kube_score: Option<&Path>) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("bench-check-{}", std::process::id()));
    // Beside the manifests: other tools are given all of those.
    let cluster = std::env::temp_dir().join(format!("bench-dump-{}", std::process::id()));
    let result = measure(root, &directory, &cluster, ferriswheel, kube_score);
    let _ = fs::remove_dir_all(&directory);
    let _ = fs::remove_dir_all(&cluster);
    result
}

fn measure(
    root: &Path,
    directory: &Path,
    cluster: &Path,
    ferriswheel: &Path,
    kube_score: Option<&Path>,
) -> Result<()> {
    manifests::write(directory)?;
    dump::write(cluster, NODES)?;
    let files = files(directory)?;
    let own = ferriswheel.display().to_string();
    let check = |from: &Path, more: &[&str]| {
        let from = from.display().to_string();
        let all = [
            "check", "--from", &from, "--target", "1.36", "--output", "json",
        ];
        let all = all.iter().chain(more).map(|word| (*word).to_owned());
        std::iter::once(own.clone()).chain(all).collect::<Vec<_>>()
    };
    let version = said(&own, &["--version"]);
    let mut tools = vec![
        Tool {
            name: "ferriswheel check --only apis",
            version: version.clone(),
            command: check(directory, &["--only", "apis"]),
            runs: Vec::new(),
        },
        Tool {
            name: "ferriswheel check --only apis,resilience",
            version: version.clone(),
            command: check(directory, &["--only", "apis,resilience"]),
            runs: Vec::new(),
        },
        Tool {
            name: "ferriswheel check --only drain, of the dump",
            version: version.clone(),
            command: check(cluster, &["--only", "drain"]),
            runs: Vec::new(),
        },
        Tool {
            name: "ferriswheel check, everything, of the dump",
            version,
            command: check(cluster, &[]),
            runs: Vec::new(),
        },
    ];
    if let Some(path) = kube_score {
        let own = path.display().to_string();
        let head = [
            own,
            "score".to_owned(),
            "--output-format".to_owned(),
            "json".to_owned(),
        ];
        tools.push(Tool {
            name: "kube-score score",
            version: "1.20.0".to_owned(),
            command: head.into_iter().chain(files.iter().cloned()).collect(),
            runs: Vec::new(),
        });
    }
    sees(&tools[0].command)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    for tool in &mut tools {
        // The first run fills the page cache; it counts for nobody.
        once(&tool.command)?;
    }
    for round in 0..FAST {
        for tool in &mut tools {
            let slow = tool
                .runs
                .first()
                .is_some_and(|(seconds, _)| *seconds > PATIENCE);
            if !slow || round < SLOW {
                tool.runs.push(once(&tool.command)?);
            }
        }
    }
    publish(root, &tools, &load)
}

/// All old documents are found, or the figure means nothing.
fn sees(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("a command")?;
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout).context("read the findings")?;
    let found = report["findings"].as_array().map_or(0, Vec::len);
    if found != manifests::old() {
        bail!("{found} of {} old documents were found", manifests::old());
    }
    Ok(())
}

/// Seconds and KiB of one run.
fn once(command: &[String]) -> Result<(f64, u64)> {
    let began = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["-f", "kib=%M"])
        .args(command)
        .stdout(Stdio::null())
        .output()
        .context("run /usr/bin/time (Debian package time)")?;
    let seconds = began.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stderr);
    let kib = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("kib="))
        .and_then(|kib| kib.parse().ok())
        .with_context(|| format!("{:?} said {text}", command.first()))?;
    Ok((seconds, kib))
}

fn said(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn files(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The value below which a share of the runs lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

fn publish(root: &Path, tools: &[Tool], load: &str) -> Result<()> {
    let day = said("date", &["-u", "+%Y-%m-%d"]);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("?", |(_, name)| name.trim())
        .to_owned();
    let commit = said(
        "git",
        &[
            "-C",
            &root.display().to_string(),
            "rev-parse",
            "--short",
            "HEAD",
        ],
    );
    let raw = format!("benchmarks/check-{day}.json");
    let mut text = format!(
        "{BEGIN}\nMeasured {day} with `cargo xtask bench-check`: {} documents in {} files, {} of them old, and the dump of a cluster of {NODES} nodes with {} pods; whole processes, taking turns, \
         files in the page cache. {cores} cores ({processor}), commit {commit}, optimised build, load {load} before the first run.\n\n\
         | tool | n | p50 | p90 | max | memory, max |\n|---|---|---|---|---|---|\n",
        manifests::DOCUMENTS,
        manifests::FILES,
        manifests::old(),
        NODES * dump::PODS
    );
    for tool in tools {
        let mut times: Vec<f64> = tool.runs.iter().map(|(seconds, _)| *seconds).collect();
        times.sort_by(f64::total_cmp);
        let memory = tool.runs.iter().map(|(_, kib)| *kib).max().unwrap_or(0);
        text.push_str(&format!(
            "| {} {} | {} | {:.3} s | {:.3} s | {:.3} s | {:.1} MiB |\n",
            tool.name,
            tool.version,
            times.len(),
            quantile(&times, 0.5),
            quantile(&times, 0.9),
            times.last().copied().unwrap_or(0.0),
            memory as f64 / 1024.0
        ));
    }
    text.push_str(&format!("\nRaw data, every run: [{raw}]({raw}).\n{END}"));
    let data: Vec<Value> = tools
        .iter()
        .map(|tool| {
            let runs: Vec<Value> = tool
                .runs
                .iter()
                .map(|(seconds, kib)| json!({ "seconds": seconds, "kib": kib }))
                .collect();
            json!({ "tool": tool.name, "version": tool.version, "runs": runs })
        })
        .collect();
    let data = json!({
        "schema": "ferriswheel.bench-check.v1",
        "day": day,
        "cores": cores,
        "processor": processor,
        "commit": commit,
        "load_before": load,
        "documents": manifests::DOCUMENTS,
        "files": manifests::FILES,
        "old": manifests::old(),
        "nodes": NODES,
        "tools": data,
    });
    fs::write(root.join("docs").join(&raw), format!("{data:#}\n"))?;
    let page = fs::read_to_string(root.join(PAGE))?;
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{PAGE} has no {END}"))?;
    fs::write(root.join(PAGE), format!("{before}{text}{after}"))?;
    Ok(())
}
