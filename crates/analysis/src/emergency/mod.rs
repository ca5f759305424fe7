//! The emergency checklist as a judgement: is it safe to begin, by which pattern, and what is ready if it
//! goes wrong.
//!
//! Invariants: what was not seen is skipped with its reason and never passes; a backup counts as one only
//! when something has restored it; `plan`'s own gates judge what was observed, so that the checklist is
//! never kinder than the plan.
//!
//! What this module must not know: clocks (the time is passed in), clusters and terminals.

mod backup;
mod lag;
mod live;

pub use live::{Observed, observed};

use jiff::Timestamp;
use serde::Serialize;

use crate::advise::{self, Advice, Database, advise};
use crate::findings::Severity;
use crate::manifest::Reading;

/// Name of the document that `--output json` prints.
pub const SCHEMA: &str = "ferriswheel.emergency.v1";

/// A part of the checklist, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Every member is there.
    Replicas,
    /// Nobody is behind.
    Lag,
    /// There is a backup, and it restores.
    Backup,
    /// How each database is carried over.
    Pattern,
    /// What is ready if it goes wrong.
    WayBack,
    /// The steps.
    Plan,
}

impl Part {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::Replicas,
        Self::Lag,
        Self::Backup,
        Self::Pattern,
        Self::WayBack,
        Self::Plan,
    ];

    /// What it asks.
    pub fn title(self) -> &'static str {
        match self {
            Self::Replicas => "every member is there",
            Self::Lag => "nobody is behind",
            Self::Backup => "there is a backup, and it restores",
            Self::Pattern => "how each database is carried over",
            Self::WayBack => "what is ready if it goes wrong",
            Self::Plan => "the plan",
        }
    }
}

/// How an item came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Seen, and good.
    Pass,
    /// Seen, and not good.
    Fail,
    /// Not seen; the evidence says why.
    Skipped,
}

/// One question with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Part of the checklist.
    pub part: Part,
    /// What it is about.
    pub subject: String,
    /// How it came out.
    pub state: State,
    /// What was seen, or why nothing was.
    pub seen: Vec<String>,
    /// What to do; empty when nothing.
    pub to_do: String,
}

impl Item {
    fn new(
        part: Part,
        subject: &str,
        state: State,
        seen: impl Into<String>,
        to_do: impl Into<String>,
    ) -> Self {
        Self {
            part,
            subject: subject.to_owned(),
            state,
            seen: vec![seen.into()],
            to_do: to_do.into(),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What the advice is told.
    pub advise: advise::Ask,
    /// Now.
    pub now: Timestamp,
    /// How old a backup may be, in seconds.
    pub max_backup_age: i64,
}

/// The checklist.
#[derive(Clone, Debug, Serialize)]
pub struct Checklist {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Every item, in the order of the parts.
    pub items: Vec<Item>,
    /// The databases with their patterns.
    pub databases: Vec<Database>,
}

impl Checklist {
    /// Nothing failed and nothing was skipped.
    pub fn is_clear(&self) -> bool {
        self.items.iter().all(|item| item.state == State::Pass)
    }

    fn put(&mut self, items: Vec<Item>) {
        self.items.extend(items);
        self.items.sort_by_key(|item| item.part);
    }
}

/// What a dump says of it. Lag and plan need servers: they are skipped until [`observed`] answers.
pub fn checklist(reading: Reading, ask: &Ask) -> Checklist {
    let backups = backup::found(&reading.objects);
    let advice = advise(reading, &ask.advise);
    let mut items = Vec::new();
    let durable: Vec<&Database> = advice
        .databases
        .iter()
        .filter(|one| one.found.durable)
        .collect();
    for database in &durable {
        items.push(replicas(database));
        items.push(Item::new(
            Part::Lag,
            &database.found.object,
            State::Skipped,
            "a dump holds no replication position, and Ready does not mean replicated",
            "name a spec, so that the servers are asked: --spec upgrade.yaml",
        ));
        items.extend(backup::judge(&database.found, &backups, ask));
    }
    if durable.is_empty() {
        for part in [Part::Replicas, Part::Lag, Part::Backup] {
            items.push(Item::new(
                part,
                "databases",
                State::Pass,
                "no database that keeps data is in the input",
                "",
            ));
        }
    }
    for database in &advice.databases {
        items.push(pattern(database));
    }
    items.extend(blocking(&advice));
    for part in [Part::WayBack, Part::Plan] {
        items.push(Item::new(
            part,
            "the run",
            State::Skipped,
            "there is no plan: it is made from a spec and the cluster as it is now",
            "--spec upgrade.yaml (ferriswheel advise --write makes one)",
        ));
    }
    items.sort_by_key(|item| item.part);
    Checklist {
        schema: SCHEMA,
        items,
        databases: advice.databases,
    }
}

fn replicas(database: &Database) -> Item {
    let found = &database.found;
    let item = |state, seen: String, to_do: &str| {
        Item::new(Part::Replicas, &found.object, state, seen, to_do)
    };
    match (found.members, found.ready) {
        (_, None) => item(
            State::Skipped,
            "none of its pods is in the input".to_owned(),
            "take a snapshot of the cluster: ferriswheel snapshot --out dump/",
        ),
        (Some(members), Some(ready)) => {
            let seen = format!(
                "{ready} of {members} members are Ready, on {} nodes",
                found.nodes.len()
            );
            if usize::try_from(members).is_ok_and(|members| ready < members) {
                item(
                    State::Fail,
                    seen,
                    "bring it back first: the upgrade takes one more away",
                )
            } else if members < 2 {
                item(
                    State::Fail,
                    seen,
                    "nobody can take over: give it a second member, or plan its downtime",
                )
            } else if found.nodes.len() < 2 {
                item(
                    State::Fail,
                    seen,
                    "all of them go with one node: spread them by anti-affinity first",
                )
            } else {
                item(State::Pass, seen, "")
            }
        }
        (None, Some(ready)) => item(
            State::Skipped,
            format!("{ready} members are Ready; how many there should be is not in the input"),
            "look at the operator's object",
        ),
    }
}

fn pattern(database: &Database) -> Item {
    let choice = &database.choice;
    let mut seen = vec![format!("{} ({})", choice.name, choice.by.words())];
    seen.extend(choice.reasons.iter().cloned());
    let blocked: Vec<String> = database
        .first
        .iter()
        .filter(|first| first.severity <= Severity::Blocks)
        .map(|first| format!("{} {}: {}", first.code, first.object, first.message))
        .collect();
    let state = if blocked.is_empty() {
        State::Pass
    } else {
        State::Fail
    };
    let to_do = match database
        .first
        .iter()
        .find(|first| first.severity <= Severity::Blocks)
    {
        Some(first) => first.fix.clone(),
        None => choice.steps.join("; "),
    };
    seen.extend(blocked);
    Item {
        part: Part::Pattern,
        subject: database.found.object.clone(),
        state,
        seen,
        to_do,
    }
}

/// What stops any upgrade of the cluster.
fn blocking(advice: &Advice) -> Vec<Item> {
    advice
        .first
        .iter()
        .map(|first| {
            let seen = format!("{}: {}", first.code, first.message);
            Item::new(
                Part::Pattern,
                &first.object,
                State::Fail,
                seen,
                first.fix.clone(),
            )
        })
        .collect()
}
