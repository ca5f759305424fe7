//! PostgreSQL with streaming replication under a plain StatefulSet.
//!
//! # Source
//! The procedure and its figures: `docs/patterns/postgres.md`.

mod agents;
mod entrypoint;
mod poolers;
mod servers;

use crate::diagnostic::Findings;
use crate::estimates;
use crate::ids::{DatabaseName, ObjectRef};
use crate::plan::Promise;
use crate::policy::PostgresSpec;
use crate::scope::{DatabaseScope, Scope};
use crate::step::{Gate, Guard, HandOverTerms, StepKind};
use crate::world::Snapshot;

/// A replica counts as whole up to this lag.
///
/// 16 MiB, one WAL segment: a loaded replica is behind by less at any moment, and catching up
/// takes a fraction of a second.
pub const WHOLE_LAG_BYTES: u64 = 16 * 1024 * 1024;

/// The candidate of the hand-over may be this far behind when the step begins; the window itself
/// demands equality.
///
/// 1 MiB: replayed within milliseconds, and more than a busy set is behind between two commits.
pub const CANDIDATE_LAG_BYTES: u64 = 1024 * 1024;

/// Begins the name of a standby that nobody has, in a `synchronous_standby_names` that a hand-over
/// has set for its own length; the rest of the name says what was set before.
pub const TEMPORARY_STANDBY: &str = "ferriswheel.before.";

/// What must be true of the servers and the poolers before anything is touched.
pub fn gate(
    world: &Snapshot,
    scope: &Scope<'_>,
    database: &DatabaseScope<'_>,
    seat: bool,
) -> Findings {
    let mut findings = Findings::default();
    findings.absorb(agents::gate(database));
    findings.absorb(servers::gate(database, seat));
    findings.absorb(poolers::gate(world, scope, database));
    findings.absorb(entrypoint::gate(database));
    findings
}

/// Ordinal of the replica that takes over when nothing else moves: the one that is asked for, or
/// chosen as in [`order`]. `None` if there is none, which [`gate`] refuses.
pub fn successor(database: &DatabaseScope<'_>, wanted: Option<&str>) -> Option<u32> {
    let [primary] = database.primaries()[..] else {
        return None;
    };
    match wanted {
        Some(pod) => database
            .members
            .values()
            .find(|member| member.name.name == pod && member.ordinal != primary)
            .map(|member| member.ordinal),
        None => candidate(database, primary),
    }
}

fn candidate(database: &DatabaseScope<'_>, primary: u32) -> Option<u32> {
    database
        .members
        .values()
        .filter(|member| member.ordinal != primary)
        .min_by_key(|member| (!is_synchronous(database, member.ordinal), member.ordinal))
        .map(|member| member.ordinal)
}

/// Who moves when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Ordinal of the primary.
    pub primary: u32,
    /// Ordinals of the replicas that leave their node, in order: by zone, then by ordinal.
    pub replicas: Vec<u32>,
    /// The replica that takes over, if the primary must leave its node.
    pub candidate: Option<u32>,
}

/// Decides who moves when; `None` if there is no single primary or nobody to take over, which
/// [`gate`] refuses.
///
/// The candidate is a synchronous replica if there is one, then the lowest ordinal. It does not
/// depend on lag, which changes from one second to the next.
pub fn order(database: &DatabaseScope<'_>) -> Option<Order> {
    let [primary] = database.primaries()[..] else {
        return None;
    };
    let mut replicas: Vec<_> = database
        .moving()
        .filter(|member| member.ordinal != primary)
        .collect();
    replicas.sort_by(|a, b| (&a.disk_zone, a.ordinal).cmp(&(&b.disk_zone, b.ordinal)));
    let leaves = database.members.get(&primary)?.old_node.is_some();
    let candidate = candidate(database, primary);
    if leaves && candidate.is_none() {
        return None;
    }
    Some(Order {
        primary,
        replicas: replicas.iter().map(|member| member.ordinal).collect(),
        candidate: candidate.filter(|_| leaves),
    })
}

/// The hand-over from one member to another, with what is checked right before it and who is asked.
pub fn hand_over(
    scope: &Scope<'_>,
    database: &DatabaseScope<'_>,
    from: &ObjectRef,
    to: &ObjectRef,
    members: u32,
    ask: bool,
) -> (StepKind, Vec<Guard>, Option<Gate>) {
    let spec = &database.spec.postgres;
    let kind = StepKind::HandOver {
        database: database.name.clone(),
        from: from.clone(),
        to: to.clone(),
        terms: HandOverTerms {
            poolers: spec.poolers.clone(),
            pause_budget_ms: spec.pause.0,
            window_budget_ms: spec.window.0,
            crash_safe: spec.crash_safe,
            make_synchronous: spec.crash_safe && spec.make_synchronous,
            service: spec.service.clone(),
        },
    };
    let name = database.name;
    let mut guards = vec![
        Guard::PrimaryIs {
            database: name.clone(),
            pod: from.clone(),
        },
        Guard::AllStreaming {
            database: name.clone(),
            members,
            max_lag_bytes: CANDIDATE_LAG_BYTES,
        },
        Guard::RestartUndelayed { pod: from.clone() },
    ];
    if let Some(version) = scope.target {
        guards.push(Guard::OnVersion {
            pod: to.clone(),
            version,
        });
    }
    let gate = ask.then(|| Gate {
        name: format!("hand-over-{name}"),
        question: format!(
            "Move the primary of {name} from {} to {}? {}",
            from.name,
            to.name,
            clients(spec)
        ),
    });
    (kind, guards, gate)
}

/// How the extra seat leaves, and what is checked right before.
pub fn retire(
    database: &DatabaseName,
    set: &ObjectRef,
    seat: &ObjectRef,
    replicas: u32,
) -> (StepKind, Vec<Guard>) {
    (
        StepKind::RemoveSeat {
            database: database.clone(),
            stateful_set: set.clone(),
            replicas,
            claims: Vec::new(),
        },
        vec![
            Guard::NotPrimary {
                database: database.clone(),
                pod: seat.clone(),
            },
            // Not one more for the seat: it is gone when the second half of the step, its claim
            // and slot, comes to its turn. The act itself asks for the other members first.
            Guard::AllStreaming {
                database: database.clone(),
                members: replicas,
                max_lag_bytes: WHOLE_LAG_BYTES,
            },
        ],
    )
}

/// What the run promises for the database.
pub fn promise(database: &DatabaseScope<'_>) -> Promise {
    Promise {
        database: database.name.clone(),
        limits: database.spec.limits.clone(),
        durability: if is_synchronous_set(database) {
            format!(
                "no acknowledged write is lost, even if a member crashes inside the window ({}, synchronous_commit {}{})",
                sync_names(database).unwrap_or_default(),
                sync_commit(database).unwrap_or_default(),
                if sync_commit(database).as_deref() == Some("remote_apply") {
                    ": a commit returns when a replica shows it"
                } else {
                    ""
                },
            )
        } else if database.spec.postgres.crash_safe && database.spec.postgres.make_synchronous {
            "no acknowledged write is lost, even if a member crashes inside the window: commits are \
             made to wait for the candidate from before PAUSE until the hand-over is over; before and \
             after it replication is asynchronous, as it is now"
                .to_owned()
        } else {
            "no acknowledged write is lost by the hand-over; replication is asynchronous, so a \
             machine that crashes may lose what no replica had yet, inside the window as at any \
             other time"
                .to_owned()
        },
        clients: clients(&database.spec.postgres),
    }
}

fn clients(spec: &PostgresSpec) -> String {
    if spec.poolers.is_empty() {
        let by_service = spec.service.as_ref().map_or_else(String::new, |service| {
            format!(
                " Those that come by the Service {service} wait up to a second more if kube-proxy has just written its \
                 rules, and for as long as this run is not alive to move its labels."
            )
        });
        format!(
            "Clients connect directly: their connections are cut once, with errors for about {} ms (longest measured on a quiet machine).{by_service}",
            estimates::DIRECT_STALL_MS
        )
    } else {
        format!(
            "The poolers hold the clients: no error, a pause of about {} ms (longest measured on a quiet machine), {} at the very most.",
            estimates::POOLED_STALL_MS,
            spec.window
        )
    }
}

fn is_synchronous(database: &DatabaseScope<'_>, ordinal: u32) -> bool {
    database
        .members
        .get(&ordinal)
        .and_then(|member| database.facts(member))
        .and_then(|facts| facts.sync_state.as_deref())
        .is_some_and(|state| matches!(state, "sync" | "quorum"))
}

/// The primary waits for a replica before it acknowledges a commit.
fn is_synchronous_set(database: &DatabaseScope<'_>) -> bool {
    let waits = sync_commit(database)
        .is_some_and(|level| matches!(level.as_str(), "on" | "remote_write" | "remote_apply"));
    waits && sync_names(database).is_some_and(|names| !names.trim().is_empty())
}

fn primary_facts<'a>(database: &'a DatabaseScope<'_>) -> Option<&'a crate::world::PostgresFacts> {
    let [primary] = database.primaries()[..] else {
        return None;
    };
    database.facts(database.members.get(&primary)?)
}

fn sync_names(database: &DatabaseScope<'_>) -> Option<String> {
    Some(primary_facts(database)?.synchronous_standby_names.clone())
}

fn sync_commit(database: &DatabaseScope<'_>) -> Option<String> {
    Some(primary_facts(database)?.synchronous_commit.clone())
}
