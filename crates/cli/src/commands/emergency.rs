//! `ferriswheel emergency`: the checklist of an emergency, within a time.
//!
//! Each part has a budget. A part that does not end within it is skipped and said so: a checklist that
//! hangs on an unreachable server is no help at all.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use ferriswheel_analysis::advise::{self, Wish};
use ferriswheel_analysis::emergency::{Ask, Checklist, Item, Part, State, checklist, observed};
use ferriswheel_analysis::manifest::{Reading, Want};
use ferriswheel_plan::policy::Upgrade;
use jiff::Timestamp;
use serde::Serialize;

use crate::Output;
use crate::commands::advise::{settings, target};
use crate::commands::plan::{observe, read_spec, write_json};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input;
use crate::stdout::{outln, people, visible};

/// Is it safe to upgrade now, by which pattern, and what is ready if it goes wrong; changes nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ferriswheel emergency --from dump/ --target 1.36.3 --spec upgrade.yaml --out plan.json
  ferriswheel emergency --from dump/ --target 1.36 --budget 30
  ferriswheel emergency --from dump/ --target 1.36.3 --spec upgrade.yaml --output json

The dump (ferriswheel snapshot --out dump/) says what there is; with --spec the servers are asked for their lag, and a plan
is made. Exit code 0: everything was seen and is well. 30: something is not, or was skipped; the output says what and why.")]
pub struct EmergencyArgs {
    /// Directories or files: a dump of the cluster
    #[arg(long, value_name = "PATH", required = true)]
    from: Vec<PathBuf>,
    /// The version to upgrade to
    #[arg(long, value_name = "VERSION")]
    target: String,
    /// Ask the servers of this spec, and make its plan
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE", requires = "spec")]
    out: Option<PathBuf>,
    /// Seconds for reading the dump, and again for asking the servers
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    budget: u64,
    /// Hours that a backup may be old
    #[arg(long, value_name = "HOURS", default_value_t = 26, value_parser = clap::value_parser!(u32).range(1..=8760))]
    max_backup_age: u32,
    #[command(flatten)]
    connection: Connection,
}

/// A look with the time that it took.
#[derive(Clone, Debug, Serialize)]
struct Look {
    what: &'static str,
    budget_ms: u64,
    took_ms: u64,
    /// Why it did not come to an end; nothing when it did.
    skipped: Option<String>,
}

/// Carries out `emergency`.
#[expect(clippy::print_stderr, reason = "files that were not read are notes")]
pub async fn run(args: EmergencyArgs, output: Output, quiet: bool) -> Result<Exit, Failure> {
    let target = target(&args.target)?;
    let spec = args.spec.as_ref().map(read_spec).transpose()?;
    let budget = Duration::from_secs(args.budget);
    let mut looks = Vec::new();

    let started = Instant::now();
    let reading = read(args.from.clone(), budget)?;
    looks.push(look(
        "the dump",
        budget,
        started,
        reading.is_none().then(|| late(budget)),
    ));
    if let Some(reading) = &reading
        && reading.objects.is_empty()
        && reading.releases.is_empty()
    {
        // Of nothing everything is well.
        let why = reading.skipped.first().map_or_else(
            || "there is no object in the input".to_owned(),
            |skipped| format!("{}: {}", skipped.file, skipped.reason),
        );
        return Err(Failure::input(format!("nothing was read: {why}")).fix(
            "say --from with a dump of the cluster (ferriswheel snapshot --out DIR writes one)",
        ));
    }
    let reading = reading.unwrap_or_default();
    let skipped = reading.skipped.clone();
    let ask = Ask {
        advise: advise::Ask {
            priority: Some(advise::Priority::SecurityPatch),
            role: None,
            settings: settings(target.minor),
            target,
            wish: Wish::default(),
        },
        now: Timestamp::now(),
        max_backup_age: i64::from(args.max_backup_age) * 3600,
    };
    let mut list = checklist(reading, &ask);
    if looks.iter().any(|look| look.skipped.is_some()) {
        // Of an input that was not read to its end nothing is known, whatever of it is well.
        list.items.retain(|item| item.state != State::Pass);
        list.items.insert(0, unread(budget));
    }

    let started = Instant::now();
    if let Some(spec) = &spec {
        let failed = ask_servers(&args, spec, &mut list, budget).await?;
        looks.push(look("the servers and the plan", budget, started, failed));
    }
    match output {
        Output::Json => outln!(
            "{}",
            document(&list, &looks).map_err(|e| Failure::unexpected(&e))?
        ),
        Output::Text => people(&text(&list, &looks))?,
    }
    if !quiet {
        for skipped in &skipped {
            let line = format!("skipped {}: {}", skipped.file, skipped.reason);
            eprintln!("{}", visible(&line));
        }
    }
    Ok(if list.is_clear() {
        Exit::Done
    } else {
        Exit::Refused
    })
}

/// Asks the servers and makes the plan. Says why nothing came of it, if so.
async fn ask_servers(
    args: &EmergencyArgs,
    spec: &Upgrade,
    list: &mut Checklist,
    budget: Duration,
) -> Result<Option<String>, Failure> {
    let why = match tokio::time::timeout(budget, observe(spec, &args.connection)).await {
        Ok(Ok(world)) => {
            let observed = observed(list, &world, spec);
            if let (Some(path), Some(plan)) = (&args.out, &observed.plan) {
                write_json(path, plan)?;
            }
            return Ok(None);
        }
        Ok(Err(failure)) => {
            let words = failure.diagnostics.iter().flat_map(|one| {
                std::iter::once(one.message.clone()).chain(one.evidence.iter().cloned())
            });
            words.collect::<Vec<_>>().join(": ")
        }
        Err(_) => late(budget),
    };
    for item in &mut list.items {
        if matches!(item.part, Part::Lag | Part::WayBack | Part::Plan) {
            item.seen = vec![why.clone()];
            "reach the cluster, or raise --budget, and run it again".clone_into(&mut item.to_do);
        }
    }
    Ok(Some(why))
}

/// Reads on a thread of its own, which is left behind when it is late: this process ends soon.
fn read(from: Vec<PathBuf>, budget: Duration) -> Result<Option<Reading>, Failure> {
    let (give, take) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody may be there to take it any more.
        let _ = give.send(input::read(&from, Want::Bodies));
    });
    match take.recv_timeout(budget) {
        Ok(result) => result.map(|(reading, _)| Some(reading)),
        Err(_) => Ok(None),
    }
}

fn document(list: &Checklist, looks: &[Look]) -> Result<serde_json::Value, serde_json::Error> {
    let mut document = serde_json::to_value(list)?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("looks".to_owned(), serde_json::to_value(looks)?);
    }
    Ok(document)
}

fn late(budget: Duration) -> String {
    format!("it took longer than its budget of {} s", budget.as_secs())
}

fn unread(budget: Duration) -> Item {
    Item {
        part: Part::Replicas,
        subject: "the dump".to_owned(),
        state: State::Skipped,
        seen: vec![late(budget)],
        to_do: "name less of it, or raise --budget".to_owned(),
    }
}

fn look(what: &'static str, budget: Duration, started: Instant, skipped: Option<String>) -> Look {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Look {
        what,
        budget_ms: millis(budget),
        took_ms: millis(started.elapsed()),
        skipped,
    }
}

fn text(list: &Checklist, looks: &[Look]) -> String {
    let mut text = String::new();
    for part in Part::ALL {
        let items: Vec<&Item> = list.items.iter().filter(|item| item.part == part).collect();
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{}", part.title());
        for item in items {
            let state = match item.state {
                State::Pass => "ok     ",
                State::Fail => "NO     ",
                State::Skipped => "skipped",
            };
            let first = item.seen.first().map_or("", String::as_str);
            let _ = writeln!(text, "  {state} {}: {first}", item.subject);
            for more in item.seen.iter().skip(1) {
                let _ = writeln!(text, "          {more}");
            }
            if !item.to_do.is_empty() {
                let _ = writeln!(text, "          to do: {}", item.to_do);
            }
        }
    }
    for look in looks {
        let _ = writeln!(
            text,
            "{}: {:.1} s of {} s{}",
            look.what,
            Duration::from_millis(look.took_ms).as_secs_f64(),
            look.budget_ms / 1000,
            look.skipped
                .as_ref()
                .map(|why| format!("; {why}"))
                .unwrap_or_default()
        );
    }
    let count = |state| list.items.iter().filter(|item| item.state == state).count();
    let _ = writeln!(
        text,
        "{} ok, {} not, {} skipped: {}",
        count(State::Pass),
        count(State::Fail),
        count(State::Skipped),
        if list.is_clear() {
            "begin"
        } else {
            "do not begin yet"
        }
    );
    text
}
