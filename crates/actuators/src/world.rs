//! The outside world for one plan: clients, and what the steps share.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferriswheel_plan::ids::{DatabaseName, NodeName, ObjectRef, Uid};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::{self, DatabaseSpec, PostgresSpec};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::agent::client::AgentClient;
use crate::azure::{ArmClient, ArmError};
use crate::databases::postgres::order::Member;
use crate::databases::postgres::server::{Server, ServerError, Status};
use crate::databases::postgres::session::{Credentials, Session, chain};
use crate::databases::postgres::tls::{Tls, TlsError};
use crate::databases::postgres::wire::{ConnInfoTemplate, WireServer};
use crate::databases::{mariadb, mongodb, redis};
use crate::dial::{Dial, Target};
use crate::http::{CallError, Endpoint};
use crate::kubernetes::pods::{Home, value};
use crate::kubernetes::poolers::{self, PoolerPod};
use crate::kubernetes::{RequestError, find, read, request};

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

/// The world could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
    /// Azure.
    #[error(transparent)]
    Arm(Box<ArmError>),
    /// A database.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A server of a cluster.
    #[error(transparent)]
    Redis(#[from] redis::server::ServerError),
    /// A server of a replica set.
    #[error(transparent)]
    Mongodb(#[from] mongodb::server::ServerError),
    /// A MariaDB server.
    #[error(transparent)]
    Mariadb(#[from] mariadb::server::ServerError),
    /// An agent or the probe.
    #[error(transparent)]
    Call(#[from] CallError),
    /// TLS cannot be set up as the spec wants it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something that the plan names is not there.
    #[error("{what} is not there")]
    Absent {
        /// What.
        what: String,
    },
    /// A local file.
    #[error("{} cannot be written", path.display())]
    File {
        /// Path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl From<ArmError> for AskError {
    fn from(error: ArmError) -> Self {
        Self::Arm(Box::new(error))
    }
}

impl AskError {
    /// The error with its causes, on one line.
    pub fn line(&self) -> String {
        chain(self)
    }

    /// Asking again may help.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Kubernetes(e) => e.is_passing(),
            Self::Arm(e) => e.retry_after().is_some(),
            Self::Server(ServerError::Sql { .. } | ServerError::Unexpected { .. }) => false,
            Self::Call(CallError::Refused { status, .. }) => status.is_server_error(),
            Self::Call(CallError::Unreadable { .. })
            | Self::Absent { .. }
            | Self::File { .. }
            | Self::Tls(_) => false,
            Self::Redis(
                redis::server::ServerError::Refused { .. }
                | redis::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Mongodb(
                mongodb::server::ServerError::Refused { .. }
                | mongodb::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Mariadb(
                mariadb::server::ServerError::Refused { .. }
                | mariadb::server::ServerError::Unexpected { .. },
            ) => false,
            Self::Server(_)
            | Self::Redis(_)
            | Self::Mongodb(_)
            | Self::Mariadb(_)
            | Self::Call(_) => true,
        }
    }
}

/// A member's pod as it is now.
#[derive(Clone, Debug)]
pub struct MemberPod {
    /// The pod.
    pub pod: ObjectRef,
    /// UID.
    pub uid: Uid,
    /// Node.
    pub node: Option<NodeName>,
    /// Address.
    pub ip: Option<String>,
    /// Ready.
    pub ready: bool,
    /// Being deleted.
    pub terminating: bool,
}

/// A member with its server's status.
pub struct MemberState {
    /// The pod.
    pub member: MemberPod,
    /// What the server says, or why it says nothing.
    pub status: Result<Status, String>,
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

    pub(crate) fn postgres(&self, name: &DatabaseName) -> Result<&PostgresSpec, AskError> {
        let spec = self.database(name)?;
        spec.postgres().ok_or_else(|| AskError::Absent {
            what: format!("the PostgreSQL set of database `{name}`"),
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

    /// The superuser of the servers.
    pub(crate) async fn superuser(&self, spec: &PostgresSpec) -> Result<Credentials, AskError> {
        superuser(&self.outside.kube, spec).await
    }

    /// The admin of the poolers.
    pub(crate) async fn pooler_admin(&self, spec: &PostgresSpec) -> Result<Credentials, AskError> {
        pooler_admin(&self.outside.kube, spec).await
    }

    /// The set itself.
    pub(crate) async fn stateful_set(&self, set: &ObjectRef) -> Result<StatefulSet, AskError> {
        stateful_set(self.kube(), set).await
    }

    /// The pods of a set, by ordinal.
    pub(crate) async fn members(&self, set: &ObjectRef) -> Result<Vec<MemberPod>, AskError> {
        members(&self.outside.kube, set).await
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

    /// Every member with its server's status, asked at the same time.
    pub(crate) async fn states(
        &self,
        database: &DatabaseName,
    ) -> Result<Vec<MemberState>, AskError> {
        let spec = self.postgres(database)?;
        let superuser = self.superuser(spec).await?;
        let members = self.members(&spec.stateful_set).await?;
        let asked = members.into_iter().map(|member| {
            let server = self.server(database, spec, &member, &superuser);
            async move {
                let status = if member.ip.is_none() || member.terminating {
                    Err("the pod has no address or is being deleted".to_owned())
                } else {
                    server.reconnect(LOOK).await.map_err(|e| chain(&e))
                };
                MemberState { member, status }
            }
        });
        Ok(futures::future::join_all(asked).await)
    }

    /// A kept session to one member. Another pod of the same name gets another session.
    pub(crate) fn server(
        &self,
        database: &DatabaseName,
        spec: &PostgresSpec,
        member: &MemberPod,
        superuser: &Credentials,
    ) -> Arc<WireServer> {
        let template = Arc::clone(
            self.templates
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(database.clone())
                .or_default(),
        );
        let key = format!(
            "{}/{}/{}",
            member.pod,
            member.uid,
            member.ip.clone().unwrap_or_default()
        );
        Arc::clone(
            self.servers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_insert_with(|| {
                    let session = Session::new(
                        &member.pod.name,
                        Target {
                            pod: member.pod.clone(),
                            ip: member.ip.clone(),
                            port: spec.port,
                        },
                        Arc::clone(&self.outside.dial),
                        superuser.clone(),
                        "postgres",
                    );
                    Arc::new(WireServer::new(session, template))
                }),
        )
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

    /// Every pooler process in front of a database.
    pub(crate) async fn poolers(&self, spec: &PostgresSpec) -> Result<Vec<PoolerPod>, AskError> {
        let mut all = Vec::new();
        for workload in &spec.poolers {
            all.extend(poolers::of_workload(&self.outside.kube, workload).await?);
        }
        Ok(all)
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

    /// The Service that follows the primary, with the labels by which it does.
    pub(crate) async fn role_labels(
        &self,
        spec: &PostgresSpec,
    ) -> Result<BTreeMap<String, String>, AskError> {
        let Some(reference) = &spec.service else {
            return Ok(BTreeMap::new());
        };
        role_labels(self.kube(), &spec.stateful_set, reference)
            .await?
            .ok_or_else(|| AskError::Absent {
                what: format!("service {reference}"),
            })
    }

    /// A member as an order names it.
    pub(crate) fn order_member(
        &self,
        spec: &PostgresSpec,
        service_name: &str,
        member: &MemberPod,
        slot: Option<String>,
    ) -> Result<Member, AskError> {
        Ok(Member {
            name: member.pod.name.clone(),
            namespace: member.pod.namespace.clone(),
            host: format!(
                "{}.{service_name}.{}.svc.cluster.local",
                member.pod.name, member.pod.namespace
            ),
            ip: member.ip.clone().ok_or_else(|| AskError::Absent {
                what: format!("the address of {}", member.pod),
            })?,
            port: spec.port,
            slot,
        })
    }
}

/// The superuser of the servers.
pub async fn superuser(
    client: &kube::Client,
    spec: &PostgresSpec,
) -> Result<Credentials, AskError> {
    credentials(client, &spec.superuser, spec.tls.as_ref()).await
}

/// The admin of the poolers.
pub async fn pooler_admin(
    client: &kube::Client,
    spec: &PostgresSpec,
) -> Result<Credentials, AskError> {
    let secret = spec.pooler_admin.as_ref().unwrap_or(&spec.superuser);
    let tls = spec.pooler_tls.as_ref().or(spec.tls.as_ref());
    credentials(client, secret, tls).await
}

/// User name and password of a Secret, with the TLS that the spec wants.
async fn credentials(
    client: &kube::Client,
    secret: &ObjectRef,
    tls: Option<&policy::Tls>,
) -> Result<Credentials, AskError> {
    let tls = tls.cloned().unwrap_or_default();
    let authority = match &tls.ca {
        Some(ca) => Some(secret_key(client, ca, "ca.crt").await?),
        None => None,
    };
    Ok(Credentials {
        user: secret_key(client, secret, "username").await?,
        password: secret_key(client, secret, "password").await?,
        tls: Tls::new(
            tls.mode,
            authority.as_deref().map(str::as_bytes),
            tls.server_name,
        )?,
    })
}

/// The name of a role, which is no secret.
pub async fn user_name(client: &kube::Client, secret: &ObjectRef) -> Result<String, AskError> {
    secret_key(client, secret, "username").await
}

/// The text under a key of a Secret.
pub(crate) async fn secret_key(
    client: &kube::Client,
    secret: &ObjectRef,
    key: &str,
) -> Result<String, AskError> {
    optional_secret_key(client, secret, key)
        .await?
        .ok_or_else(|| AskError::Absent {
            what: format!("key `{key}` of secret {secret}"),
        })
}

/// The text under a key of a Secret, if it has the key.
pub(crate) async fn optional_secret_key(
    client: &kube::Client,
    secret: &ObjectRef,
    key: &str,
) -> Result<Option<String>, AskError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace);
    let found = find(
        format!("read secret {secret}"),
        secrets.get_opt(&secret.name),
    )
    .await?
    .ok_or_else(|| AskError::Absent {
        what: format!("secret {secret}"),
    })?;
    Ok(value(&found, key))
}

/// The pods of a set, by ordinal.
pub async fn members(client: &kube::Client, set: &ObjectRef) -> Result<Vec<MemberPod>, AskError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &set.namespace);
    let list = request(
        format!("list the pods of {set}"),
        pods.list(&ListParams::default()),
    )
    .await?;
    let mut members: Vec<(u32, MemberPod)> = list
        .items
        .iter()
        .filter(|pod| {
            pod.owner_references()
                .iter()
                .any(|owner| owner.kind == "StatefulSet" && owner.name == set.name)
        })
        .filter_map(|pod| {
            let name = pod.name_any();
            let ordinal = name.rsplit('-').next()?.parse().ok()?;
            let status = pod.status.as_ref();
            Some((
                ordinal,
                MemberPod {
                    pod: ObjectRef::new(&set.namespace, name),
                    uid: Uid::new(pod.uid().unwrap_or_default()),
                    node: pod
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.node_name.as_deref())
                        .map(NodeName::new),
                    ip: status.and_then(|s| s.pod_ip.clone()),
                    ready: read::is_ready(pod),
                    terminating: pod.metadata.deletion_timestamp.is_some(),
                },
            ))
        })
        .collect();
    members.sort_by_key(|(ordinal, _)| *ordinal);
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

/// A count of the members of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Members whose pod is Ready and whose server answers.
    pub members: u32,
    /// Who leads the set, or each shard, with the number of its reign (timeline, epoch); none, if
    /// nobody can be told.
    pub leaders: BTreeMap<String, u64>,
}

impl World {
    /// Counts the members of a database's set, by asking each server.
    pub async fn census(&self, database: &DatabaseName) -> Result<Census, AskError> {
        let system = crate::systems::of(self, database)?;
        let standing = system.standing(None).await?;
        let alive = standing
            .stands
            .iter()
            .filter(|stand| stand.member.ready && stand.answers)
            .count();
        let leaders = standing.leaders.iter();
        Ok(Census {
            members: u32::try_from(alive).unwrap_or(u32::MAX),
            leaders: leaders
                .map(|(pod, reign)| (pod.name.clone(), *reign))
                .collect(),
        })
    }
}

async fn stateful_set(kube: kube::Client, set: &ObjectRef) -> Result<StatefulSet, AskError> {
    let sets: Api<StatefulSet> = Api::namespaced(kube, &set.namespace);
    find(format!("read {set}"), sets.get_opt(&set.name))
        .await?
        .ok_or_else(|| AskError::Absent {
            what: format!("stateful set {set}"),
        })
}

/// What a Service asks for beyond the labels that all members of a set have; `None` if there is no
/// such Service.
pub(crate) async fn role_labels(
    kube: kube::Client,
    set: &ObjectRef,
    service: &ObjectRef,
) -> Result<Option<BTreeMap<String, String>>, AskError> {
    let services: Api<Service> = Api::namespaced(kube.clone(), &service.namespace);
    let Some(found) = find(
        format!("read service {service}"),
        services.get_opt(&service.name),
    )
    .await?
    else {
        return Ok(None);
    };
    let set = stateful_set(kube, set).await?;
    let common = set.spec.selector.match_labels.unwrap_or_default();
    let selector = found
        .spec
        .and_then(|spec| spec.selector)
        .unwrap_or_default();
    Ok(Some(
        selector
            .into_iter()
            .filter(|(key, value)| common.get(key) != Some(value))
            .collect(),
    ))
}
