//! `ferriswheel diagnose`: why an upgrade is stuck, slow, failed or hurting.

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use ferriswheel_analysis::diagnose::{Certainty, Diagnosis, Report, Symptom, Text, diagnose};
use ferriswheel_analysis::manifest::{MAX_FILE, Reading, Want};
use jiff::Timestamp;

use crate::Output;
use crate::connect::{Connection, Managed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pages::{Pages, pages};
use crate::stdout::{outln, people, visible};
use crate::{gather, input};

/// Say why an upgrade is stuck, slow, failed or hurting: cause, evidence, next command, and what not to do
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel diagnose --cluster SUBSCRIPTION/production-rg/aks-prod
  ferriswheel diagnose --from dump/
  ferriswheel diagnose --error 'UpgradeFailed: Drain node aks-db-0 failed when evicting pod shop/pg-0 ...'
  az aks nodepool upgrade ... 2>&1 | tee log; ferriswheel diagnose --error log --live
  ferriswheel diagnose --explain FWT101

Without --from and --error it reads the cluster of the kubeconfig, with the rights of examples/snapshot/rbac.yaml; what it
reads stays in memory. It changes nothing. Exit code 30: a cause was found, 0: none.")]
pub struct DiagnoseArgs {
    /// Directories, files or - for standard input: a snapshot, kubectl get -o json, answers of az; no cluster is read
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// An error as AKS, az or a pipeline printed it: the text, a file that holds it, or - for standard input
    #[arg(long, value_name = "TEXT|FILE")]
    error: Vec<String>,
    /// Read the cluster too when an error is given
    #[arg(long, conflicts_with = "from")]
    live: bool,
    /// Show the page of a code, and nothing else
    #[arg(long, value_name = "CODE")]
    explain: Option<String>,
    #[command(flatten)]
    managed: Managed,
    #[command(flatten)]
    connection: Connection,
}

/// Carries out `diagnose`.
#[expect(clippy::print_stderr, reason = "what was looked at is a note")]
pub async fn run(args: &DiagnoseArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    if let Some(code) = &args.explain {
        return PAGES.explain(code);
    }
    let texts = args
        .error
        .iter()
        .map(|given| error(given))
        .collect::<Result<Vec<Text>, Failure>>()?;
    let reading = if !args.from.is_empty() {
        input::read(&args.from, Want::Diagnosis)?.0
    } else if texts.is_empty() || args.live {
        let cluster = args.managed.cluster(&args.connection)?;
        gather::read(&args.connection, cluster.as_ref(), Want::Diagnosis, quiet)
            .await?
            .0
    } else {
        Reading::default()
    };
    let report = diagnose(reading, &texts, Some(Timestamp::now().as_second()));
    match output {
        Output::Json => outln!(
            "{}",
            serde_json::to_string(&report).map_err(|e| Failure::unexpected(&e))?
        ),
        Output::Text => people(&words(&report))?,
    }
    if !quiet {
        eprint!("{}", visible(&notes(&report)));
    }
    Ok(if report.diagnoses.is_empty() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// A text, or what the file of that name holds.
fn error(given: &str) -> Result<Text, Failure> {
    let is_stdin = given == "-";
    // A message is never the name of a file that is there.
    if !is_stdin && !Path::new(given).is_file() {
        return Ok(Text {
            name: "<error>".to_owned(),
            text: given.to_owned(),
        });
    }
    let name = if is_stdin { "<stdin>" } else { given };
    let limit = MAX_FILE as u64 + 1;
    let mut bytes = Vec::new();
    let taken = if is_stdin {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(given).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    taken.map_err(|e| {
        Failure::input(format!("{name} cannot be read: {e}"))
            .fix("say the text itself, or a file that holds it")
    })?;
    if bytes.len() > MAX_FILE {
        return Err(
            Failure::input(format!("{name} is larger than {} MiB", MAX_FILE >> 20))
                .fix("cut the lines around the error out of it"),
        );
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::input(format!("{name} is not UTF-8")).fix("save it as UTF-8"))?;
    Ok(Text {
        name: name.to_owned(),
        text,
    })
}

fn words(report: &Report) -> String {
    let mut text = String::new();
    for symptom in Symptom::ALL {
        let found: Vec<&Diagnosis> = report
            .diagnoses
            .iter()
            .filter(|diagnosis| diagnosis.symptom == symptom)
            .collect();
        if found.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{} ({})", heading(symptom), found.len());
        for diagnosis in found {
            one(&mut text, diagnosis);
        }
        text.push('\n');
    }
    if report.diagnoses.is_empty() {
        text.push_str("Nothing found that would explain a stuck, slow or failed upgrade.\n");
    }
    text
}

fn heading(symptom: Symptom) -> &'static str {
    match symptom {
        Symptom::Refused => "Refused or ended by AKS",
        Symptom::StuckDrain => "A drain is stuck",
        Symptom::Slow => "It takes long",
        Symptom::Errors => "Requests fail",
        Symptom::Names => "Names are not resolved",
    }
}

fn one(text: &mut String, diagnosis: &Diagnosis) {
    let object = &diagnosis.object;
    let within = object
        .namespace
        .as_ref()
        .map_or(String::new(), |n| format!("{n}/"));
    let name = format!("{} {within}{}", object.kind, object.name);
    let _ = writeln!(
        text,
        "  {} {}  {}:{}",
        diagnosis.code,
        name.trim_end(),
        diagnosis.source.file,
        diagnosis.source.line
    );
    let sure = match diagnosis.certainty {
        Certainty::Certain => "",
        Certainty::Likely => "likely: ",
    };
    let _ = writeln!(text, "    {sure}{}", diagnosis.cause);
    for evidence in &diagnosis.evidence {
        let _ = writeln!(text, "    seen ({}): {}", evidence.class, evidence.detail);
    }
    for (i, command) in diagnosis.next.iter().enumerate() {
        let _ = writeln!(
            text,
            "    {} {command}",
            if i == 0 { "next:" } else { "then:" }
        );
    }
    let _ = writeln!(text, "    not:  {}", diagnosis.avoid);
}

/// What there was to look at: no cause among nothing is no news.
fn notes(report: &Report) -> String {
    let counts: Vec<String> = report
        .looked_at
        .iter()
        .map(|looked| format!("{} {}", looked.count, looked.what))
        .collect();
    let mut text = format!("diagnose: looked at {}\n", counts.join(", "));
    for skipped in &report.skipped {
        let _ = writeln!(
            text,
            "diagnose: not read: {}: {}",
            skipped.file, skipped.reason
        );
    }
    if !report.diagnoses.is_empty() {
        text.push_str("diagnose: more about a code: ferriswheel diagnose --explain CODE\n");
    }
    text
}

/// Codes with their pages.
const PAGES: Pages = pages![
    "diagnoses":
    "FWT001", "FWT002", "FWT003", "FWT004", "FWT005", "FWT006", "FWT007", "FWT008", "FWT009",
    "FWT010", "FWT011", "FWT012", "FWT019", "FWT101", "FWT102", "FWT103", "FWT104", "FWT105",
    "FWT106", "FWT107", "FWT108", "FWT109", "FWT110", "FWT201", "FWT202", "FWT203", "FWT204", "FWT205",
    "FWT301", "FWT302", "FWT303", "FWT304", "FWT305", "FWT306", "FWT401", "FWT402", "FWT403",
    "FWT404", "FWT405",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_its_own() {
        let codes: Vec<&str> = PAGES.0.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ferriswheel_analysis::diagnose::codes::ALL);
        for (code, page) in PAGES.0 {
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            for part in ["## What it means", "## What to do", "## What not to do"] {
                assert!(page.contains(part), "{code} has no {part}");
            }
        }
    }
}
