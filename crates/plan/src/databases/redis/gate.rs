//! What must be true of every server, from its own view, before anything is touched.

use std::collections::{BTreeMap, BTreeSet};

use super::super::members;
use super::{Cluster, SLOTS, Shard, WHOLE_LAG};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{Member, Scope, join};
use crate::world::{Flavour, RedisFacts, RedisPeer, RedisRole};

/// Fewest primaries of which a majority is left when one does not vote.
///
/// # Source
/// A failover needs the votes of a majority of the primaries, and the one that is handed over does
/// not count as a voter that helps; with two, a planned one runs into its timeout (redis#1557).
const FEWEST_PRIMARIES: usize = 3;

/// Oldest servers whose answers are understood: `ACL DRYRUN` and announced host names are new in 7.0,
/// and a hand-over began up to 100 ms late before.
const OLDEST: u32 = 7;

/// Words by which a script or a sidecar orders failovers of its own accord.
const FAILBACK: &str = "cluster failover";

pub(super) fn gate(cluster: &Cluster<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.absorb(members::answered(
        cluster,
        &cluster.observed.members,
        "check the pod, the Secret of `password`, and the user's rights",
    ));
    findings.absorb(members::complete(cluster));
    findings.absorb(others(cluster));
    let shards = cluster.shards();
    for (member, facts) in cluster.answers() {
        if !facts.cluster_enabled {
            findings.refuse(
                Diagnostic::new(
                    codes::NO_CLUSTER,
                    &member.name,
                    "the server is not in cluster mode",
                )
                .seen("cluster_enabled:0")
                .fix("this pattern carries clusters; a plain primary with replicas is not carried yet"),
            );
            continue;
        }
        findings.absorb(view(member, facts));
        findings.absorb(alone(cluster, member, facts, scope));
    }
    findings.absorb(agreement(cluster));
    findings.absorb(strangers(cluster));
    for shard in &shards {
        findings.absorb(copies(shard));
    }
    findings.absorb(votes(cluster, &shards));
    if !scope.hand_over_only {
        findings.absorb(moving(cluster, &shards));
    }
    findings
}

/// Somebody else who would move a primary.
fn others(cluster: &Cluster<'_>) -> Findings {
    let mut findings =
        members::unowned(cluster, "let the owner hand over, or pause it for the run");
    for text in &cluster.set.entrypoint_text {
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.starts_with('#') && line.to_ascii_lowercase().contains(FAILBACK));
        if let Some(line) = line {
            findings.refuse(
                Diagnostic::new(
                    codes::FAILBACK,
                    cluster.set_name,
                    "a container of the set orders failovers by itself: it would take the primary back",
                )
                .seen(format!("its script has `{line}`"))
                .fix("take that container or loop out of the template for the run (a preStop hook that fails over is not needed either: the run hands over before it evicts)"),
            );
        }
    }
    findings
}

/// What one node says of the whole cluster.
fn view(member: &Member<'_>, facts: &RedisFacts) -> Findings {
    let mut findings = Findings::default();
    let mut seen = Vec::new();
    if !facts.cluster_ok {
        seen.push("cluster_state is not ok".to_owned());
    }
    if (facts.slots_assigned, facts.slots_ok) != (SLOTS, SLOTS) {
        seen.push(format!(
            "slots assigned {}, ok {}, of {SLOTS}",
            facts.slots_assigned, facts.slots_ok
        ));
    }
    if facts.slots_pfail > 0 || facts.slots_fail > 0 {
        seen.push(format!(
            "slots whose primary may have failed {}, has failed {}",
            facts.slots_pfail, facts.slots_fail
        ));
    }
    for (id, peer) in &facts.nodes {
        let wrong: Vec<&str> = ["fail", "fail?", "handshake", "noaddr", "nofailover"]
            .into_iter()
            .filter(|flag| peer.flags.contains(*flag))
            .collect();
        let myself = peer.flags.contains("myself");
        if !wrong.is_empty() {
            seen.push(format!(
                "node {} ({}) is {}",
                short(id),
                peer.ip,
                wrong.join(", ")
            ));
        } else if !peer.connected && !myself {
            seen.push(format!("no link to node {} ({})", short(id), peer.ip));
        }
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::CLUSTER_NOT_OK,
            &member.name,
            "it does not see the cluster whole",
        )
        .fix("repair the cluster first: a node that is gone for good is forgotten on every node within 60 s, one that came back with another address is met again (`CLUSTER MEET`)");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    if !facts.slots_moving.is_empty() {
        findings.refuse(
            Diagnostic::new(codes::SLOTS_MOVING, &member.name, "slots are in migration")
                .seen(facts.slots_moving.join(" "))
                .fix("let the resharding finish; if nobody is at it: `redis-cli --cluster fix`"),
        );
    }
    findings
}

/// What one server says of itself.
fn alone(
    cluster: &Cluster<'_>,
    member: &Member<'_>,
    facts: &RedisFacts,
    scope: &Scope<'_>,
) -> Findings {
    let mut findings = Findings::default();
    let name = &member.name;
    let major = facts.version.split('.').next().and_then(|m| m.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        findings.refuse(
            Diagnostic::new(codes::REDIS_VERSION, name, "the server is too old")
                .seen(format!("{} {}", facts.flavour, facts.version))
                .fix(format!(
                    "upgrade the servers to {} 7.0 or later first",
                    Flavour::Redis
                )),
        );
    }
    if !facts.forbidden.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::REDIS_RIGHTS,
                name,
                "the user may not do what the procedure needs",
            )
            .seen(format!(
                "{} may not run {}",
                facts.user,
                facts.forbidden.join(", ")
            ))
            .fix(format!(
                "ACL SETUSER {} {}",
                facts.user,
                facts
                    .forbidden
                    .iter()
                    .map(|command| format!("+{command}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            )),
        );
    }
    let busy: Vec<&str> = [
        (facts.aof_rewriting, "aof_rewrite_in_progress:1"),
        (facts.rdb_saving, "rdb_bgsave_in_progress:1"),
    ]
    .into_iter()
    .filter_map(|(is, what)| is.then_some(what))
    .collect();
    if !busy.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::REDIS_SAVING,
                name,
                "it writes its data anew: a hand-over would compete with that for memory and disk",
            )
            .seen(busy.join(", "))
            .fix("wait until it is done, then plan again"),
        );
    }
    if facts.role == RedisRole::Replica {
        findings.absorb(replica(cluster, member, facts));
    }
    if !scope.hand_over_only {
        findings.absorb(comes_back(cluster, member, facts));
    }
    findings
}

/// A replica has everything, over a link that is up.
fn replica(cluster: &Cluster<'_>, member: &Member<'_>, facts: &RedisFacts) -> Findings {
    let mut findings = Findings::default();
    let mut seen = Vec::new();
    if facts.link_up != Some(true) {
        seen.push("master_link_status is not up".to_owned());
    }
    if facts.syncing {
        seen.push("master_sync_in_progress:1".to_owned());
    }
    if facts.loading {
        seen.push("loading:1".to_owned());
    }
    let primary = cluster
        .answers()
        .find(|(_, other)| facts.primary_id.as_ref() == Some(&other.id));
    if let Some((primary, theirs)) = primary {
        let lag = theirs.offset.saturating_sub(facts.offset);
        if !WHOLE_LAG.holds_bytes(lag) {
            seen.push(format!("{} KiB behind {}", lag / 1024, primary.name.name));
        }
    } else {
        seen.push(format!(
            "its primary {} is no primary of the set",
            facts.primary_id.as_deref().map_or("(none)", short)
        ));
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::REPLICA_NOT_WHOLE,
            &member.name,
            "the replica has not everything that its primary has",
        )
        .fix("wait until it has caught up; if it never does, look at the network and at `repl-backlog-size`");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    findings
}

/// What decides whether a member that moves is the same node afterwards.
fn comes_back(cluster: &Cluster<'_>, member: &Member<'_>, facts: &RedisFacts) -> Findings {
    let mut findings = Findings::default();
    if cluster.set.claim_templates.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::NODES_CONF,
                &member.name,
                "its nodes.conf would be lost with the pod: it would come back as a stranger",
            )
            .seen(format!(
                "it is in {}, and the set has no volume claim",
                facts.directory
            ))
            .fix("give the set a volume claim and keep `dir` on it"),
        );
    }
    if facts.announce_ip.is_none() && facts.announce_hostname.is_none() {
        findings.refuse(
            Diagnostic::new(
                codes::NO_ANNOUNCE,
                &member.name,
                "it would go on telling clients the address that it had before the move",
            )
            .seen("cluster-announce-ip and cluster-announce-hostname are empty")
            .fix("start it with `--cluster-announce-ip $(POD_IP)`, from the field status.podIP"),
        );
    }
    if facts.persistence.memory_only() {
        findings.warn(
            Diagnostic::new(
                codes::MEMORY_ONLY,
                &member.name,
                "it keeps its data in memory only: after its move it copies everything from its primary",
            )
            .seen("appendonly is no and save is empty")
            .fix("`CONFIG SET appendonly yes`, if the data is worth it"),
        );
    }
    findings
}

/// Every node knows the same nodes, in the same roles, with the same slots.
fn agreement(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut answers = cluster.answers().filter(|(_, facts)| facts.cluster_enabled);
    let Some((first, model)) = answers.next() else {
        return findings;
    };
    let mut seen = Vec::new();
    for (member, facts) in answers {
        if facts.nodes.len() != model.nodes.len() || facts.known_nodes != model.known_nodes {
            seen.push(format!(
                "{} knows {} nodes, {} knows {}",
                first.name.name, model.known_nodes, member.name.name, facts.known_nodes
            ));
        }
        if facts.current_epoch != model.current_epoch {
            seen.push(format!(
                "{} is in epoch {}, {} in {}",
                first.name.name, model.current_epoch, member.name.name, facts.current_epoch
            ));
        }
        for (id, theirs) in &facts.nodes {
            let Some(ours) = model.nodes.get(id) else {
                continue;
            };
            if said(ours) != said(theirs) {
                seen.push(format!(
                    "of node {} {} says {}, {} says {}",
                    short(id),
                    first.name.name,
                    sentence(ours),
                    member.name.name,
                    sentence(theirs)
                ));
            }
        }
    }
    for (member, facts) in cluster.answers().filter(|(_, f)| f.cluster_enabled) {
        let role = facts.nodes.get(&facts.id).map(role);
        if role != Some(facts.role) {
            seen.push(format!(
                "{} says another role in ROLE than in CLUSTER NODES",
                member.name.name
            ));
        }
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::VIEWS_DIFFER,
            cluster.set_name,
            "the nodes do not agree about the cluster",
        )
        .fix("wait a few seconds; if it stays, a node was forgotten or met on some of them only");
        diagnostic.evidence = seen;
        findings.refuse(diagnostic);
    }
    findings
}

/// What must be the same in every view; flags such as `myself` are not.
fn said(peer: &RedisPeer) -> (RedisRole, Option<&str>, u64, &[crate::world::SlotRange]) {
    (
        role(peer),
        peer.primary.as_deref(),
        peer.config_epoch,
        &peer.slots,
    )
}

fn role(peer: &RedisPeer) -> RedisRole {
    if peer.flags.contains("master") {
        RedisRole::Primary
    } else {
        RedisRole::Replica
    }
}

fn sentence(peer: &RedisPeer) -> String {
    match &peer.primary {
        Some(primary) => format!("replica of {}", short(primary)),
        None => format!(
            "primary of {} in epoch {}",
            join(&peer.slots),
            peer.config_epoch
        ),
    }
}

/// A node that is not a pod of the set would vote and hold slots, and nobody asks it.
fn strangers(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let ours: BTreeSet<&str> = cluster.answers().map(|(_, f)| f.id.as_str()).collect();
    if ours.len() < cluster.members.len() {
        return findings;
    }
    let mut strangers: BTreeMap<&str, &RedisPeer> = BTreeMap::new();
    for (_, facts) in cluster.answers() {
        for (id, peer) in &facts.nodes {
            if !ours.contains(id.as_str()) {
                strangers.insert(id, peer);
            }
        }
    }
    if !strangers.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::STRANGERS,
                cluster.set_name,
                "the cluster has nodes that are not of this set",
            )
            .seen(join(strangers.iter().map(|(id, peer)| {
                format!("{} at {}:{}", short(id), peer.ip, peer.port)
            })))
            .fix("name the set that carries the whole cluster; a node that is gone for good is forgotten on every node within 60 s"),
        );
    }
    findings
}

fn copies(shard: &Shard<'_>) -> Findings {
    let mut findings = Findings::default();
    let primary = shard.primary;
    if shard.replicas.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::NO_REPLICA,
                &primary.name,
                "its shard has no replica to hand over to",
            )
            .seen(format!("slots {}", join(shard.slots)))
            .fix("add a replica (`CLUSTER REPLICATE` on a fresh node) and let it catch up"),
        );
    }
    let mut on: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for member in shard.replicas.iter().chain([&shard.primary]) {
        if let Some(node) = &member.pod.node {
            on.entry(node).or_default().push(&member.name.name);
        }
    }
    for (node, members) in on.into_iter().filter(|(_, members)| members.len() > 1) {
        findings.refuse(
            Diagnostic::new(
                codes::SHARD_ON_ONE_NODE,
                &primary.name,
                "one machine carries several members of a shard",
            )
            .seen(format!("on {node}: {}", members.join(", ")))
            .fix("swap the roles of two members, or move one, so that each shard is on several machines"),
        );
    }
    findings
}

fn votes(cluster: &Cluster<'_>, shards: &[Shard<'_>]) -> Findings {
    let mut findings = Findings::default();
    let voters = shards.iter().filter(|s| !s.slots.is_empty()).count();
    if voters < FEWEST_PRIMARIES && voters > 0 {
        findings.refuse(
            Diagnostic::new(
                codes::FEW_PRIMARIES,
                cluster.set_name,
                "too few primaries to vote for a new one",
            )
            .seen(format!(
                "primaries with slots: {}",
                join(
                    shards
                        .iter()
                        .filter(|s| !s.slots.is_empty())
                        .map(|s| &s.primary.name.name)
                )
            ))
            .fix("spread the slots over three primaries"),
        );
    }
    findings
}

/// What only the absence of a member brings about.
fn moving(cluster: &Cluster<'_>, shards: &[Shard<'_>]) -> Findings {
    let mut findings = Findings::default();
    for shard in shards {
        let moves = shard
            .replicas
            .iter()
            .chain([&shard.primary])
            .any(|member| member.old_node.is_some());
        let left = u32::try_from(shard.replicas.len())
            .unwrap_or(u32::MAX)
            .saturating_sub(1);
        let strict: Vec<String> = shard
            .replicas
            .iter()
            .chain([&shard.primary])
            .filter_map(|member| {
                let wants = cluster.facts(member)?.min_replicas_to_write;
                (wants > left).then(|| format!("{} wants {wants}", member.name.name))
            })
            .collect();
        if moves && !strict.is_empty() {
            findings.refuse(
                Diagnostic::new(
                    codes::MIN_REPLICAS,
                    &shard.primary.name,
                    "its shard would take no writes while a replica moves",
                )
                .seen(format!(
                    "min-replicas-to-write: {}; {left} would be left",
                    strict.join(", ")
                ))
                .fix("add a replica to each shard, or `CONFIG SET min-replicas-to-write 0` on its members for the run and put it back afterwards"),
            );
        }
    }
    let counts: BTreeSet<usize> = shards.iter().map(|shard| shard.replicas.len()).collect();
    let lone = counts.first().is_some_and(|fewest| *fewest <= 1);
    let free: Vec<&str> = cluster
        .answers()
        .filter(|(_, facts)| facts.replica_migration)
        .map(|(member, _)| member.name.name.as_str())
        .collect();
    if lone && counts.len() > 1 && !free.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::REPLICA_MIGRATION,
                cluster.set_name,
                "a replica would change its shard while another shard's only replica moves",
            )
            .seen(format!(
                "cluster-allow-replica-migration is yes on {}",
                join(free)
            ))
            .seen(join(shards.iter().map(|shard| {
                format!(
                    "{} has {} replicas",
                    shard.primary.name.name,
                    shard.replicas.len()
                )
            })))
            .fix("`CONFIG SET cluster-allow-replica-migration no` on every member for the run"),
        );
    }
    findings
}

/// A node id as people read it.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
