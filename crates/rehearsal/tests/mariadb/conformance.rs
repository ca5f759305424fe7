//! The modelled servers against real ones: the same statements through the same trait, the same answers.
//!
//! Roles, positions, sources with what they say, what becomes of clients' writes, and errors are answers; times are
//! not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::mariadb::order::Member;
use ferriswheel_actuators::databases::mariadb::server::{
    Clients, Link, Server, ServerError, Since, Source, Status,
};
use ferriswheel_rehearsal::mariadb::server::{ModelServer, Shared, member};
use ferriswheel_rehearsal::mariadb::set::{Refusal, Set as Model};
use ferriswheel_testbed::mariadb::Set as Real;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::virtual_time;

/// Longer than a loaded machine takes for any answer that comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is not answered by then is not answered while the lock is held, or the process stands still. A write on a loaded
/// machine is.
const IMPATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
enum Do {
    /// What a member says of itself, once its connection to its source is made or refused.
    Tell(usize),
    /// A client writes to a member.
    Write(usize),
    /// The member has everything that the other one has now.
    Reaches(usize, usize),
    /// The lock over a member.
    Lock(usize),
    /// The lock is given back.
    Unlock(usize),
    /// `read_only` in the session of the lock.
    CloseLocked(usize),
    /// Clients that wait for the lock are cut.
    CutWaiting(usize),
    /// The member copies from nobody and takes writes.
    Promote(usize),
    /// The same at a member that stands still.
    PromoteInVain(usize),
    /// Waits until it takes writes.
    Leads(usize),
    /// It would copy from the other after a restart.
    Aim(usize, usize),
    /// It copies from the other.
    Follow(usize, usize, Since),
    /// Waits until its source refuses it, and tells.
    Refused(usize),
    /// Stops a process where it is.
    Freeze(usize),
    /// Lets it go on.
    Thaw(usize),
    /// Ends a process, and waits until the next one answers.
    Restart(usize),
}

use Do::{
    Aim, CloseLocked, CutWaiting, Follow, Freeze, Leads, Lock, Promote, PromoteInVain, Reaches,
    Refused, Restart, Tell, Thaw, Unlock, Write,
};

/// Three members; 0 leads, the others follow.
const SCENES: [(&str, &[Do]); 3] = [
    (
        "a hand-over",
        &[
            Tell(0),
            Tell(1),
            Write(0),
            Write(1),
            Reaches(1, 0),
            Tell(1),
            Aim(1, 0),
            Aim(0, 1),
            Tell(0),
            Lock(0),
            Write(0),
            CutWaiting(0),
            CloseLocked(0),
            Promote(1),
            Tell(1),
            Write(1),
            Unlock(0),
            Write(0),
            Follow(0, 1, Since::Everything),
            Follow(2, 1, Since::Stopped),
            Reaches(0, 1),
            Reaches(2, 1),
            Tell(0),
            Tell(2),
        ],
    ),
    (
        "members come back as what their disks say",
        &[
            Write(0),
            Reaches(1, 0),
            Aim(0, 1),
            Lock(0),
            Restart(0),
            Tell(0),
            CloseLocked(0),
            Write(0),
            Promote(1),
            Write(1),
            Reaches(0, 1),
            Restart(1),
            Tell(1),
            Write(1),
            Reaches(0, 1),
        ],
    ),
    (
        "what a member was told while it stood still it does when it goes on",
        &[
            Write(0),
            Reaches(1, 0),
            Freeze(1),
            PromoteInVain(1),
            Thaw(1),
            Leads(1),
            Tell(1),
            // Both take writes now, and nobody can follow the other.
            Write(1),
            Write(0),
            Follow(0, 1, Since::Everything),
            Refused(0),
        ],
    ),
];

#[async_trait]
trait Owner: Send + Sync {
    fn server(&self, n: usize) -> &dyn Server;
    fn member(&self, n: usize) -> Member;
    async fn write(&self, n: usize) -> &'static str;
    async fn freeze(&self, n: usize);
    async fn thaw(&self, n: usize);
    async fn kill(&self, n: usize);
}

struct ModelOwner {
    set: Shared,
    servers: Vec<ModelServer>,
}

#[async_trait]
impl Owner for ModelOwner {
    fn server(&self, n: usize) -> &dyn Server {
        &self.servers[n]
    }
    fn member(&self, n: usize) -> Member {
        member(n)
    }
    async fn write(&self, n: usize) -> &'static str {
        self.set.with(|set| match set.write(n) {
            Ok(_) => "written",
            Err(Refusal::ReadOnly) => "read-only",
            Err(Refusal::Locked) => {
                set.clients[0].at = Some((n, set.nodes[n].life));
                set.clients[0].waits = true;
                "waits"
            }
        })
    }
    async fn freeze(&self, n: usize) {
        self.set.with(|set| set.nodes[n].frozen = true);
    }
    async fn thaw(&self, n: usize) {
        self.set.with(|set| set.nodes[n].frozen = false);
    }
    async fn kill(&self, n: usize) {
        self.set.with(|set| set.restart(n));
    }
}

struct RealOwner {
    set: Arc<Real>,
    servers: Vec<Box<dyn Server>>,
}

#[async_trait]
impl Owner for RealOwner {
    fn server(&self, n: usize) -> &dyn Server {
        self.servers[n].as_ref()
    }
    fn member(&self, n: usize) -> Member {
        self.set.order("", n, (n + 1) % 3).old
    }
    async fn write(&self, n: usize) -> &'static str {
        /// `ER_OPTION_PREVENTS_STATEMENT`.
        const READ_ONLY: u16 = 1290;
        let session = self.set.session_of(n, "app");
        session.open(PATIENCE).await.unwrap();
        let write = "INSERT INTO app.written VALUES (UUID())";
        match session.run(write, IMPATIENCE).await {
            Ok(_) => "written",
            Err(ServerError::Refused { code, .. }) if code == READ_ONLY => "read-only",
            Err(ServerError::Timeout { .. }) => "waits",
            Err(other) => panic!("{other}"),
        }
    }
    async fn freeze(&self, n: usize) {
        self.set.signal(n, Signal::SIGSTOP);
    }
    async fn thaw(&self, n: usize) {
        self.set.signal(n, Signal::SIGCONT);
    }
    async fn kill(&self, n: usize) {
        self.set.signal(n, Signal::SIGKILL);
    }
}

fn word(owner: &dyn Owner, status: &Status) -> String {
    let sources = status.sources.iter().map(|source| {
        let of = (0..3).find(|n| owner.member(*n).is_at(&source.host, source.port));
        let (receives, applies) = (&source.receives, &source.applies);
        format!(
            "copies from {} by {}: {receives}, {applies}",
            of.unwrap(),
            source.gtid
        )
    });
    let sources: Vec<String> = sources.collect();
    format!(
        "{}, read_only {}, logged {}, applied {}; {}",
        status.server_id,
        status.read_only,
        status.binlog,
        status.applied,
        sources.join("; ")
    )
}

fn class(error: &ServerError) -> String {
    match error {
        ServerError::Disconnected { .. } => "no session".to_owned(),
        ServerError::Timeout { .. } => "no answer".to_owned(),
        ServerError::Refused { code, .. } => code.to_string(),
        ServerError::Unexpected { what, .. } => panic!("{what}"),
    }
}

/// Looks until a condition holds.
async fn until<F: Future<Output = Option<String>>>(what: &str, look: impl Fn() -> F) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        if Instant::now() > end {
            return format!("never: {what}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn status(owner: &dyn Owner, n: usize) -> Option<Status> {
    owner.server(n).open(PATIENCE).await.ok()?;
    owner.server(n).status(PATIENCE).await.ok()
}

async fn answer(owner: &dyn Owner, what: Do) -> String {
    fn of<T>(answer: Result<T, ServerError>, good: impl Fn(T) -> String) -> String {
        answer.map_or_else(|e| class(&e), good)
    }
    let done = |()| "done".to_owned();
    match what {
        Tell(n) => {
            until("it knows how its connection stands", || async move {
                let status = status(owner, n).await?;
                let known = |source: &str| source == "Yes" || source == "No";
                let all = status.sources.iter().all(|source| known(&source.receives));
                all.then(|| word(owner, &status))
            })
            .await
        }
        Refused(n) => {
            until("its source refuses it", || async move {
                let status = status(owner, n).await?;
                let refused = status.sources.iter().all(|source| source.receives == "No");
                refused.then(|| word(owner, &status))
            })
            .await
        }
        Write(n) => owner.write(n).await.to_owned(),
        Reaches(n, other) => {
            let there = status(owner, other).await.unwrap().position();
            owner.server(n).open(PATIENCE).await.unwrap();
            of(owner.server(n).reaches(&there, PATIENCE).await, |reached| {
                format!("{reached}")
            })
        }
        Lock(n) => of(owner.server(n).lock(PATIENCE, PATIENCE).await, |position| {
            position.to_string()
        }),
        Unlock(n) => of(owner.server(n).unlock(PATIENCE).await, done),
        CloseLocked(n) => of(owner.server(n).close_locked(PATIENCE).await, done),
        CutWaiting(n) => {
            let cut = owner.server(n).cut_clients(Clients::Waiting, PATIENCE);
            of(cut.await, |sessions| sessions.to_string())
        }
        Promote(n) => of(owner.server(n).promote(PATIENCE).await, done),
        PromoteInVain(n) => of(owner.server(n).promote(IMPATIENCE).await, done),
        Leads(n) => {
            until("it takes writes", || async move {
                let status = status(owner, n).await?;
                (!status.read_only).then(|| "takes writes".to_owned())
            })
            .await
        }
        Aim(n, other) => of(
            owner.server(n).aim(&source(owner, other), PATIENCE).await,
            done,
        ),
        Follow(n, other, since) => {
            let source = source(owner, other);
            of(owner.server(n).follow(&source, since, PATIENCE).await, done)
        }
        Freeze(n) => {
            owner.freeze(n).await;
            String::new()
        }
        Thaw(n) => {
            owner.thaw(n).await;
            String::new()
        }
        Restart(n) => {
            owner.kill(n).await;
            until("it answers again", || async move {
                // The first attempt may still find the old session.
                status(owner, n).await.map(|_| "is back".to_owned())
            })
            .await
        }
    }
}

fn source(owner: &dyn Owner, n: usize) -> Source {
    Source {
        member: owner.member(n),
        link: Link::default(),
    }
}

async fn play(owner: &dyn Owner, scene: &[Do]) -> Vec<String> {
    for n in 0..3 {
        owner.server(n).open(PATIENCE).await.unwrap();
    }
    let mut answers = Vec::new();
    for what in scene {
        answers.push(format!("{what:?} -> {}", answer(owner, *what).await));
    }
    answers
}

fn modelled(scene: &[Do]) -> Vec<String> {
    virtual_time(async {
        let set = Shared::new(Model::new(3, 1));
        let servers = (0..3).map(|n| ModelServer::new(set.clone(), n)).collect();
        play(&ModelOwner { set, servers }, scene).await
    })
}

async fn real(scene: &'static [Do]) -> Vec<String> {
    let set = Real::start(&[]).await;
    let cast = set.cast(&set.order("", 0, 1));
    let mut servers = vec![cast.old, cast.candidate];
    servers.extend(cast.others);
    play(&RealOwner { set, servers }, scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn modelled_servers_answer_as_real_ones() {
    let played = SCENES.map(|(about, scene)| async move { (about, scene, real(scene).await) });
    for (about, scene, real) in futures::future::join_all(played).await {
        let modelled = std::thread::spawn(|| modelled(scene)).join().unwrap();
        assert_eq!(modelled, real, "{about}: the model, then MariaDB");
    }
}
