//! What the servers said, and the plan that comes of it.

use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::planner;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::step::Undo;
use ferriswheel_plan::world::{self, Snapshot};

use super::{Checklist, Item, Part, State, lag};

/// What was observed came to this.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The plan, if there is one.
    pub plan: Option<Plan>,
}

/// Puts what was observed into the checklist, and makes the plan.
pub fn observed(checklist: &mut Checklist, world: &Snapshot, spec: &Upgrade) -> Observed {
    let mut items = Vec::new();
    let mut seen = Vec::new();
    for database in &spec.spec.databases {
        let set = database.stateful_set();
        let subject = format!("StatefulSet {set}");
        items.push(members(world, database, &subject));
        items.push(lag(world, database, &subject));
        seen.push(subject);
    }
    // The servers' word stands above the dump's.
    let answered = |item: &Item| match item.part {
        Part::WayBack | Part::Plan => true,
        Part::Lag | Part::Replicas => seen.contains(&item.subject),
        Part::Backup | Part::Pattern => false,
    };
    checklist.items.retain(|item| !answered(item));
    let plan = match planner::plan(world, spec) {
        Ok(plan) => {
            items.push(steps(&plan));
            items.push(way_back(&plan));
            Some(plan)
        }
        Err(refusal) => {
            for diagnostic in &refusal.diagnostics {
                let mut item = Item::new(
                    Part::Plan,
                    &diagnostic.subject,
                    State::Fail,
                    format!("{}: {}", diagnostic.code, diagnostic.message),
                    diagnostic.fix.clone(),
                );
                item.seen.extend(diagnostic.evidence.iter().cloned());
                items.push(item);
            }
            items.push(Item::new(
                Part::WayBack,
                "the run",
                State::Skipped,
                "there is no plan whose steps could be taken back",
                "clear what the plan was refused for",
            ));
            None
        }
    };
    checklist.put(items);
    Observed { plan }
}

fn members(
    world: &Snapshot,
    database: &ferriswheel_plan::policy::DatabaseSpec,
    subject: &str,
) -> Item {
    let set = database.stateful_set();
    let item =
        |state, seen: String, to_do: &str| Item::new(Part::Replicas, subject, state, seen, to_do);
    match world.stateful_sets.get(set) {
        None => item(
            State::Fail,
            "there is no such set".to_owned(),
            "name the set that is there",
        ),
        Some(found) if found.ready_replicas < found.replicas => item(
            State::Fail,
            format!(
                "{} of {} members are Ready",
                found.ready_replicas, found.replicas
            ),
            "bring it back first: the upgrade takes one more away",
        ),
        Some(found) => {
            let leaders = world
                .databases
                .get(&database.name)
                .map(world::Database::leaders)
                .unwrap_or_default();
            let seen = format!(
                "{} of {} members are Ready; {} lead",
                found.ready_replicas,
                found.replicas,
                if leaders.is_empty() {
                    "none".to_owned()
                } else {
                    leaders.join(", ")
                }
            );
            let led_otherwise = match world.databases.get(&database.name) {
                // Nobody leads a cache.
                Some(world::Database::Memcached(_)) => true,
                // The active controller need not be one of the brokers.
                Some(world::Database::Kafka(set)) => {
                    let said = set.members.values().filter_map(|m| m.facts.as_ref());
                    said.into_iter().any(|facts| facts.quorum.leader.is_some())
                }
                _ => false,
            };
            if leaders.is_empty() && !led_otherwise {
                item(
                    State::Fail,
                    seen,
                    "no member says that it leads: find out why before anything moves",
                )
            } else {
                item(State::Pass, seen, "")
            }
        }
    }
}

/// How far members are behind.
fn lag(world: &Snapshot, database: &ferriswheel_plan::policy::DatabaseSpec, subject: &str) -> Item {
    let said = match world.databases.get(&database.name) {
        Some(observed) => lag::said(observed),
        None => vec![Err("it was not observed".to_owned())],
    };
    let (all, behind): (Vec<_>, Vec<_>) = said.into_iter().partition(Result::is_ok);
    let all: Vec<String> = all.into_iter().flatten().collect();
    let behind: Vec<String> = behind.into_iter().filter_map(Result::err).collect();
    let (state, seen, to_do) = if behind.is_empty() {
        (State::Pass, all, String::new())
    } else {
        (
            State::Fail,
            behind,
            "wait until it has caught up, or find out why it does not".to_owned(),
        )
    };
    Item {
        part: Part::Lag,
        subject: subject.to_owned(),
        state,
        seen,
        to_do,
    }
}

fn steps(plan: &Plan) -> Item {
    let steps = &plan.body.steps;
    let expected: u64 = steps
        .iter()
        .map(|step| step.expected_ms + step.soak_ms)
        .sum();
    let stall = steps.iter().filter_map(|step| step.expected_stall_ms).max();
    let mut seen = vec![format!(
        "{} steps, about {} min, longest expected stall of writes {}",
        steps.len(),
        expected.div_ceil(60_000),
        stall.map_or("none".to_owned(), |stall| format!("{stall} ms"))
    )];
    seen.extend(plan.body.warnings.iter().cloned());
    Item {
        part: Part::Plan,
        subject: plan.body.name.clone(),
        state: State::Pass,
        seen,
        to_do: "read it, then: ferriswheel apply PLAN".to_owned(),
    }
}

fn way_back(plan: &Plan) -> Item {
    let steps = &plan.body.steps;
    let count = |wanted: fn(&Undo) -> bool| steps.iter().filter(|step| wanted(&step.undo)).count();
    let inverse = count(|undo| matches!(undo, Undo::Inverse(_) | Undo::Told(_)));
    let restored = count(|undo| matches!(undo, Undo::Restore(_)));
    let forward: Vec<String> = steps
        .iter()
        .filter_map(|step| match &step.undo {
            Undo::RollForwardOnly(why) => Some(format!("{} does not go back: {why}", step.title)),
            Undo::Manual(how) => Some(format!("{} goes back by a person: {how}", step.title)),
            _ => None,
        })
        .collect();
    let mut seen = vec![format!(
        "{inverse} steps are taken back by their inverse, {restored} by what was recorded"
    )];
    seen.extend(forward);
    Item {
        part: Part::WayBack,
        subject: plan.body.name.clone(),
        state: State::Pass,
        seen,
        to_do: "at any time: ferriswheel abort, then ferriswheel rollback shows the plan that takes the run back (docs/runbooks/rollback.md)".to_owned(),
    }
}
