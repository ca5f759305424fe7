//! `ferriswheel advise`: which strategy, and why.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ferriswheel_analysis::advise::{
    Advice, Ask, Choice, Database, First, Priority, Role, Wish, advise,
};
use ferriswheel_analysis::deprecations::Target;
use ferriswheel_analysis::manifest::Want;
use ferriswheel_analysis::resilience::{Settings, days};
use ferriswheel_plan::policy;
use ferriswheel_plan::version::KubernetesVersion;

use crate::Output;
use crate::connect::{Connection, Managed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::gather;
use crate::input;
use crate::stdout::{outln, people, visible};

/// Name the strategy for this cluster and each of its databases, with reasons, and write a starting spec
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel advise --target 1.36.3 --cluster SUBSCRIPTION/GROUP/NAME --write upgrade.yaml
  ferriswheel advise --from dump/ --target 1.36.3 --write upgrade.yaml
  ferriswheel advise --from dump/ --target 1.36 --role dba
  ferriswheel advise --from manifests/ --target 1.37 --priority new-version --output json

Without --from the cluster of the kubeconfig is read, and nothing of it is kept. A dump: ferriswheel snapshot --out dump/. With
--cluster, or the answers of az in the dump (az aks show), the spec names the cluster.")]
pub struct AdviseArgs {
    /// Directories, files or - for standard input: YAML, JSON, lists, dumps; no cluster is read
    #[arg(long, value_name = "PATH")]
    from: Vec<PathBuf>,
    /// The version to upgrade to; with its patch (1.36.3) the spec names it
    #[arg(long, value_name = "VERSION")]
    target: String,
    /// What matters most
    #[arg(long, value_enum, value_name = "PRIORITY")]
    priority: Option<AskedPriority>,
    /// Who asks; --priority stands above it
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Option<AskedRole>,
    /// Write a spec that `plan` accepts; a file that is there is not replaced
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    managed: Managed,
    #[command(flatten)]
    connection: Connection,
}

/// A priority, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AskedPriority {
    /// Nobody notices
    ZeroDowntime,
    /// Development, test, production, one after the other
    MultiEnvironment,
    /// A new minor is tried before it is trusted
    NewVersion,
    /// A hole is closed within hours
    SecurityPatch,
    /// Applications live through any upgrade
    FutureProof,
    /// A database is carried over
    Database,
}

impl From<AskedPriority> for Priority {
    fn from(asked: AskedPriority) -> Self {
        match asked {
            AskedPriority::ZeroDowntime => Self::ZeroDowntime,
            AskedPriority::MultiEnvironment => Self::MultiEnvironment,
            AskedPriority::NewVersion => Self::NewVersion,
            AskedPriority::SecurityPatch => Self::SecurityPatch,
            AskedPriority::FutureProof => Self::FutureProof,
            AskedPriority::Database => Self::Database,
        }
    }
}

/// A role, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AskedRole {
    /// Platform
    Sre,
    /// Databases
    Dba,
    /// Applications
    AppDev,
    /// Security
    Security,
}

impl From<AskedRole> for Role {
    fn from(asked: AskedRole) -> Self {
        match asked {
            AskedRole::Sre => Self::Sre,
            AskedRole::Dba => Self::Dba,
            AskedRole::AppDev => Self::AppDev,
            AskedRole::Security => Self::Security,
        }
    }
}

/// Carries out `advise`.
#[expect(clippy::print_stderr, reason = "what could not be read is a note")]
pub async fn run(args: &AdviseArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let target = target(&args.target)?;
    let cluster = args.managed.cluster(&args.connection)?;
    let (reading, _) = if args.from.is_empty() {
        gather::read(&args.connection, cluster.as_ref(), Want::Bodies, quiet).await?
    } else {
        input::read(&args.from, Want::Bodies)?
    };
    let cluster = cluster.map(|found| (found.subscription, found.resource_group, found.name));
    let ask = Ask {
        priority: args.priority.map(Into::into),
        role: args.role.map(Into::into),
        settings: settings(target.minor),
        target,
        wish: Wish {
            cluster,
            // A minor is no version of a machine: without its patch nothing is promised.
            version: args
                .target
                .parse::<KubernetesVersion>()
                .ok()
                .map(|version| version.to_string()),
        },
    };
    let advice = advise(reading, &ask);
    if let Some(path) = &args.write {
        write(&advice, path)?;
    }
    match output {
        Output::Json => outln!(
            "{}",
            serde_json::to_string(&advice).map_err(|e| Failure::unexpected(&e))?
        ),
        Output::Text => people(&text(&advice))?,
    }
    if !quiet {
        for skipped in &advice.skipped {
            let line = format!("skipped {}: {}", skipped.file, skipped.reason);
            eprintln!("{}", visible(&line));
        }
        if let (Some(path), Some(spec)) = (&args.write, &advice.spec) {
            eprintln!("wrote {}", path.display());
            for field in &spec.to_fill {
                eprintln!("put in: {field}");
            }
        }
    }
    Ok(Exit::Done)
}

/// The version to go to.
pub fn target(text: &str) -> Result<Target, Failure> {
    Target::parse([text]).map_err(|e| {
        Failure::input(format!("failed to {e}"))
            .fix("say --target 1.36.3, the version that you upgrade to")
    })
}

/// What the checks are told: today, and AKS's own drain timeout.
pub fn settings(minor: u32) -> Settings {
    let today = jiff::Zoned::now().date();
    Settings {
        minor,
        today: days(
            i64::from(today.year()),
            i64::from(today.month()),
            i64::from(today.day()),
        ),
        ..Settings::default()
    }
}

fn write(advice: &Advice, path: &PathBuf) -> Result<(), Failure> {
    let Some(spec) = &advice.spec else {
        return Err(Failure::one(
            Exit::Refused,
            "FW0001",
            "there is no spec to write: `plan` of this version carries none of these databases",
        )
        .fix("the advice names another way for each of them"));
    };
    // What is written here `plan` reads: held against the same parser.
    policy::parse(&path.display().to_string(), &spec.text)
        .map_err(|diagnostics| Failure::refused(Exit::Unexpected, diagnostics))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, spec.text.as_bytes()))
        .map_err(|e| {
            Failure::input(format!("{} cannot be written: {e}", path.display()))
                .fix("name a file that is not there: a spec that somebody edited is not replaced")
        })
}

fn text(advice: &Advice) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "For the cluster: {} ({})\n  what matters most: {}, {}",
        advice.cluster.name,
        advice.cluster.by.words(),
        name(advice.priority),
        advice.because
    );
    choice(&mut text, &advice.cluster);
    for database in &advice.databases {
        self::database(&mut text, database);
    }
    if !advice.first.is_empty() {
        text.push_str("\nFirst, for any upgrade\n");
        advice.first.iter().for_each(|one| first(&mut text, one));
    }
    if advice.databases.is_empty() {
        text.push_str("\nNo database was found in the input.\n");
    } else if advice.spec.is_none() {
        text.push_str("\nNo spec: `plan` of this version carries none of these databases.\n");
    }
    text
}

fn database(text: &mut String, database: &Database) {
    let found = &database.found;
    let _ = writeln!(
        text,
        "\n{} is {}: {} ({})\n  found by: {}",
        found.object,
        found.system,
        database.choice.name,
        database.choice.by.words(),
        found.evidence.join(", ")
    );
    let members = found
        .members
        .map_or("unknown".to_owned(), |members| members.to_string());
    let mut parts = vec![format!("{members} members")];
    if let Some(ready) = found.ready {
        parts.push(format!("{ready} Ready"));
    }
    if !found.nodes.is_empty() {
        parts.push(format!("on {} nodes", found.nodes.len()));
    }
    if !found.zones.is_empty() {
        parts.push(format!("in {} zones", found.zones.len()));
    }
    if let Some(operator) = &found.operator {
        parts.push(format!("owned by {operator}"));
    }
    if !found.poolers.is_empty() {
        parts.push(format!("behind {}", found.poolers.join(", ")));
    }
    if let Some(service) = &found.service {
        parts.push(format!("reached by {service}"));
    }
    let _ = writeln!(text, "  topology: {}", parts.join(", "));
    choice(text, &database.choice);
    if !database.first.is_empty() {
        text.push_str("  first:\n");
        database.first.iter().for_each(|one| first(text, one));
    }
}

fn choice(text: &mut String, choice: &Choice) {
    for reason in &choice.reasons {
        let _ = writeln!(text, "  because {reason}");
    }
    match (&choice.stall, choice.claimed) {
        (Some(figure), _) => {
            let trial = if figure.trial { ", a trial" } else { "" };
            let _ = writeln!(
                text,
                "  stall of writes: median {} ms, longest {} ms of {} hand-overs ({}{trial})",
                figure.p50_ms, figure.max_ms, figure.of, figure.source
            );
        }
        (None, Some(claimed)) => {
            let _ = writeln!(
                text,
                "  downtime: {claimed} by the how-to page; not measured here"
            );
        }
        (None, None) => {}
    }
    let _ = writeln!(text, "  duration: {}", choice.duration);
    for step in &choice.steps {
        let _ = writeln!(text, "  - {step}");
    }
}

fn first(text: &mut String, first: &First) {
    let _ = writeln!(
        text,
        "    {} {} {}: {}\n      fix: {}",
        first.code,
        first.severity.name(),
        first.object,
        first.message,
        first.fix
    );
}

fn name(priority: Priority) -> &'static str {
    match priority {
        Priority::ZeroDowntime => "zero downtime",
        Priority::MultiEnvironment => "several environments",
        Priority::NewVersion => "a new version",
        Priority::SecurityPatch => "a security patch",
        Priority::FutureProof => "applications that live through upgrades",
        Priority::Database => "the databases",
    }
}
