//! What the steps of PostgreSQL share: kept sessions, credentials, poolers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use ferriswheel_plan::ids::{DatabaseName, ObjectRef};
use ferriswheel_plan::policy::{self, PostgresSpec};

use super::{AskError, LOOK, MemberPod, World, role_labels, secret_key};
use crate::databases::postgres::order::Member;
use crate::databases::postgres::server::{Server, Status};
use crate::databases::postgres::session::{Credentials, Session};
use crate::databases::postgres::tls::Tls;
use crate::databases::postgres::wire::WireServer;
use crate::databases::session::chain;
use crate::kubernetes::poolers::{self, PoolerPod};

/// A member with its server's status.
pub struct MemberState {
    /// The pod.
    pub member: MemberPod,
    /// What the server says, or why it says nothing.
    pub status: Result<Status, String>,
}

impl World {
    pub(crate) fn postgres(&self, name: &DatabaseName) -> Result<&PostgresSpec, AskError> {
        let spec = self.database(name)?;
        spec.postgres().ok_or_else(|| AskError::Absent {
            what: format!("the PostgreSQL set of database `{name}`"),
        })
    }

    /// The superuser of the servers.
    pub(crate) async fn superuser(&self, spec: &PostgresSpec) -> Result<Credentials, AskError> {
        superuser(&self.outside.kube, spec).await
    }

    /// The admin of the poolers.
    pub(crate) async fn pooler_admin(&self, spec: &PostgresSpec) -> Result<Credentials, AskError> {
        pooler_admin(&self.outside.kube, spec).await
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
                        member.target(spec.port),
                        Arc::clone(&self.outside.dial),
                        superuser.clone(),
                        "postgres",
                    );
                    Arc::new(WireServer::new(session, template))
                }),
        )
    }

    /// Every pooler process in front of a database.
    pub(crate) async fn poolers(&self, spec: &PostgresSpec) -> Result<Vec<PoolerPod>, AskError> {
        let mut all = Vec::new();
        for workload in &spec.poolers {
            all.extend(poolers::of_workload(&self.outside.kube, workload).await?);
        }
        Ok(all)
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
