//! A cluster as a user's dump has it, when nothing in it moves any more.

use std::time::{Duration, Instant};

use ferriswheel_analysis::drain::build_world;
use ferriswheel_analysis::manifest::{Reading, Want, read};
use ferriswheel_model::drain::world::World;
use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Real;

impl Real {
    /// The cluster's objects as a dump has them.
    async fn dump(&self, name: &str) -> Dump {
        let within = format!("namespaces/{name}");
        let paths = [
            format!("/api/v1/nodes?labelSelector=of%3D{name}"),
            format!("/api/v1/{within}/pods"),
            format!("/apis/apps/v1/{within}/replicasets"),
            format!("/apis/apps/v1/{within}/statefulsets"),
            format!("/apis/policy/v1/{within}/poddisruptionbudgets"),
            format!("/api/v1/{within}/persistentvolumeclaims"),
            format!("/api/v1/persistentvolumes?labelSelector=of%3D{name}"),
        ];
        let lists = futures::future::join_all(paths.iter().map(|path| self.get(path))).await;
        let mut reading = Reading::default();
        for (path, list) in paths.iter().zip(&lists) {
            reading.append(read(path, list.to_string().as_bytes(), Want::Sketches));
        }
        assert_eq!(reading.skipped, []);
        Dump {
            pods: lists[1]["items"].as_array().unwrap().clone(),
            budgets: lists[4]["items"].as_array().unwrap().clone(),
            wanted: [&lists[2], &lists[3]]
                .iter()
                .flat_map(|list| list["items"].as_array().unwrap())
                .map(|owner| owner["spec"]["replicas"].as_u64().unwrap_or(0))
                .sum(),
            reading,
        }
    }

    /// The cluster when nothing moves any more: every controller has acted, every pod lives that can.
    pub(super) async fn calm(&self, name: &str) -> Dump {
        let wait = async {
            let mut before = String::new();
            loop {
                let dump = self.dump(name).await;
                let now = dump.essence();
                if dump.rests() && now == before {
                    return dump;
                }
                before = now;
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .expect("a cluster comes to rest")
    }

    /// The cluster at rest, and as the simulation reads it, once each budget's status is the one that the simulation
    /// computes: a busy controller writes it long after the pods stopped moving.
    pub(super) async fn settled(&self, name: &str) -> (Dump, World) {
        let since = Instant::now();
        loop {
            let dump = self.calm(name).await;
            let world = build_world(&dump.reading.objects).unwrap();
            let Some(differs) = differing_status(&world, &dump) else {
                return (dump, world);
            };
            assert!(since.elapsed() < DEADLINE, "{name}: {differs}");
        }
    }
}

pub(super) struct Dump {
    reading: Reading,
    pub(super) pods: Vec<Value>,
    budgets: Vec<Value>,
    wanted: u64,
}

impl Dump {
    /// What must not change for the cluster to rest.
    fn essence(&self) -> String {
        let pods = self.pods.iter().map(|pod| {
            json!([
                pod["metadata"]["uid"],
                pod["metadata"]["deletionTimestamp"],
                pod["spec"]["nodeName"],
                pod["status"]["phase"]
            ])
        });
        let budgets = self.budgets.iter().map(|budget| &budget["status"]).cloned();
        Value::Array(pods.chain(budgets).collect()).to_string()
    }

    fn rests(&self) -> bool {
        let placed = self.pods.iter().all(|pod| {
            let gave_up = pod["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|about| about["reason"] == "Unschedulable"));
            pod["metadata"]["deletionTimestamp"].is_null()
                && (pod["status"]["phase"] == "Running" || gave_up)
        });
        let seen = self.budgets.iter().all(|budget| {
            budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
                && budget["status"]["disruptedPods"]
                    .as_object()
                    .is_none_or(serde_json::Map::is_empty)
        });
        // A set that goes in order waits for its first pod; then fewer are there than are wanted.
        let stuck = self
            .pods
            .iter()
            .any(|pod| pod["status"]["phase"] == "Pending" || is_sick(pod));
        let owned = self
            .pods
            .iter()
            .filter(|pod| !pod["metadata"]["ownerReferences"].is_null())
            .count();
        placed && seen && (owned as u64 == self.wanted || stuck)
    }
}

fn is_sick(pod: &Value) -> bool {
    !pod["metadata"]["labels"]["sick"].is_null()
}

/// The first budget whose status is not what its controller wrote, with the four numbers that the simulation computes.
fn differing_status(world: &World, dump: &Dump) -> Option<String> {
    // Of two budgets over a pod the controller keeps one up to date, and chooses by chance.
    if dump
        .budgets
        .iter()
        .any(|budget| budget["metadata"]["name"] == "over")
    {
        return None;
    }
    let computed = world.statuses();
    world
        .budgets
        .iter()
        .zip(computed)
        .find_map(|(about, status)| {
            let budget = dump
                .budgets
                .iter()
                .find(|budget| budget["metadata"]["name"] == world.str(about.name))
                .unwrap();
            let numbers = [
                "expectedPods",
                "desiredHealthy",
                "currentHealthy",
                "disruptionsAllowed",
            ]
            .map(|key| budget["status"][key].as_u64());
            let ours = [
                status.expected,
                status.desired,
                status.healthy,
                status.allowed,
            ]
            .map(|n| Some(u64::from(n)));
            (!status.failed && numbers != ours).then(|| format!("ours {ours:?}, real {budget:#}"))
        })
}
