//! What a scene is played on: servers and a pooler behind the traits of the hand-over, and what
//! only their owner can do to them.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::pooler::Pooler;
use ferriswheel_actuators::databases::postgres::server::{Server, ServerError, Upstream};

/// What a scene's set is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Members; `pg-0` is the primary.
    pub members: usize,
    /// A commit waits for any one standby.
    pub synchronous: bool,
    /// A pooler stands in front.
    pub pooler: bool,
}

/// What a client got for its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Acknowledged.
    Ok,
    /// Neither acknowledged nor failed yet.
    Held,
    /// The client saw an error.
    Error,
}

/// One side of the comparison.
#[async_trait]
pub trait Stage: Send + Sync {
    /// A member.
    fn server(&self, n: usize) -> &dyn Server;

    /// The pooler.
    fn pooler(&self) -> &dyn Pooler;

    /// How one member follows another.
    fn upstream(&self, follower: usize, upstream: usize) -> Upstream;

    /// Something about to be asked. A stage that is wrong on purpose goes wrong here.
    async fn before(&self, _command: &[&str]) {}

    /// A superuser's INSERT at a member.
    async fn write(&self, n: usize, row: u32, deadline: Duration) -> Result<(), ServerError>;

    /// Rows that a member shows.
    async fn rows(&self, n: usize) -> Result<Vec<u32>, ServerError>;

    /// Physical slots of a member.
    async fn slots(&self, n: usize) -> Result<Vec<String>, ServerError>;

    /// A member's process runs.
    fn runs(&self, n: usize) -> bool;

    /// Ends a member at once.
    async fn kill(&self, n: usize);

    /// Starts a member that has ended.
    async fn start(&self, n: usize);

    /// Starts a member that stays in its startup.
    async fn start_held(&self, n: usize);

    /// Lets a held member go on.
    async fn let_start(&self, n: usize);

    /// Stops all processes of a member where they are.
    async fn freeze(&self, n: usize);

    /// Lets them go on.
    async fn thaw(&self, n: usize);

    /// Pauses the replay of a standby, or lets it go on.
    async fn pause_replay(&self, n: usize, paused: bool);

    /// Aims the pooler's file.
    async fn aim(&self, n: usize);

    /// Ends the pooler at once.
    async fn kill_pooler(&self);

    /// Starts it.
    async fn start_pooler(&self);

    /// A client opens a transaction through the pooler and leaves it open.
    async fn begin(&self);

    /// That client commits.
    async fn commit(&self) -> Reply;

    /// Another client writes through the pooler.
    async fn client(&self, wait: Duration) -> Reply;

    /// What became of a write that was held.
    async fn held_client(&self, wait: Duration) -> Reply;
}
