//! [`Server`] over OP_MSG.

use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, Document, doc};

use super::server::{By, Hello, Peer, Position, Server, ServerError, Status};
use super::session::{Session, number};

/// A server behind a session.
pub struct WireServer {
    session: Session,
}

impl WireServer {
    /// A server that is not connected yet.
    pub fn new(session: Session) -> Self {
        Self { session }
    }

    async fn admin(&self, command: Document, deadline: Duration) -> Result<Document, ServerError> {
        self.session.run("admin", command, deadline).await
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

    async fn hello(&self, deadline: Duration) -> Result<Hello, ServerError> {
        Ok(hello_of(&self.admin(doc! { "hello": 1 }, deadline).await?))
    }

    async fn status(&self, deadline: Duration) -> Result<Status, ServerError> {
        let answer = self.admin(doc! { "replSetGetStatus": 1 }, deadline).await?;
        status_of(&answer).ok_or_else(|| self.session.unexpected("replSetGetStatus"))
    }

    async fn barrier(&self, note: &str, by: By, deadline: Duration) -> Result<(), ServerError> {
        let patience = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
        let members: Bson = match by {
            By::Majority => "majority".into(),
            By::Members(n) => i64::try_from(n).unwrap_or(i64::MAX).into(),
        };
        let command = doc! {
            "appendOplogNote": 1,
            "data": { "ferriswheel": note },
            "writeConcern": { "w": members, "j": true, "wtimeout": patience },
        };
        // The server's own limit comes first, so that the connection stays of use.
        let deadline = deadline + Duration::from_secs(1);
        self.admin(command, deadline).await.map(drop)
    }

    async fn copy_from(&self, host: &str, deadline: Duration) -> Result<(), ServerError> {
        let command = doc! { "replSetSyncFrom": host };
        self.admin(command, deadline).await.map(drop)
    }

    async fn freeze(&self, seconds: u32, deadline: Duration) -> Result<(), ServerError> {
        let command = doc! { "replSetFreeze": i64::from(seconds) };
        self.admin(command, deadline).await.map(drop)
    }

    async fn step_down(
        &self,
        seconds: u32,
        catch_up_seconds: u32,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        let command = doc! {
            "replSetStepDown": i64::from(seconds),
            "secondaryCatchUpPeriodSecs": i64::from(catch_up_seconds),
        };
        self.admin(command, deadline).await.map(drop)
    }

    async fn stand(&self, deadline: Duration) -> Result<(), ServerError> {
        let command = doc! { "replSetStepUp": 1 };
        self.admin(command, deadline).await.map(drop)
    }

    async fn skip_catch_up(&self, deadline: Duration) -> Result<(), ServerError> {
        let command = doc! { "replSetAbortPrimaryCatchUp": 1 };
        self.admin(command, deadline).await.map(drop)
    }
}

/// Reads the answer to `hello`.
pub fn hello_of(answer: &Document) -> Hello {
    let is = |name: &str| answer.get_bool(name).unwrap_or(false);
    let text = |name: &str| answer.get_str(name).ok().map(str::to_owned);
    Hello {
        writable: is("isWritablePrimary"),
        secondary: is("secondary"),
        me: text("me").unwrap_or_default(),
        primary: text("primary"),
        newest: answer
            .get_document("lastWrite")
            .and_then(|last| last.get_document("opTime"))
            .ok()
            .and_then(position),
    }
}

fn position(at: &Document) -> Option<Position> {
    match at.get("ts")? {
        Bson::Timestamp(ts) => Some(Position {
            term: number(at, "t")?,
            seconds: ts.time,
            count: ts.increment,
        }),
        _ => None,
    }
}

/// Reads the answer to `replSetGetStatus`.
pub fn status_of(answer: &Document) -> Option<Status> {
    let mut status = Status {
        set: answer.get_str("set").unwrap_or_default().to_owned(),
        term: number(answer, "term")?,
        copies_from: answer
            .get_str("syncSourceHost")
            .ok()
            .filter(|host| !host.is_empty())
            .map(str::to_owned),
        ..Status::default()
    };
    for member in answer.get_array("members").ok()? {
        let member = member.as_document()?;
        let host = member.get_str("name").ok()?.to_owned();
        if member.get_bool("self").unwrap_or(false) {
            status.me.clone_from(&host);
        }
        let peer = Peer {
            state: member.get_str("stateStr").ok()?.to_owned(),
            healthy: number(member, "health") == Some(1),
            optime: seconds(
                member
                    .get_document("optime")
                    .ok()
                    .and_then(|at| at.get("ts")),
            ),
        };
        status.members.insert(host, peer);
    }
    Some(status)
}

/// Seconds of a position in the oplog.
pub fn seconds(position: Option<&Bson>) -> u64 {
    match position {
        Some(Bson::Timestamp(at)) => u64::from(at.time),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use bson::{Timestamp, doc};

    use super::{hello_of, status_of};

    #[test]
    fn answers_are_read_as_servers_write_them() {
        let hello = hello_of(&doc! {
            "isWritablePrimary": false, "secondary": true, "me": "a:1", "primary": "b:1", "ok": 1.0,
            "lastWrite": { "opTime": { "ts": Timestamp { time: 7, increment: 2 }, "t": 3_i64 } },
        });
        let later = hello_of(&doc! {
            "lastWrite": { "opTime": { "ts": Timestamp { time: 7, increment: 3 }, "t": 3_i64 } },
        });
        assert!(hello.newest.is_some() && hello.newest < later.newest);
        assert!(!hello.writable && hello.secondary);
        assert_eq!(hello.primary.as_deref(), Some("b:1"));

        let at = |time| doc! { "ts": Timestamp { time, increment: 1 }, "t": 2_i64 };
        let answer = doc! {
            "term": 2_i64, "syncSourceHost": "b:1",
            "members": [
                { "name": "a:1", "health": 1.0, "stateStr": "SECONDARY", "self": true, "optime": at(7) },
                { "name": "b:1", "health": 1.0, "stateStr": "PRIMARY", "optime": at(9) },
                { "name": "c:1", "health": 0.0, "stateStr": "(not reachable/healthy)" },
            ],
        };
        let status = status_of(&answer).unwrap();
        assert_eq!((status.me.as_str(), status.term), ("a:1", 2));
        assert_eq!(status.copies_from.as_deref(), Some("b:1"));
        assert_eq!(status.primaries().collect::<Vec<_>>(), ["b:1"]);
        assert_eq!(status.members["a:1"].optime, 7);
        assert!(!status.members["c:1"].healthy);
        assert_eq!(status_of(&doc! { "ok": 1 }), None);
    }
}
