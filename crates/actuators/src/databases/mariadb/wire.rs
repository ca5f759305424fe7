//! [`Server`] in SQL.
//!
//! # Invariants
//! - The lock is held in a session of its own, and nothing else is done there but what must be done
//!   under it.

use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_plan::world::{GtidPosition, MariadbSource};

use super::server::{Clients, Link, Server, ServerError, Since, Source, Status};
use super::session::{Credentials, Row, Rows, Session, quoted};

/// Deadline for one KILL: the server answers it at once.
const KILL: Duration = Duration::from_secs(2);

/// By so much a server may answer later than the limit that it was given, before it counts as gone:
/// clients wait meanwhile.
const OWN_LIMIT: Duration = Duration::from_millis(500);

/// `ER_NO_SUCH_THREAD`: it is gone already.
const NO_SUCH_THREAD: u16 = 1094;

/// Sessions that are ended by one statement: some kilobytes of text.
const KILLS: usize = 200;

/// `ER_LOCK_WAIT_TIMEOUT`.
pub const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// What a server says of itself alone.
pub const OWN: &str = "SELECT @@server_id AS id, @@read_only AS read_only, \
                       @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied";

const CLOSE: &str = "SET GLOBAL read_only = 1";

/// Columns of `SHOW ALL SLAVES STATUS` that are filters.
const FILTERS: [&str; 10] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
    "Replicate_Do_Domain_Ids",
    "Replicate_Ignore_Domain_Ids",
    "Replicate_Ignore_Server_Ids",
];

/// TLS settings of a connection: the column that shows it and the option that sets it.
const TLS: [(&str, &str); 5] = [
    ("Master_SSL_CA_File", "MASTER_SSL_CA"),
    ("Master_SSL_CA_Path", "MASTER_SSL_CAPATH"),
    ("Master_SSL_Cert", "MASTER_SSL_CERT"),
    ("Master_SSL_Key", "MASTER_SSL_KEY"),
    ("Master_SSL_Cipher", "MASTER_SSL_CIPHER"),
];

/// A server behind two sessions: one to ask and act by, one that holds the lock.
pub struct WireServer {
    session: Session,
    lock: Session,
    replication: Credentials,
}

impl WireServer {
    /// A server that is not connected yet. Replicas log in as `replication`.
    pub fn new(session: Session, replication: Credentials) -> Self {
        let lock = session.another();
        Self {
            session,
            lock,
            replication,
        }
    }

    async fn run(&self, statement: &str, deadline: Duration) -> Result<Rows, ServerError> {
        self.session.run(statement, deadline).await
    }

    /// Its status without its sources.
    async fn own(&self, deadline: Duration) -> Result<Status, ServerError> {
        let rows = self.run(OWN, deadline).await?;
        own_of(&rows).ok_or_else(|| self.session.unexpected("its status"))
    }

    async fn kill(&self, session: u64) -> Result<(), ServerError> {
        if session == 0 {
            return Ok(());
        }
        match self.run(&format!("KILL CONNECTION {session}"), KILL).await {
            Err(ServerError::Refused { code, .. }) if code == NO_SUCH_THREAD => Ok(()),
            answer => answer.map(drop),
        }
    }

    fn change(&self, source: &Source, gtid: &str) -> String {
        let member = &source.member;
        let retry = source.link.retry_seconds.unwrap_or(1);
        let mut options = vec![
            format!("MASTER_HOST = {}", quoted(&member.host)),
            format!("MASTER_PORT = {}", member.port),
            format!("MASTER_USER = {}", quoted(&self.replication.user)),
            format!("MASTER_PASSWORD = {}", quoted(&self.replication.password)),
            format!("MASTER_CONNECT_RETRY = {retry}"),
            format!("MASTER_USE_GTID = {gtid}"),
        ];
        let tls = source.link.tls.iter();
        options.extend(tls.map(|(option, value)| {
            let number = ["MASTER_SSL", "MASTER_SSL_VERIFY_SERVER_CERT"].contains(option);
            let value = if number { value.clone() } else { quoted(value) };
            format!("{option} = {value}")
        }));
        format!("CHANGE MASTER TO {}", options.join(", "))
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

    async fn status(&self, deadline: Duration) -> Result<Status, ServerError> {
        let sources = self.run("SHOW ALL SLAVES STATUS", deadline).await?;
        Ok(Status {
            sources: sources_of(&sources),
            link: sources.first().map(|row| link_of(&row)),
            ..self.own(deadline).await?
        })
    }

    async fn reaches(
        &self,
        position: &GtidPosition,
        within: Duration,
    ) -> Result<bool, ServerError> {
        let statement = format!(
            "SELECT MASTER_GTID_WAIT({}, {:.3}) AS reached",
            quoted(&position.to_string()),
            within.as_secs_f64()
        );
        // The server's own limit comes first, so that the session stays of use.
        let rows = self.run(&statement, within + OWN_LIMIT).await?;
        Ok(rows
            .first()
            .is_some_and(|row| row.get("reached") == Some("0")))
    }

    async fn lock(&self, patience: Duration, hold: Duration) -> Result<GtidPosition, ServerError> {
        let seconds = |time: Duration| time.as_millis().div_ceil(1_000).max(1);
        self.lock.open(patience).await?;
        // Whoever waits for this lock makes everybody else wait: both limits are the server's own, and
        // hold when this process is gone.
        let limits = format!(
            "SET SESSION lock_wait_timeout = {}, SESSION wait_timeout = {}",
            seconds(patience),
            seconds(hold)
        );
        self.lock.run(&limits, patience).await?;
        self.lock
            .run("FLUSH TABLES WITH READ LOCK", patience)
            .await?;
        let rows = self
            .lock
            .run("SELECT @@gtid_binlog_pos AS position", patience)
            .await?;
        rows.first()
            .and_then(|row| GtidPosition::parse(row.text("position")))
            .ok_or_else(|| self.session.unexpected("its position"))
    }

    async fn unlock(&self, deadline: Duration) -> Result<(), ServerError> {
        if self.lock.run("UNLOCK TABLES", deadline).await.is_ok() {
            self.lock.close().await;
            return Ok(());
        }
        // It broke, or waits still: its number is what is left of it.
        self.lock.close().await;
        self.session.open(deadline).await?;
        self.kill(self.lock.id()).await
    }

    async fn close_locked(&self, deadline: Duration) -> Result<(), ServerError> {
        // A session that broke has no lock any more, and is not opened again for this.
        self.lock.run(CLOSE, deadline).await.map(drop)
    }

    async fn close_writes(&self, deadline: Duration) -> Result<(), ServerError> {
        self.run(CLOSE, deadline).await.map(drop)
    }

    async fn open_writes(&self, deadline: Duration) -> Result<(), ServerError> {
        self.run("SET GLOBAL read_only = 0", deadline)
            .await
            .map(drop)
    }

    async fn promote(&self, deadline: Duration) -> Result<(), ServerError> {
        // One statement: clients wait for every way to the server and back.
        let statement = "BEGIN NOT ATOMIC \
                         STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL read_only = 0; END";
        self.run(statement, deadline).await.map(drop)
    }

    async fn detach(&self, deadline: Duration) -> Result<(), ServerError> {
        self.run("STOP ALL SLAVES", deadline).await?;
        self.run("RESET SLAVE ALL", deadline).await.map(drop)
    }

    async fn aim(&self, source: &Source, deadline: Duration) -> Result<(), ServerError> {
        // Its own last transaction, not the last one that it applied as a replica long ago.
        let statement = self.change(source, "current_pos");
        self.run(&statement, deadline).await.map(drop)
    }

    async fn follow(
        &self,
        source: &Source,
        since: Since,
        deadline: Duration,
    ) -> Result<(), ServerError> {
        self.run("STOP ALL SLAVES", deadline).await?;
        if since == Since::Everything {
            let position = self.own(deadline).await?.position();
            let statement = format!(
                "SET GLOBAL gtid_slave_pos = {}",
                quoted(&position.to_string())
            );
            self.run(&statement, deadline).await?;
        }
        self.run(&self.change(source, "slave_pos"), deadline)
            .await?;
        self.run("START SLAVE", deadline).await.map(drop)
    }

    async fn cut_clients(&self, which: Clients, deadline: Duration) -> Result<usize, ServerError> {
        let waiting = match which {
            Clients::All => "",
            Clients::Waiting => " AND state LIKE 'Waiting for%lock%'",
        };
        let statement = format!(
            "SELECT id FROM information_schema.processlist \
             WHERE command NOT IN ('Binlog Dump', 'Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker') \
             AND user NOT IN ('system user', 'event_scheduler', 'unauthenticated user', {}){waiting}",
            quoted(self.session.user())
        );
        let rows = self.run(&statement, deadline).await?;
        let kills: Vec<String> = rows
            .iter()
            .filter_map(|row| row.number("id"))
            .map(|session| format!("KILL CONNECTION {session};"))
            .collect();
        for some in kills.chunks(KILLS) {
            // One statement, for the same reason. Who is gone already is no error.
            let statement = format!(
                "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR {NO_SUCH_THREAD} BEGIN END; {} END",
                some.join(" ")
            );
            self.run(&statement, deadline).await?;
        }
        Ok(kills.len())
    }

    async fn quiet(&self, deadline: Duration) -> Result<(), ServerError> {
        let earlier = self.session.id();
        self.session.close().await;
        self.session.open(deadline).await?;
        self.kill(earlier).await
    }
}

/// Reads the answer to [`OWN`]; `None` if it cannot be read.
pub fn own_of(rows: &Rows) -> Option<Status> {
    let own = rows.first()?;
    Some(Status {
        server_id: own.number("id")?,
        read_only: own.is("read_only"),
        binlog: GtidPosition::parse(own.text("binlog"))?,
        applied: GtidPosition::parse(own.text("applied"))?,
        ..Status::default()
    })
}

/// From whom a server copies, as it tells it.
pub fn sources_of(rows: &Rows) -> Vec<MariadbSource> {
    let sources = rows.iter().map(|row| MariadbSource {
        connection: row.text("Connection_name").to_owned(),
        host: row.text("Master_Host").to_owned(),
        port: row
            .number("Master_Port")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        receives: row.text("Slave_IO_Running").to_owned(),
        applies: row.text("Slave_SQL_Running").to_owned(),
        gtid: row.text("Using_Gtid").to_owned(),
        behind_seconds: row.number("Seconds_Behind_Master"),
        delay_seconds: row.number("SQL_Delay").unwrap_or(0),
        errors: ["Last_IO_Error", "Last_SQL_Error"]
            .iter()
            .map(|column| row.text(column).to_owned())
            .filter(|text| !text.is_empty())
            .collect(),
        filters: FILTERS
            .iter()
            .filter(|column| !row.text(column).is_empty())
            .map(|column| format!("{column} = {}", row.text(column)))
            .collect(),
    });
    sources.collect()
}

fn link_of(row: &Row<'_>) -> Link {
    let mut tls = Vec::new();
    if row.is("Master_SSL_Allowed") {
        tls.push(("MASTER_SSL", "1".to_owned()));
        let verified = row.is("Master_SSL_Verify_Server_Cert");
        tls.push((
            "MASTER_SSL_VERIFY_SERVER_CERT",
            u8::from(verified).to_string(),
        ));
        let named = TLS
            .iter()
            .filter(|(column, _)| !row.text(column).is_empty());
        tls.extend(named.map(|(column, option)| (*option, row.text(column).to_owned())));
    }
    Link {
        retry_seconds: row.number("Connect_Retry"),
        tls,
    }
}
