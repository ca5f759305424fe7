//! The modelled servers against real ones: the same commands through the same trait, the same answers.
//!
//! Roles, followers, everybody's picture with its epochs, the answers to `CLUSTER FAILOVER`, what a barrier reaches and
//! what becomes of a failover are answers; values of offsets and times are not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::redis::cluster::View;
use ferriswheel_actuators::databases::redis::server::{Role, Server, ServerError};
use ferriswheel_actuators::databases::redis::wire::WireServer;
use ferriswheel_rehearsal::redis::cluster::Cluster as Model;
use ferriswheel_rehearsal::redis::server::{ModelServer, Shared, slots};
use ferriswheel_testbed::redis::{Cluster as Real, Flavour, Wanted};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::virtual_time;

/// Longer than a loaded machine takes for any answer that comes at all, and far longer than the models need.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command to a server that stands still is given up after this time.
const IMPATIENCE: Duration = Duration::from_millis(300);

/// Longer than a failover lives.
const OVER: Duration = Duration::from_secs(6);

/// More than twice `cluster-node-timeout` and less than four times.
const EXPIRED: Duration = Duration::from_secs(32);

#[derive(Clone, Copy, Debug)]
enum Do {
    /// Opens the sessions with everybody.
    Open,
    /// The role of a member, once its link is up if it is a replica.
    Role(usize),
    /// A member's picture.
    View(usize),
    /// A write of a shard at a member that must reach so many replicas.
    Barrier(usize, usize, u32),
    /// `CLUSTER FAILOVER` at a member.
    TakeOver(usize),
    /// The same at a member that does not answer.
    TakeOverInVain(usize),
    /// Waits until a member is a primary.
    Leads(usize),
    /// Longer than any failover lives.
    LetItPass,
    /// Longer than an election's votes count, and shorter than until the next one.
    Expire,
    /// Waits until all have the same picture.
    Settle,
    /// Stops a process where it is.
    Freeze(usize),
    /// Lets it go on.
    Thaw(usize),
    /// Ends a process.
    Kill(usize),
    /// Waits until a replica says that its link is down.
    CutOff(usize),
}

use Do::{
    Barrier, CutOff, Expire, Freeze, Kill, Leads, LetItPass, Open, Role as RoleOf, Settle,
    TakeOver, TakeOverInVain, Thaw, View as ViewOf,
};

/// Six members: 0 to 2 lead, 3 to 5 follow them.
const SCENES: [(&str, &[Do]); 5] = [
    (
        "there, back, and no third time",
        &[
            Open,
            RoleOf(0),
            RoleOf(3),
            ViewOf(1),
            Barrier(0, 0, 1),
            Barrier(3, 0, 1),
            Barrier(1, 0, 1),
            TakeOver(0),
            TakeOver(3),
            Leads(3),
            Settle,
            RoleOf(0),
            RoleOf(3),
            ViewOf(0),
            ViewOf(3),
            ViewOf(4),
            Barrier(3, 0, 1),
            TakeOver(3),
            TakeOver(0),
            Leads(0),
            Settle,
            ViewOf(2),
            // Its votes of a moment ago count again, for a moment: nobody else hears of it.
            TakeOver(3),
            LetItPass,
            Settle,
            RoleOf(0),
            RoleOf(3),
            ViewOf(3),
            Barrier(0, 0, 1),
        ],
    ),
    (
        "an election that is over stands in the way of the next one",
        &[
            Open,
            TakeOver(3),
            Leads(3),
            Settle,
            TakeOver(0),
            Leads(0),
            Settle,
            Expire,
            TakeOver(3),
            LetItPass,
            RoleOf(0),
            RoleOf(3),
            Settle,
            ViewOf(3),
        ],
    ),
    (
        "what a frozen replica was asked it does when it goes on",
        &[
            Open,
            Freeze(3),
            TakeOverInVain(3),
            RoleOf(0),
            Barrier(0, 0, 1),
            Thaw(3),
            Leads(3),
            Settle,
            RoleOf(0),
            ViewOf(5),
        ],
    ),
    (
        "a frozen primary does not hear of it",
        &[
            Open,
            Freeze(0),
            TakeOver(3),
            LetItPass,
            RoleOf(3),
            Thaw(0),
            Settle,
            RoleOf(0),
            Barrier(0, 0, 1),
            ViewOf(3),
        ],
    ),
    (
        "nobody takes over by consent from the dead",
        &[Open, Kill(0), CutOff(3), TakeOver(3), RoleOf(4)],
    ),
];

#[async_trait]
trait Owner: Send + Sync {
    fn server(&self, n: usize) -> &dyn Server;
    fn number(&self, id: &str) -> usize;
    fn at(&self, ip: &str, port: u16) -> usize;
    async fn freeze(&self, n: usize);
    async fn thaw(&self, n: usize);
    async fn kill(&self, n: usize);
}

struct ModelOwner {
    cluster: Shared,
    servers: Vec<ModelServer>,
}

#[async_trait]
impl Owner for ModelOwner {
    fn server(&self, n: usize) -> &dyn Server {
        &self.servers[n]
    }
    fn number(&self, id: &str) -> usize {
        id[..1].parse().unwrap()
    }
    fn at(&self, ip: &str, _: u16) -> usize {
        ip.rsplit('.').next().unwrap().parse::<usize>().unwrap() - 10
    }
    async fn freeze(&self, n: usize) {
        self.cluster.with(|cluster| cluster.nodes[n].frozen = true);
    }
    async fn thaw(&self, n: usize) {
        self.cluster.with(|cluster| cluster.nodes[n].frozen = false);
    }
    async fn kill(&self, n: usize) {
        self.cluster.with(|cluster| cluster.kill(n));
    }
}

struct RealOwner {
    cluster: Arc<Real>,
    servers: Vec<WireServer>,
}

#[async_trait]
impl Owner for RealOwner {
    fn server(&self, n: usize) -> &dyn Server {
        &self.servers[n]
    }
    fn number(&self, id: &str) -> usize {
        let is = |n: &usize| self.cluster.member(*n).node_id == id;
        (0..self.servers.len()).find(is).unwrap()
    }
    fn at(&self, ip: &str, port: u16) -> usize {
        // On one machine a primary sees its replicas' connections come from the same address.
        let is = |n: &usize| self.cluster.member(*n).port == port;
        (0..self.servers.len())
            .find(is)
            .unwrap_or_else(|| panic!("nobody is at {ip}:{port}"))
    }
    async fn freeze(&self, n: usize) {
        self.cluster.signal(n, Signal::SIGSTOP);
    }
    async fn thaw(&self, n: usize) {
        self.cluster.signal(n, Signal::SIGCONT);
    }
    async fn kill(&self, n: usize) {
        self.cluster.signal(n, Signal::SIGKILL);
    }
}

/// Epochs are told by their order: on a busy machine a vote may be asked for twice, and each asking
/// takes a number.
fn picture(owner: &dyn Owner, view: &View) -> String {
    let epochs: BTreeSet<u64> = view.nodes.values().map(|node| node.epoch).collect();
    let mut lines: Vec<String> = view
        .nodes
        .iter()
        .map(|(id, node)| {
            let whom = node.primary.as_deref().map(|id| owner.number(id));
            // The three shares of the slots, whose ends depend on who made the cluster.
            let shards: Vec<u16> = node.slots.iter().map(|(first, _)| first / 5_461).collect();
            let epoch = epochs.range(..node.epoch).count();
            format!("{} {whom:?} {epoch} {shards:?}", owner.number(id))
        })
        .collect();
    lines.sort();
    format!("{}: {}", owner.number(&view.me), lines.join(", "))
}

fn word(owner: &dyn Owner, role: &Role) -> String {
    match role {
        Role::Primary { replicas, .. } => {
            let mut by: Vec<usize> = replicas.iter().map(|r| owner.at(&r.ip, r.port)).collect();
            by.sort_unstable();
            format!("leads {by:?}")
        }
        Role::Replica { ip, port, link, .. } => {
            format!("follows {}, {link}", owner.at(ip, *port))
        }
    }
}

fn class(error: &ServerError) -> String {
    match error {
        ServerError::Disconnected { .. } => "no session".to_owned(),
        ServerError::Timeout { .. } => "no answer".to_owned(),
        ServerError::Refused { code, message, .. } if code == "ERR" => message.clone(),
        ServerError::Refused { code, .. } => code.clone(),
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

async fn answer(owner: &dyn Owner, what: Do) -> String {
    let of = |answer: Result<(), ServerError>| match answer {
        Ok(()) => "OK".to_owned(),
        Err(e) => class(&e),
    };
    let members = 6;
    match what {
        Open => {
            for n in 0..members {
                owner.server(n).open(PATIENCE).await.unwrap();
            }
            "open".to_owned()
        }
        RoleOf(n) => match owner.server(n).role(PATIENCE).await {
            Ok(role) => word(owner, &role),
            Err(e) => class(&e),
        },
        ViewOf(n) => picture(owner, &owner.server(n).view(PATIENCE).await.unwrap()),
        Barrier(n, shard, replicas) => {
            let slots = [slots(shard)];
            let reached = owner.server(n).barrier(&slots, replicas, PATIENCE).await;
            reached.map_or_else(|e| class(&e), |n| n.to_string())
        }
        TakeOver(n) => of(owner.server(n).take_over(PATIENCE).await),
        TakeOverInVain(n) => of(owner.server(n).take_over(IMPATIENCE).await),
        Leads(n) => {
            until("it leads", || async move {
                owner.server(n).open(PATIENCE).await.unwrap();
                let role = owner.server(n).role(PATIENCE).await.unwrap();
                matches!(role, Role::Primary { .. }).then(|| "leads".to_owned())
            })
            .await
        }
        LetItPass => {
            sleep(OVER).await;
            String::new()
        }
        Expire => {
            sleep(EXPIRED).await;
            String::new()
        }
        Settle => {
            until("all agree", || async move {
                let mut pictures = Vec::new();
                for n in 0..members {
                    owner.server(n).open(PATIENCE).await.unwrap();
                    let view = owner.server(n).view(PATIENCE).await.unwrap();
                    let role = owner.server(n).role(PATIENCE).await.unwrap();
                    let follows = match &role {
                        Role::Primary { replicas, .. } => replicas.len() == 1,
                        Role::Replica { link, .. } => link == "connected",
                    };
                    let well = view
                        .nodes
                        .values()
                        .all(|node| node.is_well() && node.linked);
                    if !follows || !well {
                        return None;
                    }
                    let picture = picture(owner, &view);
                    pictures.push(picture.split_once(": ").unwrap().1.to_owned());
                }
                let same = pictures.iter().all(|one| *one == pictures[0]);
                same.then(|| "settled".to_owned())
            })
            .await
        }
        Freeze(n) => {
            owner.freeze(n).await;
            String::new()
        }
        Thaw(n) => {
            owner.thaw(n).await;
            String::new()
        }
        Kill(n) => {
            owner.kill(n).await;
            String::new()
        }
        CutOff(n) => {
            until("its link is down", || async move {
                match owner.server(n).role(PATIENCE).await.unwrap() {
                    Role::Replica { link, .. } if link != "connected" => Some("cut off".to_owned()),
                    _ => None,
                }
            })
            .await
        }
    }
}

async fn play(owner: &dyn Owner, scene: &[Do]) -> Vec<String> {
    let mut answers = Vec::new();
    for what in scene {
        answers.push(format!("{what:?} -> {}", answer(owner, *what).await));
    }
    answers
}

fn modelled(scene: &[Do]) -> Vec<String> {
    virtual_time(async {
        let cluster = Shared::new(Model::new(3, 1));
        let servers = (0..6)
            .map(|n| ModelServer::new(cluster.clone(), n))
            .collect();
        play(&ModelOwner { cluster, servers }, scene).await
    })
}

async fn real(flavour: Flavour, scene: &'static [Do]) -> Vec<String> {
    let cluster = Real::of(Wanted {
        flavour,
        ..Wanted::default()
    })
    .await;
    let servers = (0..6)
        .map(|n| WireServer::new(cluster.session(&cluster.member(n))))
        .collect();
    play(&RealOwner { cluster, servers }, scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn modelled_servers_answer_as_real_ones() {
    let played = SCENES
        .map(|(about, scene)| async move { (about, scene, real(Flavour::Redis7, scene).await) });
    for (about, scene, real) in futures::future::join_all(played).await {
        let modelled = std::thread::spawn(|| modelled(scene)).join().unwrap();
        assert_eq!(modelled, real, "{about}: the model, then Redis 7.0");
    }
}
