//! The hand-over's trait [`Pooler`], spoken by a modelled PgBouncer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferriswheel_actuators::databases::postgres::pooler::{Entry, Pooler};
use ferriswheel_actuators::databases::postgres::server::ServerError;

use super::clients;
use super::server::{Alive, pass};
use crate::world::{Inner, World};

/// A console of a modelled pooler process.
pub struct ModelPooler {
    world: World,
    pod: String,
    alive: Alive,
    /// UID of the pod that the console belongs to.
    session: Mutex<Option<String>>,
}

impl ModelPooler {
    /// Not connected yet.
    pub fn new(world: World, pod: &str, alive: Alive) -> Self {
        Self {
            world,
            pod: pod.to_owned(),
            alive,
            session: Mutex::default(),
        }
    }

    async fn ask<R>(&self, ask: impl FnOnce(&mut Inner, &str) -> R) -> Result<R, ServerError> {
        pass(&self.alive).await;
        let session = self
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.world.with(|world| {
            let same = world
                .postgres
                .clients
                .poolers
                .get(&self.pod)
                .is_some_and(|pooler| Some(&pooler.uid) == session.as_ref());
            if same {
                Ok(ask(world, &self.pod))
            } else {
                Err(self.gone())
            }
        })
    }

    fn gone(&self) -> ServerError {
        ServerError::Disconnected {
            server: self.pod.clone(),
            cause: "connection refused".to_owned(),
        }
    }
}

/// `SHOW DATABASES` of a pooler process.
pub fn entries(pooler: &clients::Pooler) -> Vec<Entry> {
    vec![Entry {
        name: "app".to_owned(),
        host: Some(format!("{}.pg.db.svc.cluster.local", pooler.aimed)),
        port: 5432,
        dbname: "app".to_owned(),
        pool_mode: "transaction".to_owned(),
        paused: pooler.paused,
    }]
}

fn find<'a>(world: &'a mut Inner, pod: &str) -> Option<&'a mut clients::Pooler> {
    world.postgres.clients.poolers.get_mut(pod)
}

#[async_trait]
impl Pooler for ModelPooler {
    fn name(&self) -> &str {
        &self.pod
    }

    async fn reconnect(&self, _: Duration) -> Result<(), ServerError> {
        pass(&self.alive).await;
        let uid = self.world.with(|world| {
            find(world, &self.pod)
                .map(|pooler| pooler.uid.clone())
                .ok_or_else(|| self.gone())
        })?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(uid);
        Ok(())
    }

    async fn pause(&self, deadline: Duration) -> Result<(), ServerError> {
        let waits = async {
            self.ask(|world, pod| {
                let now = world.now();
                if let Some(pooler) = find(world, pod) {
                    pooler.paused = true;
                    pooler.held_since.get_or_insert(now);
                }
            })
            .await?;
            while self
                .ask(|world, pod| world.postgres.clients.is_in_use(pod))
                .await?
            {}
            Ok(())
        };
        tokio::time::timeout(deadline, waits)
            .await
            .unwrap_or_else(|_| {
                Err(ServerError::Timeout {
                    server: self.pod.clone(),
                    after: deadline,
                })
            })
    }

    async fn resume(&self, _: Duration) -> Result<(), ServerError> {
        self.ask(|world, pod| {
            if let Some(pooler) = find(world, pod) {
                pooler.paused = false;
                pooler.held_since = None;
            }
        })
        .await
    }

    async fn reload(&self, _: Duration) -> Result<(), ServerError> {
        self.ask(|world, pod| {
            let aimed = world.pooler_file.clone();
            if let Some(pooler) = find(world, pod) {
                pooler.aimed = aimed;
            }
        })
        .await
    }

    /// It asks the name servers at every reload.
    async fn kept_addresses(&self, _: &str, _: Duration) -> Result<Vec<String>, ServerError> {
        Ok(Vec::new())
    }

    async fn entries(&self, _: Duration) -> Result<Vec<Entry>, ServerError> {
        self.ask(|world, pod| find(world, pod).map(|pooler| entries(pooler)))
            .await
            .map(Option::unwrap_or_default)
    }
}
