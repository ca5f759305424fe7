//! The plan for people: what happens, in which order, under which conditions, and what it costs.

use std::fmt::Write;

use crate::plan::{Becomes, Body, Plan};
use crate::step::{Guard, Step, StepKind, Undo};

/// Columns of the narrowest terminal that people use.
const WIDTH: usize = 80;

/// The plan on about one screen.
pub fn text(plan: &Plan) -> String {
    let body = &plan.body;
    let mut out = head(plan);
    if body.steps.is_empty() {
        line(
            &mut out,
            if body.rollback.is_some() {
                "Nothing to do: nothing that is left of the run can be taken back."
            } else if body.target.is_some() {
                "Nothing to do: every pool is at the target."
            } else {
                "Nothing to do: every primary is where it shall be."
            },
        );
        staying(&mut out, body);
        return out;
    }
    need(&mut out, body);
    out.push('\n');
    for step in &body.steps {
        step_line(&mut out, step);
    }
    let _ = writeln!(
        out,
        "\n{:>4} steps, about {} on Azure  (undo: \u{21a9} inverse, \u{2192} forward only, \u{b7} none)",
        body.steps.len(),
        span(body.steps.iter().map(|step| step.expected_ms).sum())
    );
    staying(&mut out, body);
    for warning in &body.warnings {
        paragraph(&mut out, "  ! ", warning);
    }
    out
}

/// What a rollback leaves as it is, and why.
fn staying(out: &mut String, body: &Body) {
    let Some(rollback) = &body.rollback else {
        return;
    };
    for fate in &rollback.fates {
        if let Becomes::Stays(why) = &fate.becomes {
            paragraph(
                out,
                "  Stays    ",
                &format!("step {} of the run ({}): {why}", fate.step, fate.title),
            );
        }
    }
}

fn fate(becomes: &Becomes) -> String {
    match becomes {
        Becomes::TakenBack(by) => format!(
            "taken back by step {}",
            by.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Becomes::AsBefore(how) => format!("nothing is left of it: {how}"),
        Becomes::Stays(why) => format!("stays: {why}"),
    }
}

/// Every step with its guards, gate, undo, soak and deadline.
pub fn detail(plan: &Plan) -> String {
    let mut out = text(plan);
    for step in &plan.body.steps {
        let _ = writeln!(out, "\n{}. {}  [{}]", step.id, step.title, step.kind.name());
        for guard in &step.guards {
            paragraph(&mut out, "     only if  ", &condition(guard));
        }
        if let Some(gate) = &step.gate {
            paragraph(
                &mut out,
                "     asks     ",
                &format!("{} (`ferriswheel approve {}`)", gate.question, gate.name),
            );
        }
        paragraph(&mut out, "     undo     ", &undo(&step.undo));
        let _ = writeln!(
            out,
            "     takes    about {}, given up after {}{}",
            span(step.expected_ms),
            span(step.deadline_ms),
            if step.soak_ms > 0 {
                format!(", must hold for {}", span(step.soak_ms))
            } else {
                String::new()
            }
        );
    }
    if let Some(rollback) = &plan.body.rollback {
        out.push_str("\nThe run's steps, newest first\n");
        for step in &rollback.fates {
            paragraph(
                &mut out,
                &format!("{:>4}   ", step.step.0),
                &format!("{}: {}", step.title, fate(&step.becomes)),
            );
        }
    }
    out
}

fn head(plan: &Plan) -> String {
    let body = &plan.body;
    let cluster = body.cluster.rsplit('/').next().unwrap_or(&body.cluster);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Plan {}: {cluster}{},{}as seen {}",
        plan.id,
        match (&body.rollback, &body.parent, body.target) {
            (Some(_), Some(parent), _) => format!(", rollback of {parent}"),
            (.., Some(target)) => format!(" to {target}"),
            _ => ", primaries only".to_owned(),
        },
        // Two ids leave no room for the time.
        if body.rollback.is_some() { "\n  " } else { " " },
        body.observed_at.strftime("%Y-%m-%d %H:%M:%SZ")
    );
    out
}

fn need(out: &mut String, body: &Body) {
    let peak = &body.peak;
    if body.target.is_some() {
        paragraph(
            out,
            "  Peak     ",
            &format!(
                "{} extra {}, {} extra {}, never fewer than {} members",
                peak.extra_nodes,
                plural(peak.extra_nodes, "node"),
                peak.extra_replicas,
                plural(peak.extra_replicas, "replica"),
                peak.fewest_members
            ),
        );
    }
    if body.rollback.is_some() {
        paragraph(
            out,
            "  Peak     ",
            &format!("never fewer than {} members", peak.fewest_members),
        );
    }
    paragraph(out, "  Crash    ", &peak.if_a_member_crashes);
    for promise in &body.promises {
        paragraph(
            out,
            "  Promise  ",
            &format!("{}: {}", promise.database, promise.durability),
        );
        paragraph(out, "  Clients  ", &promise.clients);
        let limits = &promise.limits;
        let spec = &body.policy.spec;
        let database = spec
            .databases
            .iter()
            .find(|database| database.name == promise.database);
        let controls = database
            .filter(|_| spec.strategy.probes())
            .map_or_else(String::new, |database| {
                format!(", the judge's controls {}", database.controls)
            });
        if database.is_some_and(|database| database.memcached().is_some()) {
            // Nothing is promised of what a cache holds.
            paragraph(
                out,
                "  Limits   ",
                &format!(
                    "no answer for {} at most, old values 0, errors {}{controls}",
                    limits.write_stall,
                    limits.errors.unwrap_or(0)
                ),
            );
            continue;
        }
        paragraph(
            out,
            "  Limits   ",
            &format!(
                "write stall {}, lost writes {}, errors {}{controls}",
                limits.write_stall,
                limits.acked_loss,
                limits
                    .errors
                    .map_or_else(|| "counted".to_owned(), |n| n.to_string())
            ),
        );
    }
}

fn step_line(out: &mut String, step: &Step) {
    let mark = match step.undo {
        Undo::Inverse(_) | Undo::Told(_) | Undo::Restore(_) => '\u{21a9}',
        Undo::RollForwardOnly(_) | Undo::Manual(_) => '\u{2192}',
        Undo::Nothing => '\u{b7}',
    };
    let mut flags = Vec::new();
    if step.gate.is_some() {
        flags.push("asks".to_owned());
    }
    if evicts(&step.kind) {
        flags.push("evicts".to_owned());
    }
    if let Some(stall) = step.expected_stall_ms {
        flags.push(format!("stall~{stall}ms"));
    }
    let right = format!("{} {:>5}", flags.join(" "), span(step.expected_ms));
    let room = WIDTH - 8 - right.chars().count();
    let title = cut(&step.title, room);
    let _ = writeln!(out, "{:>4} {mark} {title:<room$} {right}", step.id.0);
}

fn evicts(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::MoveReplica { .. } | StepKind::RetireNode { .. } | StepKind::ShrinkPool { .. }
    )
}

fn condition(guard: &Guard) -> String {
    match guard {
        Guard::AllStreaming {
            database,
            members,
            max_lag,
        } => format!("{members} members of {database} are whole, none more than {max_lag} behind"),
        Guard::PrimaryIs { pod, .. } => format!("{pod} is the primary"),
        Guard::NotPrimary { pod, .. } => format!("{pod} is not the primary"),
        Guard::OnVersion { pod, version } => format!("{pod} is on a node at {version}"),
        Guard::EvictionAllowed { pod } => format!("the budgets allow the eviction of {pod}"),
        Guard::RestartUndelayed { pod } => {
            format!("the kubelet would restart {pod} without delay")
        }
        Guard::SameMachine { node } => format!("{} is still machine {}", node.name, node.uid),
        Guard::SeatFree { pool, stateful_set } => {
            format!("a node of {pool} is free for a member of {stateful_set}")
        }
        Guard::NoOperation { pool } => format!("no operation is in progress on {pool}"),
        Guard::PoolEmpty { pool } => format!("only daemons are left on {pool}"),
        Guard::OtherSystemPool { pool } => format!("{pool} is not the last System pool"),
    }
}

fn undo(undo: &Undo) -> String {
    match undo {
        Undo::Inverse(inverse) => inverse.to_string(),
        Undo::Told(how) => how.clone(),
        Undo::Restore(how) => format!("put back: {how}"),
        Undo::RollForwardOnly(why) => format!("not possible, only forward: {why}"),
        Undo::Manual(runbook) => format!("by a person: {runbook}"),
        Undo::Nothing => "nothing to undo".to_owned(),
    }
}

fn plural(n: u32, word: &str) -> String {
    if n == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

/// Seconds up to two minutes, then minutes, then hours, rounded to the nearest.
fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    if seconds < 120 {
        format!("{seconds}s")
    } else if seconds < 7_200 {
        format!("{}min", (seconds + 30) / 60)
    } else {
        format!("{}h", (seconds + 1_800) / 3_600)
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('\u{2026}');
    short
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Text behind a label, wrapped to the width, following lines indented like the first.
fn paragraph(out: &mut String, label: &str, text: &str) {
    let indent = label.chars().count();
    let mut column = indent;
    out.push_str(label);
    for (index, word) in text.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}
