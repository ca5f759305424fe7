//! How long steps take and how long writes stall: for the display, and for deadlines.
//!
//! Stalls are measured figures (`docs/patterns/postgres.md`). Durations on Azure are not ours to
//! measure beforehand; they are what its users see, rounded up, and only a person reads them.

use crate::step::{HandOverTerms, StepKind};

/// Longest stall of writes behind a pooler, in milliseconds.
///
/// # Source
/// 30 hand-overs of PostgreSQL 15 on one machine: p50 90 ms, p90 159 ms, max 179 ms.
pub const POOLED_STALL_MS: u64 = 180;

/// Longest stall of writes without a pooler, in milliseconds.
///
/// # Source
/// 12 hand-overs, clients with a multi-host DSN: p50 237 ms, p90 302 ms, max 326 ms.
pub const DIRECT_STALL_MS: u64 = 330;

/// Longest stall of writes where Patroni hands over, in milliseconds.
///
/// # Source
/// Switchovers of Patroni 4.1.5 with a multi-host DSN: 2,570 to 2,600 ms; of 3.0.2: 1,450 to 1,700 ms (see
/// docs/patterns/postgres.md).
pub const PATRONI_STALL_MS: u64 = 2_700;

/// Longest stall of the writes of one shard of a Redis or Valkey cluster, in milliseconds.
///
/// # Source
/// Plain `CLUSTER FAILOVER` of Redis 7.0.15, node timeout 5 s: 42, 49, 51 and 203 ms.
pub const SHARD_STALL_MS: u64 = 210;

/// Longest stall of the writes of a MongoDB replica set, in milliseconds.
///
/// # Source
/// `replSetStepDown` of mongod 6.0.5, three members, the third copying from the successor: 50 to
/// 220 ms on a loaded machine; 1.0 s where it copied from the primary and had to look for another.
pub const ELECTION_STALL_MS: u64 = 1_050;

/// Longest stall of the writes of a MariaDB set, in milliseconds.
///
/// # Source
/// MariaDB 10.11.19, `sync_binlog=1`, clients by a Service: see docs/patterns/mariadb.md.
pub const GTID_STALL_MS: u64 = 400;

/// Longest stall of the writes of one partition of a Kafka cluster, in milliseconds.
///
/// # Source
/// Brokers of Kafka 4.3.1 rolled by this procedure, where followers fetch without a long pause: longest
/// gap of a partition 466 to 603 ms in a test, 594 ms in a whole wheel (see docs/patterns/kafka.md).
pub const PARTITION_STALL_MS: u64 = 600;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

/// Expected duration and deadline of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// For people, in milliseconds.
    pub expected_ms: u64,
    /// The step is given up, resumable, after this long, in milliseconds.
    pub deadline_ms: u64,
    /// Longest stall of writes that the step is expected to cause, in milliseconds.
    pub stall_ms: Option<u64>,
}

/// What a step is expected to take.
pub fn estimate(kind: &StepKind) -> Estimate {
    let (expected_ms, deadline_ms) = match kind {
        // A small pod: image pull and first readiness.
        StepKind::StartProbe { .. } | StepKind::StartAgents { .. } => (15 * SECOND, 5 * MINUTE),
        // One request a node.
        StepKind::Cordon { .. } | StepKind::Uncordon { .. } => (SECOND, 2 * MINUTE),
        // A virtual machine is ordered, boots and joins in 2 to 4 minutes; ARM's own limit for the
        // operation is longer than half an hour only when something is wrong.
        StepKind::GrowPool { .. } => (3 * MINUTE, 45 * MINUTE),
        // A disk is made and attached (up to a minute), then the clone, whose length depends on
        // the size of the data: two hours hold a terabyte at 150 MB/s.
        StepKind::AddSeat { .. } => (2 * MINUTE, 120 * MINUTE),
        // Stop, detach and attach the disk (30 s to a minute on Azure), start, catch up.
        StepKind::MoveReplica { .. } => (90 * SECOND, 30 * MINUTE),
        // Rehearsal, two checkpoints and the pooler's file; the window is less than a second of it.
        // The deadline leaves room for a kubelet that syncs the file only every minute and a half,
        // and for the agent to undo.
        StepKind::HandOver {
            terms: HandOverTerms::Postgres(_),
            ..
        } => (15 * SECOND, 20 * MINUTE),
        // The servers need milliseconds; the looks before and after make the rest. The deadline holds
        // three attempts of 10 s each and long waits for a replica to catch up.
        StepKind::HandOver {
            terms: HandOverTerms::Redis(_),
            ..
        } => (5 * SECOND, 10 * MINUTE),
        // The order takes a tenth of a second; who copies from whom is set right before, and looked at
        // after. The deadline holds three attempts, each with an election that nobody steered.
        StepKind::HandOver {
            terms: HandOverTerms::Mongodb(_),
            ..
        } => (10 * SECOND, 10 * MINUTE),
        // The lock waits for open statements, three attempts; the old primary follows within a second.
        StepKind::HandOver {
            terms: HandOverTerms::Mariadb(_),
            ..
        } => (5 * SECOND, 10 * MINUTE),
        // A few partitions; for many the planner takes their number times the pace. An hour holds
        // 14,000 partitions at the default pace.
        StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => (5 * SECOND, 60 * MINUTE),
        // Evict what is left, prove it empty, delete one machine (1 to 2 minutes). An hour: others'
        // budgets may hold pods back that long.
        StepKind::RetireNode { .. } | StepKind::ShrinkPool { .. } => (2 * MINUTE, 60 * MINUTE),
        // A fast stop, the claim, the disk, the slot.
        StepKind::RemoveSeat { .. } => (30 * SECOND, 15 * MINUTE),
        StepKind::StopAgents { .. } => (5 * SECOND, 5 * MINUTE),
        // An empty pool goes in a minute or two.
        StepKind::DeletePool { .. } => (MINUTE, 45 * MINUTE),
        // Every key is looked up on every member.
        StepKind::Certify { .. } => (20 * SECOND, 15 * MINUTE),
    };
    let stall_ms = match kind {
        StepKind::HandOver { terms, .. } => Some(match terms {
            HandOverTerms::Postgres(terms) if terms.patroni.is_some() => PATRONI_STALL_MS,
            HandOverTerms::Postgres(terms) if terms.poolers.is_empty() => DIRECT_STALL_MS,
            HandOverTerms::Postgres(_) => POOLED_STALL_MS,
            HandOverTerms::Redis(_) => SHARD_STALL_MS,
            HandOverTerms::Mongodb(_) => ELECTION_STALL_MS,
            HandOverTerms::Mariadb(_) => GTID_STALL_MS,
        }),
        StepKind::DrainLeaders { .. } | StepKind::ReturnLeaders { .. } => Some(PARTITION_STALL_MS),
        _ => None,
    };
    Estimate {
        expected_ms,
        deadline_ms,
        stall_ms,
    }
}
