//! What a server says of itself and of the others, for the snapshot: reading commands only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ferriswheel_plan::world::{
    Flavour, RedisFacts, RedisPeer, RedisPersistence, RedisRole, SlotRange,
};
use redis::Value;

use super::cluster::{View, fields};
use super::server::{Role, ServerError};
use super::session::{Session, text_of};
use super::wire::role_of;

/// Deadline of the collection's commands, each. A healthy server answers in a millisecond.
const COLLECT: Duration = Duration::from_secs(5);

/// Commands that the procedure may need, as `ACL DRYRUN` wants them, with the name of the right.
const NEEDED: [(&str, &[&str]); 9] = [
    ("client|list", &["CLIENT", "LIST", "TYPE", "master"]),
    ("cluster|failover", &["CLUSTER", "FAILOVER"]),
    ("cluster|meet", &["CLUSTER", "MEET", "127.0.0.1", "6379"]),
    ("cluster|nodes", &["CLUSTER", "NODES"]),
    ("config|get", &["CONFIG", "GET", "save"]),
    (
        "config|set",
        &["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
    ("wait", &["WAIT", "1", "1"]),
    ("role", &["ROLE"]),
    ("set", &["SET", "ferriswheel:barrier:{0}", "1", "PX", "1"]),
];

/// Settings that are read.
const SETTINGS: [&str; 11] = [
    "cluster-node-timeout",
    "min-replicas-to-write",
    "cluster-allow-replica-migration",
    "cluster-require-full-coverage",
    "cluster-announce-ip",
    "cluster-announce-hostname",
    "appendonly",
    "save",
    "dir",
    "repl-backlog-size",
    "maxmemory-policy",
];

/// Facts of one server.
///
/// # Errors
/// The server does not answer, refuses a command without which nothing can be judged, or answers
/// something that cannot be read.
pub async fn collect(session: &Session) -> Result<RedisFacts, ServerError> {
    session.open(COLLECT).await?;
    let unexpected = |what: String| ServerError::Unexpected {
        server: session.name().to_owned(),
        what,
    };
    let info = fields(&session.text(&["INFO"], COLLECT).await?);
    let number = |name: &str| -> Result<u64, ServerError> {
        info.get(name)
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| unexpected(format!("INFO without {name}")))
    };
    let flag = |name: &str| -> Result<bool, ServerError> { Ok(number(name)? != 0) };
    let cluster_enabled = flag("cluster_enabled")?;
    let (view, cluster) = if cluster_enabled {
        let nodes = session.text(&["CLUSTER", "NODES"], COLLECT).await?;
        let text = session.text(&["CLUSTER", "INFO"], COLLECT).await?;
        (View::parse(&nodes).map_err(unexpected)?, fields(&text))
    } else {
        let nobody = View {
            me: String::new(),
            nodes: BTreeMap::new(),
        };
        (nobody, BTreeMap::new())
    };
    let of_cluster = |name: &str| {
        cluster
            .get(name)
            .and_then(|value| value.parse::<u64>().ok())
    };
    let small = |name: &str| u32::try_from(of_cluster(name).unwrap_or(0)).unwrap_or(u32::MAX);
    let settings = settings(session).await?;
    let setting = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    let set = |name: &str| Some(setting(name).to_owned()).filter(|value| !value.is_empty());
    let role = session.run(&["ROLE"], COLLECT).await?;
    let role = role_of(&role).ok_or_else(|| session.unexpected("ROLE", &role))?;
    let keys = session.text(&["DBSIZE"], COLLECT).await?;
    let (user, forbidden) = rights(session).await?;
    let me = view.myself();

    let (flavour, version) = match info.get("valkey_version") {
        Some(version) => (Flavour::Valkey, version.clone()),
        None => (
            Flavour::Redis,
            info.get("redis_version").cloned().unwrap_or_default(),
        ),
    };
    Ok(RedisFacts {
        flavour,
        version,
        cluster_enabled,
        primary_id: me.and_then(|me| me.primary.clone()),
        offset: match &role {
            Role::Primary { offset, .. } => *offset,
            Role::Replica { offset, .. } => offset.unwrap_or(0),
        },
        link_up: match &role {
            Role::Primary { .. } => None,
            Role::Replica { .. } => {
                Some(info.get("master_link_status").map(String::as_str) == Some("up"))
            }
        },
        syncing: info.get("master_sync_in_progress").map(String::as_str) == Some("1"),
        loading: flag("loading")?,
        replicas: match &role {
            Role::Primary { replicas, .. } => replicas
                .iter()
                .map(|one| (format!("{}:{}", one.ip, one.port), one.offset))
                .collect(),
            Role::Replica { .. } => BTreeMap::new(),
        },
        role: match role {
            Role::Primary { .. } => RedisRole::Primary,
            Role::Replica { .. } => RedisRole::Replica,
        },
        cluster_ok: cluster.get("cluster_state").map(String::as_str) == Some("ok"),
        slots_assigned: small("cluster_slots_assigned"),
        slots_ok: small("cluster_slots_ok"),
        slots_pfail: small("cluster_slots_pfail"),
        slots_fail: small("cluster_slots_fail"),
        known_nodes: small("cluster_known_nodes"),
        current_epoch: of_cluster("cluster_current_epoch").unwrap_or(0),
        my_epoch: of_cluster("cluster_my_epoch").unwrap_or(0),
        slots_moving: me.map(|me| me.moving.clone()).unwrap_or_default(),
        nodes: peers(&view),
        id: view.me,
        persistence: RedisPersistence {
            aof: setting("appendonly") == "yes",
            save: setting("save").to_owned(),
        },
        aof_rewriting: flag("aof_rewrite_in_progress")?,
        rdb_saving: flag("rdb_bgsave_in_progress")?,
        used_memory: number("used_memory")?,
        backlog_bytes: setting("repl-backlog-size").parse().unwrap_or(0),
        min_replicas_to_write: setting("min-replicas-to-write").parse().unwrap_or(0),
        node_timeout_ms: setting("cluster-node-timeout").parse().unwrap_or(0),
        full_coverage: setting("cluster-require-full-coverage") == "yes",
        replica_migration: setting("cluster-allow-replica-migration") == "yes",
        announce_ip: set("cluster-announce-ip"),
        announce_hostname: set("cluster-announce-hostname"),
        directory: setting("dir").to_owned(),
        user,
        forbidden,
        keys: keys.parse().unwrap_or(0),
    })
}

fn peers(view: &View) -> BTreeMap<String, RedisPeer> {
    view.nodes
        .iter()
        .map(|(id, node)| {
            let mut flags: BTreeSet<String> = node.flags.clone();
            if *id == view.me {
                flags.insert("myself".to_owned());
            }
            let peer = RedisPeer {
                ip: node.ip.clone(),
                port: node.port,
                hostname: node.hostname.clone(),
                flags,
                primary: node.primary.clone(),
                connected: node.linked,
                config_epoch: node.epoch,
                slots: node
                    .slots
                    .iter()
                    .map(|(first, last)| SlotRange {
                        first: *first,
                        last: *last,
                    })
                    .collect(),
            };
            (id.clone(), peer)
        })
        .collect()
}

/// One command a setting: a server refuses a request with a name that it does not know only from
/// some versions on.
async fn settings(session: &Session) -> Result<BTreeMap<String, String>, ServerError> {
    let mut found = BTreeMap::new();
    for name in SETTINGS {
        let value = session.run(&["CONFIG", "GET", name], COLLECT).await?;
        if let Value::Array(pair) = &value
            && let Some(text) = pair.get(1).and_then(text_of)
        {
            found.insert(name.to_owned(), text);
        }
    }
    Ok(found)
}

/// The user of the session, and what it may not do.
///
/// # Source
/// `ACL DRYRUN`, from Redis 7.0 on. Where the user may not ask, every right that is not seen to work
/// counts as missing.
async fn rights(session: &Session) -> Result<(String, Vec<String>), ServerError> {
    let user = match session.text(&["ACL", "WHOAMI"], COLLECT).await {
        Ok(user) => user,
        Err(ServerError::Refused { .. }) => session.user().to_owned(),
        Err(e) => return Err(e),
    };
    let mut forbidden = Vec::new();
    for (right, command) in NEEDED {
        let mut words = vec!["ACL", "DRYRUN", user.as_str()];
        words.extend(command);
        match session.text(&words, COLLECT).await {
            Ok(answer) if answer == "OK" => {}
            Ok(_) | Err(ServerError::Refused { .. }) => forbidden.push(right.to_owned()),
            Err(e) => return Err(e),
        }
    }
    Ok((user, forbidden))
}
