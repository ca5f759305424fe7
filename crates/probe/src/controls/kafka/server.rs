//! A controller and two brokers of one's own: temporary directories, loopback ports, gone when dropped.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteRecordsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::config::MemberAddress;
use crate::controls::process::Process;
use crate::controls::{ControlError, system, within};
use crate::kafka::Address;
use crate::kafka::cluster::{Cluster, Failure, name_of};
use crate::kafka::producer::Producer;
use crate::kafka::wire::{Call, Connection};

/// Waiting for a set that starts: 120 s. Three Java machines take 10 s of one processor together, and several sets start at
/// once on a machine that may be building something besides.
const START: Duration = Duration::from_secs(120);

/// Deadline of a question of the control's own. A server that stands still is not asked.
const QUESTION: Duration = Duration::from_secs(5);

/// Identity of every set.
const CLUSTER: &str = "ZmVycmlzd2hlZWwtY29udA";

/// Small and quick to start.
const JAVA: [&str; 5] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
];

/// Brokers.
const BROKERS: usize = 2;

/// How often a broker says that it lives. 300 ms instead of 2 s: it is asked to take part sooner, and a
/// short session holds several.
const HEARTBEAT: &str = "broker.heartbeat.interval.ms=300\n";

/// How long a broker may be silent before it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Kafka's own, 9 s: for whoever must not lose a broker that stands still.
    Default,
    /// 2 s: for whoever waits until a broker that was killed is out.
    Short,
}

impl Session {
    const fn line(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Short => "broker.session.timeout.ms=2000\n",
        }
    }
}

/// A running server, or one that was killed.
struct Server {
    // First, so that it has ended before its files are deleted.
    process: Process,
    home: tempfile::TempDir,
    kafka: PathBuf,
    port: u16,
}

/// A controller (node 100) and the brokers 0 and 1.
pub struct Set {
    brokers: Vec<Server>,
    _controller: Server,
}

impl Set {
    /// Starts a set and waits until both brokers know each other.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn start(kafka: &Path, session: Session) -> Result<Self, ControlError> {
        let listeners = (0..=BROKERS)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("find a port")))
            .collect::<Result<Vec<_>, _>>()?;
        let ports = listeners
            .iter()
            .map(|listener| Ok(listener.local_addr().map_err(system("find a port"))?.port()))
            .collect::<Result<Vec<u16>, ControlError>>()?;
        drop(listeners);
        let quorum = format!(
            "controller.quorum.bootstrap.servers=127.0.0.1:{}\n",
            ports[0]
        );
        let session = session.line();
        let mut controller = Server::lay_out(
            kafka,
            ports[0],
            &format!(
                "{quorum}{HEARTBEAT}{session}process.roles=controller\nnode.id=100\n\
                 listeners=CONTROLLER://127.0.0.1:{}\n",
                ports[0]
            ),
        )?;
        let mut brokers = (0..BROKERS)
            .map(|n| {
                let port = ports[n + 1];
                let text = format!(
                    "{quorum}{HEARTBEAT}{session}process.roles=broker\nnode.id={n}\n\
                     listeners=PLAINTEXT://127.0.0.1:{port}\nauto.create.topics.enable=false\n\
                     auto.leader.rebalance.enable=false\nlog.cleaner.dedupe.buffer.size=16777216\n"
                );
                Server::lay_out(kafka, port, &text)
            })
            .collect::<Result<Vec<_>, _>>()?;
        tokio::try_join!(
            controller.format(&["--standalone"]),
            brokers[0].format(&[]),
            brokers[1].format(&[])
        )?;
        controller.spawn()?;
        for broker in &mut brokers {
            broker.spawn()?;
        }
        let set = Self {
            brokers,
            _controller: controller,
        };
        for n in 0..BROKERS {
            within(START, "the brokers know each other", async || {
                let nothing = MetadataRequest::default().with_topics(Some(Vec::new()));
                let seen = set.ask(n, &nothing).await;
                seen.is_ok_and(|seen| seen.brokers.len() == BROKERS)
            })
            .await?;
        }
        Ok(set)
    }

    /// Address of the clients.
    #[must_use]
    pub fn address(&self) -> String {
        let hosts = self.brokers.iter().map(|b| format!("127.0.0.1:{}", b.port));
        format!("kafka://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Addresses for an examination, of these brokers.
    #[must_use]
    pub fn members(&self, which: &[usize]) -> Vec<MemberAddress> {
        which
            .iter()
            .map(|n| MemberAddress {
                name: format!("broker-{n}"),
                host: "127.0.0.1".to_owned(),
                port: self.brokers[*n].port,
            })
            .collect()
    }

    pub(crate) async fn ask<C: Call>(
        &self,
        broker: usize,
        request: &C,
    ) -> Result<C::Answer, ControlError> {
        let said = |e: crate::kafka::wire::WireError| ControlError::Statement(e.to_string());
        let port = self.brokers[broker].port;
        let mut connection = Connection::open("127.0.0.1", port, QUESTION)
            .await
            .map_err(said)?;
        connection.call(request, QUESTION).await.map_err(said)
    }

    /// Makes the topic of a run before the run does, with these copies of each partition.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn create_topic(
        &self,
        run: Uuid,
        copies: &[&[i32]],
        settings: &[(&str, &str)],
    ) -> Result<(), ControlError> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let assignments = copies.iter().zip(0..).map(|(copies, partition)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(partition)
                .with_broker_ids(copies.iter().map(|id| (*id).into()).collect())
        });
        let configs = settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(name_of(&topic_of(run)))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5_000);
        let answer = self.ask(0, &request).await?;
        match answer.topics.first() {
            Some(made) if made.error_code == 0 => Ok(()),
            other => Err(ControlError::Statement(format!("{other:?}"))),
        }
    }

    /// Writes records of a run behind the back of its probe.
    ///
    /// # Errors
    /// They are not acknowledged.
    pub async fn append(
        &self,
        run: Uuid,
        partition: i32,
        key: &str,
        values: &[&str],
    ) -> Result<(), ControlError> {
        let failed = |failure: Failure| ControlError::Statement(failure.detail);
        let address = Address::parse(&self.address());
        let address = address.map_err(|error| ControlError::Statement(error.to_string()))?;
        let cluster = Cluster::new(Arc::new(address), topic_of(run), QUESTION);
        let mut producer = Producer::open(cluster, partition + 1, QUESTION)
            .await
            .map_err(failed)?;
        for value in values {
            producer.send(partition, key, value).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Removes the records of a partition before an offset, on its leader and so everywhere.
    ///
    /// # Errors
    /// It is refused.
    pub async fn forget(&self, run: Uuid, partition: i32, offset: i64) -> Result<(), ControlError> {
        let topic = topic_of(run);
        let place = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(name_of(&topic))
            .with_partitions(vec![place]);
        let request = DeleteRecordsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(5_000);
        let leader = self.partition(0, run, partition).await;
        let leader = leader.and_then(|p| usize::try_from(p.leader_id.0).ok());
        let answer = self.ask(leader.unwrap_or(0), &request).await?;
        let gone = answer.topics.first().and_then(|t| t.partitions.first());
        match gone {
            Some(gone) if gone.error_code == 0 => Ok(()),
            other => Err(ControlError::Statement(format!("{other:?}"))),
        }
    }

    /// A partition of a run's topic, as a broker sees it.
    pub async fn partition(
        &self,
        broker: usize,
        run: Uuid,
        partition: i32,
    ) -> Option<MetadataResponsePartition> {
        let topic = MetadataRequestTopic::default().with_name(Some(name_of(&topic_of(run))));
        let request = MetadataRequest::default().with_topics(Some(vec![topic]));
        let seen = self.ask(broker, &request).await.ok()?;
        let mut partitions = seen.topics.into_iter().next()?.partitions.into_iter();
        partitions.find(|p| p.partition_index == partition)
    }

    /// Kills a broker without a word.
    pub fn crash(&mut self, broker: usize) {
        self.brokers[broker].process.end();
    }

    /// Starts a broker again that was killed.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start_again(&mut self, broker: usize) -> Result<(), ControlError> {
        self.brokers[broker].spawn()
    }

    /// Stops a broker in the middle of whatever it does.
    ///
    /// # Errors
    /// It is not there, or goes on.
    pub async fn freeze(&self, broker: usize) -> Result<(), ControlError> {
        self.brokers[broker].process.freeze().await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It is not there.
    pub fn thaw(&self, broker: usize) -> Result<(), ControlError> {
        self.brokers[broker].process.thaw()
    }
}

/// Name of the topic of a run whose address names none.
#[must_use]
pub fn topic_of(run: Uuid) -> String {
    format!("ferriswheel-probe-{run}")
}

impl Server {
    fn lay_out(kafka: &Path, port: u16, text: &str) -> Result<Self, ControlError> {
        let home = tempfile::Builder::new()
            .prefix("ferriswheel-control-")
            .tempdir()
            .map_err(system("make a temporary directory"))?;
        let text = format!(
            "{text}controller.listener.names=CONTROLLER\nlog.dirs={}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n",
            home.path().join("data").display()
        );
        std::fs::write(home.path().join("properties"), text)
            .map_err(system("write the server's configuration"))?;
        Ok(Self {
            home,
            kafka: kafka.to_owned(),
            port,
            process: Process::default(),
        })
    }

    fn command(&self, class: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "java"])
            .args(JAVA)
            .arg(format!("-Djava.io.tmpdir={}", self.home.path().display()))
            .arg("-cp")
            .arg(format!("{}/libs/*", self.kafka.display()))
            .arg(class)
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn properties(&self) -> PathBuf {
        self.home.path().join("properties")
    }

    async fn format(&self, more: &[&str]) -> Result<(), ControlError> {
        let mut command = tokio::process::Command::from(self.command("kafka.tools.StorageTool"));
        let output = command
            .args(["format", "--cluster-id", CLUSTER, "--config"])
            .arg(self.properties())
            .args(more)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(system("format the server's disk"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ControlError::Program {
            program: "kafka.tools.StorageTool".to_owned(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn spawn(&mut self) -> Result<(), ControlError> {
        let log = std::fs::File::create(self.home.path().join("log"))
            .map_err(system("create the server's log"))?;
        let errors = log.try_clone().map_err(system("share the server's log"))?;
        let mut command = self.command("kafka.Kafka");
        command.arg(self.properties()).stdout(log).stderr(errors);
        self.process.start(&mut command)
    }
}
