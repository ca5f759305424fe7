//! What an agent process holds: its credentials, its current window, its record on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferriswheel_plan::ids::ObjectRef;

use super::hold::Hold;
use crate::databases::postgres::console::Console;
use crate::databases::postgres::names::Names;
use crate::databases::postgres::order::{Member, Order, PoolerAddress};
use crate::databases::postgres::patroni::rest::{Login, Rest};
use crate::databases::postgres::pooler::Pooler;
use crate::databases::postgres::record::{Log, MemoryLog, Moment, Outcome, Record};
use crate::databases::postgres::server::Server;
use crate::databases::postgres::session::{Credentials, Session};
use crate::databases::postgres::window::Cast;
use crate::databases::postgres::wire::{ConnInfoTemplate, WireServer};
use crate::databases::record::Named;
use crate::dial::{Dial, Target};

/// How the servers and poolers of an order are reached.
#[derive(Clone)]
pub struct Reach {
    /// Superuser of the servers.
    pub superuser: Credentials,
    /// Admin of the poolers.
    pub pooler_admin: Credentials,
    /// Path to the pods.
    pub dial: Arc<dyn Dial>,
    /// Where names lead.
    pub names: Arc<dyn Names>,
    /// Login of Patroni's REST API, where it wants one.
    pub patroni: Option<Login>,
}

impl Reach {
    /// Servers and poolers of an order, not connected yet.
    pub fn cast(&self, order: &Order) -> Cast {
        let template = ConnInfoTemplate::default();
        Cast {
            old: self.server(&order.old, &template),
            candidate: self.server(&order.candidate, &template),
            others: order
                .others
                .iter()
                .map(|member| self.server(member, &template))
                .collect(),
            poolers: order.poolers.iter().map(|p| self.pooler(p)).collect(),
            names: Box::new(Arc::clone(&self.names)),
            patroni: order
                .patroni
                .iter()
                .flat_map(|asked| {
                    let members = [&order.old, &order.candidate].into_iter();
                    members
                        .chain(&order.others)
                        .map(|member| self.patroni(member, asked.port))
                })
                .collect(),
        }
    }

    /// Patroni beside one server.
    fn patroni(&self, member: &Member, port: u16) -> Rest {
        let target = Target {
            pod: ObjectRef::new(&member.namespace, &member.name),
            ip: Some(member.ip.clone()),
            port,
        };
        Rest::new(target, Arc::clone(&self.dial), self.patroni.clone())
    }

    /// One server.
    pub fn server(&self, member: &Member, template: &ConnInfoTemplate) -> Box<dyn Server> {
        let target = Target {
            pod: ObjectRef::new(&member.namespace, &member.name),
            ip: Some(member.ip.clone()),
            port: member.port,
        };
        let session = Session::new(
            &member.name,
            target,
            Arc::clone(&self.dial),
            self.superuser.clone(),
            "postgres",
        );
        Box::new(WireServer::new(session, Arc::clone(template)))
    }

    /// One pooler.
    pub fn pooler(&self, address: &PoolerAddress) -> Box<dyn Pooler> {
        let session = || {
            let target = Target {
                pod: ObjectRef::new(&address.namespace, &address.name),
                ip: Some(address.ip.clone()),
                port: address.port,
            };
            Session::new(
                &address.name,
                target,
                Arc::clone(&self.dial),
                self.pooler_admin.clone(),
                "pgbouncer",
            )
        };
        Box::new(Console::new(session(), session(), address.entries.clone()))
    }
}

/// A log that keeps its record in memory and on disk.
///
/// Writing is done without `fsync`: the record must survive the end of the process, and the page
/// cache does; a sync inside the window would cost clients a disk flush per moment. The end of the
/// whole node is covered by the watchdog on another node and by observation.
pub struct FileLog {
    memory: MemoryLog,
    path: PathBuf,
    hold: Option<Hold>,
}

impl FileLog {
    /// A log for one order.
    pub fn new(path: &Path, key: &str, hold: Option<Hold>) -> Self {
        Self {
            memory: MemoryLog::new(key),
            path: path.to_owned(),
            hold,
        }
    }

    /// The record so far.
    pub fn record(&self) -> Record {
        self.memory.record()
    }

    /// Notes how it ended.
    pub fn close(&self, outcome: Outcome) {
        self.memory.close(outcome);
        self.store();
    }

    fn store(&self) {
        if let Err(e) = store(&self.path, &self.memory.record()) {
            tracing::warn!(path = %self.path.display(), error = %e, "record could not be written");
        }
    }
}

impl Log for FileLog {
    fn note(&self, moment: Moment) {
        let name = moment.name();
        tracing::info!(moment = name, "window");
        self.memory.note(moment);
        self.store();
        if let (Some(hold), Some(directory)) = (&self.hold, self.path.parent()) {
            hold.hold(name, directory);
        }
    }
}

fn store(path: &Path, record: &Record) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(record).map_err(std::io::Error::other)?;
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}

/// The record that an earlier process of this pod left, if any.
pub fn load(path: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
