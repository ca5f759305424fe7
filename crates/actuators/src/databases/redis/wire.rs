//! [`Server`] over RESP.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::cluster::{View, fields};
use super::server::{Follower, Role, Server, ServerError, Tenure};
use super::session::{Session, text_of};
use super::slot::{self, Range};

/// How long the key of a barrier stays if nobody deletes it. A minute: it is of no use the moment
/// after the barrier, and a replica of a shard that is in trouble must not keep it for ever.
const BARRIER_KEY_MS: &str = "60000";

const NODE_TIMEOUT: &str = "cluster-node-timeout";

/// A server behind a session.
pub struct WireServer {
    session: Session,
}

impl WireServer {
    /// A server that is not connected yet.
    pub fn new(session: Session) -> Self {
        Self { session }
    }

    fn unexpected(&self, command: &str, value: &Value) -> ServerError {
        self.session.unexpected(command, value)
    }
}

#[async_trait]
impl Server for WireServer {
    fn name(&self) -> &str {
        self.session.name()
    }

    async fn open(&self, deadline: Duration) -> Result<(), ServerError> {
        self.session.open(deadline).await
    }

    async fn ping(&self, deadline: Duration) -> Result<(), ServerError> {
        self.session.run(&["PING"], deadline).await.map(drop)
    }

    async fn role(&self, deadline: Duration) -> Result<Role, ServerError> {
        let value = self.session.run(&["ROLE"], deadline).await?;
        role_of(&value).ok_or_else(|| self.unexpected("ROLE", &value))
    }

    async fn view(&self, deadline: Duration) -> Result<View, ServerError> {
        let text = self.session.text(&["CLUSTER", "NODES"], deadline).await?;
        View::parse(&text).map_err(|what| ServerError::Unexpected {
            server: self.name().to_owned(),
            what,
        })
    }

    async fn cluster_info(
        &self,
        deadline: Duration,
    ) -> Result<BTreeMap<String, String>, ServerError> {
        let text = self.session.text(&["CLUSTER", "INFO"], deadline).await?;
        Ok(fields(&text))
    }

    async fn info(&self, deadline: Duration) -> Result<BTreeMap<String, String>, ServerError> {
        Ok(fields(&self.session.text(&["INFO"], deadline).await?))
    }

    async fn tenure(&self, deadline: Duration) -> Result<Tenure, ServerError> {
        let info = self.info(deadline).await?;
        let seconds = |text: Option<&str>| text?.parse().ok().map(Duration::from_secs);
        let runs = seconds(info.get("uptime_in_seconds").map(String::as_str));
        let link = ["CLIENT", "LIST", "TYPE", "master"];
        let link = self.session.text(&link, deadline).await?;
        let timeout = self.setting(NODE_TIMEOUT, deadline).await?;
        let timeout = timeout.as_deref().and_then(|text| text.parse().ok());
        let missing = |what: &str| ServerError::Unexpected {
            server: self.name().to_owned(),
            what: format!("no {what}"),
        };
        Ok(Tenure {
            runs: runs.ok_or_else(|| missing("uptime_in_seconds"))?,
            follows: seconds(
                link.split_whitespace()
                    .find_map(|field| field.strip_prefix("age=")),
            ),
            node_timeout: timeout
                .map(Duration::from_millis)
                .ok_or_else(|| missing(NODE_TIMEOUT))?,
        })
    }

    async fn barrier(
        &self,
        slots: &[Range],
        replicas: u32,
        deadline: Duration,
    ) -> Result<u32, ServerError> {
        let key = barrier_key(slots).ok_or_else(|| ServerError::Unexpected {
            server: self.name().to_owned(),
            what: "it serves no slot".to_owned(),
        })?;
        let limit = tokio::time::Instant::now() + deadline;
        let left = || limit.saturating_duration_since(tokio::time::Instant::now());
        self.session
            .run(&["SET", &key, "1", "PX", BARRIER_KEY_MS], left())
            .await?;
        // The server gives up a little before the session does, so that its answer is read. Zero
        // would wait for ever.
        let patience = (left() * 9 / 10).as_millis().max(1).to_string();
        let value = self
            .session
            .run(&["WAIT", &replicas.to_string(), &patience], left())
            .await?;
        let Value::Int(reached) = value else {
            return Err(self.unexpected("WAIT", &value));
        };
        let _ = self.session.run(&["DEL", &key], left()).await;
        Ok(u32::try_from(reached).unwrap_or(0))
    }

    async fn take_over(&self, deadline: Duration) -> Result<(), ServerError> {
        let value = self.session.run(&["CLUSTER", "FAILOVER"], deadline).await?;
        match value {
            Value::Okay => Ok(()),
            other => Err(self.unexpected("CLUSTER FAILOVER", &other)),
        }
    }

    async fn setting(&self, name: &str, deadline: Duration) -> Result<Option<String>, ServerError> {
        let value = self.session.run(&["CONFIG", "GET", name], deadline).await?;
        let Value::Array(pair) = &value else {
            return Err(self.unexpected("CONFIG GET", &value));
        };
        Ok(pair.get(1).and_then(text_of))
    }

    async fn set(&self, name: &str, value: &str, deadline: Duration) -> Result<(), ServerError> {
        self.session
            .run(&["CONFIG", "SET", name, value], deadline)
            .await
            .map(drop)
    }

    async fn meet(&self, ip: &str, port: u16, deadline: Duration) -> Result<(), ServerError> {
        self.session
            .run(&["CLUSTER", "MEET", ip, &port.to_string()], deadline)
            .await
            .map(drop)
    }
}

/// A key that only this run uses, in one of these slots.
fn barrier_key(slots: &[Range]) -> Option<String> {
    // A shard of one slot is found after 16,384 tries on average, which take some milliseconds.
    const TRIES: u32 = 1 << 20;
    if slots.is_empty() {
        return None;
    }
    (0..TRIES)
        .map(|n| format!("ferriswheel:barrier:{{{n}}}"))
        .find(|key| slot::contains(slots, slot::of_key(key)))
}

pub(super) fn role_of(value: &Value) -> Option<Role> {
    let Value::Array(parts) = value else {
        return None;
    };
    let number = |at: usize| match parts.get(at)? {
        Value::Int(number) => Some(*number),
        _ => None,
    };
    match text_of(parts.first()?)?.as_str() {
        "master" => {
            let Value::Array(replicas) = parts.get(2)? else {
                return None;
            };
            Some(Role::Primary {
                offset: u64::try_from(number(1)?).ok()?,
                replicas: replicas.iter().map(follower).collect::<Option<_>>()?,
            })
        }
        "slave" => Some(Role::Replica {
            ip: text_of(parts.get(1)?)?,
            port: u16::try_from(number(2)?).ok()?,
            link: text_of(parts.get(3)?)?,
            offset: u64::try_from(number(4)?).ok(),
        }),
        _ => None,
    }
}

fn follower(value: &Value) -> Option<Follower> {
    let Value::Array(parts) = value else {
        return None;
    };
    let text = |at: usize| text_of(parts.get(at)?);
    Some(Follower {
        ip: text(0)?,
        port: text(1)?.parse().ok()?,
        offset: text(2)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn roles_are_read_as_the_servers_print_them() {
        let replicas = Value::Array(vec![Value::Array(vec![
            bulk("10.0.0.2"),
            bulk("6379"),
            bulk("77"),
        ])]);
        let primary = Value::Array(vec![bulk("master"), Value::Int(78), replicas]);
        assert_eq!(
            role_of(&primary),
            Some(Role::Primary {
                offset: 78,
                replicas: vec![Follower {
                    ip: "10.0.0.2".into(),
                    port: 6379,
                    offset: 77
                }]
            })
        );
        let replica = Value::Array(vec![
            bulk("slave"),
            bulk("10.0.0.1"),
            Value::Int(6379),
            bulk("connecting"),
            Value::Int(-1),
        ]);
        assert_eq!(
            role_of(&replica),
            Some(Role::Replica {
                ip: "10.0.0.1".into(),
                port: 6379,
                link: "connecting".into(),
                offset: None
            })
        );
        assert_eq!(role_of(&Value::Array(vec![bulk("sentinel")])), None);
    }

    #[test]
    fn a_barrier_key_lies_in_the_shard() {
        for slots in [vec![(0, 5460)], vec![(16_383, 16_383)], vec![(7, 7)]] {
            let key = barrier_key(&slots).unwrap();
            assert!(slot::contains(&slots, slot::of_key(&key)), "{key}");
        }
        assert_eq!(barrier_key(&[]), None);
    }
}
