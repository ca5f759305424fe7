//! A Redis Cluster of three shards in a sandbox: handed over as it stands by a driver that is killed after every record
//! of it, then carried through the upgrade of its node pool.

use serde_json::Value;

use crate::kills::killed_after_every_record;
use crate::support::Practice;

/// One machine for each of the six servers, two in each zone, one minor behind.
const POOLS: [&str; 4] = [
    "--pool",
    "name=syspool,mode=System,count=2,zones=1+2+3",
    "--pool",
    "name=dbpool,mode=User,count=6,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
];

/// A machine that does other things at the same time must not decide about the verdict: how long
/// writes stall is measured by the benchmark.
const PATIENT: (&str, &str) = ("writeStall: 1s", "writeStall: 10s");

#[test]
fn a_cluster_rides_the_wheel() {
    let practice = Practice::up("redis", &POOLS);
    practice.example_of("redis", &[]);

    let hand_over = practice.spec_of("redis", "hand-over.yaml", &[PATIENT]);
    let run = practice.plan(hand_over);
    let hand_overs = run.steps("handOver");
    assert_eq!(hand_overs.len(), 3);
    let crashed = killed_after_every_record(&run, &hand_overs);
    for step in hand_overs {
        for name in ["started", "acting", "settled", "verified"] {
            assert!(
                crashed.contains(&format!("{step}:{name}")),
                "{step}:{name} of {crashed:?}"
            );
        }
    }
    let first = run.summary();
    assert_moved(&first, &run.story());
    // Nobody is stopped; a look may catch an old primary on its way to the new one.
    let fewest = first["min_members"].as_u64();
    assert!(
        fewest.is_some_and(|n| n >= 5),
        "what the killed saw is kept: {first}"
    );
    let leaders = leading(&first);

    let wheel = practice.spec_of("redis", "upgrade.yaml", &[PATIENT]);
    let run = practice.plan(wheel);
    run.finish();
    let second = run.summary();
    assert_moved(&second, &run.story());
    assert_eq!(second["nodes_upgraded"], 6, "{second}");
    assert_eq!(second["nodes_left_behind"], 0, "{second}");
    assert!(
        leading(&second).iter().all(|pod| !leaders.contains(pod)),
        "every shard is led by its other member: {second}"
    );
}

/// Each of the three shards was handed over once, and nothing was lost.
fn assert_moved(summary: &Value, story: &str) {
    assert_eq!(summary["primary_moves"], 3, "{summary}\n{story}");
    let certificate = &summary["certificate"];
    for (field, wanted) in [
        ("verdict", Value::from("pass")),
        ("acked_lost", 0.into()),
        ("errors", 0.into()),
        ("phantoms", 0.into()),
    ] {
        assert_eq!(certificate[field], wanted, "{certificate}\n{story}");
    }
    let shards = certificate["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 3, "{certificate}");
    for shard in shards {
        assert!(shard["acked"].as_u64().unwrap() > 0, "{shard}");
        assert_eq!(shard["acked_lost"], 0, "{shard}");
        println!("{shard}");
    }
}

fn leading(summary: &Value) -> Vec<String> {
    let seen = summary["seen"].as_object().unwrap();
    let [database] = &seen.values().collect::<Vec<_>>()[..] else {
        panic!("{summary}")
    };
    serde_json::from_value(database["leading"].clone()).unwrap()
}
