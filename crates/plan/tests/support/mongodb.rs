//! A replica set of three servers in three zones, one minor behind: mongo-0 leads.

use std::collections::BTreeMap;

use ferriswheel_plan::policy::{self, Upgrade};
use ferriswheel_plan::world::*;

use super::{db, demo, node, pool, put_set};

pub const SPEC: &str = r#"apiVersion: ferriswheel.dev/v1alpha1
kind: Upgrade
metadata:
  name: aks-shop-1-36
spec:
  cluster:
    subscription: 00000000-0000-0000-0000-000000000000
    resourceGroup: production-rg
    name: aks-prod
  target:
    kubernetesVersion: "1.36.3"
  strategy:
    ferrisWheel: {}
  databases:
    - name: shop
      mongodb:
        statefulSet: db/mongo
        admin: db/mongo-admin
"#;

pub fn spec() -> Upgrade {
    policy::parse("upgrade.yaml", SPEC).expect("the test's spec is good")
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    let strategy = match to {
        Some(pod) => format!("handOver: {{ to: {pod} }}"),
        None => "handOver: {}".to_owned(),
    };
    let text = SPEC
        .replace("  target:\n    kubernetesVersion: \"1.36.3\"\n", "")
        .replace("ferrisWheel: {}", &strategy);
    policy::parse("upgrade.yaml", &text).expect("the test's spec is good")
}

pub fn host(n: u32) -> String {
    format!("mongo-{n}.mongo.db.svc.cluster.local:27017")
}

fn state(n: u32) -> MongoState {
    if n == 0 {
        MongoState::Primary
    } else {
        MongoState::Secondary
    }
}

fn facts(n: u32, of: u32) -> MongoFacts {
    MongoFacts {
        version: "6.0.5".to_owned(),
        set: Some("rs0".to_owned()),
        sharding: None,
        me: host(n),
        state: state(n),
        term: 3,
        config_version: 1,
        config_term: 3,
        peers: (0..of)
            .map(|other| {
                let peer = MongoPeer {
                    host: host(other),
                    state: state(other),
                    healthy: true,
                    optime: 1_700_000_000,
                    votes: 1,
                    priority_milli: 1_000,
                    hidden: false,
                    delay_seconds: 0,
                    arbiter: false,
                };
                (other, peer)
            })
            .collect(),
        commit_behind_ms: 4,
        oplog_seconds: 86_400,
        oplog_bytes: 1 << 30,
        oplog_max_bytes: 1 << 30,
        index_builds: 0,
        backup: None,
        default_write_concern: "majority".to_owned(),
        chaining: true,
        election_timeout_ms: 10_000,
        directory: "/data/db".to_owned(),
        user: "admin".to_owned(),
        forbidden: Vec::new(),
    }
}

/// The practice cluster with a replica set of so many members instead of PostgreSQL.
pub fn set(members: u32) -> Snapshot {
    let mut world = demo();
    world.pods.clear();
    world.stateful_sets.clear();
    world.claims.clear();
    world.budgets.clear();
    world.databases.clear();
    world
        .nodes
        .retain(|_, node| node.pool.as_ref().is_some_and(|p| p.as_str() == "syspool"));
    world
        .pools
        .insert("dbpool".into(), pool("1.35.4", false, &[1, 2, 3], members));
    let mut on = Vec::new();
    for n in 0..members {
        let (name, node) = node(&world, "dbpool", n % 3 + 1, n);
        on.push(name.clone());
        world.nodes.insert(name, node);
    }
    put_set(&mut world, "mongo", "shop", &on, 0);
    for pod in world.pods.values_mut() {
        pod.containers[0].name = "mongo".to_owned();
    }
    let members: BTreeMap<String, MongoMember> = (0..members)
        .map(|n| {
            let member = MongoMember {
                unreachable: None,
                facts: Some(facts(n, members)),
            };
            (format!("mongo-{n}"), member)
        })
        .collect();
    world.databases.insert(
        "shop".into(),
        Database::Mongodb(Mongo {
            stateful_set: db("mongo"),
            members,
        }),
    );
    world
}

pub fn mongo(world: &mut Snapshot) -> &mut Mongo {
    match world.databases.get_mut(&"shop".into()) {
        Some(Database::Mongodb(mongo)) => mongo,
        other => panic!("{other:?} is no replica set"),
    }
}

pub fn server(world: &mut Snapshot, n: u32) -> &mut MongoFacts {
    mongo(world)
        .members
        .get_mut(&format!("mongo-{n}"))
        .and_then(|member| member.facts.as_mut())
        .expect("it answers")
}

/// Everybody's view of one member.
pub fn views(world: &mut Snapshot, n: u32) -> impl Iterator<Item = &mut MongoPeer> {
    mongo(world)
        .members
        .values_mut()
        .filter_map(move |member| member.facts.as_mut()?.peers.get_mut(&n))
}
