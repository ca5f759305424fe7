//! A Kafka of three combined nodes (broker and controller) on loopback addresses, without ZooKeeper.
//!
//! Members `kafka-0`, `kafka-1`, `kafka-2`; the number is the node id. Each has an address of its own. The
//! controllers are voters of a dynamic quorum, so that one can be removed and added again. Topics have
//! three replicas and take writes while two of them are in sync, and nobody moves leaders by himself.

mod admin;
mod client;
mod disk;
mod writers;

pub use client::{Broken, ask};
pub use writers::{Writers, Written};

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, MetadataRequest, MetadataResponse, TopicName, describe_quorum_request,
};
use kafka_protocol::protocol::StrBytes;
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::program::{Mount, Program, Recipe};
use crate::template::{directory, own};

/// Members of a set.
pub const MEMBERS: usize = 3;

/// Identity of every set.
const CLUSTER_ID: &str = "ZmVycmlzd2hlZWwtdGVzdA";

/// Identity of each member's disk, by which the quorum knows its voters.
const DIRECTORY_IDS: [&str; MEMBERS] = [
    "ZnctdGVzdC1icm9rZXItMA",
    "ZnctdGVzdC1icm9rZXItMQ",
    "ZnctdGVzdC1icm9rZXItMg",
];

/// Heap and start of a server: small, with the compiler that is quick to start; no file in `/tmp`.
const JAVA: [&str; 6] = [
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
];

/// What a member has beyond its names and addresses. Durability is the servers' default.
const PROPERTIES: &str = "process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.num.partitions=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.min.isr=2
auto.create.topics.enable=false
auto.leader.rebalance.enable=false
controlled.shutdown.enable=true
replica.fetch.wait.max.ms=100
replica.fetch.backoff.ms=50
log.cleaner.dedupe.buffer.size=16777216
";

/// Where the jars are, as `scripts/install-kafka.sh` left them.
fn program() -> PathBuf {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = env("FERRISWHEEL_CACHE").unwrap_or_else(|| {
        env("XDG_CACHE_HOME")
            .unwrap_or_else(|| env("HOME").unwrap().join(".cache"))
            .join("ferriswheel")
    });
    let path = cache.join("kafka/4.3");
    assert!(
        path.join("libs").exists(),
        "Kafka is missing: scripts/install-kafka.sh"
    );
    path
}

/// The set. Dropping it ends every process and removes every file.
pub struct Set {
    // Before the files: processes end first.
    servers: Vec<Program>,
    root: tempfile::TempDir,
    addresses: Vec<Address>,
}

/// Where a member listens.
#[derive(Clone, Copy, Debug)]
struct Address {
    ip: Ipv4Addr,
    broker: u16,
    controller: u16,
}

impl Set {
    /// A set whose members all know each other.
    pub async fn start() -> Arc<Self> {
        Self::with(&[]).await
    }

    /// The same with more lines in the configuration of every member; they go before those that are
    /// always there.
    pub async fn with(more: &[&str]) -> Arc<Self> {
        // Sets of one process differ in the third byte, processes in the second. Other systems count
        // from elsewhere.
        static NEXT: AtomicU8 = AtomicU8::new(190);
        let net = [
            u8::try_from(std::process::id() % 200 + 20).unwrap(),
            NEXT.fetch_add(1, Ordering::Relaxed),
        ];
        let addresses = (0..MEMBERS)
            .map(|n| {
                let last = u8::try_from(n).unwrap() + 10;
                Address::free(Ipv4Addr::new(127, net[0], net[1], last))
            })
            .collect();
        let mut set = Self {
            servers: Vec::new(),
            root: directory().await,
            addresses,
        };
        let programs = set.root.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for n in 0..MEMBERS {
            set.lay_out(n, more).await;
        }
        set.format().await;
        for n in 0..MEMBERS {
            let config = set.config(n).to_str().unwrap().to_owned();
            let server = Program::new(set.recipe(n, &["kafka.Kafka".into(), config]), None);
            server.start(&[]);
            set.servers.push(server);
        }
        set.settle().await;
        Arc::new(set)
    }

    async fn lay_out(&self, n: usize, more: &[&str]) {
        let home = self.home(n);
        fs::create_dir(&home).unwrap();
        own(&home).await;
        let Address {
            ip,
            broker,
            controller,
        } = self.addresses[n];
        let bootstrap: Vec<String> = self
            .addresses
            .iter()
            .map(|a| format!("{}:{}", a.ip, a.controller))
            .collect();
        // The last of two lines with one name counts.
        let mut text = PROPERTIES.to_owned();
        for line in more {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!(
            "node.id={n}\nbroker.rack=zone-{zone}\nlog.dirs={home}\n\
             listeners=PLAINTEXT://{ip}:{broker},CONTROLLER://{ip}:{controller}\n\
             controller.quorum.bootstrap.servers={bootstrap}\n",
            zone = n + 1,
            home = home.display(),
            bootstrap = bootstrap.join(",")
        ));
        fs::write(self.config(n), text).unwrap();
    }

    /// Formats the first member's disk, and gives the others the same but for their own names.
    async fn format(&self) {
        let voters: Vec<String> = (0..MEMBERS)
            .map(|n| {
                let Address { ip, controller, .. } = self.addresses[n];
                format!("{n}@{ip}:{controller}:{}", DIRECTORY_IDS[n])
            })
            .collect();
        let config = self.config(0).to_str().unwrap().to_owned();
        let words = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
            &config,
            "--initial-controllers",
            &voters.join(","),
        ];
        self.recipe(0, &words.map(str::to_owned)).run().await;
        for n in 1..MEMBERS {
            disk::copy(&self.home(0), &self.home(n));
            self.name(n);
            disk::own_all(&self.home(n)).await;
        }
    }

    fn name(&self, n: usize) {
        let text = format!(
            "version=1\ncluster.id={CLUSTER_ID}\nnode.id={n}\ndirectory.id={}\n",
            DIRECTORY_IDS[n]
        );
        fs::write(self.home(n).join("meta.properties"), text).unwrap();
    }

    fn recipe(&self, n: usize, words: &[String]) -> Recipe {
        let programs = self.root.path().join("programs");
        let mut argv = vec!["java".to_owned()];
        argv.extend(JAVA.map(str::to_owned));
        argv.push(format!("-Djava.io.tmpdir={}", self.home(n).display()));
        argv.push("-cp".to_owned());
        argv.push(format!("{}/libs/*", programs.display()));
        argv.extend(words.iter().cloned());
        Recipe {
            argv,
            // The servers' user may not look into root's cache.
            mounts: vec![Mount::Bind {
                source: program(),
                at: programs,
            }],
            log: self.log(n),
        }
    }

    fn home(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("kafka-{n}"))
    }

    fn config(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("kafka-{n}.properties"))
    }

    fn log(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("kafka-{n}.log"))
    }

    /// Waits until every member knows every other one, and every replica of every topic is in sync.
    pub async fn settle(&self) {
        self.until("everybody agrees", async || {
            for n in 0..MEMBERS {
                let Ok(seen) = self.metadata(n).await else {
                    return false;
                };
                let in_sync = seen.topics.iter().flat_map(|t| &t.partitions).all(|p| {
                    p.leader_id.0 >= 0
                        && p.isr_nodes.len() == p.replica_nodes.len()
                        && p.offline_replicas.is_empty()
                });
                if seen.brokers.len() != MEMBERS || !in_sync {
                    return false;
                }
            }
            self.controller().await.is_some()
        })
        .await;
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        // 90 s: a set stands in five; on a loaded machine in forty.
        for _ in 0..3_000 {
            if holds().await {
                return;
            }
            sleep(Duration::from_millis(30)).await;
        }
        panic!("gave up waiting until {what}\n{}", self.logs());
    }

    /// The last that every process printed.
    pub fn logs(&self) -> String {
        (0..MEMBERS)
            .map(|n| {
                let text = fs::read_to_string(self.log(n)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(15)..];
                format!("--- kafka-{n}\n{}\n", last.join("\n"))
            })
            .collect()
    }

    /// Address and port of a member's clients.
    pub fn address(&self, n: usize) -> (Ipv4Addr, u16) {
        (self.addresses[n].ip, self.addresses[n].broker)
    }

    /// `ip:port` of a member's clients.
    pub fn host(&self, n: usize) -> String {
        let (ip, port) = self.address(n);
        format!("{ip}:{port}")
    }

    /// What a member sees of all brokers and topics.
    ///
    /// # Errors
    /// It is away.
    pub async fn metadata(&self, n: usize) -> Result<MetadataResponse, Broken> {
        let request = MetadataRequest::default().with_topics(None);
        ask(&self.host(n), ApiKey::Metadata, 12, &request).await
    }

    /// A topic as a member sees it.
    ///
    /// # Panics
    /// There is none.
    pub async fn topic(&self, n: usize, name: &str) -> MetadataResponseTopic {
        let seen = self.metadata(n).await.unwrap();
        let mut topics = seen.topics.into_iter();
        topics
            .find(|topic| topic.name.as_ref().is_some_and(|t| t.as_str() == name))
            .unwrap_or_else(|| panic!("kafka-{n} knows of no topic {name}"))
    }

    /// Who leads each partition of a topic, in order of the partitions; -1: nobody.
    pub async fn leaders(&self, name: &str) -> Vec<i32> {
        let mut partitions = self.topic(self.somebody(), name).await.partitions;
        partitions.sort_by_key(|p| p.partition_index);
        partitions.iter().map(|p| p.leader_id.0).collect()
    }

    /// Makes a topic: of each partition the members that have it, the preferred leader first.
    ///
    /// # Panics
    /// It is refused.
    pub async fn create_topic(&self, name: &str, replicas: &[&[i32]], settings: &[(&str, &str)]) {
        use kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let assignments = replicas.iter().enumerate().map(|(at, replicas)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(i32::try_from(at).unwrap())
                .with_broker_ids(replicas.iter().map(|id| (*id).into()).collect())
        });
        let configs = settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect())
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(15_000);
        let answer: CreateTopicsResponse = ask(
            &self.host(self.somebody()),
            ApiKey::CreateTopics,
            7,
            &request,
        )
        .await
        .unwrap();
        let code = answer.topics[0].error_code;
        assert_eq!(code, 0, "{:?}", answer.topics[0].error_message);
        self.until("everybody knows the topic", async || {
            for n in 0..MEMBERS {
                let Ok(seen) = self.metadata(n).await else {
                    continue;
                };
                let found = seen.topics.iter().find(|topic| {
                    topic.name.as_ref().is_some_and(|t| t.as_str() == name)
                        && topic.partitions.len() == replicas.len()
                });
                if found.is_none() {
                    return false;
                }
            }
            true
        })
        .await;
        self.settle().await;
    }

    /// The node that leads the controllers, as far as anybody knows.
    pub async fn controller(&self) -> Option<usize> {
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
            .with_partitions(vec![describe_quorum_request::PartitionData::default()]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        for n in 0..MEMBERS {
            let answer: Result<DescribeQuorumResponse, Broken> =
                ask(&self.host(n), ApiKey::DescribeQuorum, 2, &request).await;
            let leader = answer.ok().and_then(|answer| {
                let partition = answer.topics.first()?.partitions.first()?;
                usize::try_from(partition.leader_id.0).ok()
            });
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    /// A member whose process runs.
    fn somebody(&self) -> usize {
        let mut running = (0..MEMBERS).filter(|n| self.servers[*n].pid().is_some());
        running.next().unwrap()
    }

    /// Sends a signal to a member.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.servers[n].signal(signal);
    }

    /// Whether a member's process runs.
    pub fn runs(&self, n: usize) -> bool {
        self.servers[n].pid().is_some()
    }

    /// Kills a member, and waits until nothing of it is left.
    pub async fn kill(&self, n: usize) {
        self.end(n, Signal::SIGKILL).await;
    }

    /// Asks a member to stop, as a kubelet does, and waits until it has.
    pub async fn stop(&self, n: usize) {
        self.end(n, Signal::SIGTERM).await;
    }

    async fn end(&self, n: usize, signal: Signal) {
        self.signal(n, signal);
        self.until("it has ended", async || !self.runs(n)).await;
    }

    /// Starts a member that has ended.
    pub fn start_again(&self, n: usize) {
        self.servers[n].start(&[]);
    }

    /// Starts a member that has ended with an empty disk. It is no voter then: its disk is another one.
    pub async fn start_empty(&self, n: usize) {
        fs::remove_dir_all(self.home(n)).unwrap();
        fs::create_dir(self.home(n)).unwrap();
        own(&self.home(n)).await;
        let config = self.config(n).to_str().unwrap().to_owned();
        let words = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            CLUSTER_ID,
            "--config",
            &config,
            "--no-initial-controllers",
        ];
        self.recipe(n, &words.map(str::to_owned)).run().await;
        self.start_again(n);
    }
}

impl Address {
    fn free(ip: Ipv4Addr) -> Self {
        // Both are held until both are known, so that they differ.
        let free = || TcpListener::bind((ip, 0)).unwrap();
        let (broker, controller) = (free(), free());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        Self {
            ip,
            broker: port(&broker),
            controller: port(&controller),
        }
    }
}
