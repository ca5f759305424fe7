//! How containers start, are restarted and end.

use super::common::*;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use serde_json::json;
use std::time::Duration;

pub(crate) async fn restarts_back_off(place: Place) {
    // A clean exit counts as much as a crash.
    place
        .pod("exits", json!({"containers": [shell("exit 0")]}))
        .await;
    let waits = |pod: &Pod| container(pod, 0)["state"]["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = place.wait("exits", "in back-off", waits).await;
    let message = container(&pod, 0)["state"]["waiting"]["message"].to_string();
    assert!(
        message.contains("back-off 10s restarting failed container=c"),
        "{message}"
    );
    assert_eq!(restarts(&pod), 1, "the first restart is immediate");
    assert_eq!(phase(&pod), "Running");
    let last = time(&container(&pod, 0)["lastState"]["terminated"]["finishedAt"]);

    let pod = place
        .wait("exits", "restarted again", |pod| {
            restarts(pod) >= 2 && waits(pod)
        })
        .await;
    let next = &container(&pod, 0)["lastState"]["terminated"];
    assert!(
        time(&next["startedAt"]).duration_since(last).as_secs() >= 10,
        "{next}"
    );
    assert_eq!(next["exitCode"], 0);
    let message = container(&pod, 0)["state"]["waiting"]["message"].to_string();
    assert!(message.contains("back-off 20s"), "{message}");
    let events = place.events("exits").await;
    for reason in ["Scheduled", "Pulled", "Created", "Started", "BackOff"] {
        assert!(
            events.iter().any(|(r, _)| r == reason),
            "no {reason} in {events:?}"
        );
    }
}

pub(crate) async fn init_containers_run_in_order_and_sidecars_stay(place: Place) {
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let named =
        |name: &str, script: &str| with(with(shell(script), mount.clone()), json!({"name": name}));
    let sidecar = with(
        named("side", &format!("echo side >> /v/log; {IDLE}")),
        json!({"restartPolicy": "Always", "startupProbe": {"exec": {"command": ["grep", "side", "/v/log"]}, "periodSeconds": 1}}),
    );
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [named("one", "echo one >> /v/log"), sidecar, named("two", "echo two >> /v/log")],
        "containers": [named("main", "echo main >> /v/log; test \"$(tr '\\n' ' ' < /v/log)\" = 'one side two main '")],
        "volumes": [{"name": "v", "emptyDir": {}}],
    });
    place.pod("ordered", spec).await;
    let pod = place.succeeded("ordered").await;
    let init = serde_json::to_value(pod.status.unwrap().init_container_statuses).unwrap();
    assert_eq!(init[0]["state"]["terminated"]["exitCode"], 0);
    assert!(
        init[1]["state"]["terminated"].is_object(),
        "the sidecar ends after the others: {init}"
    );

    let failing = json!({"restartPolicy": "Never", "initContainers": [with(shell("exit 3"), json!({"name": "bad"}))], "containers": [shell(IDLE)]});
    place.pod("never", failing).await;
    let pod = place
        .wait("never", "failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(
        container(&pod, 0)["state"]["waiting"]["reason"],
        "PodInitializing"
    );
}

pub(crate) async fn readiness_and_liveness(place: Place) {
    let flips = json!({"readinessProbe": {"exec": {"command": ["test", "!", "-e", "/tmp/off"]}, "periodSeconds": 1, "failureThreshold": 1}});
    let script = format!("(sleep 4; touch /tmp/off; sleep 4; rm /tmp/off) & {IDLE}");
    place
        .pod(
            "flips",
            json!({"containers": [with(shell(&script), flips)]}),
        )
        .await;
    let dies = json!({"livenessProbe": {"exec": {"command": ["bash", "-c", "echo hopeless; false"]}, "periodSeconds": 1, "failureThreshold": 2}});
    place
        .pod("dies", json!({"containers": [with(shell(IDLE), dies)]}))
        .await;
    let closed = json!({"livenessProbe": {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 1}});
    place
        .pod("closed", json!({"containers": [with(shell(IDLE), closed)]}))
        .await;

    place.ready("flips").await;
    place.wait("flips", "unready", |pod| !is_ready(pod)).await;
    let pod = place.ready("flips").await;
    assert_eq!(restarts(&pod), 0, "readiness restarts nothing");

    place
        .wait("dies", "restarted", |pod| restarts(pod) >= 1)
        .await;
    let events = place.events("dies").await;
    assert!(
        events
            .iter()
            .any(|(r, m)| r == "Unhealthy" && m.contains("Liveness probe failed: hopeless")),
        "{events:?}"
    );
    assert!(
        events
            .iter()
            .any(|(r, m)| r == "Killing"
                && m == "Container c failed liveness probe, will be restarted"),
        "{events:?}"
    );
    place
        .wait("closed", "restarted", |pod| restarts(pod) >= 1)
        .await;
}

pub(crate) async fn a_startup_probe_holds_the_others_back(place: Place) {
    let probes = json!({
        "startupProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1},
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    });
    let script = format!("(sleep 5; touch /tmp/up) & {IDLE}");
    place
        .pod(
            "slow",
            json!({"containers": [with(shell(&script), probes)]}),
        )
        .await;
    let pod = place
        .wait("slow", "running", |pod| {
            container(pod, 0)["state"]["running"].is_object()
        })
        .await;
    assert!(!is_ready(&pod));
    let pod = place.ready("slow").await;
    assert_eq!(restarts(&pod), 0);
}

pub(crate) async fn the_end_of_a_pod_is_orderly(place: Place) {
    let volume = json!({"volumes": [{"name": "v", "hostPath": {"path": "/var/the-end", "type": "DirectoryOrCreate"}}]});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", "echo hook >> /v/log; sleep 1"]}}}});
    let script = "trap 'echo term >> /v/log; exit 0' TERM; while :; do sleep 0.1; done";
    let mut spec = json!({"terminationGracePeriodSeconds": 20, "containers": [with(with(shell(script), mounts), hook)]});
    spec["volumes"] = volume["volumes"].clone();
    place.pod("polite", spec).await;
    // Deaf to SIGTERM: the grace period runs out.
    place.pod("deaf", json!({"terminationGracePeriodSeconds": 3, "containers": [json!({"name": "c", "image": "debian", "command": ["sleep", "1000"]})]})).await;
    let pod = place.ready("polite").await;
    place.ready("deaf").await;
    let node = pod.spec.unwrap().node_name.unwrap();
    let begun = Timestamp::now();
    place
        .pods()
        .delete("polite", &DeleteParams::default())
        .await
        .unwrap();
    place
        .pods()
        .delete("deaf", &DeleteParams::default())
        .await
        .unwrap();
    place.gone("polite").await;
    place.gone("deaf").await;
    assert!(Timestamp::now().duration_since(begun).as_secs() >= 2);
    let log = std::fs::read_to_string(place.disk(&node).join("host/var/the-end/log")).unwrap();
    assert_eq!(log, "hook\nterm\n");
    let events = place.events("polite").await;
    assert!(
        events
            .iter()
            .any(|(r, m)| r == "Killing" && m == "Stopping container c"),
        "{events:?}"
    );
}

pub(crate) async fn what_cannot_run_says_why(place: Place) {
    place
        .pod(
            "image",
            json!({"containers": [{"name": "c", "image": "nginx:1"}]}),
        )
        .await;
    place.pod("program", json!({"containers": [{"name": "c", "image": "debian", "command": ["no-such-program"]}]})).await;
    let config = json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "a"}}}]});
    place
        .pod(
            "config",
            json!({"containers": [with(shell("true"), config)]}),
        )
        .await;
    let volume = json!({"containers": [shell("true")], "volumes": [{"name": "v", "secret": {"secretName": "absent"}}]});
    place.pod("volume", volume).await;
    let message = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    place.pod("message", json!({"restartPolicy": "Never", "containers": [with(shell("echo it was me; exit 4"), message)]})).await;

    let waiting = |reason: &'static str| {
        move |pod: &Pod| container(pod, 0)["state"]["waiting"]["reason"] == reason
    };
    let pod = place
        .wait("image", "refused", waiting("ErrImagePull"))
        .await;
    let text = container(&pod, 0)["state"]["waiting"]["message"].to_string();
    assert!(
        text.contains("postgres:15"),
        "the catalogue is listed: {text}"
    );
    place
        .wait("image", "backing off", waiting("ImagePullBackOff"))
        .await;
    place
        .wait("config", "refused", waiting("CreateContainerConfigError"))
        .await;
    let pod = place
        .wait("program", "refused", waiting("CrashLoopBackOff"))
        .await;
    let end = &container(&pod, 0)["lastState"]["terminated"];
    assert_eq!(
        (&end["reason"], &end["exitCode"]),
        (&json!("StartError"), &json!(128))
    );
    let pod = place
        .wait("message", "failed", |pod| phase(pod) == "Failed")
        .await;
    let text = container(&pod, 0)["state"]["terminated"]["message"].to_string();
    assert!(text.contains("it was me"), "{text}");
    let pod = place
        .wait("volume", "bound", |pod| condition(pod, "PodScheduled"))
        .await;
    assert_eq!(phase(&pod), "Pending");
    loop {
        if place
            .events("volume")
            .await
            .iter()
            .any(|(r, m)| r == "FailedMount" && m.contains("absent"))
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
