//! Patroni's answers as the world's nouns. Pure.
//!
//! # Source
//! `cluster_as_json` and `get_postgresql_status` of Patroni 3.0.2 and 4.1.5; "Dynamic configuration" for the defaults
//! of settings that are not there.

use ferriswheel_plan::world::{PatroniPeer, PatroniSettings, PatroniView};
use serde_json::Value;

/// The answer to `GET /cluster`; `None` if it is none.
pub fn cluster(answer: &Value) -> Option<PatroniView> {
    let members = answer.get("members")?.as_array()?;
    Some(PatroniView {
        paused: is_true(answer.get("pause")),
        scheduled: answer.get("scheduled_switchover").map(scheduled),
        members: members.iter().map(peer).collect::<Option<_>>()?,
    })
}

fn peer(member: &Value) -> Option<PatroniPeer> {
    let text = |key: &str| member.get(key).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    if name.is_empty() {
        return None;
    }
    Some(PatroniPeer {
        name: name.to_owned(),
        role: text("role").to_owned(),
        state: text("state").to_owned(),
        timeline: member.get("timeline").and_then(Value::as_u64),
        // A text says that it is not known.
        lag: member.get("lag").and_then(Value::as_u64),
        api_url: text("api_url").to_owned(),
        barred_by: member.get("tags").map(bars).unwrap_or_default(),
        scheduled_restart: member.get("scheduled_restart").map(scheduled),
    })
}

/// Tags that keep a member from leading, or from serving.
fn bars(tags: &Value) -> Vec<String> {
    let mut bars: Vec<String> = ["nofailover", "noloadbalance"]
        .into_iter()
        .filter(|tag| is_true(tags.get(tag)))
        .map(str::to_owned)
        .collect();
    // Zero or less is what nofailover is; it counts only where nofailover says nothing.
    let priority = tags.get("failover_priority").and_then(number);
    if tags.get("nofailover").is_none()
        && let Some(priority) = priority.filter(|priority| *priority <= 0)
    {
        bars.push(format!("failover_priority: {priority}"));
    }
    bars
}

/// `2026-11-23T04:00:00+00:00 pg-0 -> pg-1`, as far as it is said.
fn scheduled(value: &Value) -> String {
    let part = |key: &str| value.get(key).and_then(Value::as_str);
    let when = part("at").or_else(|| part("schedule"));
    match (when, part("from"), part("to")) {
        (Some(when), Some(from), Some(to)) => format!("{when} {from} -> {to}"),
        (Some(when), ..) => when.to_owned(),
        (None, ..) => value.to_string(),
    }
}

/// Version and scope in the answer to `GET /patroni`.
pub fn itself(answer: &Value) -> Option<(String, String)> {
    let patroni = answer.get("patroni")?;
    let text = |key: &str| Some(patroni.get(key)?.as_str()?.to_owned());
    Some((text("version")?, text("scope")?))
}

/// The answer to `GET /config`; `None` if it is none.
pub fn settings(answer: &Value) -> Option<PatroniSettings> {
    let settings = answer.as_object()?;
    let count = |key: &str, otherwise: u64| {
        settings
            .get(key)
            .and_then(number)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(otherwise)
    };
    let mode = settings.get("synchronous_mode");
    Some(PatroniSettings {
        ttl: count("ttl", 30),
        loop_wait: count("loop_wait", 10),
        maximum_lag_on_failover: count("maximum_lag_on_failover", 1_048_576),
        synchronous: is_true(mode) || mode.and_then(Value::as_str) == Some("quorum"),
        standby_cluster: settings
            .get("standby_cluster")
            .and_then(Value::as_object)
            .is_some_and(|of| !of.is_empty()),
    })
}

/// People write these settings, so a text may stand for a truth value or a number.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(is)) => *is,
        Some(Value::String(text)) => {
            matches!(text.to_ascii_lowercase().as_str(), "true" | "on" | "yes")
        }
        _ => false,
    }
}

fn number(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_view_of_3_0_is_read() {
        let view = cluster(&json!({"members": [
            {"name": "pg-0", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni",
             "host": "10.0.0.1", "port": 5432, "timeline": 4},
            {"name": "pg-1", "role": "replica", "state": "running", "api_url": "http://10.0.0.2:8008/patroni",
             "host": "10.0.0.2", "port": 5432, "timeline": 4, "lag": 0, "tags": {"nofailover": true}},
            {"name": "pg-2", "role": "sync_standby", "state": "starting", "api_url": "", "lag": "unknown",
             "tags": {"noloadbalance": "true", "clonefrom": true}},
        ], "pause": true, "scheduled_switchover": {"at": "2026-11-23T04:00:00+00:00", "from": "pg-0", "to": "pg-1"}}))
        .unwrap();
        assert!(view.paused);
        assert_eq!(
            view.scheduled.as_deref(),
            Some("2026-11-23T04:00:00+00:00 pg-0 -> pg-1")
        );
        assert_eq!(view.leader().unwrap().name, "pg-0");
        let [leader, barred, starting] = &view.members[..] else {
            panic!("{view:?}");
        };
        assert_eq!(
            (leader.timeline, leader.lag, leader.is_whole()),
            (Some(4), None, true)
        );
        assert_eq!(
            (barred.lag, &barred.barred_by[..]),
            (Some(0), &["nofailover".to_owned()][..])
        );
        assert_eq!(starting.lag, None);
        assert_eq!(starting.barred_by, ["noloadbalance"]);
        assert!(!starting.is_whole() && starting.is_synchronous());
    }

    #[test]
    fn the_view_of_4_1_is_read() {
        let view = cluster(&json!({"members": [
            {"name": "pg-0", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni", "timeline": 1},
            {"name": "pg-1", "role": "quorum_standby", "state": "streaming", "api_url": "http://10.0.0.2:8008/patroni",
             "timeline": 1, "receive_lsn": "0/4000060", "receive_lag": 0, "replay_lsn": "0/4000060", "replay_lag": 0,
             "lsn": "0/4000060", "lag": 0, "tags": {"failover_priority": "0"}},
        ], "scope": "pg"}))
        .unwrap();
        assert!(!view.paused && view.scheduled.is_none());
        let replica = view.peer("pg-1").unwrap();
        assert!(replica.is_whole() && replica.is_synchronous());
        assert_eq!(replica.barred_by, ["failover_priority: 0"]);
        assert!(cluster(&json!({"members": [{"role": "leader"}]})).is_none());
        assert!(cluster(&json!([])).is_none());
    }

    #[test]
    fn two_leaders_are_none() {
        let member = |name: &str| json!({"name": name, "role": "leader", "state": "running"});
        let view = cluster(&json!({"members": [member("a"), member("b")]})).unwrap();
        assert_eq!(view.leader(), None);
    }

    #[test]
    fn settings_have_their_defaults_and_quorum_is_synchronous() {
        let plain = settings(&json!({"postgresql": {}})).unwrap();
        assert_eq!(
            (plain.ttl, plain.loop_wait, plain.synchronous),
            (30, 10, false)
        );
        let set = settings(
            &json!({"ttl": "20", "loop_wait": 5, "synchronous_mode": "quorum",
            "standby_cluster": {"host": "10.1.0.1"}}),
        )
        .unwrap();
        assert_eq!((set.ttl, set.loop_wait, set.synchronous), (20, 5, true));
        assert!(set.standby_cluster && !plain.standby_cluster);
        assert_eq!(settings(&json!("no config")), None);
    }

    #[test]
    fn a_patroni_says_who_it_is() {
        let answer = json!({"state": "running", "patroni": {"version": "3.0.2", "scope": "pg"}});
        assert_eq!(itself(&answer), Some(("3.0.2".to_owned(), "pg".to_owned())));
        assert_eq!(itself(&json!({"state": "running"})), None);
    }
}
