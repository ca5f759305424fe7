//! Pods on the sandbox's nodes, seen as a user sees them: through the API.
//!
//! One sandbox for all of it; each behaviour has a namespace of its own and they run side by side.

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::{
    Api, DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::wait::await_condition;
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

/// Nothing here takes half of this on a loaded machine; a wait that long is a failure.
const DEADLINE: Duration = Duration::from_secs(180);
const BINARY: &str = env!("CARGO_BIN_EXE_ferriswheel-sandbox");

struct Sandbox {
    state: tempfile::TempDir,
}

impl Sandbox {
    fn up() -> Self {
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let sandbox = Self { state };
        let pools = [
            "name=syspool,mode=System,count=1,zones=1",
            "name=work,mode=User,count=2,zones=1,label=for:work",
        ];
        let up = sandbox
            .command("up")
            .args(pools.iter().flat_map(|p| ["--pool", p]))
            .output()
            .unwrap();
        assert!(
            up.status.success(),
            "{}",
            String::from_utf8_lossy(&up.stderr)
        );
        sandbox
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env("FERRISWHEEL_STATE", self.state.path())
            .args([verb, "--name", "pods"]);
        command
    }

    fn directory(&self) -> PathBuf {
        self.state.path().join("sandboxes/pods")
    }

    async fn client(&self) -> Client {
        let file =
            kube::config::Kubeconfig::read_from(self.directory().join("kubeconfig")).unwrap();
        let config =
            Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
                .await
                .unwrap();
        Client::try_from(config).unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let down = self.command("down").output().unwrap();
        if !down.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&down.stderr));
        }
    }
}

/// A namespace of the cluster.
#[derive(Clone)]
struct Place {
    client: Client,
    name: String,
    sandbox: PathBuf,
}

impl Place {
    async fn new(client: &Client, name: &str, sandbox: &Path) -> Self {
        let api: Api<Namespace> = Api::all(client.clone());
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        api.create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
        let exists = |a: Option<&ServiceAccount>| a.is_some();
        within(
            name,
            "the default service account",
            await_condition(accounts, "default", exists),
        )
        .await;
        Self {
            client: client.clone(),
            name: name.to_owned(),
            sandbox: sandbox.to_owned(),
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn apply(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types
            .api_version
            .split_once('/')
            .unwrap_or(("", &types.api_version));
        let gvk = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let plural = format!("{}s", types.kind.to_lowercase());
        let resource = kube::core::ApiResource::from_gvk_with_plural(&gvk, &plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let name = object.metadata.name.clone().unwrap();
        api.patch(
            &name,
            &PatchParams::apply("test").force(),
            &Patch::Apply(object),
        )
        .await
        .unwrap();
    }

    async fn pod(&self, name: &str, spec: Value) {
        self.labelled_pod(name, json!({}), spec).await;
    }

    async fn labelled_pod(&self, name: &str, labels: Value, spec: Value) {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "nodeSelector": {"for": "work"}},
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.apply(object).await;
    }

    async fn wait(&self, name: &str, what: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
        let holds = |pod: Option<&Pod>| pod.is_some_and(&condition);
        let found = tokio::time::timeout(DEADLINE, await_condition(self.pods(), name, holds)).await;
        match found {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => {
                let pod = self.pods().get_opt(name).await.unwrap();
                let status = serde_json::to_string(&pod.and_then(|p| p.status)).unwrap();
                panic!(
                    "{}/{name}: not {what}: {status}\n{:#?}",
                    self.name,
                    self.events(name).await
                );
            }
        }
    }

    async fn ready(&self, name: &str) -> Pod {
        self.wait(name, "ready", is_ready).await
    }

    async fn succeeded(&self, name: &str) -> Pod {
        let over = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
        let pod = self.wait(name, "over", over).await;
        assert_eq!(
            phase(&pod),
            "Succeeded",
            "{}/{name}: {:?}\n{}",
            self.name,
            pod.status,
            self.logs(&pod)
        );
        pod
    }

    async fn events(&self, pod: &str) -> Vec<(String, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let list = api
            .list(&ListParams::default().fields(&format!("involvedObject.name={pod}")))
            .await
            .unwrap();
        list.items
            .into_iter()
            .map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default()))
            .collect()
    }

    async fn gone(&self, name: &str) {
        let absent = |pod: Option<&Pod>| pod.is_none();
        within(
            &self.name,
            "gone",
            await_condition(self.pods(), name, absent),
        )
        .await;
    }

    fn disk(&self, node: &str) -> PathBuf {
        self.sandbox.join("nodes").join(node).join("disk")
    }

    fn logs(&self, pod: &Pod) -> String {
        let node = pod
            .spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .unwrap_or_default();
        let meta = &pod.metadata;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let name = format!("{}_{}_{}", self.name, text(&meta.name), text(&meta.uid));
        let directory = self.disk(&node).join("log/pods").join(name);
        let mut all = String::new();
        for container in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(container.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                all.push_str(&std::fs::read_to_string(file.path()).unwrap_or_default());
            }
        }
        all
    }
}

async fn within<T, E: std::fmt::Debug>(
    place: &str,
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done.unwrap(),
        Err(_) => panic!("{place}: no {what} within {DEADLINE:?}"),
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready")
}

fn condition(pod: &Pod, kind: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == kind && c.status == "True")
}

/// The status of a pod's container as JSON, for paths into it.
fn container(pod: &Pod, index: usize) -> Value {
    serde_json::to_value(
        pod.status
            .as_ref()
            .and_then(|s| s.container_statuses.as_ref())
            .and_then(|c| c.get(index)),
    )
    .unwrap()
}

fn restarts(pod: &Pod) -> i64 {
    container(pod, 0)["restartCount"].as_i64().unwrap_or(0)
}

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no time in {value}"))
        .parse()
        .unwrap()
}

fn shell(script: &str) -> Value {
    json!({"name": "c", "image": "debian", "command": ["bash", "-exc", script]})
}

fn with(mut container: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        container[key] = value.clone();
    }
    container
}

const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

type Scenario = Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_behave_as_on_a_real_node() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(
        nix::unistd::getuid().is_root(),
        "namespaces need root: run the tests as root"
    );
    let sandbox = Sandbox::up();
    let client = sandbox.client().await;
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
    drop(sandbox);
    assert!(failed.is_empty(), "failed: {failed:?}");
}

async fn restarts_back_off(place: Place) {
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

async fn config_reaches_a_running_pod(place: Place) {
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

async fn init_containers_run_in_order_and_sidecars_stay(place: Place) {
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

async fn a_pod_knows_itself(place: Place) {
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

async fn services_and_names_work_across_nodes(place: Place) {
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

async fn readiness_and_liveness(place: Place) {
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

async fn a_startup_probe_holds_the_others_back(place: Place) {
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

async fn the_end_of_a_pod_is_orderly(place: Place) {
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

async fn users_and_groups(place: Place) {
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

async fn what_cannot_run_says_why(place: Place) {
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

async fn volumes_of_every_kind(place: Place) {
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

/// PostgreSQL as PID 1 on a disk, evicted to another node of the zone: the row is still there, and the new server is
/// reached through the same Service.
async fn a_disk_follows_its_pod(place: Place) {
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
