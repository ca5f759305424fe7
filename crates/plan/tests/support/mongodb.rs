//! A replica set of three servers in three zones, one minor behind: mongo-0 leads.

use std::collections::BTreeMap;

use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::world::*;

use super::{db, handing_over, parsed, spec_of, stateful_set_of, with_set};

const DATABASE: &str = r#"    - name: shop
      mongodb:
        statefulSet: db/mongo
        admin: db/mongo-admin
"#;

pub fn text() -> String {
    spec_of("aks-shop-1-36", DATABASE)
}

pub fn spec() -> Upgrade {
    parsed(&text())
}

pub fn hand_over_spec(to: Option<&str>) -> Upgrade {
    handing_over(&text(), to)
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
    let zones: Vec<u32> = (0..members).map(|n| n % 3 + 1).collect();
    let mut world = with_set("mongo", "shop", &zones);
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

pub fn stateful_set(world: &mut Snapshot) -> &mut StatefulSet {
    stateful_set_of(world, "mongo")
}
