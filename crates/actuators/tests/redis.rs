//! The hand-over of a shard on real servers, and each of its branches.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that fails says where"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferriswheel_actuators::databases::record::Named;
use ferriswheel_actuators::databases::redis::facts;
use ferriswheel_actuators::databases::redis::order::Order;
use ferriswheel_actuators::databases::redis::record::{Log, MemoryLog, Moment, Outcome, Reason};
use ferriswheel_actuators::databases::redis::server::{Server, ServerError};
use ferriswheel_actuators::databases::redis::window::{Standing, hand_over, look};
use ferriswheel_actuators::databases::redis::wire::WireServer;
use ferriswheel_actuators::databases::tls::{Secured, TlsMode};
use ferriswheel_plan::world::{Flavour as Program, RedisRole};
use ferriswheel_testbed::authority::Authority;
use ferriswheel_testbed::redis::{Cluster, Flavour, Wanted, Writers, Written};
use nix::sys::signal::Signal;

/// A command's deadline: longer than a loaded machine takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A log that does something when a moment is noted: the fault of a test.
struct Faulty<F: Fn(&str) + Send + Sync> {
    log: MemoryLog,
    fault: F,
}

impl<F: Fn(&str) + Send + Sync> Log for Faulty<F> {
    fn note(&self, moment: Moment) {
        let name = moment.name();
        self.log.note(moment);
        (self.fault)(name);
    }
}

async fn carry_out(
    cluster: &Cluster,
    order: &Order,
    fault: impl Fn(&str) + Send + Sync,
) -> Outcome {
    let log = Faulty {
        log: MemoryLog::new(&order.key),
        fault,
    };
    let outcome = hand_over(order, &cluster.cast(order), &log).await;
    for entry in log.log.record().entries {
        println!("{:>9} us {:?}", entry.at_us, entry.moment);
    }
    println!("{outcome:?}");
    outcome
}

fn handed_over(already: bool) -> Outcome {
    Outcome::HandedOver {
        already,
        late_ms: None,
        unsettled: Vec::new(),
    }
}

/// Waits until no election of the candidate counts any more: at once, or after four times `cluster-node-timeout` where
/// the cluster was slow to form.
async fn rested(cluster: &Cluster, order: &Order) {
    let cast = cluster.cast(order);
    cast.candidate.open(PATIENCE).await.unwrap();
    loop {
        let tenure = cast.candidate.tenure(PATIENCE).await.unwrap();
        if tenure.rest().is_zero() {
            return;
        }
        tokio::time::sleep(tenure.rest().min(PATIENCE)).await;
    }
}

/// Writes to all shards while something happens.
async fn under_writes<T>(
    cluster: &Arc<Cluster>,
    what: impl Future<Output = T>,
) -> (T, Vec<Written>) {
    let writers = Writers::start(cluster);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let done = what.await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    (done, writers.stop().await)
}

async fn nothing_lost(cluster: &Cluster, written: &[Written], leaders: [usize; 3]) {
    for (shard, (one, leader)) in written.iter().zip(leaders).enumerate() {
        println!(
            "shard {shard}: {} acknowledged, longest {:?}",
            one.acked.len(),
            one.longest
        );
        assert!(one.acked.len() > 50, "shard {shard}: {:?}", one.errors);
        assert_eq!(one.errors, Vec::<String>::new(), "shard {shard}");
        assert_eq!(one.lost_on(cluster, leader).await, Vec::<u32>::new());
        let replica = (leader + 3) % 6;
        cluster
            .until("the replica has everything too", async || {
                one.lost_on(cluster, replica).await.is_empty()
            })
            .await;
    }
}

/// Every setting of every member but `replicaof`, which is its role.
async fn settings(cluster: &Cluster) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for n in 0..6 {
        let text = cluster.text(n, &["CONFIG", "GET", "*"]).await;
        let words: Vec<&str> = text.split('\n').collect();
        let pairs = words.chunks(2).map(|pair| pair.join(" "));
        let chosen =
            pairs.filter(|pair| !pair.starts_with("replicaof") && !pair.starts_with("slaveof"));
        all.extend(chosen.map(|pair| format!("redis-{n} {pair}")));
    }
    all
}

/// There and back, and asked twice: each shard's clients only wait, nothing is lost, and no setting is another one
/// afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_handed_over_under_writes_loses_nothing_and_shows_no_error() {
    let flavours = [Flavour::Redis7, Flavour::Valkey9];
    futures::future::join_all(flavours.map(there_and_back)).await;
}

/// Members that speak TLS with us and with each other: the same hand-over, and nobody else's certificate will do.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_handed_over_by_tls() {
    let cluster = Cluster::of(Wanted {
        tls: true,
        ..Wanted::default()
    })
    .await;
    let order = cluster.order("tls", 0, 3);
    rested(&cluster, &order).await;
    let (outcome, written) = under_writes(&cluster, carry_out(&cluster, &order, |_| {})).await;
    assert_eq!(outcome, handed_over(false));
    nothing_lost(&cluster, &written, [3, 1, 2]).await;

    let member = cluster.member(0);
    let stranger = Authority::new([member.ip.clone()]);
    let ca = |authority: &Authority, name: &str| {
        Secured::new(
            TlsMode::VerifyFull,
            Some(authority.ca.as_bytes()),
            Some(name.to_owned()),
        )
        .unwrap()
    };
    let other_name = ca(cluster.authority(), "elsewhere");
    for (tls, why) in [
        (None, ""),
        (ca(&stranger, &member.ip), "invalid peer certificate"),
        (other_name, "not valid for name"),
    ] {
        let server = WireServer::new(cluster.session_by(&member, tls));
        let refused = server.open(PATIENCE).await.unwrap_err();
        assert!(
            matches!(&refused, ServerError::Disconnected { cause, .. } if cause.contains(why)),
            "{refused:?}"
        );
    }
}

async fn there_and_back(flavour: Flavour) {
    let cluster = Cluster::of(Wanted {
        flavour,
        // An election is forgotten after 20 s.
        node_timeout: Duration::from_secs(5),
        ..Wanted::default()
    })
    .await;
    let before = settings(&cluster).await;
    let order = cluster.order("there", 0, 3);
    rested(&cluster, &order).await;
    let (outcome, written) = under_writes(&cluster, async {
        let first = carry_out(&cluster, &order, |_| {}).await;
        // Whoever asks again, by whatever key, finds it done.
        let again = carry_out(&cluster, &order, |_| {}).await;
        assert_eq!(again, handed_over(true));
        first
    })
    .await;
    assert_eq!(outcome, handed_over(false));
    assert_eq!(
        (cluster.role(0).await, cluster.role(3).await),
        ("slave".to_owned(), "master".to_owned())
    );
    nothing_lost(&cluster, &written, [3, 1, 2]).await;
    assert_eq!(look(&cluster.cast(&order)).await, Standing::Candidate);

    // Each node hears from the old primary itself that it is a replica now, and votes for it only
    // then.
    cluster.settle().await;
    let back = cluster.order("back", 3, 0);
    let at_once = carry_out(&cluster, &back, |_| {}).await;
    match at_once {
        Outcome::Undone { reason, asked } => assert_eq!((reason.code(), asked), ("FW0227", false)),
        other => panic!("{other:?}"),
    }
    rested(&cluster, &back).await;
    let outcome = carry_out(&cluster, &back, |_| {}).await;
    assert_eq!(outcome, handed_over(false));
    nothing_lost(&cluster, &written, [0, 1, 2]).await;
    assert!(
        before.len() > 600,
        "six members, each with a hundred and more"
    );
    let after = settings(&cluster).await;
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert_eq!(changed, Vec::<&String>::new());
}

/// What must not be asked is refused before anything is: with a primary's clients untouched.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_well_is_refused_before_it_begins() {
    let cluster = Cluster::start().await;
    let refusal = async |order: &Order| match carry_out(&cluster, order, |_| {}).await {
        Outcome::Undone {
            reason,
            asked: false,
        } => reason,
        other => panic!("{other:?}"),
    };
    let code = async |order: &Order| refusal(order).await.code();

    // A primary addressed in place of its replica, in either direction; a replica of another shard,
    // and another node under the name of the candidate.
    assert_eq!(code(&cluster.order("a primary", 4, 0)).await, "FW0221");
    assert_eq!(
        code(&cluster.order("another primary", 0, 1)).await,
        "FW0221"
    );
    assert_eq!(
        code(&cluster.order("of another shard", 0, 4)).await,
        "FW0221"
    );
    let mut stranger = cluster.order("a stranger", 0, 3);
    stranger.candidate.node_id = "0".repeat(40);
    assert_eq!(code(&stranger).await, "FW0201");

    // The candidate stands still.
    let frozen = cluster.order("frozen", 0, 3);
    rested(&cluster, &frozen).await;
    cluster.signal(3, Signal::SIGSTOP);
    let reason = refusal(&frozen).await;
    assert!(
        reason.to_string().contains("redis-3 did not answer"),
        "{reason}"
    );
    cluster.signal(3, Signal::SIGCONT);

    // It stops between the checks and the request: its answers are what shows it.
    let log = async |moment: &'static str| {
        let outcome = carry_out(&cluster, &frozen, |name| {
            if name == moment {
                cluster.signal(3, Signal::SIGSTOP);
            }
        })
        .await;
        cluster.signal(3, Signal::SIGCONT);
        outcome
    };
    assert!(
        matches!(
            log("barrier").await,
            Outcome::Undone {
                reason: Reason::NotPrompt { .. },
                asked: false
            }
        ),
        "frozen after the barrier"
    );

    // Its link is down: it cannot have what is written now.
    for (name, value) in [("masteruser", "nobody"), ("masterauth", "nothing")] {
        cluster.text(3, &["CONFIG", "SET", name, value]).await;
    }
    cluster
        .text(0, &["CLIENT", "KILL", "TYPE", "replica"])
        .await;
    cluster
        .until("the link is down", async || {
            cluster
                .text(3, &["INFO", "replication"])
                .await
                .contains("master_link_status:down")
        })
        .await;
    let reason = refusal(&cluster.order("cut off", 0, 3)).await;
    assert!(reason.to_string().contains("link is not up"), "{reason}");

    // A slot is on its way between two shards.
    let id = cluster.member(1).node_id;
    cluster
        .text(0, &["CLUSTER", "SETSLOT", "7", "MIGRATING", &id])
        .await;
    for (name, value) in [("masteruser", ""), ("masterauth", "only-for-tests")] {
        cluster.text(3, &["CONFIG", "SET", name, value]).await;
    }
    let reason = refusal(&cluster.order("migrating", 0, 3)).await;
    assert!(reason.to_string().contains("[7->-"), "{reason}");
    assert_eq!(cluster.role(0).await, "master");
}

/// The candidate stands still right after it accepted: the shard's clients wait until the servers
/// give up or go on, whichever it is they agree, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_frozen_after_it_accepted_costs_time_and_no_write() {
    let cluster = Cluster::start().await;
    let order = cluster.order("frozen", 0, 3);
    rested(&cluster, &order).await;
    let (outcome, written) = under_writes(&cluster, async {
        let outcome = carry_out(&cluster, &order, |name| {
            if name == "accepted" {
                cluster.signal(3, Signal::SIGSTOP);
            }
        })
        .await;
        cluster.signal(3, Signal::SIGCONT);
        cluster
            .until("the members agree", async || {
                let (old, candidate) = (cluster.role(0).await, cluster.role(3).await);
                old != candidate && cluster.is_settled(0).await && cluster.is_settled(3).await
            })
            .await;
        outcome
    })
    .await;
    // It was frozen in the middle of what it had begun: who won is seen, not assumed.
    let leader = match cluster.role(0).await.as_str() {
        "master" => {
            assert!(
                matches!(&outcome, Outcome::Undone { asked: true, reason } if reason.code() == "FW0226"),
                "{outcome:?}"
            );
            0
        }
        _ => 3,
    };
    nothing_lost(&cluster, &written, [leader, 1, 2]).await;
}

/// A member's facts are what the servers say, and a user's missing rights are named.
#[tokio::test(flavor = "multi_thread")]
async fn facts_are_what_every_server_says_itself() {
    for flavour in [Flavour::Redis7, Flavour::Valkey9] {
        let cluster = Cluster::of(Wanted {
            flavour,
            ..Wanted::default()
        })
        .await;
        let primary = facts::collect(&cluster.session(&cluster.member(0)))
            .await
            .unwrap();
        let replica = facts::collect(&cluster.session(&cluster.member(3)))
            .await
            .unwrap();
        assert_eq!(
            (primary.role, replica.role),
            (RedisRole::Primary, RedisRole::Replica)
        );
        match flavour {
            Flavour::Redis7 => assert_eq!(primary.flavour, Program::Redis),
            Flavour::Valkey9 => assert_eq!(primary.flavour, Program::Valkey),
        }
        assert!(primary.version.starts_with(|c: char| c.is_ascii_digit()));
        assert_eq!(replica.primary_id.as_deref(), Some(primary.id.as_str()));
        assert_eq!(replica.link_up, Some(true));
        assert_eq!((primary.known_nodes, primary.slots_ok), (6, 16_384));
        assert!(primary.cluster_ok && primary.cluster_enabled);
        assert_eq!(primary.nodes.len(), 6);
        let me = &primary.nodes[&primary.id];
        assert_eq!((me.slots[0].first, me.slots[0].last), (0, 5_460));
        assert!(me.flags.contains("myself") && me.flags.contains("master"));
        assert_eq!(primary.replicas.len(), 1);
        assert!(primary.persistence.aof && primary.replica_migration && primary.full_coverage);
        assert_eq!(primary.node_timeout_ms, 15_000);
        assert_eq!(primary.announce_ip, Some(cluster.member(0).ip));
        assert_eq!(
            (primary.user.as_str(), primary.forbidden.len()),
            ("default", 0)
        );
        assert_eq!(primary.min_replicas_to_write, 0);

        let rules = ["ACL", "SETUSER", "default", "-cluster|failover", "-wait"];
        cluster.text(3, &rules).await;
        let replica = facts::collect(&cluster.session(&cluster.member(3)))
            .await
            .unwrap();
        assert_eq!(replica.forbidden, ["cluster|failover", "wait"]);
    }
}

/// Settings that a step changes come back as they were, and an error of the server is one.
#[tokio::test(flavor = "multi_thread")]
async fn settings_are_set_and_answers_of_a_server_are_typed() {
    let cluster = Cluster::of(Wanted {
        shards: 1,
        replicas: 0,
        ..Wanted::default()
    })
    .await;
    let second = Duration::from_secs(5);
    let server = WireServer::new(cluster.session(&cluster.member(0)));
    assert!(matches!(
        server.ping(second).await,
        Err(ServerError::Disconnected { .. })
    ));
    server.open(second).await.unwrap();
    let name = "min-replicas-to-write";
    assert_eq!(
        server.setting(name, second).await.unwrap().as_deref(),
        Some("0")
    );
    server.set(name, "1", second).await.unwrap();
    assert_eq!(
        server.setting(name, second).await.unwrap().as_deref(),
        Some("1")
    );
    // Nobody follows, so nobody may write: the server's own word.
    let refused = server.barrier(&[(0, 16_383)], 1, second).await.unwrap_err();
    assert!(
        matches!(&refused, ServerError::Refused { code, .. } if code == "NOREPLICAS"),
        "{refused}"
    );
    server.set(name, "0", second).await.unwrap();
    assert_eq!(
        server.setting("no-such-setting", second).await.unwrap(),
        None
    );
    let refused = server.take_over(second).await.unwrap_err();
    assert!(refused.to_string().contains("to a replica"), "{refused}");

    cluster.signal(0, Signal::SIGSTOP);
    let short = Duration::from_millis(100);
    assert!(matches!(
        server.ping(short).await,
        Err(ServerError::Timeout { .. })
    ));
    // Its answer may still come, so the session is not used again.
    assert!(matches!(
        server.ping(short).await,
        Err(ServerError::Disconnected { .. })
    ));
    cluster.signal(0, Signal::SIGCONT);
    server.open(second).await.unwrap();
    server.ping(second).await.unwrap();
}
