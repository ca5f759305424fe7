//! What must be true of every broker, from its own view, before anything is touched.

mod settings;

use std::collections::{BTreeMap, BTreeSet};

use super::super::members;
use super::{ANNOTATION, Cluster, WHOLE_LAG};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{Scope, join};
use crate::world::{KafkaFacts, KafkaPartition, KafkaTopic};

/// Fewest voters that bear a missing one.
const FEWEST_VOTERS: usize = 3;

/// A broker that stops hands its leaderships on, then writes what it has and closes its logs: below
/// Kubernetes' own default of 30 s nobody has thought of it.
const SHORTEST_GRACE_SECONDS: u64 = 30;

/// What a broker with many partitions may need to close its logs. One that is killed instead checks
/// them all when it starts again.
const GOOD_GRACE_SECONDS: u64 = 120;

/// Partitions that a diagnostic names; the number of the others is said.
const NAMED: usize = 8;

pub(super) fn gate(cluster: &Cluster<'_>, scope: &Scope<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.absorb(members::answered(
        cluster,
        &cluster.observed.members,
        "check the pod and `port`: it must be a listener without encryption and without a login",
    ));
    findings.absorb(members::complete(cluster));
    findings.absorb(members::unowned(
        cluster,
        "let the operator roll its brokers, or pause it for the run",
    ));
    let zookeeper = zookeeper(cluster);
    let ends = scope.hand_over_only || !zookeeper.refusals.is_empty();
    findings.absorb(zookeeper);
    if scope.hand_over_only {
        findings.refuse(
            Diagnostic::new(
                codes::KAFKA_HAND_OVER,
                cluster.set_name,
                "no broker leads the others: there is no primary to hand over",
            )
            .seen("strategy: handOver")
            .fix("leave the database out of this spec; `strategy: { ferrisWheel: {} }` leads partitions away from each broker before it moves"),
        );
    }
    if ends {
        return findings;
    }
    findings.absorb(agreement(cluster));
    findings.absorb(membership(cluster));
    findings.absorb(quorum(cluster));
    if let Some(model) = cluster.model() {
        findings.absorb(partitions(cluster, model));
        findings.absorb(topics(cluster, model));
    }
    for (member, facts) in cluster.answers() {
        findings.absorb(settings::judged(member, facts));
    }
    findings.absorb(moving(cluster));
    findings
}

fn zookeeper(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let old: Vec<&str> = cluster
        .answers()
        .filter(|(_, facts)| facts.zookeeper)
        .map(|(member, _)| member.name.name.as_str())
        .collect();
    if !old.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::ZOOKEEPER,
                cluster.set_name,
                "ZooKeeper keeps the cluster's metadata, which is not carried",
            )
            .seen(format!("no metadata quorum known to {}", old.join(", ")))
            .fix("migrate to KRaft first (with 3.9, the last release that can: provision controllers, `zookeeper.metadata.migration.enable`, roll the brokers, then roll them without ZooKeeper); or move brokers by hand, the controller's last"),
        );
    }
    findings
}

/// Everybody sees the same cluster, and runs the same program.
fn agreement(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let mut answers = cluster.answers();
    let Some((first, model)) = answers.next() else {
        return findings;
    };
    let mut seen = Vec::new();
    for (member, facts) in answers {
        let mut differs = |what: &str, ours: String, theirs: String| {
            if ours != theirs {
                seen.push(format!(
                    "{what}: {} says {ours}, {} says {theirs}",
                    first.name.name, member.name.name
                ));
            }
        };
        differs("cluster", model.cluster.clone(), facts.cluster.clone());
        let leads = |facts: &KafkaFacts| {
            let leader = facts.quorum.leader;
            leader.map_or_else(
                || "nobody".to_owned(),
                |leader| format!("{leader} in epoch {}", facts.quorum.epoch),
            )
        };
        differs("active controller", leads(model), leads(facts));
        let brokers = |facts: &KafkaFacts| join(facts.brokers.keys());
        differs("brokers", brokers(model), brokers(facts));
        for (name, topic) in &model.topics {
            if let Some(theirs) = facts.topics.get(name) {
                differs(&format!("topic {name}"), rules(topic), rules(theirs));
            }
        }
        let ours: BTreeMap<String, &KafkaPartition> = named(model);
        let theirs = named(facts);
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let said = |of: &BTreeMap<String, &KafkaPartition>, name: &String| {
            of.get(name)
                .map_or_else(|| "nothing".to_owned(), ToString::to_string)
        };
        for name in names {
            differs(name, said(&ours, name), said(&theirs, name));
        }
    }
    if !seen.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::KAFKA_VIEWS_DIFFER,
            cluster.set_name,
            "the brokers do not agree about the cluster",
        )
        .fix("wait some seconds; if it stays, a broker does not follow the metadata quorum, or has another server.properties");
        diagnostic.evidence = shortened(seen);
        findings.refuse(diagnostic);
    }
    let programs: BTreeSet<(i16, i16)> = cluster
        .answers()
        .map(|(_, facts)| (facts.program, facts.metadata_version))
        .collect();
    if programs.len() > 1 {
        findings.refuse(
            Diagnostic::new(
                codes::KAFKA_VERSIONS,
                cluster.set_name,
                "the brokers are not of one version",
            )
            .seen(join(cluster.answers().map(|(member, facts)| {
                format!(
                    "{} can metadata.version {}, has {}",
                    member.name.name, facts.program, facts.metadata_version
                )
            })))
            .fix("finish the upgrade of the brokers first"),
        );
    }
    findings
}

/// What a topic does not say of itself comes from the file of the broker that is asked.
fn rules(topic: &KafkaTopic) -> String {
    format!(
        "min.insync.replicas {}, unclean.leader.election.enable {}",
        topic.min_isr, topic.unclean
    )
}

fn named(facts: &KafkaFacts) -> BTreeMap<String, &KafkaPartition> {
    facts
        .partitions()
        .map(|(name, _, partition)| (name, partition))
        .collect()
}

fn shortened(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all
}

/// The cluster's brokers are the pods of the set, known by names that outlive them, and none is
/// fenced.
fn membership(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let Some(model) = cluster.model() else {
        return findings;
    };
    let ours: BTreeSet<i32> = cluster.answers().map(|(_, facts)| facts.node).collect();
    let strangers: Vec<String> = model
        .brokers
        .iter()
        .filter(|(node, _)| !ours.contains(node))
        .map(|(node, peer)| format!("broker {node} at {}:{}", peer.host, peer.port))
        .collect();
    if cluster.answers().count() == cluster.members.len() && !strangers.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::KAFKA_STRANGERS,
                cluster.set_name,
                "the cluster has brokers that are not pods of this set",
            )
            .seen(strangers.join(", "))
            .fix("name the set that carries all brokers; one that is gone for good is removed by `kafka-cluster.sh unregister`"),
        );
    }
    let missing = ours
        .iter()
        .filter(|node| !model.brokers.contains_key(*node));
    let fenced = model.brokers.iter().filter(|(_, peer)| peer.fenced);
    let away: Vec<String> = missing
        .map(|node| format!("broker {node} is not registered"))
        .chain(fenced.map(|(node, _)| format!("broker {node} is fenced")))
        .collect();
    if !away.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::BROKER_FENCED,
                cluster.set_name,
                "a broker takes no part in the cluster",
            )
            .seen(away.join(", "))
            .fix("wait until it has caught up and is unfenced; else read its log"),
        );
    }
    let by_number: Vec<String> = model
        .brokers
        .iter()
        .filter(|(_, peer)| peer.host.parse::<std::net::IpAddr>().is_ok())
        .map(|(node, peer)| format!("broker {node} at {}", peer.host))
        .collect();
    if !by_number.is_empty() {
        findings.refuse(
            Diagnostic::new(
                codes::BROKER_ADDRESS,
                cluster.set_name,
                "brokers are known by addresses, which change when a pod moves",
            )
            .seen(by_number.join(", "))
            .fix("advertise names of a headless Service (`advertised.listeners=...://kafka-0.kafka.db.svc.cluster.local:9092`)"),
        );
    }
    findings
}

/// The metadata quorum has a leader, bears a missing voter, and its voters keep up.
fn quorum(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    let ours: BTreeSet<i32> = cluster.answers().map(|(_, facts)| facts.node).collect();
    for (member, facts) in cluster.answers() {
        let behind: Vec<String> = facts
            .quorum
            .voters
            .iter()
            .filter(|(_, ms)| !WHOLE_LAG.holds_millis(**ms))
            .map(|(voter, ms)| format!("voter {voter} was caught up {ms} ms before the leader"))
            .collect();
        if facts.quorum.leader.is_none() || !behind.is_empty() {
            findings.refuse(
                Diagnostic::new(
                    codes::QUORUM_BEHIND,
                    &member.name,
                    "the metadata quorum has no leader, or a voter does not keep up",
                )
                .seen(if behind.is_empty() {
                    "no active controller".to_owned()
                } else {
                    behind.join(", ")
                })
                .fix("`kafka-metadata-quorum.sh describe --status` and `--replication`; wait until every voter follows"),
            );
            break;
        }
    }
    let Some(model) = cluster.model() else {
        return findings;
    };
    let voters = &model.quorum.voters;
    let combined = voters.keys().any(|voter| ours.contains(voter));
    if combined && voters.len() < FEWEST_VOTERS {
        findings.refuse(
            Diagnostic::new(
                codes::FEW_VOTERS,
                cluster.set_name,
                "the metadata quorum does not bear a missing voter: no leader could be chosen while one moves",
            )
            .seen(format!("voters: {}", join(voters.keys())))
            .fix("have three controllers at least (`kafka-metadata-quorum.sh add-controller` with KRaft's dynamic quorum)"),
        );
    }
    let apart: Vec<&i32> = voters.keys().filter(|v| !ours.contains(v)).collect();
    if !apart.is_empty() {
        findings.warn(
            Diagnostic::new(
                codes::CONTROLLERS_APART,
                cluster.set_name,
                "controllers of their own are no members of this set: the plan does not move them in order",
            )
            .seen(format!("voters {}", join(apart)))
            .fix("keep them on pools that are not upgraded, or give them a budget of one and move them by hand, the active one last"),
        );
    }
    findings
}

/// Every copy is in sync, everywhere, and one less leaves enough.
fn partitions(cluster: &Cluster<'_>, model: &KafkaFacts) -> Findings {
    let mut findings = Findings::default();
    let such = |is: &dyn Fn(&KafkaTopic, &KafkaPartition) -> bool| -> Vec<String> {
        model
            .partitions()
            .filter(|(_, topic, partition)| is(topic, partition))
            .map(|(name, topic, partition)| {
                format!("{name}: {partition}, min.insync.replicas {}", topic.min_isr)
            })
            .collect()
    };
    let mut refuse = |seen: Vec<String>, diagnostic: Diagnostic| {
        if !seen.is_empty() {
            let mut diagnostic = diagnostic;
            diagnostic.evidence = shortened(seen);
            findings.refuse(diagnostic);
        }
    };
    let about = |code, what: &str| Diagnostic::new(code, cluster.set_name, what);
    refuse(
        such(&|_, partition| !partition.is_whole()),
        about(
            codes::UNDER_REPLICATED,
            "partitions lack a copy that is in sync, or a leader",
        )
        .fix("wait until `kafka-topics.sh --describe --under-replicated-partitions` is empty; else look at the broker that does not follow"),
    );
    refuse(
        such(&|_, partition| partition.replicas.len() == 1),
        about(
            codes::SINGLE_COPY,
            "partitions have one copy: nobody can read or write them while its broker moves",
        )
        .fix("raise the number of replicas by `kafka-reassign-partitions.sh` (a list of three brokers for each partition), or delete the topic"),
    );
    refuse(
        such(&|topic, partition| {
            let copies = u32::try_from(partition.replicas.len()).unwrap_or(u32::MAX);
            copies > 1 && copies <= topic.min_isr
        }),
        about(
            codes::MIN_ISR,
            "a missing copy stops the writes: min.insync.replicas is the number of copies",
        )
        .fix("`kafka-configs.sh --alter --entity-type topics --entity-name TOPIC --add-config min.insync.replicas=2` with three copies, or add a copy"),
    );
    refuse(
        model.reassigned.clone(),
        about(
            codes::REASSIGNING,
            "partitions are being moved to other brokers",
        )
        .fix("wait until `kafka-reassign-partitions.sh --list` is empty, or `--cancel` it"),
    );
    findings
}

fn topics(cluster: &Cluster<'_>, model: &KafkaFacts) -> Findings {
    let mut findings = Findings::default();
    let unclean: Vec<String> = model
        .topics
        .iter()
        .filter(|(_, topic)| topic.unclean)
        .map(|(name, _)| name.clone())
        .collect();
    if !unclean.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::UNCLEAN,
            cluster.set_name,
            "a copy that is not in sync may become the leader after a crash: acknowledged writes would be lost",
        )
        .fix("unclean.leader.election.enable=false, which is the default");
        diagnostic.evidence = shortened(unclean);
        findings.refuse(diagnostic);
    }
    if let Some(record) = cluster.set.annotations.get(ANNOTATION) {
        findings.warn(
            Diagnostic::new(
                codes::RECORD_LEFT,
                cluster.set_name,
                "an earlier run has led partitions away and not given them back",
            )
            .seen(format!("annotation {ANNOTATION}, {} bytes", record.len()))
            .fix("nothing: this run gives them back at its end"),
        );
    }
    findings
}

/// What only the absence of a broker brings about.
fn moving(cluster: &Cluster<'_>) -> Findings {
    let mut findings = Findings::default();
    if cluster.set.claim_templates.is_empty() {
        let places: BTreeMap<&str, &str> = cluster
            .answers()
            .filter_map(|(member, facts)| {
                let place = facts.settings.get("log.dirs")?;
                Some((member.name.name.as_str(), place.as_str()))
            })
            .collect();
        findings.refuse(
            Diagnostic::new(
                codes::KAFKA_NO_CLAIM,
                cluster.set_name,
                "the data would be lost with the pod: each move would copy everything anew",
            )
            .seen(format!(
                "the set has no volume claim; data in {}",
                join(places.values())
            ))
            .fix("give the set a volume claim and keep `log.dirs` on it"),
        );
    }
    let grace = cluster.set.termination_grace_seconds;
    let diagnostic = |what: &str| {
        Diagnostic::new(codes::KAFKA_GRACE, cluster.set_name, what)
            .seen(format!("terminationGracePeriodSeconds is {grace}"))
            .fix("give brokers 300 s in the template, as those with many partitions need them")
    };
    if grace < SHORTEST_GRACE_SECONDS {
        findings.refuse(diagnostic(
            "a broker that stops would be killed before it has handed on and closed its logs",
        ));
    } else if grace < GOOD_GRACE_SECONDS {
        findings.warn(diagnostic(
            "a broker with many partitions may be killed while it closes its logs, and checks them all when it starts",
        ));
    }
    findings
}
