//! How far members are behind, by their own word.
//!
//! The planner's own bounds are asked by the plan; here, whoever does not copy, or says nothing, is behind.

use std::collections::BTreeMap;

use ferriswheel_plan::world::{
    Asked, Database, KafkaFacts, MariadbFacts, MemcachedFacts, MongoFacts, MongoState,
    PostgresFacts, RedisFacts,
};

/// What a member says: how it stands, or what it lacks. A leader copies from nobody and says nothing.
type Said = Option<Result<String, String>>;

/// What every member says.
pub(super) fn said(database: &Database) -> Vec<Result<String, String>> {
    match database {
        Database::Postgres(set) => all(&set.members, postgres),
        Database::Redis(set) => all(&set.members, redis),
        Database::Mongodb(set) => all(&set.members, mongodb),
        Database::Mariadb(set) => all(&set.members, mariadb),
        Database::Memcached(set) => all(&set.members, memcached),
        Database::Kafka(set) => all(&set.members, kafka),
    }
}

fn all<F>(
    members: &BTreeMap<String, Asked<F>>,
    says: impl Fn(&F) -> Said,
) -> Vec<Result<String, String>> {
    let of = |(pod, member): (&String, &Asked<F>)| {
        let said = match &member.facts {
            Some(facts) => says(facts)?,
            None => Err(format!(
                "does not answer: {}",
                member.unreachable.as_deref().unwrap_or_default()
            )),
        };
        Some(
            said.map(|words| format!("{pod} {words}"))
                .map_err(|words| format!("{pod} {words}")),
        )
    };
    members.iter().filter_map(of).collect()
}

/// Nobody copies from anybody: who answers is what it can be.
#[expect(clippy::unnecessary_wraps, reason = "as the others say it")]
fn memcached(facts: &MemcachedFacts) -> Said {
    Some(Ok(match facts.lately.hit_rate() {
        Some(rate) => format!("finds {rate:.0} % of its keys"),
        None => format!("has {} keys", facts.items),
    }))
}

fn postgres(facts: &PostgresFacts) -> Said {
    if !facts.in_recovery {
        return None;
    }
    Some(match (&facts.streaming_from, facts.lag_bytes) {
        (None, _) => Err("does not stream".to_owned()),
        (Some(_), None) => Err("says no position".to_owned()),
        (Some(_), Some(bytes)) => Ok(format!("is {bytes} bytes behind")),
    })
}

fn redis(facts: &RedisFacts) -> Said {
    let link = facts.link_up?;
    Some(if link && !facts.syncing && !facts.loading {
        Ok(format!("follows its primary at offset {}", facts.offset))
    } else {
        Err("has not caught up with its primary".to_owned())
    })
}

/// Entries have seconds, and a member knows of another's newest by heartbeats, each two seconds.
fn mongodb(facts: &MongoFacts) -> Said {
    match &facts.state {
        MongoState::Primary | MongoState::Arbiter => return None,
        MongoState::Secondary => {}
        other @ MongoState::Other(_) => return Some(Err(format!("is {other}"))),
    }
    let of = |is: &dyn Fn(&ferriswheel_plan::world::MongoPeer) -> bool| {
        facts.peers.values().find(|peer| is(peer)).map(|p| p.optime)
    };
    let primary = of(&|peer| peer.state == MongoState::Primary && peer.healthy);
    let own = of(&|peer| peer.host == facts.me);
    Some(match (primary, own) {
        (Some(primary), Some(own)) => Ok(format!("is {} s behind", primary.saturating_sub(own))),
        (None, _) => Err("sees no primary".to_owned()),
        (_, None) => Err("is not in its own picture of the set".to_owned()),
    })
}

/// Brokers tell who is in sync, and not how far the others are behind.
fn kafka(facts: &KafkaFacts) -> Said {
    let own = |of: &[i32]| of.contains(&facts.node);
    let (whole, behind): (Vec<_>, Vec<_>) = facts
        .partitions()
        .filter(|(_, _, partition)| own(&partition.replicas))
        .partition(|(_, _, partition)| own(&partition.isr));
    Some(match behind.first() {
        None => Ok(format!("is in sync with {} partitions", whole.len())),
        Some((name, ..)) => Err(format!(
            "is not in sync with {} partitions, {name} among them",
            behind.len()
        )),
    })
}

fn mariadb(facts: &MariadbFacts) -> Said {
    if facts.leads() {
        return None;
    }
    let source = |source: &ferriswheel_plan::world::MariadbSource| match source.behind_seconds {
        Some(seconds) if source.runs() => Ok(format!("is {seconds} s behind {}", source.host)),
        _ if !source.errors.is_empty() => Err(format!(
            "does not follow {}: {}",
            source.host,
            source.errors.join("; ")
        )),
        _ => Err(format!("does not follow {}", source.host)),
    };
    let said: Result<Vec<String>, String> = facts.sources.iter().map(source).collect();
    Some(said.map(|all| all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ferriswheel_plan::world::{Mongo, MongoMember};

    fn member(state: &str, peers: &[(&str, &str, u64)]) -> MongoMember {
        let peer = |(host, state, optime): &(&str, &str, u64)| {
            serde_json::json!({
                "host": host, "state": MongoState::of(state), "healthy": true, "optime": optime, "votes": 1,
                "priority_milli": 1000, "hidden": false, "delay_seconds": 0, "arbiter": false,
            })
        };
        let facts = serde_json::json!({
            "version": "6.0.5", "set": "rs0", "sharding": null, "me": "m-1:27017", "state": MongoState::of(state),
            "term": 1, "config_version": 1, "config_term": 1,
            "peers": peers.iter().enumerate().map(|(n, p)| (n.to_string(), peer(p))).collect::<BTreeMap<_, _>>(),
            "commit_behind_ms": 0, "oplog_seconds": 0, "oplog_bytes": 0, "oplog_max_bytes": 0, "index_builds": 0,
            "backup": null, "default_write_concern": "majority", "chaining": true, "election_timeout_ms": 10000,
            "directory": "/data/db", "user": "", "forbidden": [],
        });
        MongoMember {
            unreachable: None,
            facts: Some(serde_json::from_value(facts).unwrap()),
        }
    }

    #[test]
    fn a_secondary_says_how_far_it_is_behind_or_what_it_lacks() {
        let peers = [
            ("m-0:27017", "PRIMARY", 107),
            ("m-1:27017", "SECONDARY", 100),
        ];
        let alone = [("m-1:27017", "SECONDARY", 100)];
        let gone = MongoMember {
            unreachable: Some("no route".to_owned()),
            facts: None,
        };
        let set = Database::Mongodb(Mongo {
            stateful_set: ferriswheel_plan::ids::ObjectRef::new("shop", "m"),
            members: BTreeMap::from([
                ("m-0".to_owned(), member("PRIMARY", &peers)),
                ("m-1".to_owned(), member("SECONDARY", &peers)),
                ("m-2".to_owned(), member("SECONDARY", &alone)),
                ("m-3".to_owned(), member("STARTUP2", &peers)),
                ("m-4".to_owned(), gone),
            ]),
        });
        let wrong = |text: &str| Err(text.to_owned());
        assert_eq!(
            said(&set),
            [
                Ok("m-1 is 7 s behind".to_owned()),
                wrong("m-2 sees no primary"),
                wrong("m-3 is STARTUP2"),
                wrong("m-4 does not answer: no route"),
            ]
        );
    }
}
