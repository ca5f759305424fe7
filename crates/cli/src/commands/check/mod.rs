//! `ferriswheel check`: what the target would do to what is there.

mod baseline;
mod drain;
mod fix;
mod formats;
mod html;
mod text;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ferriswheel_analysis::check::{Scope, check};
use ferriswheel_analysis::deprecations::{Target, TargetError};
use ferriswheel_analysis::findings::{Report, Severity};
use ferriswheel_analysis::manifest::Want;
use ferriswheel_analysis::resilience::{Settings, days};

use jiff::civil::Date;

use crate::Output;
use crate::connect::{Connection, Managed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pages::{Pages, pages};
use crate::stdout::{outln, people, visible};
use crate::{gather, input};
use formats::Form;

/// Find what an upgrade would break: in a cluster, or in manifests, dumps and Helm releases without one
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel check --target 1.36
  ferriswheel check --target 1.36 --cluster SUBSCRIPTION/production-rg/aks-prod
  ferriswheel check --from manifests/ --target 1.36
  kubectl get deploy,pdb,ingress -A -o json | ferriswheel check --from - --target 1.36
  ferriswheel check --from dump/ --target 1.36 --target cert-manager=1.16 --fail-on breaks,stale-source
  ferriswheel check --from manifests/ --target 1.36 --fix converted/
  ferriswheel check --from dump/ --target 1.36 --write report.html --baseline accepted.json
  kubectl get nodes,pods,pdb,rs,deploy,sts,ds,pv,pvc -A -o json | ferriswheel check --from - --target 1.36 --drain-surge 33%
  ferriswheel check --explain FWD001

Without --from it reads the cluster of the kubeconfig, with the rights of examples/snapshot/rbac.yaml, and finds what
`snapshot` and `check --from` would find. What it reads stays in memory.")]
pub struct CheckArgs {
    /// Directories, files or - for standard input: YAML, JSON, lists, dumps, Helm records, packaged charts; no cluster is read
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// The version to upgrade to, and releases of components (1.36, cert-manager=1.16)
    #[arg(long, value_name = "VERSION", required_unless_present = "explain")]
    target: Vec<String>,
    /// Ask these checks alone
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECKS")]
    only: Vec<Only>,
    /// How long the upgrade waits for a node to drain (AKS: the pool's drain timeout)
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..=1440))]
    drain_timeout: u32,
    #[command(flatten)]
    drain: drain::DrainArgs,
    /// Exit with 30 when there is a finding of these severities
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "breaks,blocks",
        value_name = "SEVERITY"
    )]
    fail_on: Vec<FailOn>,
    /// Accept the findings that this file names, with a reason and an end each
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write a baseline that accepts everything found now, for --reason and until --expires
    #[arg(long, value_name = "FILE", requires = "reason", requires = "expires")]
    write_baseline: Option<PathBuf>,
    /// Why the findings of --write-baseline may stay
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The last day on which they may (2027-01-31)
    #[arg(long, value_name = "DAY")]
    expires: Option<Date>,
    /// Write manifests converted to what the target serves below this directory; never over their sources
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "ferriswheel-fixed")]
    fix: Option<PathBuf>,
    /// Write the findings to a file too: .json, .sarif, .xml (JUnit), .md or .html
    #[arg(long, value_name = "FILE")]
    write: Vec<PathBuf>,
    /// Show the page of a finding's code, and nothing else
    #[arg(long, value_name = "CODE")]
    explain: Option<String>,
    #[command(flatten)]
    managed: Managed,
    #[command(flatten)]
    connection: Connection,
}

/// A group of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Versions that the target does not serve
    Apis,
    /// Budgets, replicas, probes, volumes, webhooks, connections
    Resilience,
    /// Which nodes drain, in what time, and what holds the others
    Drain,
}

/// A severity, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Breaks,
    Blocks,
    StaleSource,
    Later,
    Warning,
    Info,
    /// Never
    None,
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        Some(match self {
            Self::Breaks => Severity::Breaks,
            Self::Blocks => Severity::Blocks,
            Self::StaleSource => Severity::StaleSource,
            Self::Later => Severity::Later,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
            Self::None => return None,
        })
    }
}

/// Carries out `check`.
#[expect(clippy::print_stderr, reason = "counts and skipped files are notes")]
pub async fn run(args: &CheckArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    if let Some(code) = &args.explain {
        return PAGES.explain(code);
    }
    let target = Target::parse(args.target.iter().map(String::as_str)).map_err(|e| refuse(&e))?;
    let forms = args
        .write
        .iter()
        .map(|path| Some((path, Form::of(path)?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| {
            Failure::input("the form of a file to write is not known by its name")
                .fix("end it with .json, .sarif, .xml, .md or .html")
        })?;
    let asked = |group| args.only.is_empty() || args.only.contains(&group);
    let scope = Scope {
        api_versions: asked(Only::Apis),
        resilience: asked(Only::Resilience).then(|| Settings {
            minor: target.minor,
            today: days(
                i64::from(today().year()),
                i64::from(today().month()),
                i64::from(today().day()),
            ),
            drain_timeout: i64::from(args.drain_timeout) * 60,
        }),
        drain: asked(Only::Drain)
            .then(|| args.drain.settings(args.drain_timeout))
            .flatten(),
    };
    let want = match (scope.resilience.is_some(), scope.drain.is_some()) {
        (true, true) => Want::All,
        (true, false) => Want::Checks,
        (false, true) => Want::Sketches,
        (false, false) => Want::Names,
    };
    let (reading, files) = if args.from.is_empty() {
        let cluster = args.managed.cluster(&args.connection)?;
        gather::read(&args.connection, cluster.as_ref(), want, quiet).await?
    } else {
        input::read(&args.from, want)?
    };
    let objects = reading.objects.len()
        + reading
            .releases
            .iter()
            .map(|r| r.objects.len())
            .sum::<usize>();
    let mut report = check(reading, &target, &scope);
    let mut notes = Vec::new();
    if let Some(path) = &args.baseline {
        notes = baseline::apply(&mut report, path, today())?;
    }
    if let (Some(path), Some(reason), Some(expires)) =
        (&args.write_baseline, &args.reason, args.expires)
    {
        baseline::write(&report, path, reason, expires)?;
    }
    if let Some(into) = &args.fix {
        report.fixed = fix::fix(&report.findings, &target, into)?;
    }
    for (path, form) in forms {
        let text = form.render(&report).map_err(|e| Failure::unexpected(&e))?;
        std::fs::write(path, text).map_err(|e| {
            Failure::input(format!("{} cannot be written: {e}", path.display()))
                .fix("check the directory and its permissions")
        })?;
    }
    match output {
        Output::Json => outln!(
            "{}",
            serde_json::to_string(&report).map_err(|e| Failure::unexpected(&e))?
        ),
        Output::Text => {
            people(&text::findings(&report, objects))?;
            if let Some(simulation) = &report.drain {
                people(&format!("\n{}", drain::tables(simulation)))?;
            }
        }
    }
    if !quiet {
        eprint!(
            "{}",
            visible(&text::notes(&report, files, objects, target.is_planned()))
        );
        for note in notes {
            eprintln!("{}", visible(&note));
        }
        if args.fix.is_some() {
            eprint!("{}", visible(&fix::notes(&report.fixed)));
        }
    }
    Ok(verdict(&report, &args.fail_on))
}

fn today() -> Date {
    jiff::Zoned::now().date()
}

fn verdict(report: &Report, fail_on: &[FailOn]) -> Exit {
    let fatal: BTreeSet<Severity> = fail_on.iter().filter_map(|one| one.severity()).collect();
    if report
        .findings
        .iter()
        .any(|finding| fatal.contains(&finding.severity))
    {
        Exit::Refused
    } else {
        Exit::Done
    }
}

fn refuse(error: &TargetError) -> Failure {
    Failure::input(format!("failed to {error}"))
        .fix("say --target 1.36, the version that you upgrade to")
}

/// Codes of findings with their pages.
const PAGES: Pages = pages![
    "checks":
    "FWD001", "FWD002", "FWD003", "FWD004", "FWD005", "FWD006", "FWD007", "FWD008", "FWD009",
    "FWD010", "FWD011", "FWD012", "FWD020", "FWD021", "FWD022", "FWD023", "FWD024", "FWD025",
    "FWR001", "FWR002", "FWR003", "FWR004", "FWR010", "FWR011", "FWR020", "FWR021", "FWR022",
    "FWR023", "FWR024", "FWR025", "FWR026", "FWR027", "FWR028", "FWR029", "FWR030", "FWR031",
    "FWR032", "FWR040", "FWR041", "FWR042", "FWR045", "FWR046", "FWR050", "FWR051", "FWR052",
    "FWR053", "FWR060", "FWR061", "FWR062", "FWR063", "FWR064", "FWR065", "FWR066", "FWR070",
    "FWR071", "FWR072", "FWR073", "FWR074", "FWR080", "FWR081", "FWR082", "FWR090", "FWR091",
    "FWR092", "FWR093", "FWR094", "FWR095", "FWR096", "FWR097", "FWR098", "FWS001", "FWS002",
    "FWS003", "FWB002", "FWB003", "FWB005", "FWB006", "FWB009", "FWB010", "FWA001", "FWA002",
    "FWA003", "FWA004", "FWA005", "FWA006", "FWA007", "FWA008", "FWA009", "FWA010", "FWA011",
    "FWA012", "FWA013", "FWA014", "FWA015", "FWA016", "FWA017", "FWA018",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_its_own() {
        let codes: Vec<&str> = PAGES.0.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ferriswheel_analysis::codes::ALL);
        for (code, page) in PAGES.0 {
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            for part in ["## What it means", "## What to do"] {
                assert!(page.contains(part), "{code} has no {part}");
            }
        }
    }
}
