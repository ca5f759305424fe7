//! The members of a set: who takes writes, who copies from whom, and what everybody has.

use std::collections::BTreeSet;
use std::time::Duration;

use ferriswheel_plan::world::GtidPosition;

use super::clients::Client;

/// The one domain of the set.
const DOMAIN: u64 = 0;

/// Number of the first member's server; each next one has the next.
pub const FIRST_SERVER: u64 = 101;

/// A replica whose source is away tries again after this time (`MASTER_CONNECT_RETRY`).
const RETRY: Duration = Duration::from_secs(1);

/// A server that was started answers after this time.
const START: Duration = Duration::from_millis(500);

/// A step of time while something moves.
const FINE: Duration = Duration::from_millis(1);

/// A step of time while only clients write.
const COARSE: Duration = Duration::from_millis(10);

/// Something that a test does to the set when it comes to a state.
type Trigger = (
    Box<dyn Fn(&Set) -> bool + Send>,
    Box<dyn FnOnce(&mut Set) + Send>,
);

/// A command that lies in the socket of a server that stands still.
pub(super) type Unread = Box<dyn FnOnce(&mut Set) + Send>;

/// Servers by number: `mariadb-0` and so on; the first leads at the start.
pub struct Set {
    /// Servers.
    pub nodes: Vec<Node>,
    /// Writers; they write once [`Set::writing`].
    pub clients: Vec<Client>,
    /// The writers write.
    pub writing: bool,
    /// The member that a Service leads clients to, if there is one.
    pub service: Option<usize>,
    /// Members that took writes of clients, in order.
    pub led: Vec<usize>,
    /// What must never be and was.
    pub broken: BTreeSet<String>,
    triggers: Vec<Trigger>,
    now: Duration,
    writes: u64,
    sessions: u64,
}

/// A server.
pub struct Node {
    /// Its process runs.
    pub runs: bool,
    /// Its process is stopped where it is.
    pub frozen: bool,
    /// How often it was started: a session lives with one process.
    pub life: u32,
    /// It was ended, and is started again at this time.
    pub starts_at: Option<Duration>,
    /// `@@read_only`.
    pub read_only: bool,
    /// Its binary log.
    pub log: Vec<Transaction>,
    /// The last transaction that it applied as a replica (`@@gtid_slave_pos`): server and number.
    pub applied: Option<(u64, u64)>,
    /// From whom it copies, or would copy after a restart.
    pub source: Option<Source>,
    /// `FLUSH TABLES WITH READ LOCK`, held or waited for.
    pub lock: Option<Lock>,
    /// A statement of a client lasts until then.
    pub statement_until: Option<Duration>,
    sent: usize,
    unread: Vec<Unread>,
}

/// A transaction in a binary log; its number is its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The server that wrote it first.
    pub server: u64,
    /// The write of a client.
    pub id: u64,
}

/// A replication connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The member that it copies from.
    pub of: usize,
    /// `START SLAVE`.
    pub started: bool,
    /// From where: what it applied, or everything that it has (`Current_Pos`).
    pub current: bool,
    /// Why it does not go on.
    pub error: Option<String>,
    linked_at: Duration,
}

/// A lock over a whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The session that holds it, or waits for it.
    pub session: u64,
    /// It is held.
    pub held: bool,
    /// The server ends the session then, unless it hears of it.
    pub until: Duration,
    hold: Duration,
}

/// Why a write is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It waits for the lock.
    Locked,
    /// `ER_OPTION_PREVENTS_STATEMENT`: `read_only`.
    ReadOnly,
}

impl Set {
    /// So many members, whole and without data, with so many writers.
    pub fn new(members: usize, writers: usize) -> Self {
        let nodes = (0..members)
            .map(|n| Node {
                runs: true,
                frozen: false,
                life: 1,
                starts_at: None,
                read_only: n > 0,
                log: Vec::new(),
                applied: None,
                source: (n > 0).then(|| Source::of(0, true, false, Duration::ZERO)),
                lock: None,
                statement_until: None,
                sent: 0,
                unread: Vec::new(),
            })
            .collect();
        Self {
            nodes,
            clients: (0..writers).map(|_| Client::default()).collect(),
            writing: false,
            service: None,
            led: Vec::new(),
            broken: BTreeSet::new(),
            triggers: Vec::new(),
            now: Duration::ZERO,
            writes: 0,
            sessions: 0,
        }
    }

    /// Time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Does something as soon as the set is in a state, once.
    pub fn when(
        &mut self,
        state: impl Fn(&Self) -> bool + Send + 'static,
        act: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.triggers.push((Box::new(state), Box::new(act)));
    }

    /// Lets everything happen up to a time, in order.
    pub fn advance(&mut self, to: Duration) {
        while self.now < to {
            let step = if self.is_busy() { FINE } else { COARSE };
            self.now = (self.now + step).min(to);
            self.tick();
        }
    }

    fn is_busy(&self) -> bool {
        let calm = |node: &Node| {
            node.runs && !node.frozen && node.lock.is_none() && node.statement_until.is_none()
        };
        !self.triggers.is_empty() || !self.nodes.iter().all(calm)
    }

    fn tick(&mut self) {
        for (state, act) in std::mem::take(&mut self.triggers) {
            if state(self) {
                act(self);
            } else {
                self.triggers.push((state, act));
            }
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].starts_at.is_some_and(|due| self.now >= due) {
                self.start(n);
            }
            if self.answers(n) {
                for command in std::mem::take(&mut self.nodes[n].unread) {
                    command(self);
                }
                self.watch_the_lock(n);
            }
        }
        self.replicate();
        if self.writing {
            for c in 0..self.clients.len() {
                Client::step(self, c);
            }
        }
        self.look();
    }

    /// A server's process answers.
    pub fn answers(&self, n: usize) -> bool {
        self.nodes[n].runs && !self.nodes[n].frozen
    }

    fn watch_the_lock(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.statement_until.is_some_and(|until| now >= until) {
            node.statement_until = None;
        }
        if let Some(lock) = &mut node.lock {
            if lock.held && now >= lock.until {
                node.lock = None;
            } else if !lock.held && node.statement_until.is_none() {
                lock.held = true;
                lock.until = now + lock.hold;
            }
        }
    }

    /// A session asks for the lock over a server; it ends `hold` after the last word of the session.
    pub(super) fn ask_for_lock(&mut self, n: usize, hold: Duration) -> u64 {
        self.sessions += 1;
        let until = self.now + hold;
        self.nodes[n].lock = Some(Lock {
            session: self.sessions,
            held: false,
            until,
            hold,
        });
        self.watch_the_lock(n);
        self.sessions
    }

    /// Whether the lock is this session's and is held; the server has heard of the session by that.
    pub(super) fn holds(&mut self, n: usize, session: u64) -> bool {
        let now = self.now;
        match &mut self.nodes[n].lock {
            Some(lock) if lock.session == session => {
                lock.until = now + lock.hold;
                lock.held
            }
            _ => false,
        }
    }

    /// Ends a session that holds the lock or waits for it.
    pub(super) fn release(&mut self, n: usize, session: u64) {
        let node = &mut self.nodes[n];
        if node.lock.is_some_and(|lock| lock.session == session) {
            node.lock = None;
        }
    }

    pub(super) fn leave_unread(&mut self, n: usize, command: Unread) {
        self.nodes[n].unread.push(command);
    }

    /// The last transaction in a server's binary log.
    pub fn binlog(&self, n: usize) -> GtidPosition {
        let log = &self.nodes[n].log;
        position(log.last().map(|last| (last.server, log.len() as u64)))
    }

    /// The last transaction that it applied as a replica.
    pub fn applied(&self, n: usize) -> GtidPosition {
        position(self.nodes[n].applied)
    }

    /// Both threads of its replication run.
    pub fn copies(&self, n: usize) -> bool {
        self.nodes[n].source.as_ref().is_some_and(|source| {
            source.started
                && source.error.is_none()
                && self.now >= source.linked_at
                && self.nodes[source.of].runs
        })
    }

    fn replicate(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(source) = self.nodes[n].source.clone() else {
                continue;
            };
            if !self.nodes[source.of].runs {
                let again = self.now + RETRY;
                if let Some(source) = &mut self.nodes[n].source {
                    source.linked_at = again;
                }
                continue;
            }
            if !self.copies(n) || !self.answers(n) || !self.answers(source.of) {
                continue;
            }
            if let Err(error) = self.copy(n, &source)
                && let Some(source) = &mut self.nodes[n].source
            {
                source.error = Some(error);
            }
        }
        for node in &mut self.nodes {
            node.sent = node.log.len();
        }
    }

    /// What its source had a moment ago is with it now.
    fn copy(&mut self, n: usize, source: &Source) -> Result<(), String> {
        let (theirs, mine) = (&self.nodes[source.of], &self.nodes[n]);
        let of_log = mine
            .log
            .last()
            .filter(|_| source.current)
            .map(|last| (last.server, mine.log.len() as u64));
        let from = [of_log, mine.applied]
            .into_iter()
            .flatten()
            .max_by_key(|(_, number)| *number);
        let start = from.map_or(0, |(_, number)| number as usize);
        let known = start == 0
            || theirs
                .log
                .get(start - 1)
                .is_some_and(|last| Some(last.server) == from.map(|(server, _)| server));
        if !known {
            return Err("the source has not what this member has last".to_owned());
        }
        let sent = theirs.sent.min(theirs.log.len());
        let new = theirs.log.get(start..sent).unwrap_or_default().to_vec();
        for (transaction, at) in new.into_iter().zip(start..) {
            let node = &mut self.nodes[n];
            // `gtid_strict_mode`: nothing out of order.
            if node.log.len() != at {
                return Err(format!("a transaction {} is there already", at + 1));
            }
            node.log.push(transaction);
            node.applied = Some((transaction.server, at as u64 + 1));
        }
        Ok(())
    }

    /// A server carries a client's write out, if it takes writes.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn write(&mut self, n: usize) -> Result<u64, Refusal> {
        let node = &mut self.nodes[n];
        if node.read_only {
            return Err(Refusal::ReadOnly);
        }
        if node.lock.is_some() {
            return Err(Refusal::Locked);
        }
        self.writes += 1;
        node.log.push(Transaction {
            server: server_of(n),
            id: self.writes,
        });
        if self.led.last() != Some(&n) {
            self.led.push(n);
        }
        Ok(self.writes)
    }

    /// `CHANGE MASTER TO`, with `START SLAVE` if it is to begin.
    pub(super) fn change_source(&mut self, n: usize, of: usize, started: bool, current: bool) {
        self.nodes[n].source = Some(Source::of(of, started, current, self.now));
    }

    /// Cuts clients' connections to a server: those that wait for its lock, or all.
    pub(super) fn cut(&mut self, n: usize, waiting_only: bool) -> usize {
        let (now, members) = (self.now, self.nodes.len());
        let cut = self.clients.iter_mut().filter(|client| {
            client.at.is_some_and(|(at, _)| at == n) && (client.waits || !waiting_only)
        });
        let mut count = 0;
        for client in cut {
            client.cut(now, members);
            count += 1;
        }
        count
    }

    /// Ends a server's process at once. What it had is on its disk.
    pub fn kill(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.runs = false;
        node.frozen = false;
        node.lock = None;
        node.statement_until = None;
        node.unread.clear();
    }

    /// Ends it, and it is started again, as by a kubelet.
    pub fn restart(&mut self, n: usize) {
        self.kill(n);
        self.nodes[n].starts_at = Some(self.now + START);
    }

    /// Starts it, as what its disk says: one that remembers a source is a replica, closed to clients.
    pub fn start(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        node.runs = true;
        node.life += 1;
        node.starts_at = None;
        node.read_only = node.source.is_some();
        if let Some(source) = &mut node.source {
            *source = Source::of(source.of, true, source.current, now);
        }
    }

    /// One member takes writes, the others are closed to clients and copy from it.
    pub fn is_settled(&self) -> bool {
        let leads = |n: &usize| !self.nodes[*n].read_only;
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(leads).collect();
        let [leader] = leaders[..] else {
            return false;
        };
        (0..self.nodes.len()).all(|n| {
            let node = &self.nodes[n];
            let follows = node.source.as_ref().map(|source| source.of) == Some(leader);
            let well = if n == leader {
                node.source.is_none()
            } else {
                follows && self.copies(n)
            };
            self.answers(n) && node.lock.is_none() && well
        })
    }

    /// Acknowledged writes that who leads does not have; all of them while nobody does.
    pub fn lost(&self) -> usize {
        let leader = self.nodes.iter().find(|node| node.runs && !node.read_only);
        let has: BTreeSet<u64> = leader
            .iter()
            .flat_map(|leader| leader.log.iter().map(|transaction| transaction.id))
            .collect();
        let acked = self.clients.iter().flat_map(|client| &client.acked);
        acked.filter(|id| !has.contains(id)).count()
    }

    /// Two that take writes.
    fn look(&mut self) {
        let takes = |n: &usize| {
            let node = &self.nodes[*n];
            node.runs && !node.read_only && !node.lock.is_some_and(|lock| lock.held)
        };
        let takers: Vec<usize> = (0..self.nodes.len()).filter(takes).collect();
        if takers.len() > 1 {
            self.broken.insert(format!("{takers:?} take writes"));
        }
    }
}

impl Source {
    fn of(of: usize, started: bool, current: bool, linked_at: Duration) -> Self {
        Self {
            of,
            started,
            current,
            error: None,
            linked_at,
        }
    }
}

/// Number of a member's server.
pub fn server_of(n: usize) -> u64 {
    FIRST_SERVER + n as u64
}

pub(super) fn position(last: Option<(u64, u64)>) -> GtidPosition {
    GtidPosition(last.into_iter().map(|last| (DOMAIN, last)).collect())
}
