//! The outside world for one plan: clients, and what the steps share.

mod ask;
mod members;
mod postgres;
mod secrets;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferriswheel_plan::ids::{DatabaseName, NodeName, ObjectRef};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::DatabaseSpec;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

pub use ask::AskError;
pub(crate) use members::role_labels;
pub use members::{Census, MemberPod, members};
pub use postgres::{MemberState, pooler_admin, superuser};
pub use secrets::user_name;
pub(crate) use secrets::{optional_secret_key, secret_key};

use crate::agent::client::AgentClient;
use crate::azure::ArmClient;
use crate::databases::postgres::wire::{ConnInfoTemplate, WireServer};
use crate::dial::{Dial, Target};
use crate::http::Endpoint;
use crate::kubernetes::pods::Home;
use crate::kubernetes::{find, read, request};

/// Deadline of a look at one server from outside the window.
pub const LOOK: Duration = Duration::from_secs(5);

/// Clients for everything that a run touches.
#[derive(Clone)]
pub struct Outside {
    /// The cluster.
    pub kube: kube::Client,
    /// Its resource manager.
    pub arm: ArmClient,
    /// Path to pods.
    pub dial: Arc<dyn Dial>,
    /// Image of this binary for the pods of a run.
    pub image: String,
    /// Directory for the certificate and the timeline.
    pub artifacts: PathBuf,
    /// Where the agent of a hand-over stops on purpose, in tests.
    pub agent_hold: Option<String>,
}

/// The outside world, for one plan.
pub struct World {
    pub(crate) outside: Outside,
    pub(crate) plan: Plan,
    servers: Mutex<BTreeMap<String, Arc<WireServer>>>,
    kept: Mutex<BTreeMap<String, Arc<dyn Any + Send + Sync>>>,
    templates: Mutex<BTreeMap<DatabaseName, ConnInfoTemplate>>,
}

impl World {
    /// The world of a plan.
    pub fn new(outside: Outside, plan: Plan) -> Self {
        Self {
            outside,
            plan,
            servers: Mutex::default(),
            kept: Mutex::default(),
            templates: Mutex::default(),
        }
    }

    pub(crate) fn kube(&self) -> kube::Client {
        self.outside.kube.clone()
    }

    pub(crate) fn database(&self, name: &DatabaseName) -> Result<&DatabaseSpec, AskError> {
        self.plan
            .body
            .policy
            .spec
            .databases
            .iter()
            .find(|database| database.name == *name)
            .ok_or_else(|| AskError::Absent {
                what: format!("database {name} in the plan's spec"),
            })
    }

    /// Where the pods of the run live: beside the database.
    pub(crate) fn home(&self, set: &ObjectRef) -> Home {
        Home {
            namespace: set.namespace.clone(),
            // A rollback goes on with the pods of the run that it takes back.
            plan: self.plan.run().clone(),
            image: self.outside.image.clone(),
        }
    }

    pub(crate) async fn node(&self, name: &NodeName) -> Result<Option<Node>, AskError> {
        let nodes: Api<Node> = Api::all(self.kube());
        Ok(find(format!("read node {name}"), nodes.get_opt(name.as_str())).await?)
    }

    pub(crate) async fn nodes_of_pool(&self, pool: &str) -> Result<Vec<Node>, AskError> {
        let nodes: Api<Node> = Api::all(self.kube());
        let selector = format!("{}={pool}", read::POOL_LABEL);
        Ok(request(
            format!("list the nodes of pool {pool}"),
            nodes.list(&ListParams::default().labels(&selector)),
        )
        .await?
        .items)
    }

    /// Pods on a node that would have to be evicted.
    pub(crate) async fn evictable_pods(&self, node: &str) -> Result<Vec<Pod>, AskError> {
        let pods: Api<Pod> = Api::all(self.kube());
        let list = request(
            format!("list the pods on {node}"),
            pods.list(&ListParams::default().fields(&format!("spec.nodeName={node}"))),
        )
        .await?;
        Ok(list
            .items
            .into_iter()
            .filter(|pod| !read::stays_on_node(pod))
            .collect())
    }

    /// What a system keeps of a member between two looks, made when it is first wanted. Another pod
    /// of the same name, or another address, is another member.
    pub(crate) fn kept<T: Send + Sync + 'static>(
        &self,
        database: &DatabaseName,
        member: &MemberPod,
        make: impl Fn() -> T,
    ) -> Arc<T> {
        let MemberPod { pod, uid, ip, .. } = member;
        let ip = ip.as_deref().unwrap_or_default();
        let key = format!("{database}/{pod}/{uid}/{ip}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept
            .entry(key)
            .or_insert_with(|| Arc::new(make()))
            .clone()
            .downcast();
        found.unwrap_or_else(|_| Arc::new(make()))
    }

    /// An endpoint of one of the run's own pods; `None` while the pod has no address.
    pub(crate) async fn endpoint(
        &self,
        home: &Home,
        task: &str,
        port: u16,
    ) -> Result<Option<Endpoint>, AskError> {
        let Some(pod) = home.find(&self.outside.kube, task).await? else {
            return Ok(None);
        };
        if !read::is_ready(&pod) {
            return Ok(None);
        }
        let token = home.token(&self.outside.kube).await?;
        let target = Target {
            pod: home.pod(task),
            ip: pod.status.and_then(|status| status.pod_ip),
            port,
        };
        Ok(Some(Endpoint::new(
            target,
            Arc::clone(&self.outside.dial),
            token,
        )))
    }

    /// The agent or the watchdog, once it is ready.
    pub(crate) async fn agent(
        &self,
        home: &Home,
        task: &str,
    ) -> Result<Option<AgentClient>, AskError> {
        Ok(self
            .endpoint(home, task, crate::agent::PORT)
            .await?
            .map(AgentClient::new))
    }
}
