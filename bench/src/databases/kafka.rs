//! Kafka: the example's three combined nodes.
//!
//! No broker leads the others, so there is no hand-over alone: a round of Ferriswheel is the whole wheel. Each leads
//! partitions; those of the judge's own topic are the certificate's shards.
//!
//! Between rounds every copy of every partition must be in sync, and every broker must be found where it is: Java keeps
//! the address of a name, and who looks for a broker where it was measures that and not the method.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_probe::config::RunConfig;
use serde_json::{Value, json};

use super::example::{self, Example};
use super::system::{Act, Facts, Goals, Method, Scene, System, Way};
use super::window::Window;
use crate::error::{Result, unexpected};
use crate::ferriswheel::{Prepared, TARGET};
use crate::program::{Kubectl, until};
use crate::results::Measured;
use crate::set::{Member, member};

/// The example's namespace.
const NAMESPACE: &str = "events";

const MEMBERS: usize = 3;

const PORT: u16 = 9092;

/// Beginning of the name of the judge's topic, which ends with the identity of its run.
const TOPIC: &str = "bench";

/// A broker that is killed is fenced after 9 s (`broker.session.timeout.ms`) and reads its logs when it is back.
const WHOLE: Duration = Duration::from_secs(180);

/// Time of a program of Kafka's in a pod, at the lowest priority of a busy machine.
const TOOL: Duration = Duration::from_secs(90);

/// Java keeps the address of a name for 30 s (`networkaddress.cache.ttl`), and whoever looked for a broker while it was
/// away has the former one; 10 s more for the way there.
const FOUND: Duration = Duration::from_secs(40);

/// What is known of it.
pub const FACTS: Facts = Facts {
    key: "kafka",
    title: "Kafka in KRaft mode",
    shard: "partition",
    methods: &[
        Method {
            key: "ferriswheel",
            title: "Ferriswheel, every machine replaced",
            act: Act::Wheel,
            rounds: 3,
        },
        Method {
            key: "page",
            title: "how-to page, its script as written",
            act: Act::Page("page.sh"),
            rounds: 3,
        },
        Method {
            key: "page-repaired",
            title: "how-to page, the script repaired",
            act: Act::Script("page-repaired.sh"),
            rounds: 3,
        },
        Method {
            key: "killed",
            title: "each broker killed with its machine, which comes back at once",
            act: Act::Script("killed.sh"),
            rounds: 3,
        },
        Method {
            key: "careless",
            title: "each broker's pod deleted at once",
            act: Act::Script("careless.sh"),
            rounds: 3,
        },
        Method {
            key: "nothing",
            title: "nothing is done, for 4 minutes",
            act: Act::Nothing(240),
            rounds: 3,
        },
    ],
    pools: &[
        "name=syspool,mode=System,count=2,version=1.36.3,zones=1+2",
        "name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
    ],
    goals: Goals {
        gap_ms: Some((250.0, 400.0)),
        no_error: true,
        times_better: Some((20.0, "killed")),
    },
    way: Way {
        opened: "reordered",
        phases: &[
            ("elected", "the controller elects"),
            ("agreed", "every broker names the leader"),
        ],
        beside: &[],
    },
    rest: FOUND,
    database: "events",
    cleared: true,
};

/// The cluster.
pub struct Kafka {
    example: Example,
}

impl Kafka {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/kafka/up.sh");
        Ok(Self {
            example: Example::up(kubectl, &up, (NAMESPACE, "kafka"), MEMBERS).await?,
        })
    }

    /// Who is there, by the cluster's own word. Whether copies are in sync costs a Java machine to ask, which the writers
    /// of a round would feel; see [`Kafka::in_sync`].
    async fn look(&self) -> Result<Result<Scene, String>> {
        let pods: Vec<Member> = self.example.pods().await?.iter().map(member).collect();
        if pods.len() != MEMBERS || !pods.iter().all(Member::is_ready) {
            return Ok(Err("a broker is not ready".to_owned()));
        }
        Ok(Ok(Scene {
            shards: BTreeMap::new(),
            members: example::addresses(&pods, PORT),
        }))
    }

    /// Runs one of Kafka's programs in the first pod, with a heap of its own and after everybody else.
    async fn tool(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let program = format!("/opt/kafka/bin/{program}.sh");
        let mut all = vec!["exec", "kafka-0", "--container", "kafka", "--"];
        all.extend([
            "env",
            "KAFKA_HEAP_OPTS=-Xmx128m",
            "nice",
            "-n",
            "19",
            &program,
        ]);
        all.extend(arguments);
        let kubectl = &self.example.kubectl;
        kubectl.call_within(NAMESPACE, &all, TOOL).await
    }

    async fn in_sync(&self) -> Result<()> {
        let arguments = [
            "--bootstrap-server",
            "localhost:9092",
            "--describe",
            "--under-replicated-partitions",
        ];
        let pause = Duration::from_secs(2);
        until("every copy to be in sync", WHOLE, pause, async || {
            // A broker that is only just there does not always answer.
            let behind = self.tool("kafka-topics", &arguments).await;
            Ok(behind
                .is_ok_and(|text| text.trim().is_empty())
                .then_some(()))
        })
        .await
    }
}

#[async_trait(?Send)]
impl System for Kafka {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    async fn server(&self) -> Result<String> {
        let text = self.tool("kafka-topics", &["--version"]).await?;
        let version = text.split_whitespace().next();
        let version = version.ok_or_else(|| unexpected("Kafka does not say its version"))?;
        Ok(format!("Kafka {version}"))
    }

    fn clients(&self) -> RunConfig {
        let hosts: Vec<String> = (0..MEMBERS)
            .map(|n| format!("kafka-{n}.kafka.{NAMESPACE}.svc.cluster.local:{PORT}"))
            .collect();
        RunConfig::kafka(format!("kafka://{}/{TOPIC}", hosts.join(",")))
    }

    fn spec(&self) -> Value {
        json!({
            "name": FACTS.database,
            "kafka": {"statefulSet": format!("{NAMESPACE}/kafka")},
        })
    }

    async fn settled(&self) -> Result<Scene> {
        example::agreed(WHOLE, async || self.look().await).await
    }

    fn example(&self) -> &Example {
        &self.example
    }

    async fn whole(&self) -> Result<Scene> {
        self.example.refresh().await?;
        let scene = self.settled().await?;
        self.in_sync().await?;
        Ok(scene)
    }

    /// Every broker is on a machine of the new version, and nothing is kept of what was led elsewhere meanwhile.
    async fn outcome(&self, _: &Scene, _: &Scene) -> Result<()> {
        self.example.is_on(TARGET).await?;
        let set = self
            .example
            .kubectl
            .get(NAMESPACE, &["statefulset/kafka"])
            .await?;
        let kept = &set["metadata"]["annotations"]["ferriswheel.dev/kafka-replicas"];
        if kept.is_null() {
            Ok(())
        } else {
            Err(unexpected("not every partition was given back"))
        }
    }

    /// Each partition is led away from one broker after the other, and back.
    fn windows(
        &self,
        before: &Scene,
        plan: &Prepared,
        measured: Option<&Measured>,
    ) -> BTreeMap<String, Window> {
        let Some(measured) = measured else {
            return BTreeMap::new();
        };
        let topic = format!("{TOPIC}-{}-", measured.run);
        let brokers = before.members.iter().map(|member| member.name.as_str());
        let mut windows = BTreeMap::new();
        for of in brokers.chain(["back"]) {
            let record = plan.record(FACTS.database, of).unwrap_or_default();
            for (partition, window) in Window::moves(&record, &FACTS.way) {
                if let Some(number) = partition.strip_prefix(&topic) {
                    windows.insert(format!("{number}/{of}"), window);
                }
            }
        }
        windows
    }
}
