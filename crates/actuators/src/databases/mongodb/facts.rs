//! What a server says of itself and of the others, for the snapshot: reading commands only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::{Bson, Document, doc};
use ferriswheel_plan::world::{MongoFacts, MongoPeer, MongoShardRole, MongoState};

use super::server::ServerError;
use super::session::{Session, number};
use super::wire::{hello_of, seconds, status_of};

/// Deadline of the collection's commands, each. A healthy server answers in a millisecond.
const COLLECT: Duration = Duration::from_secs(5);

/// Actions on the cluster that the procedure needs, all of them in the role `clusterAdmin`.
const NEEDED: [&str; 6] = [
    "appendOplogNote",
    "inprog",
    "replSetGetConfig",
    "replSetGetStatus",
    "replSetStateChange",
    "serverStatus",
];

/// `NoReplicationEnabled`, `NotYetInitialized`: the server is in no set.
const NO_SET: [i32; 2] = [76, 94];

/// Facts of one server.
///
/// # Errors
/// The server does not answer, refuses a command without which nothing can be judged, or answers
/// something that cannot be read.
pub async fn collect(session: &Session) -> Result<MongoFacts, ServerError> {
    session.open(COLLECT).await?;
    let admin = async |command: Document| session.run("admin", command, COLLECT).await;
    let hello = admin(doc! { "hello": 1 }).await?;
    let version = admin(doc! { "buildInfo": 1 }).await?;
    let version = version.get_str("version").unwrap_or_default().to_owned();
    let (user, forbidden) = rights(session).await?;
    let options = admin(doc! { "getCmdLineOpts": 1 })
        .await
        .unwrap_or_default();
    let mut facts = MongoFacts {
        version,
        set: hello.get_str("setName").ok().map(str::to_owned),
        sharding: sharding(&hello, &options),
        me: hello_of(&hello).me,
        state: MongoState::of("(in no set)"),
        term: 0,
        config_version: 0,
        config_term: 0,
        peers: BTreeMap::new(),
        commit_behind_ms: 0,
        oplog_seconds: 0,
        oplog_bytes: 0,
        oplog_max_bytes: 0,
        index_builds: 0,
        backup: None,
        default_write_concern: String::new(),
        chaining: true,
        election_timeout_ms: 10_000,
        directory: nested(&options, &["parsed", "storage", "dbPath"])
            .and_then(Bson::as_str)
            .unwrap_or("/data/db")
            .to_owned(),
        user,
        forbidden,
    };
    if facts.sharding == Some(MongoShardRole::Router) {
        return Ok(facts);
    }
    let status = match admin(doc! { "replSetGetStatus": 1 }).await {
        Ok(status) => status,
        Err(ServerError::Refused { code, .. }) if NO_SET.contains(&code) => {
            facts.set = None;
            return Ok(facts);
        }
        Err(e) => return Err(e),
    };
    let config = admin(doc! { "replSetGetConfig": 1 }).await?;
    read_set(session, &mut facts, &status, &config)?;
    oplog(session, &mut facts).await?;
    activity(session, &mut facts).await?;
    facts.default_write_concern = write_concern(session).await;
    Ok(facts)
}

fn sharding(hello: &Document, options: &Document) -> Option<MongoShardRole> {
    if hello.get_str("msg").ok() == Some("isdbgrid") {
        return Some(MongoShardRole::Router);
    }
    let role = nested(options, &["parsed", "sharding", "clusterRole"]).and_then(Bson::as_str);
    match role {
        Some("configsvr") => Some(MongoShardRole::Config),
        Some("shardsvr") => Some(MongoShardRole::Shard),
        _ if hello.contains_key("configsvr") => Some(MongoShardRole::Config),
        _ => None,
    }
}

fn nested<'a>(from: &'a Document, path: &[&str]) -> Option<&'a Bson> {
    let (first, rest) = path.split_first()?;
    let found = from.get(first)?;
    if rest.is_empty() {
        Some(found)
    } else {
        nested(found.as_document()?, rest)
    }
}

fn read_set(
    session: &Session,
    facts: &mut MongoFacts,
    status: &Document,
    config: &Document,
) -> Result<(), ServerError> {
    let unexpected = |what: &str| session.unexpected(what);
    let view = status_of(status).ok_or_else(|| unexpected("replSetGetStatus"))?;
    let config = config
        .get_document("config")
        .map_err(|_| unexpected("replSetGetConfig"))?;
    facts.me.clone_from(&view.me);
    facts.term = view.term;
    facts.config_version = number(config, "version").unwrap_or(0);
    facts.config_term = number(config, "term").unwrap_or(-1);
    if let Ok(settings) = config.get_document("settings") {
        facts.chaining = settings.get_bool("chainingAllowed").unwrap_or(true);
        facts.election_timeout_ms = number(settings, "electionTimeoutMillis")
            .and_then(|ms| u64::try_from(ms).ok())
            .unwrap_or(10_000);
    }
    let members = config
        .get_array("members")
        .map_err(|_| unexpected("replSetGetConfig without members"))?;
    for member in members.iter().filter_map(Bson::as_document) {
        let id = number(member, "_id")
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| unexpected("a member without an id"))?;
        let host = member
            .get_str("host")
            .map_err(|_| unexpected("a member without a host"))?
            .to_owned();
        let seen = view.members.get(&host).cloned().unwrap_or_default();
        let count = |name: &str| {
            number(member, name)
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0)
        };
        let peer = MongoPeer {
            state: MongoState::of(&seen.state),
            healthy: seen.healthy,
            optime: seen.optime,
            votes: u32::try_from(count("votes")).unwrap_or(1),
            priority_milli: milli(member.get("priority")),
            hidden: member.get_bool("hidden").unwrap_or(false),
            delay_seconds: count("secondaryDelaySecs").max(count("slaveDelay")),
            arbiter: member.get_bool("arbiterOnly").unwrap_or(false),
            host,
        };
        if peer.host == facts.me {
            facts.state = peer.state.clone();
        }
        facts.peers.insert(id, peer);
    }
    if let Ok(optimes) = status.get_document("optimes") {
        let at = |name: &str| {
            optimes
                .get_datetime(name)
                .map_or(0, |at| at.timestamp_millis())
        };
        let behind = at("lastAppliedWallTime") - at("lastCommittedWallTime");
        facts.commit_behind_ms = u64::try_from(behind).unwrap_or(0);
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a priority is between 0 and 1000"
)]
fn milli(priority: Option<&Bson>) -> u64 {
    match priority {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0) * 1_000,
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0) * 1_000,
        Some(Bson::Double(n)) => (n * 1_000.0).round().max(0.0) as u64,
        _ => 1_000,
    }
}

/// Age and size of the oplog.
async fn oplog(session: &Session, facts: &mut MongoFacts) -> Result<(), ServerError> {
    let edge = async |direction: i32| -> Result<u64, ServerError> {
        let command = doc! {
            "find": "oplog.rs", "limit": 1, "singleBatch": true,
            "sort": { "$natural": direction }, "projection": { "ts": 1 },
        };
        let answer = session.run("local", command, COLLECT).await?;
        let batch = nested(&answer, &["cursor", "firstBatch"]).and_then(Bson::as_array);
        let first = batch.and_then(|batch| batch.first()?.as_document());
        Ok(seconds(first.and_then(|entry| entry.get("ts"))))
    };
    let (oldest, newest) = (edge(1).await?, edge(-1).await?);
    facts.oplog_seconds = newest.saturating_sub(oldest);
    let stats = session
        .run("local", doc! { "collStats": "oplog.rs" }, COLLECT)
        .await?;
    let bytes = |name: &str| {
        number(&stats, name)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0)
    };
    facts.oplog_bytes = bytes("size");
    facts.oplog_max_bytes = bytes("maxSize");
    Ok(())
}

/// Index builds and backups under way.
async fn activity(session: &Session, facts: &mut MongoFacts) -> Result<(), ServerError> {
    let command = doc! { "currentOp": 1, "$all": true };
    let answer = session.run("admin", command, COLLECT).await?;
    let locked = answer.get_bool("fsyncLock").unwrap_or(false);
    let none = Vec::new();
    let running = answer.get_array("inprog").unwrap_or(&none);
    let builds = running.iter().filter_map(Bson::as_document).filter(|op| {
        op.get_str("msg")
            .is_ok_and(|text| text.starts_with("Index Build"))
    });
    facts.index_builds = u32::try_from(builds.count()).unwrap_or(u32::MAX);
    let server = session
        .run("admin", doc! { "serverStatus": 1 }, COLLECT)
        .await?;
    let cursor = nested(&server, &["storageEngine", "backupCursorOpen"])
        .and_then(Bson::as_bool)
        .unwrap_or(false);
    facts.backup = match (locked, cursor) {
        (true, _) => Some("locked by fsyncLock".to_owned()),
        (_, true) => Some("a backup cursor is open".to_owned()),
        _ => None,
    };
    Ok(())
}

/// What clients wait for that say nothing. Servers before 5.0 have 1 unless it was set.
async fn write_concern(session: &Session) -> String {
    let answer = session
        .run("admin", doc! { "getDefaultRWConcern": 1 }, COLLECT)
        .await
        .unwrap_or_default();
    match nested(&answer, &["defaultWriteConcern", "w"]) {
        Some(Bson::String(word)) => word.clone(),
        Some(Bson::Int32(n)) => n.to_string(),
        Some(Bson::Int64(n)) => n.to_string(),
        _ => "1".to_owned(),
    }
}

/// The user of the session, and which of the actions it lacks.
async fn rights(session: &Session) -> Result<(String, Vec<String>), ServerError> {
    let command = doc! { "connectionStatus": 1, "showPrivileges": true };
    let answer = session.run("admin", command, COLLECT).await?;
    let list = |name: &str| -> Vec<Document> {
        nested(&answer, &["authInfo", name])
            .and_then(Bson::as_array)
            .into_iter()
            .flatten()
            .filter_map(|item| item.as_document().cloned())
            .collect()
    };
    let users = list("authenticatedUsers");
    let Some(user) = users.first() else {
        return Ok((String::new(), Vec::new()));
    };
    let mut allowed: BTreeSet<String> = BTreeSet::new();
    for privilege in list("authenticatedUserPrivileges") {
        let Ok(resource) = privilege.get_document("resource") else {
            continue;
        };
        let everywhere = ["cluster", "anyResource"]
            .iter()
            .any(|name| resource.get_bool(name).unwrap_or(false));
        if everywhere && let Ok(actions) = privilege.get_array("actions") {
            let names = actions.iter().filter_map(Bson::as_str);
            allowed.extend(names.map(str::to_owned));
        }
    }
    let all = allowed.contains("anyAction");
    let forbidden = NEEDED
        .into_iter()
        .filter(|action| !all && !allowed.contains(*action))
        .map(str::to_owned)
        .collect();
    let name = user.get_str("user").unwrap_or_default().to_owned();
    Ok((name, forbidden))
}
