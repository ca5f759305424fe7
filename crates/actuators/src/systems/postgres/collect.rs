//! What the snapshot says of a PostgreSQL set and the poolers in front of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferriswheel_plan::policy::PostgresSpec;
use ferriswheel_plan::world::{
    self, Pooler, PoolerDatabase, PostgresFacts, PostgresMember, PrimaryService,
};

use super::patroni;
use crate::collect::CollectError;
use crate::databases::postgres::console;
use crate::databases::postgres::facts::{self, PrimaryView};
use crate::databases::postgres::lsn::Lsn;
use crate::databases::postgres::session::{Credentials, Session};
use crate::databases::session::chain;
use crate::dial::Target;
use crate::kubernetes::poolers::{self, PoolerPod};
use crate::world::{LOOK, MemberPod, Outside, members, pooler_admin, role_labels, superuser};

/// Asks every server and every pooler.
pub(crate) async fn collect(
    outside: &Outside,
    spec: &PostgresSpec,
) -> Result<world::Postgres, CollectError> {
    let superuser = superuser(&outside.kube, spec).await?;
    let pods = members(&outside.kube, &spec.stateful_set).await?;
    let asked = pods
        .iter()
        .map(|member| ask_member(outside, spec, member, &superuser));
    let answers = futures::future::join_all(asked).await;
    let mut views = Vec::new();
    let mut found = BTreeMap::new();
    for (member, answer) in pods.iter().zip(answers) {
        let name = member.pod.name.clone();
        match answer {
            Ok((facts, view)) => {
                views.push((name.clone(), view));
                found.insert(
                    name,
                    PostgresMember {
                        unreachable: None,
                        facts: Some(facts),
                    },
                );
            }
            Err(why) => {
                found.insert(
                    name,
                    PostgresMember {
                        unreachable: Some(why),
                        facts: None,
                    },
                );
            }
        }
    }
    relate(&mut found, &views);
    let admin = pooler_admin(&outside.kube, spec).await?;
    let mut pooler_states = BTreeMap::new();
    for workload in &spec.poolers {
        for pod in poolers::of_workload(&outside.kube, workload).await? {
            pooler_states.insert(pod.pod.clone(), ask_pooler(outside, &pod, &admin).await);
        }
    }
    let service = match &spec.service {
        Some(service) => Some(PrimaryService {
            role_labels: role_labels(outside.kube.clone(), &spec.stateful_set, service).await?,
        }),
        None => None,
    };
    let agents = || {
        views
            .iter()
            .flat_map(|(name, view)| view.agents.iter().map(move |agent| (name, agent)))
    };
    let patroni = patroni::collect(outside, spec, &pods, agents()).await?;
    let known = patroni.is_some();
    Ok(world::Postgres {
        service,
        stateful_set: spec.stateful_set.clone(),
        members: found,
        poolers: pooler_states,
        other_agent: agents()
            .find(|(_, agent)| !(known && patroni::is_patroni(agent)))
            .map(|(name, agent)| format!("{agent} is connected to {name}")),
        patroni,
    })
}

async fn ask_member(
    outside: &Outside,
    spec: &PostgresSpec,
    member: &MemberPod,
    superuser: &Credentials,
) -> Result<(PostgresFacts, PrimaryView), String> {
    if member.ip.is_none() {
        return Err("the pod has no address".to_owned());
    }
    let session = Session::new(
        &member.pod.name,
        member.target(spec.port),
        Arc::clone(&outside.dial),
        superuser.clone(),
        "postgres",
    );
    facts::collect(&session).await.map_err(|e| chain(&e))
}

/// Lag and synchronous state need both ends: the primary's flushed position and list of standbys,
/// the standby's replayed position.
fn relate(members: &mut BTreeMap<String, PostgresMember>, views: &[(String, PrimaryView)]) {
    let position = |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<Lsn>().ok());
    let primary = views.iter().find(|(_, view)| view.flush.is_some());
    for (name, view) in views {
        let Some(facts) = members.get_mut(name).and_then(|m| m.facts.as_mut()) else {
            continue;
        };
        let Some((_, leader)) = primary.filter(|_| facts.in_recovery) else {
            continue;
        };
        facts.lag_bytes = match (position(&leader.flush), position(&view.replay)) {
            (Some(flush), Some(replay)) => Some(flush.bytes_since(replay)),
            _ => None,
        };
        facts.sync_state = leader.sync_states.get(name).cloned();
    }
}

async fn ask_pooler(outside: &Outside, pod: &PoolerPod, admin: &Credentials) -> Pooler {
    let session = Session::new(
        &pod.pod.name,
        Target {
            pod: pod.pod.clone(),
            ip: pod.ip.clone(),
            port: pod.port,
        },
        Arc::clone(&outside.dial),
        admin.clone(),
        "pgbouncer",
    );
    let asked = async {
        session.open(LOOK).await?;
        let entries = console::entries(&session, LOOK).await?;
        let timeout = console::config(&session, "query_wait_timeout", LOOK).await?;
        Ok::<_, crate::databases::postgres::server::ServerError>((entries, timeout))
    };
    match asked.await {
        Ok((entries, timeout)) => Pooler {
            unreachable: None,
            version: None,
            databases: entries
                .into_iter()
                .map(|entry| {
                    (
                        entry.name,
                        PoolerDatabase {
                            host: entry.host,
                            port: entry.port,
                            dbname: entry.dbname,
                            pool_mode: entry.pool_mode,
                            paused: entry.paused,
                        },
                    )
                })
                .collect(),
            // The console gives seconds.
            query_wait_timeout_ms: timeout
                .and_then(|text| text.parse::<u64>().ok())
                .map(|seconds| seconds * 1_000),
            config: pod.config.clone(),
        },
        Err(e) => Pooler {
            unreachable: Some(chain(&e)),
            version: None,
            databases: BTreeMap::new(),
            query_wait_timeout_ms: None,
            config: pod.config.clone(),
        },
    }
}
