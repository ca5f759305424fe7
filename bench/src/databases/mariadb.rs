//! A MariaDB primary with its replicas: the example's three members.
//!
//! Between rounds one member takes writes and has the Service's label, and both others are read-only and copy from it with
//! both threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_probe::config::RunConfig;
use serde_json::{Value, json};

use super::example::{self, Example};
use super::system::{Act, Facts, Goals, Method, Scene, Shard, System, Way};
use crate::error::Result;
use crate::judge::secret;
use crate::program::Kubectl;
use crate::set::{Member, member};

/// The example's namespace.
const NAMESPACE: &str = "store";

/// The set has no name of its own; it is its only shard.
const SET: &str = "set";

const MEMBERS: usize = 3;

const PORT: u16 = 3306;

/// A member that was killed replays its log, and replicas look for it once a second.
const WHOLE: Duration = Duration::from_secs(120);

/// What is known of it.
pub const FACTS: Facts = Facts {
    key: "mariadb",
    title: "MariaDB, asynchronous replicas by GTID",
    shard: "set",
    methods: &[
        Method {
            key: "ferriswheel",
            title: "Ferriswheel",
            act: Act::Ferriswheel,
            rounds: 10,
        },
        Method {
            key: "by-hand",
            title: "the same steps by hand, one kubectl each",
            act: Act::Script("by-hand.sh"),
            rounds: 10,
        },
        Method {
            key: "careless",
            title: "the primary's pod deleted at once, and waited for",
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
        "name=dbpool,mode=User,count=3,version=1.36.3,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
    ],
    goals: Goals {
        gap_ms: Some((200.0, 400.0)),
        no_error: false,
        times_better: None,
    },
    way: Way {
        opened: "lockAsked",
        phases: &[
            ("locked", "the lock is had"),
            ("caughtUp", "the successor has everything"),
            ("closed", "the old primary is closed"),
            ("promoted", "the successor takes writes"),
        ],
        beside: &[
            ("cut", "clients of the old primary are cut, beside"),
            ("settled", "everybody follows, beside"),
        ],
    },
    rest: Duration::ZERO,
    database: "store",
    cleared: false,
};

/// The set.
pub struct Mariadb {
    example: Example,
}

/// A member's role, by its Service's label and by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    labelled: bool,
    takes_writes: bool,
    /// Host of the member that it copies from.
    copies_from: Option<String>,
    /// Both threads run.
    runs: bool,
}

impl Mariadb {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/mariadb/up.sh");
        Ok(Self {
            example: Example::up(kubectl, &up, (NAMESPACE, "mariadb"), MEMBERS).await?,
        })
    }

    /// Everybody's own view; or why the set is not whole.
    async fn look(&self) -> Result<Result<Scene, String>> {
        let pods = self.example.pods().await?;
        let labelled: BTreeSet<&str> = pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["role"] == "primary")
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .collect();
        let members: Vec<Member> = pods.iter().map(member).collect();
        let role = async |kubectl: Kubectl, pod: String| ask(&kubectl, &pod).await;
        let said = self.example.everybody(&members, role).await?;
        Ok(said.and_then(|said| {
            let view = |(name, text): (String, String)| {
                let said = said_of(&text, labelled.contains(name.as_str()));
                (name, said)
            };
            scene(&members, &said.into_iter().map(view).collect())
        }))
    }
}

/// Its role and its source; the password stays inside.
async fn ask(kubectl: &Kubectl, pod: &str) -> Result<String> {
    const LINE: &str = "MYSQL_PWD=\"$(cat /etc/mariadb-secrets/password)\" exec mariadb --user=root --batch \
                        --execute 'SELECT IF(@@read_only, 1, 0) AS read_only\\G SHOW ALL SLAVES STATUS\\G'";
    let arguments = [
        "exec",
        pod,
        "--container",
        "mariadb",
        "--",
        "sh",
        "-c",
        LINE,
    ];
    kubectl.call(NAMESPACE, &arguments).await
}

fn said_of(text: &str, labelled: bool) -> Said {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.trim().split_once(": "))
            .find_map(|(key, value)| (key == name).then(|| value.trim().to_owned()))
    };
    let runs = |name: &str| field(name).as_deref() == Some("Yes");
    Said {
        labelled,
        takes_writes: field("read_only").as_deref() == Some("0"),
        copies_from: field("Master_Host"),
        runs: runs("Slave_IO_Running") && runs("Slave_SQL_Running"),
    }
}

/// What the members say, if they say the same.
fn scene(pods: &[Member], views: &BTreeMap<String, Said>) -> Result<Scene, String> {
    if views.len() != MEMBERS {
        return Err("a member was not asked".to_owned());
    }
    let leaders: Vec<&String> = views
        .iter()
        .filter_map(|(pod, said)| said.takes_writes.then_some(pod))
        .collect();
    let [leader] = leaders[..] else {
        return Err(format!("{} members take writes", leaders.len()));
    };
    for (pod, said) in views {
        if said.labelled != (pod == leader) {
            return Err(format!("the Service's label is not {pod}'s role"));
        }
        let source = said
            .copies_from
            .as_deref()
            .and_then(|h| h.split('.').next());
        if pod != leader && !(said.runs && source == Some(leader)) {
            return Err(format!("{pod} does not follow {leader}"));
        }
    }
    let shard = Shard {
        leader: leader.clone(),
        followers: views.keys().filter(|pod| *pod != leader).cloned().collect(),
    };
    Ok(Scene {
        shards: BTreeMap::from([(SET.to_owned(), shard)]),
        members: example::addresses(pods, PORT),
    })
}

#[async_trait(?Send)]
impl System for Mariadb {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    async fn server(&self) -> Result<String> {
        let arguments = ["exec", "mariadb-0", "--", "mariadbd", "--version"];
        let text = self.example.kubectl.call(NAMESPACE, &arguments).await?;
        let version = text
            .split_whitespace()
            .find(|word| word.contains("MariaDB"));
        let version = version.and_then(|word| word.split('-').next());
        Ok(format!("MariaDB {}", version.unwrap_or("of no version")))
    }

    async fn password(&self) -> Result<String> {
        secret(&self.example.kubectl, NAMESPACE, "mariadb-app", "password").await
    }

    fn clients(&self) -> RunConfig {
        RunConfig::mariadb(format!(
            "mariadb://app@mariadb-primary.{NAMESPACE}.svc.cluster.local:{PORT}/{NAMESPACE}"
        ))
    }

    fn spec(&self) -> Value {
        let named = |name: &str| format!("{NAMESPACE}/{name}");
        json!({
            "name": FACTS.database,
            "mariadb": {
                "statefulSet": named("mariadb"),
                "service": named("mariadb-primary"),
                "admin": named("mariadb-admin"),
                "replication": named("mariadb-replication"),
                "application": named("mariadb-app"),
                "database": NAMESPACE,
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

    const REPLICA: &str = "read_only: 1\n*** 1. row ***\n   Connection_name: \n   Master_Host: \
                           mariadb-1.mariadb.store.svc.cluster.local\n   Slave_IO_Running: Yes\n   \
                           Slave_SQL_Running: Yes\n   Slave_SQL_Running_State: Slave has read all\n";

    fn seen(change: impl Fn(usize, &mut Said)) -> Result<Scene, String> {
        let name = |number: usize| format!("mariadb-{number}");
        let pods: Vec<Member> = (0..MEMBERS)
            .map(|number| {
                member(&json!({
                    "metadata": {"name": name(number)},
                    "status": {"podIP": format!("10.0.0.{number}")},
                }))
            })
            .collect();
        let views = (0..MEMBERS).map(|number| {
            let mut said = if number == 1 {
                said_of("read_only: 0\n", true)
            } else {
                said_of(REPLICA, false)
            };
            change(number, &mut said);
            (name(number), said)
        });
        scene(&pods, &views.collect())
    }

    #[test]
    fn a_set_that_agrees_is_told_by_its_pods() {
        let scene = seen(|_, _| {}).unwrap();
        assert_eq!(scene.members.len(), MEMBERS);
        assert_eq!(
            scene.shards[SET],
            Shard {
                leader: "mariadb-1".to_owned(),
                followers: vec!["mariadb-0".to_owned(), "mariadb-2".to_owned()]
            }
        );
    }

    #[test]
    fn one_member_that_is_not_in_its_place_is_enough() {
        let only = |wanted: usize, change: fn(&mut Said)| {
            seen(move |number, said| {
                if number == wanted {
                    change(said);
                }
            })
            .unwrap_err()
        };
        assert!(only(0, |said| said.takes_writes = true).contains("2 members"));
        assert!(only(1, |said| said.takes_writes = false).contains("0 members"));
        assert!(only(1, |said| said.labelled = false).contains("label"));
        assert!(only(2, |said| said.runs = false).contains("mariadb-2 does not follow"));
        let other = only(2, |said| {
            said.copies_from = Some("mariadb-0.mariadb".to_owned())
        });
        assert!(other.contains("mariadb-2 does not follow"));
    }
}
