//! Redis Cluster: the example's six servers in three shards.
//!
//! Between rounds every member must say the same of every other one, and every election must be forgotten: a replica that
//! was elected within the last four times `cluster-node-timeout` fails when it is asked again, so a round that comes too
//! soon measures that and not the method.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_probe::config::RunConfig;
use serde_json::{Value, json};

use super::example::{self, Example};
use super::system::{Act, Facts, Goals, Method, Scene, Shard, System, Way};
use crate::error::{Result, unexpected};
use crate::judge::secret;
use crate::program::Kubectl;
use crate::set::{Member, member};

/// The example's namespace.
const NAMESPACE: &str = "cache";

const SECRET: &str = "redis-auth";

const MEMBERS: usize = 6;

const PORT: u16 = 6379;

/// A member that lost its primary is told so after 15 s (`cluster-node-timeout`), elected a second later, and the other
/// one then copies everything; a node that was forgotten may be told of again after 60 s.
const WHOLE: Duration = Duration::from_secs(100);

/// Four times `cluster-node-timeout`, and one second because servers tell times in seconds.
///
/// # Source
/// docs/errors/FW0227.md.
const FORGOTTEN: Duration = Duration::from_secs(61);

/// What is known of it.
pub const FACTS: Facts = Facts {
    key: "redis",
    title: "Redis Cluster",
    shard: "shard",
    methods: &[
        Method {
            key: "ferriswheel",
            title: "Ferriswheel",
            act: Act::Ferriswheel,
            rounds: 10,
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
            key: "careless",
            title: "each primary's pod deleted at once",
            act: Act::Script("careless.sh"),
            rounds: 10,
        },
        Method {
            key: "nothing",
            title: "nothing is done, for 10 s",
            act: Act::Nothing(10),
            rounds: 10,
        },
    ],
    pools: &[
        "name=syspool,mode=System,count=2,version=1.36.3,zones=1+2",
        "name=dbpool,mode=User,count=6,version=1.36.3,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
    ],
    goals: Goals {
        gap_ms: Some((60.0, 250.0)),
        no_error: true,
        times_better: Some((50.0, "page")),
    },
    way: Way {
        opened: "asked",
        phases: &[
            ("accepted", "the replica accepts"),
            ("flipped", "it is the primary"),
        ],
        beside: &[
            ("followed", "the old primary follows, beside"),
            ("agreed", "every member says so, beside"),
            ("rejoined", "the old primary's link is up, beside"),
        ],
    },
    rest: FORGOTTEN,
    database: "sessions",
    cleared: false,
};

/// The cluster.
pub struct Redis {
    example: Example,
}

impl Redis {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/redis/up.sh");
        Ok(Self {
            example: Example::up(kubectl, &up, (NAMESPACE, "redis"), MEMBERS).await?,
        })
    }

    /// Everybody's own view; or why the cluster is not whole.
    async fn look(&self) -> Result<Result<Scene, String>> {
        let pods: Vec<Member> = self.example.pods().await?.iter().map(member).collect();
        let everything =
            async |kubectl: Kubectl, pod: String| ask(&kubectl, &pod, EVERYTHING).await;
        let said = self.example.everybody(&pods, everything).await?;
        Ok(said.and_then(|said| scene(&pods, &said.into_iter().collect())))
    }
}

/// Its own name, health, view of the others, link and persistence, in one call.
const EVERYTHING: &str = "redis-cli CLUSTER INFO; redis-cli INFO replication; redis-cli INFO persistence; redis-cli CLUSTER NODES";

/// Runs a line in a member; the password stays inside.
async fn ask(kubectl: &Kubectl, pod: &str, line: &str) -> Result<String> {
    let script = format!(
        "REDISCLI_AUTH=\"$(cat /etc/redis-secrets/password)\"; export REDISCLI_AUTH; {line}"
    );
    let arguments = [
        "exec",
        pod,
        "--container",
        "redis",
        "--",
        "sh",
        "-c",
        &script,
    ];
    kubectl.call(NAMESPACE, &arguments).await
}

/// A line of `CLUSTER NODES` without what each member sees in its own way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    host: String,
    primary: Option<String>,
    epoch: String,
    slots: String,
}

/// What the members say, if they say the same.
fn scene(pods: &[Member], views: &BTreeMap<String, String>) -> Result<Scene, String> {
    let mut common: Option<BTreeMap<String, Known>> = None;
    for (pod, text) in views {
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.trim_end().split_once(':'))
                .find_map(|(key, value)| (key == name).then_some(value))
        };
        let expected = [
            ("cluster_state", "ok"),
            ("cluster_slots_ok", "16384"),
            ("loading", "0"),
            ("aof_rewrite_in_progress", "0"),
            ("rdb_bgsave_in_progress", "0"),
        ];
        for (name, value) in expected {
            if field(name) != Some(value) {
                return Err(format!("{pod}: {name} is {:?}", field(name)));
            }
        }
        if field("role") == Some("slave") && field("master_link_status") != Some("up") {
            return Err(format!("{pod}: its link is not up"));
        }
        let known = nodes(text).map_err(|why| format!("{pod}: {why}"))?;
        match &common {
            None => common = Some(known),
            Some(common) if *common == known => {}
            Some(_) => return Err(format!("{pod} has another view than the member before it")),
        }
    }
    let common = common.unwrap_or_default();
    if common.len() != MEMBERS {
        return Err(format!("{} nodes are known", common.len()));
    }
    let name = |host: &str| {
        let mut pods = pods.iter();
        let found = pods.find(|pod| pod.ip == host);
        found
            .map(|pod| pod.name.clone())
            .ok_or_else(|| format!("{host} is nobody's address"))
    };
    let mut shards = BTreeMap::new();
    for (id, node) in &common {
        if node.slots.is_empty() {
            continue;
        }
        let followers = common
            .values()
            .filter(|other| other.primary.as_ref() == Some(id))
            .map(|other| name(&other.host))
            .collect::<Result<Vec<_>, _>>()?;
        if followers.is_empty() {
            return Err(format!("{} has no replica", node.host));
        }
        let leader = name(&node.host)?;
        shards.insert(node.slots.clone(), Shard { leader, followers });
    }
    Ok(Scene {
        shards,
        members: example::addresses(pods, PORT),
    })
}

fn nodes(text: &str) -> Result<BTreeMap<String, Known>, String> {
    let mut nodes = BTreeMap::new();
    // Every other line has a colon in its first word, or no second one.
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, primary, _, _, epoch, link, slots @ ..] = words.as_slice() else {
            continue;
        };
        let well = flags
            .split(',')
            .all(|flag| ["myself", "master", "slave"].contains(&flag));
        if !well || *link != "connected" {
            return Err(format!("{address} is {flags}, {link}"));
        }
        let known = Known {
            host: address
                .split(['@', ','])
                .next()
                .and_then(|place| place.rsplit_once(':'))
                .map_or("", |(host, _)| host)
                .to_owned(),
            primary: (*primary != "-").then(|| (*primary).to_owned()),
            epoch: (*epoch).to_owned(),
            slots: slots.join(","),
        };
        nodes.insert((*id).to_owned(), known);
    }
    Ok(nodes)
}

#[async_trait(?Send)]
impl System for Redis {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    async fn server(&self) -> Result<String> {
        let text = ask(&self.example.kubectl, "redis-0", "redis-cli INFO server").await?;
        let version = text
            .lines()
            .find_map(|line| line.trim_end().strip_prefix("redis_version:"))
            .ok_or_else(|| unexpected("INFO has no redis_version"))?;
        Ok(format!("Redis {version}"))
    }

    async fn password(&self) -> Result<String> {
        secret(&self.example.kubectl, NAMESPACE, SECRET, "password").await
    }

    fn clients(&self) -> RunConfig {
        RunConfig::redis(format!(
            "redis://redis.{NAMESPACE}.svc.cluster.local:{PORT}"
        ))
    }

    fn spec(&self) -> Value {
        json!({
            "name": FACTS.database,
            "redis": {
                "statefulSet": format!("{NAMESPACE}/redis"),
                "password": format!("{NAMESPACE}/{SECRET}"),
            },
        })
    }

    async fn settled(&self) -> Result<Scene> {
        example::agreed(WHOLE, async || self.look().await).await
    }

    fn example(&self) -> &Example {
        &self.example
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
cluster_state:ok\r\ncluster_slots_ok:16384\r\nrole:master\r\nloading:0\r\n\
rdb_bgsave_in_progress:0\r\naof_rewrite_in_progress:0\r\n\
a 10.0.0.1:6379@16379,redis-0.redis myself,master - 0 0 1 connected 0-5460\n\
b 10.0.0.2:6379@16379,redis-1.redis master - 0 9 2 connected 5461-10922\n\
c 10.0.0.3:6379@16379,redis-2.redis master - 0 9 3 connected 10923-16383\n\
d 10.0.0.4:6379@16379,redis-3.redis slave a 0 9 1 connected\n\
e 10.0.0.5:6379@16379,redis-4.redis slave b 0 9 2 connected\n\
f 10.0.0.6:6379@16379,redis-5.redis slave c 0 9 3 connected\n";

    fn seen(change: impl Fn(usize, &str) -> String) -> Result<Scene, String> {
        let pods: Vec<Member> = (0..MEMBERS)
            .map(|number| {
                member(&json!({
                    "metadata": {"name": format!("redis-{number}")},
                    "status": {"podIP": format!("10.0.0.{}", number + 1)},
                }))
            })
            .collect();
        let views = pods
            .iter()
            .enumerate()
            .map(|(number, pod)| (pod.name.clone(), change(number, NODES)))
            .collect();
        scene(&pods, &views)
    }

    #[test]
    fn a_cluster_that_agrees_is_told_by_its_pods() {
        let scene = seen(|_, text| text.to_owned()).unwrap();
        assert_eq!(scene.members.len(), MEMBERS);
        assert_eq!(
            scene.shards["5461-10922"],
            Shard {
                leader: "redis-1".to_owned(),
                followers: vec!["redis-4".to_owned()]
            }
        );
    }

    #[test]
    fn one_member_of_another_opinion_is_enough() {
        let only = |wanted: usize, from: &'static str, to: &'static str| {
            seen(move |number, text| {
                if number == wanted {
                    text.replace(from, to)
                } else {
                    text.to_owned()
                }
            })
            .unwrap_err()
        };
        assert!(only(3, "0 9 2 connected", "0 9 7 connected").contains("another view"));
        assert!(only(3, "slave c", "slave,fail? c").contains("fail?"));
        assert!(only(5, "10.0.0.6", "10.0.0.9").contains("another view"));
        assert!(only(2, "cluster_state:ok", "cluster_state:fail").contains("cluster_state"));
        let link = "role:slave\r\nmaster_link_status:down";
        assert!(only(4, "role:master", link).contains("link"));
    }
}
