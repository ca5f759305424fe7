//! Probes, the pause before the end, and the time to end in: patches for what lacks them.
//!
//! Invariants: what a container has is left as it is; a port or path that nothing names is not
//! guessed. A liveness probe is made only where a wrong one cannot restart a healthy server: of
//! databases by a command that a recovering server passes too, of services by a path that a person
//! named for it.
//!
//! # Source
//! `pg_isready`: exit 0 accepts, 1 rejects (starting or recovering), 2 no answer. `redis-cli`: PONG,
//! or LOADING while it reads its data. `sleep` of a lifecycle hook: on by default since Kubernetes 1.30.

use serde_json::{Map, Value, json};

use super::{Content, File, Generated};
use crate::manifest::Object;
use crate::resilience::databases;
use crate::resilience::scene::{Makes, Scene, Workload};
use crate::resilience::values::{has, int, list, text};

/// First minor whose API server accepts `lifecycle.preStop.sleep` without a feature gate.
const SLEEP_ACTION: u32 = 30;

/// Seconds between "terminating" and the signal. Endpoints reach every node's proxy in one or two; an
/// Azure load balancer takes two failed probes of 5 s each, and 5 s of room.
const LEAD: i64 = 15;

/// Seconds that the slowest request may take after the lead, before the container is killed.
const SLOWEST: i64 = 30;

/// What a person adds to what the input shows.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Minor of Kubernetes.
    pub minor: u32,
    /// Path that answers when the service can serve.
    pub ready_path: Option<String>,
    /// Path that answers while the process is worth keeping, whatever it depends on.
    pub live_path: Option<String>,
}

/// Probes of a database's container.
struct Care {
    ready: Value,
    live: Option<Value>,
    /// Tries of 10 s that a start may take.
    start: i64,
    /// Seconds to end in.
    grace: i64,
}

/// How a database is asked whether it is well. `None`: nothing is known that would be right.
fn care(database: &str, port: i64) -> Option<Care> {
    let shell = |line: String| json!({ "exec": { "command": ["/bin/sh", "-c", line] } });
    let tcp = || json!({ "tcpSocket": { "port": port } });
    // An hour for the recovery of a large log, or the load of a large data set.
    let start = 360;
    Some(match database {
        "PostgreSQL" => Care {
            ready: shell(format!("exec pg_isready -q -h 127.0.0.1 -p {port}")),
            // A server in recovery rejects and is alive.
            live: Some(shell(format!(
                "pg_isready -q -h 127.0.0.1 -p {port} || test $? -eq 1"
            ))),
            start,
            // A fast stop writes a checkpoint: two minutes hold tens of gigabytes of dirty pages.
            grace: 120,
        },
        "Redis" | "Valkey" => {
            let tool = if database == "Redis" {
                "redis-cli"
            } else {
                "valkey-cli"
            };
            Care {
                ready: shell(format!("{tool} -h 127.0.0.1 -p {port} ping | grep -q PONG")),
                // Any word of its own is a sign of life: LOADING, NOAUTH, MASTERDOWN, BUSY.
                live: Some(shell(format!(
                    "{tool} -h 127.0.0.1 -p {port} ping 2>&1 | grep -Eq 'PONG|LOADING|NOAUTH|MASTERDOWN|BUSY'"
                ))),
                start,
                // The data set is written on the way out unless told otherwise.
                grace: 120,
            }
        }
        "CouchDB" => Care {
            ready: json!({ "httpGet": { "path": "/_up", "port": port } }),
            live: Some(tcp()),
            start: 30,
            grace: 60,
        },
        // A shell of theirs takes a second or more of a processor to start, every ten seconds, on every
        // member: the port says less and costs nothing.
        "MongoDB" | "Elasticsearch" | "OpenSearch" | "Kafka" | "MySQL" | "MariaDB" => Care {
            ready: tcp(),
            live: Some(tcp()),
            start,
            // Kafka hands its partitions over and Elasticsearch flushes before the end.
            grace: 180,
        },
        "Memcached" => Care {
            ready: tcp(),
            live: Some(tcp()),
            start: 6,
            grace: 30,
        },
        _ => return None,
    })
}

/// The port that a database's clients use, when the container names none.
pub(crate) fn usual_port(database: &str) -> Option<i64> {
    Some(match database {
        "PostgreSQL" => 5432,
        "Redis" | "Valkey" => 6379,
        "CouchDB" => 5984,
        "MongoDB" => 27017,
        "Elasticsearch" | "OpenSearch" => 9200,
        "Kafka" => 9092,
        "MySQL" | "MariaDB" => 3306,
        "Memcached" => 11211,
        _ => return None,
    })
}

/// Patches for everything in the input that lacks something.
pub fn of_objects<'a>(objects: impl IntoIterator<Item = &'a Object>, wish: &Wish) -> Generated {
    let scene = Scene::of(objects);
    let mut made = Generated::default();
    let mut sets = false;
    for workload in &scene.workloads {
        // Custom resources take no strategic merge patch; pods cannot be changed.
        let patched = matches!(
            workload.makes,
            Makes::Deployment | Makes::StatefulSet | Makes::DaemonSet
        );
        if !patched {
            continue;
        }
        match patch(workload, wish) {
            // The name becomes that of a file, and part of a command.
            Ok(Some(_)) if !is_name(workload) => {
                made.leave_out(workload.name(), "no API server takes this name");
            }
            Ok(Some(body)) => {
                sets |= workload.makes == Makes::StatefulSet;
                made.files.push(file(workload, body));
            }
            Ok(None) => {}
            Err(reason) => made.leave_out(workload.name(), reason),
        }
    }
    if !made.files.is_empty() {
        made.notes.push(
            "a changed template replaces every pod: apply these well before the upgrade, not during it".to_owned(),
        );
    }
    if sets {
        made.notes.push(
            "a StatefulSet is rolled from its highest ordinal, whatever the roles: hand the primary over to the pod that was \
             replaced last, or set updateStrategy OnDelete and replace replicas first"
                .to_owned(),
        );
    }
    made.left_out.sort();
    made
}

fn is_name(workload: &Workload<'_>) -> bool {
    let good = |name: &str| {
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    !workload.object.name.is_empty() && good(&workload.object.name) && good(workload.namespace())
}

fn file(workload: &Workload<'_>, body: Value) -> File {
    let object = workload.object;
    let kind = object.kind.to_ascii_lowercase();
    let within = match workload.namespace() {
        "" => String::new(),
        namespace => format!("-n {namespace} "),
    };
    let name = match workload.namespace() {
        "" => format!("probes-{kind}-{}.yaml", object.name),
        namespace => format!("probes-{namespace}-{kind}-{}.yaml", object.name),
    };
    File {
        about: vec![format!(
            "kubectl {within}patch {kind} {} --type=strategic --patch-file={name}",
            object.name
        )],
        name,
        content: Content::Patch(body),
    }
}

/// What the workload lacks; nothing when it lacks nothing.
fn patch(workload: &Workload<'_>, wish: &Wish) -> Result<Option<Value>, String> {
    let mut containers = Vec::new();
    let mut grace = 0;
    let mut unknown = Vec::new();
    for container in list(workload.pod(), "/spec/containers") {
        let Some(name) = text(container, "/name") else {
            continue;
        };
        let (mut fields, wanted) = match databases::of_container(container) {
            Some(found) => {
                let port = port(container).or_else(|| usual_port(found.name));
                let care = port.and_then(|port| care(found.name, port));
                let Some(care) = care else {
                    unknown.push(format!("{name} runs {}", found.name));
                    continue;
                };
                (database(container, &care), care.grace)
            }
            None => match port(container) {
                Some(port) => (service(container, port, wish), LEAD + SLOWEST + LEAD),
                // Who has no port is asked for nothing.
                None => continue,
            },
        };
        grace = grace.max(wanted);
        if !fields.is_empty() {
            fields.insert("name".to_owned(), json!(name));
            containers.push(Value::Object(fields));
        }
    }
    let mut spec = Map::new();
    if !containers.is_empty() {
        spec.insert("containers".to_owned(), Value::Array(containers));
    }
    // 30 s is what a pod gets that says nothing.
    let given = int(workload.pod(), "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    if grace > given {
        spec.insert("terminationGracePeriodSeconds".to_owned(), json!(grace));
    }
    match (spec.is_empty(), unknown.is_empty()) {
        (false, _) => Ok(Some(json!({ "spec": { "template": { "spec": spec } } }))),
        (true, false) => Err(format!(
            "{}: how it is asked is not known here",
            unknown.join(", ")
        )),
        (true, true) => Ok(None),
    }
}

/// The port that clients use: of those with a name the one of the protocol, else the first.
fn port(container: &Value) -> Option<i64> {
    let ports = list(container, "/ports");
    let metrics = |port: &&Value| {
        text(port, "/name").is_none_or(|name| !name.contains("metric") && !name.contains("prom"))
    };
    let found = ports.iter().find(metrics)?;
    int(found, "/containerPort")
}

fn probe(mut how: Value, period: i64, timeout: i64, failures: i64) -> Value {
    if let Some(fields) = how.as_object_mut() {
        fields.insert("periodSeconds".to_owned(), json!(period));
        fields.insert("timeoutSeconds".to_owned(), json!(timeout));
        fields.insert("failureThreshold".to_owned(), json!(failures));
    }
    how
}

fn database(container: &Value, care: &Care) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| {
        if !has(container, &format!("/{key}")) {
            fields.insert(key.to_owned(), value);
        }
    };
    // Out of the endpoints within 15 s, back in with the first success.
    set("readinessProbe", probe(care.ready.clone(), 5, 3, 3));
    if let Some(live) = &care.live {
        set("livenessProbe", probe(live.clone(), 10, 5, 6));
        // Until it has started once, liveness is not asked: a recovery is not killed and begun anew.
        set("startupProbe", probe(live.clone(), 10, 5, care.start));
    }
    fields
}

fn service(container: &Value, port: i64, wish: &Wish) -> Map<String, Value> {
    let mut fields = Map::new();
    let http = |path: &str| json!({ "httpGet": { "path": path, "port": port } });
    if !has(container, "/readinessProbe") {
        let how = match &wish.ready_path {
            Some(path) => http(path),
            None => json!({ "tcpSocket": { "port": port } }),
        };
        fields.insert("readinessProbe".to_owned(), probe(how, 5, 3, 3));
    }
    if let Some(path) = wish
        .live_path
        .as_deref()
        .filter(|_| !has(container, "/livenessProbe"))
    {
        // Slower than readiness: a pod that is only busy leaves the endpoints and is not killed.
        fields.insert("livenessProbe".to_owned(), probe(http(path), 10, 5, 6));
        if !has(container, "/startupProbe") {
            fields.insert("startupProbe".to_owned(), probe(http(path), 5, 5, 60));
        }
    }
    if !has(container, "/lifecycle/preStop") {
        let stop = if wish.minor >= SLEEP_ACTION {
            json!({ "sleep": { "seconds": LEAD } })
        } else {
            // Needs a shell's sleep in the image.
            json!({ "exec": { "command": ["sleep", LEAD.to_string()] } })
        };
        fields.insert("lifecycle".to_owned(), json!({ "preStop": stop }));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Want, read};

    fn made(text: &str, wish: &Wish) -> Generated {
        let reading = read("a.yaml", text.as_bytes(), Want::Bodies);
        assert_eq!(reading.skipped, []);
        of_objects(&reading.objects, wish)
    }

    const WISH: Wish = Wish {
        minor: 36,
        ready_path: None,
        live_path: None,
    };

    const WEB: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: web, namespace: shop }\nspec:\n  template:\n    spec:\n\
                       \x20     containers:\n      - { name: web, image: \"team/web:1\", ports: [ { containerPort: 8080 } ] }\n      - { name: log, image: \"team/log:1\" }\n";

    fn pod(made: &Generated) -> Value {
        match &made.files[0].content {
            Content::Patch(body) => body["spec"]["template"]["spec"].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_service_leaves_the_endpoints_before_it_ends() {
        let pod = pod(&made(WEB, &WISH));
        let container = &pod["containers"][0];
        assert_eq!(container["name"], "web");
        assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 8080);
        assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], LEAD);
        // No path was named, so none is guessed; who has no port is left alone.
        assert!(container.get("livenessProbe").is_none());
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
        assert_eq!(pod["terminationGracePeriodSeconds"], 60);

        let old = Wish {
            minor: 29,
            live_path: Some("/live".to_owned()),
            ..WISH
        };
        let pod = super::tests::pod(&made(WEB, &old));
        let container = &pod["containers"][0];
        assert_eq!(
            container["lifecycle"]["preStop"]["exec"]["command"],
            json!(["sleep", "15"])
        );
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/live");
    }

    #[test]
    fn what_is_there_stays() {
        let text = WEB.replace(
            "ports: [ { containerPort: 8080 } ]",
            "ports: [ { containerPort: 8080 } ], readinessProbe: { tcpSocket: { port: 8080 } }, lifecycle: { preStop: { sleep: { seconds: 5 } } }",
        );
        let text = text.replace(
            "    spec:\n",
            "    spec:\n      terminationGracePeriodSeconds: 90\n",
        );
        let made = made(&text, &WISH);
        assert_eq!(made.files, []);
        assert_eq!(made.left_out, []);
    }

    #[test]
    fn a_database_in_recovery_is_alive() {
        let text = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: pg, namespace: db }\nspec:\n  template:\n    spec:\n\
                    \x20     containers: [ { name: postgres, image: \"postgres:15\" } ]\n";
        let made = made(text, &WISH);
        let pod = pod(&made);
        let container = &pod["containers"][0];
        let live = container["livenessProbe"]["exec"]["command"][2]
            .as_str()
            .unwrap();
        assert!(live.ends_with("|| test $? -eq 1"), "{live}");
        assert_eq!(container["startupProbe"]["failureThreshold"], 360);
        assert_eq!(pod["terminationGracePeriodSeconds"], 120);
        assert!(
            made.notes
                .iter()
                .any(|note| note.contains("highest ordinal"))
        );
        assert_eq!(made.files[0].name, "probes-db-statefulset-pg.yaml");
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let made = made(
            &WEB.replace("name: web, namespace", "name: ../../web, namespace"),
            &WISH,
        );
        assert_eq!(made.files, []);
        assert_eq!(made.left_out[0].reason, "no API server takes this name");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let text = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: v, namespace: db }\nspec:\n  template:\n    spec:\n\
                    \x20     containers: [ { name: vault, image: \"vault:1\" } ]\n";
        let made = made(text, &WISH);
        assert_eq!(made.files, []);
        assert_eq!(made.left_out[0].object, "StatefulSet db/v");
    }
}
