//! Memcached: the example's three servers.
//!
//! Nobody leads, so there is no hand-over alone: a round of Ferriswheel is the whole wheel. Nothing is lost and nothing is
//! found again: what counts is the hit-rate of the worst second, errors, and values of an earlier time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_probe::config::RunConfig;
use serde_json::{Value, json};

use super::example::{self, Example};
use super::system::{Act, Facts, Goals, Method, Scene, Shard, System, Way};
use crate::error::Result;
use crate::ferriswheel::TARGET;
use crate::program::Kubectl;
use crate::set::{Member, member};

/// The example's namespace.
const NAMESPACE: &str = "pages";

/// It has no parts; the pool is its only one.
const POOL: &str = "pool";

const MEMBERS: usize = 3;

const PORT: u16 = 11_211;

/// A member has nothing to read when it starts.
const WHOLE: Duration = Duration::from_secs(60);

/// What is known of it.
pub const FACTS: Facts = Facts {
    key: "memcached",
    title: "Memcached",
    shard: "pool",
    methods: &[
        Method {
            key: "ferriswheel",
            title: "Ferriswheel, every machine replaced",
            act: Act::Wheel,
            rounds: 10,
        },
        Method {
            key: "page",
            title: "how-to page, its Rolling Replace without the lines for Redis",
            act: Act::Page("page.sh"),
            rounds: 10,
        },
        Method {
            key: "careless",
            title: "each member's pod deleted at once",
            act: Act::Script("careless.sh"),
            rounds: 10,
        },
        Method {
            key: "nothing",
            title: "nothing is done, for a minute",
            act: Act::Nothing(60),
            rounds: 10,
        },
    ],
    pools: &[
        "name=syspool,mode=System,count=2,version=1.36.3,zones=1+2",
        "name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule",
    ],
    goals: Goals {
        gap_ms: None,
        no_error: true,
        times_better: None,
    },
    way: Way {
        opened: "",
        phases: &[],
        beside: &[],
    },
    rest: Duration::ZERO,
    database: "pages",
    cleared: false,
};

/// The pool.
pub struct Memcached {
    example: Example,
}

impl Memcached {
    /// Puts the example into the sandbox.
    ///
    /// # Errors
    /// It does not become whole.
    pub async fn up(kubectl: &Kubectl, repository: &Path) -> Result<Self> {
        let up = repository.join("examples/memcached/up.sh");
        Ok(Self {
            example: Example::up(kubectl, &up, (NAMESPACE, "memcached"), MEMBERS).await?,
        })
    }

    async fn look(&self) -> Result<Result<Scene, String>> {
        let pods: Vec<Member> = self.example.pods().await?.iter().map(member).collect();
        if pods.len() != MEMBERS || !pods.iter().all(Member::is_ready) {
            return Ok(Err("a member is not ready".to_owned()));
        }
        Ok(Ok(Scene {
            shards: BTreeMap::from([(POOL.to_owned(), Shard::default())]),
            members: example::addresses(&pods, PORT),
        }))
    }
}

#[async_trait(?Send)]
impl System for Memcached {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    async fn server(&self) -> Result<String> {
        let arguments = ["exec", "memcached-0", "--", "memcached", "--version"];
        let text = self.example.kubectl.call(NAMESPACE, &arguments).await?;
        let version = text.split_whitespace().last().unwrap_or("of no version");
        Ok(format!("Memcached {version}"))
    }

    fn clients(&self) -> RunConfig {
        let servers: Vec<String> = (0..MEMBERS)
            .map(|n| format!("memcached-{n}.{NAMESPACE}.svc.cluster.local:{PORT}"))
            .collect();
        RunConfig::memcached(format!("memcached://{}", servers.join(",")))
    }

    fn spec(&self) -> Value {
        json!({
            "name": FACTS.database,
            "memcached": {
                "statefulSet": format!("{NAMESPACE}/memcached"),
                "clientName": format!("{{pod}}.{NAMESPACE}.svc.cluster.local"),
            },
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
        self.settled().await
    }

    /// Every member is on a machine of the new version.
    async fn outcome(&self, _: &Scene, _: &Scene) -> Result<()> {
        self.example.is_on(TARGET).await
    }
}
