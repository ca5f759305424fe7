//! A MongoDB replica set: the example's three members.
//!
//! Between rounds every member must see the same primary in the same term and everybody well, also one that was added
//! again.

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
use crate::program::{self, Kubectl};
use crate::set::{Member, member};

/// The example's namespace.
const NAMESPACE: &str = "shop";

/// Name of the set, which is its only shard.
const SET: &str = "rs0";

const MEMBERS: usize = 3;

const PORT: u16 = 27017;

/// A member that is killed is replaced after 10 s (`electionTimeoutMillis`) and a vote; one that is stopped spends 15 s
/// taking no new work; one that was added again copies everything.
const WHOLE: Duration = Duration::from_secs(120);

/// What is known of it.
pub const FACTS: Facts = Facts {
    key: "mongodb",
    title: "MongoDB replica set",
    shard: "set",
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
            key: "careless",
            title: "the primary's pod deleted at once",
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
        gap_ms: Some((600.0, 1_500.0)),
        no_error: true,
        times_better: None,
    },
    way: Way {
        opened: "asked",
        phases: &[
            ("steppedDown", "the primary steps down"),
            ("elected", "the successor is elected"),
            ("committed", "a majority has its first entry"),
        ],
        beside: &[
            ("agreed", "a majority names it, beside"),
            ("thawed", "everybody may be elected again, beside"),
        ],
    },
    rest: Duration::ZERO,
    database: "shop",
    cleared: false,
};

/// The set.
pub struct Mongodb {
    example: Example,
}

impl Mongodb {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/mongodb/up.sh");
        Ok(Self {
            example: Example::up(kubectl, &up, (NAMESPACE, "mongo"), MEMBERS).await?,
        })
    }

    /// Everybody's own view; or why the set is not whole.
    async fn look(&self) -> Result<Result<Scene, String>> {
        let pods: Vec<Member> = self.example.pods().await?.iter().map(member).collect();
        let login = self.login().await?;
        let status = |kubectl: Kubectl, pod: String| {
            let login = login.clone();
            async move { ask(&kubectl, &pod, &login, "EJSON.stringify(rs.status())").await }
        };
        let said = self.example.everybody(&pods, status).await?;
        Ok(said.and_then(|said| {
            let view = |(name, text): (String, String)| {
                let view = serde_json::from_str(&text);
                view.map_err(|e| format!("{name}: {e} in {text}"))
                    .map(|view| (name, view))
            };
            let views: BTreeMap<String, Value> =
                said.into_iter().map(view).collect::<Result<_, _>>()?;
            scene(&pods, &views)
        }))
    }

    /// User and password, a line each.
    async fn login(&self) -> Result<String> {
        let of = |key| secret(&self.example.kubectl, NAMESPACE, "mongo-admin", key);
        Ok(format!(
            "{}\n{}\n",
            of("username").await?,
            of("password").await?
        ))
    }
}

/// Lets a member's shell say something; the password is in no argument.
async fn ask(kubectl: &Kubectl, pod: &str, login: &str, what: &str) -> Result<String> {
    const SHELL: &str = "read -r MONGOSH_USER; read -r MONGOSH_PASSWORD; export MONGOSH_USER MONGOSH_PASSWORD; \
                         exec mongosh --quiet --norc -u \"$MONGOSH_USER\" -p \"$MONGOSH_PASSWORD\" --eval \"$1\"";
    let arguments = [
        "exec",
        "-i",
        pod,
        "--container",
        "mongo",
        "--",
        "sh",
        "-c",
        SHELL,
        "sh",
        what,
    ];
    let command = kubectl.command(NAMESPACE, &arguments);
    program::succeed(command, Some(login), program::CALL).await
}

/// What the members say, if they say the same.
fn scene(pods: &[Member], views: &BTreeMap<String, Value>) -> Result<Scene, String> {
    if views.len() != MEMBERS {
        return Err("a member was not asked".to_owned());
    }
    let mut common: Option<(&Value, BTreeSet<(&str, &str)>)> = None;
    for (pod, view) in views {
        let members = view["members"].as_array().into_iter().flatten();
        let mut states = BTreeSet::new();
        for member in members {
            let (name, state) = (&member["name"], &member["stateStr"]);
            let (Some(name), Some(state)) = (name.as_str(), state.as_str()) else {
                return Err(format!("{pod}: a member without a name or a state"));
            };
            if member["health"] != 1 || !["PRIMARY", "SECONDARY"].contains(&state) {
                return Err(format!("{pod} sees {name} as {state}"));
            }
            states.insert((name, state));
        }
        let seen = (&view["term"], states);
        match &common {
            None => common = Some(seen),
            Some(common) if *common == seen => {}
            Some(_) => return Err(format!("{pod} has another view than the member before it")),
        }
    }
    let (_, states) = common.unwrap_or((&Value::Null, BTreeSet::new()));
    if states.len() != MEMBERS {
        return Err(format!("{} members are known", states.len()));
    }
    let of = |wanted: &str| -> Vec<String> {
        let named = states.iter().filter(|(_, state)| *state == wanted);
        // `mongo-0.mongo.shop.svc.cluster.local:27017`.
        named
            .map(|(host, _)| host.split('.').next().unwrap_or_default().to_owned())
            .collect()
    };
    let [leader] = &of("PRIMARY")[..] else {
        return Err("not one member is the primary".to_owned());
    };
    let shard = Shard {
        leader: leader.clone(),
        followers: of("SECONDARY"),
    };
    Ok(Scene {
        shards: BTreeMap::from([(SET.to_owned(), shard)]),
        members: example::addresses(pods, PORT),
    })
}

#[async_trait(?Send)]
impl System for Mongodb {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    async fn server(&self) -> Result<String> {
        let login = self.login().await?;
        let version = ask(&self.example.kubectl, "mongo-0", &login, "db.version()").await?;
        Ok(format!("MongoDB {}", version.trim()))
    }

    async fn password(&self) -> Result<String> {
        secret(&self.example.kubectl, NAMESPACE, "mongo-app", "password").await
    }

    fn clients(&self) -> RunConfig {
        let hosts: Vec<String> = (0..MEMBERS)
            .map(|n| format!("mongo-{n}.mongo.{NAMESPACE}.svc.cluster.local:{PORT}"))
            .collect();
        RunConfig::mongodb(format!(
            "mongodb://app@{}/{NAMESPACE}?replicaSet={SET}&authSource=admin",
            hosts.join(",")
        ))
    }

    fn spec(&self) -> Value {
        json!({
            "name": FACTS.database,
            "mongodb": {
                "statefulSet": format!("{NAMESPACE}/mongo"),
                "admin": format!("{NAMESPACE}/mongo-admin"),
                "application": format!("{NAMESPACE}/mongo-app"),
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

    fn seen(change: impl Fn(usize, &mut Value)) -> Result<Scene, String> {
        let name = |number: usize| format!("mongo-{number}");
        let pods: Vec<Member> = (0..MEMBERS)
            .map(|number| {
                member(&json!({
                    "metadata": {"name": name(number)},
                    "status": {"podIP": format!("10.0.0.{number}")},
                }))
            })
            .collect();
        let views = (0..MEMBERS).map(|number| {
            let members: Vec<Value> = (0..MEMBERS)
                .map(|other| {
                    let state = if other == 1 { "PRIMARY" } else { "SECONDARY" };
                    let host = format!("{}.mongo.shop.svc.cluster.local:27017", name(other));
                    json!({"name": host, "stateStr": state, "health": 1})
                })
                .collect();
            let mut view = json!({"term": 4, "members": members});
            change(number, &mut view);
            (name(number), view)
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
                leader: "mongo-1".to_owned(),
                followers: vec!["mongo-0".to_owned(), "mongo-2".to_owned()]
            }
        );
    }

    #[test]
    fn one_member_of_another_opinion_is_enough() {
        let only = |wanted: usize, what: &'static str, value: Value| {
            seen(move |number, view| {
                if number == wanted {
                    *view.pointer_mut(what).unwrap() = value.clone();
                }
            })
            .unwrap_err()
        };
        assert!(only(2, "/term", json!(5)).contains("another view"));
        assert!(only(0, "/members/2/stateStr", json!("STARTUP2")).contains("STARTUP2"));
        assert!(only(0, "/members/2/health", json!(0)).contains("mongo-2"));
        let two = seen(|_, view| view["members"][0]["stateStr"] = json!("PRIMARY"));
        assert!(two.unwrap_err().contains("not one member"));
    }
}
