//! Pods on the sandbox's nodes, seen as a user sees them: through the API.
//!
//! One sandbox for all of it; each behaviour has a namespace of its own and they run side by side.
mod common;
mod lives;
mod machines;
mod surroundings;

use common::Place;
use futures::future::join_all;
use lives::*;
use std::pin::Pin;
use surroundings::*;

type Scenario = Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_behave_as_on_a_real_node() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let sandbox = common::up();
    let client = common::client(&sandbox).await;
    let mut running = Vec::new();
    macro_rules! scenarios {
        ($($name:ident),* $(,)?) => {
            $({
                let name = stringify!($name).replace('_', "-");
                let place = Place::new(&client, &name, &sandbox.directory()).await;
                let scenario: Scenario = Box::pin($name(place));
                running.push((name, tokio::spawn(scenario)));
            })*
        };
    }
    scenarios!(
        config_reaches_a_running_pod,
        restarts_back_off,
        a_disk_follows_its_pod,
        init_containers_run_in_order_and_sidecars_stay,
        a_pod_knows_itself,
        services_and_names_work_across_nodes,
        readiness_and_liveness,
        a_startup_probe_holds_the_others_back,
        the_end_of_a_pod_is_orderly,
        users_and_groups,
        what_cannot_run_says_why,
        volumes_of_every_kind,
    );
    let (names, tasks): (Vec<_>, Vec<_>) = running.into_iter().unzip();
    let failed: Vec<_> = names
        .into_iter()
        .zip(join_all(tasks).await)
        .filter(|(_, r)| r.is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
    // Alone, at the end: what happens to a machine happens to all its pods.
    machines::a_silent_node_takes_its_readiness_back(&sandbox, &client).await;
    machines::a_machine_that_boots_runs_its_pods_again(&sandbox, &client).await;
}
