//! What a pod finds around it: volumes, names, users, Services.

use super::common::*;
use kube::api::{Api, EvictParams};
use serde_json::{Value, json};

pub(crate) async fn config_reaches_a_running_pod(place: Place) {
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"file": value}});
    place.apply(map("old")).await;
    let ready = json!({"readinessProbe": {"exec": {"command": ["grep", "-q", "new", "/settings/file"]}, "periodSeconds": 1}});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/settings"}]});
    let spec = json!({
        "containers": [with(with(shell(IDLE), ready), mounts)],
        "volumes": [{"name": "v", "configMap": {"name": "settings"}}],
    });
    place.pod("reads", spec).await;
    place
        .wait("reads", "running", |pod| {
            container(pod, 0)["started"] == true
        })
        .await;
    place.apply(map("new")).await;
    let pod = place.ready("reads").await;
    assert_eq!(restarts(&pod), 0);
}

pub(crate) async fn a_pod_knows_itself(place: Place) {
    place.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"A": "one"}})).await;
    place.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "hidden"}})).await;
    let script = r#"
        test "$NAME" = self; test "$WHERE" = "$(hostname -i | cut -d' ' -f1)"; test "$LABEL" = blue; test "$CPU" = 250; test "$MEM" = 64
        test "$ALL" = "self-one"; test "$P_A" = one; test "$K" = hidden; test "$1" = "arg-self"; test "$LITERAL" = '$''(NAME)'
        grep -qx 'colour="blue"' /self/labels; test "$(hostname)" = self
        test "$KUBERNETES_SERVICE_HOST" = 10.0.0.1; grep -q "^search a-pod-knows-itself.svc.cluster.local svc.cluster.local" /etc/resolv.conf
        grep -q "ndots:5" /etc/resolv.conf; grep -q "^10.1.2.3	alias" /etc/hosts; test "$PWD" = /var/tmp
        ls /var/run/secrets/kubernetes.io/serviceaccount/token
    "#;
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let resource = |name: &str, what: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": what, "divisor": divisor}}});
    let more = json!({
        "args": ["bash", "arg-$(NAME)"],
        "workingDir": "/var/tmp",
        "env": [
            field("NAME", "metadata.name"), field("WHERE", "status.podIP"), field("LABEL", "metadata.labels['colour']"),
            resource("CPU", "requests.cpu", "1m"), resource("MEM", "limits.memory", "1Mi"),
            {"name": "ALL", "value": "$(NAME)-$(P_A)"}, {"name": "LITERAL", "value": "$$(NAME)"},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
        ],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "words"}}],
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "self", "mountPath": "/self"}],
    });
    let spec = json!({
        "restartPolicy": "Never",
        "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["alias"]}],
        "containers": [with(shell(script), more)],
        "volumes": [{"name": "self", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}],
    });
    place
        .labelled_pod("self", json!({"colour": "blue"}), spec)
        .await;
    let pod = place.succeeded("self").await;
    let status = serde_json::to_value(&pod.status).unwrap();
    assert!(
        status["podIP"].as_str().unwrap().starts_with("10.244."),
        "{status}"
    );
    assert!(
        status["hostIP"].as_str().unwrap().starts_with("10.224."),
        "{status}"
    );
}

pub(crate) async fn users_and_groups(place: Place) {
    let script = r#"
        test "$(id -u)" = 1234; test "$(id -g)" = 77; id -G | grep -qw 3000; id -G | grep -qw 4000
        touch /v/mine; test "$(stat -c %g /v/mine)" = 3000; cat /var/run/secrets/kubernetes.io/serviceaccount/token > /dev/null
        ! touch /read-only-root 2>/dev/null
        grep -q 'NoNewPrivs:.1' /proc/self/status
    "#;
    let security = json!({"securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false}});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let spec = json!({
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": 1234, "runAsGroup": 77, "fsGroup": 3000, "supplementalGroups": [4000]},
        "containers": [with(with(shell(script), security), mounts)],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
    });
    place.pod("plain", spec).await;
    place.succeeded("plain").await;
}

pub(crate) async fn volumes_of_every_kind(place: Place) {
    place.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "map"}, "data": {"a": "1", "b": "2"}})).await;
    place.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "hidden"}})).await;
    let script = r#"
        test "$(cat /all/map/b)" = 2; test "$(cat /all/key)" = hidden; test "$(stat -Lc %a /all/key)" = 400; test ! -e /all/map/a
        test "$(cat /all/name)" = kinds; test "$(cat /one)" = 1
        grep -q ' /mem tmpfs' /proc/mounts; echo x > /deep/file; ! echo x > /locked/file
        test "$(readlink /all/key)" = ..data/key
    "#;
    let mounts = json!({"volumeMounts": [
        {"name": "all", "mountPath": "/all"}, {"name": "map", "mountPath": "/one", "subPath": "a"},
        {"name": "mem", "mountPath": "/mem"}, {"name": "scratch", "mountPath": "/deep", "subPath": "x/y"},
        {"name": "scratch", "mountPath": "/locked", "readOnly": true},
    ]});
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [with(shell(script), mounts)],
        "volumes": [
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "map", "items": [{"key": "b", "path": "map/b"}]}},
                {"secret": {"name": "key", "items": [{"key": "k", "path": "key", "mode": 0o400}]}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]}},
            {"name": "map", "configMap": {"name": "map"}},
            {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    });
    place.pod("kinds", spec).await;
    place.succeeded("kinds").await;
}

pub(crate) async fn services_and_names_work_across_nodes(place: Place) {
    let spread = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}]}});
    let web = with(
        json!({"name": "c", "image": "debian", "command": ["python3", "-m", "http.server", "80", "--directory", "/etc/apt"]}),
        json!({"ports": [{"name": "web", "containerPort": 80}], "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 1}}),
    );
    let named =
        json!({"hostname": "host", "subdomain": "deep", "affinity": spread, "containers": [web]});
    place
        .labelled_pod("web", json!({"app": "web"}), named)
        .await;
    for (name, address) in [("web", Value::Null), ("deep", json!("None"))] {
        let mut spec =
            json!({"selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": "web"}]});
        if !address.is_null() {
            spec["clusterIP"] = address;
        }
        place.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})).await;
    }
    place.ready("web").await;
    let script = r#"
        fetch() { python3 -c "import sys,urllib.request as u; u.urlopen(sys.argv[1],timeout=3).read()" "$1"; }
        retry() { for i in $(seq 100); do "$@" 2>/dev/null && return; sleep 0.3; done; "$@"; }
        retry fetch http://web:8080/
        retry fetch http://host.deep.services-and-names-work-across-nodes.svc.cluster.local:80/
        retry fetch "http://$WEB_SERVICE_HOST:$WEB_SERVICE_PORT/"
        ! getent hosts no-such-name
    "#;
    // Once on another node, once beside the server.
    let elsewhere =
        json!({"restartPolicy": "Never", "affinity": spread, "containers": [shell(script)]});
    place
        .labelled_pod("elsewhere", json!({"app": "client"}), elsewhere)
        .await;
    let beside = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    place
        .pod(
            "beside",
            json!({"restartPolicy": "Never", "affinity": beside, "containers": [shell(script)]}),
        )
        .await;
    place.succeeded("elsewhere").await;
    place.succeeded("beside").await;
}

/// PostgreSQL as PID 1 on a disk, evicted to another node of the zone: the row is still there, and the new server is
/// reached through the same Service.
pub(crate) async fn a_disk_follows_its_pod(place: Place) {
    place
        .apply(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "pg"},
            "spec": {"clusterIP": "None", "selector": {"app": "pg"}, "ports": [{"port": 5432}]}}),
        )
        .await;
    place
        .apply(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "primary"},
            "spec": {"selector": {"app": "pg"}, "ports": [{"port": 5432}]}}),
        )
        .await;
    let server = json!({
        "name": "pg", "image": "postgres:15",
        "env": [{"name": "POSTGRES_PASSWORD", "value": "x"}, {"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-U", "postgres"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql/data"}],
    });
    place
        .apply(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pg"},
            "spec": {
                "serviceName": "pg", "replicas": 1, "selector": {"matchLabels": {"app": "pg"}},
                "template": {"metadata": {"labels": {"app": "pg"}}, "spec": {"nodeSelector": {"for": "work"}, "containers": [server]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
            },
        }))
        .await;
    let client = |statement: &str| {
        let script = format!(
            "for i in $(seq 60); do psql -h primary -U postgres -Atc \"{statement}\" && exit 0; sleep 0.5; done; exit 1"
        );
        json!({"restartPolicy": "Never", "containers": [with(shell(&script), json!({"env": [{"name": "PGPASSWORD", "value": "x"}]}))]})
    };
    let first = place.ready("pg-0").await;
    place
        .pod("writes", client("create table t as select 42 as a"))
        .await;
    place.succeeded("writes").await;

    let node = first
        .spec
        .as_ref()
        .and_then(|s| s.node_name.clone())
        .unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(place.client.clone());
    nodes.cordon(&node).await.unwrap();
    place
        .pods()
        .evict("pg-0", &EvictParams::default())
        .await
        .unwrap();
    let uid = first.metadata.uid.clone();
    let second = place
        .wait("pg-0", "back", |pod| {
            pod.metadata.uid != uid && is_ready(pod)
        })
        .await;
    nodes.uncordon(&node).await.unwrap();
    assert_ne!(
        second.spec.as_ref().and_then(|s| s.node_name.clone()),
        Some(node)
    );
    assert!(
        place
            .logs(&second)
            .contains("[1] LOG:  database system is ready"),
        "the server is PID 1"
    );

    place.pod("reads", client("select a from t")).await;
    let pod = place.succeeded("reads").await;
    assert!(
        place.logs(&pod).contains(" stdout F 42"),
        "{}",
        place.logs(&pod)
    );
}
