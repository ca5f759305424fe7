//! The images and the example cluster, as a user meets them: `examples/postgres/up.sh` in a sandbox of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{BINARY, SYSTEM, Sandbox, finished as ok, text};

/// A member that rejoins attaches its disk, rewinds and catches up: seconds. Longer than any of it on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A PostgreSQL of the image's own making, with the public image's variables and directory.
const PLAIN_POSTGRES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: plain }
data:
  1.sql: CREATE TABLE a (i int); INSERT INTO a VALUES (1);
  2.sh: docker_process_sql <<<'INSERT INTO a VALUES (2)'
---
apiVersion: v1
kind: Pod
metadata: { name: plain }
spec:
  tolerations: [{ operator: Exists }]
  containers:
    - name: postgres
      image: docker.io/library/postgres:15-bookworm
      args: ["-c", "shared_buffers=32MB"]
      env:
        - { name: POSTGRES_PASSWORD, value: secret }
        - { name: POSTGRES_USER, value: me }
        - { name: POSTGRES_DB, value: mine }
      readinessProbe:
        exec: { command: ["pg_isready", "-h", "127.0.0.1", "-U", "me"] }
        periodSeconds: 1
      volumeMounts: [{ name: init, mountPath: /docker-entrypoint-initdb.d }]
  volumes: [{ name: init, configMap: { name: plain } }]
"#;

/// The same server program by options alone, as root and as the image's user, and the other one.
const PLAIN_REDIS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: redis }
spec:
  tolerations: [{ operator: Exists }]
  containers:
    - { name: redis, image: "docker.io/library/redis:7.0-bookworm", args: ["--appendonly", "yes"] }
---
apiVersion: v1
kind: Pod
metadata: { name: valkey }
spec:
  tolerations: [{ operator: Exists }]
  securityContext: { runAsUser: 999, runAsNonRoot: true }
  containers:
    - { name: valkey, image: "valkey/valkey:9.1" }
"#;

impl Sandbox {
    fn kubectl(&self, args: &str) -> Command {
        let mut command = self.command(&["kubectl", "--"]);
        command.args(args.split_whitespace());
        command
    }

    /// Runs SQL in a member, over its socket.
    fn sql(&self, pod: &str, sql: &str) -> Output {
        self.kubectl(&format!(
            "--namespace db exec {pod} -- psql -XAtq postgres -c"
        ))
        .arg(sql)
        .output()
        .unwrap()
    }

    /// Runs SQL as the application does: through the poolers.
    fn pooled(&self, sql: &str) -> String {
        let psql = "PGPASSWORD=$(cat /etc/postgresql-secrets/application/password) \
                    psql -XAtq -h pgbouncer -p 6432 -U app app -c \"$1\"";
        let mut command = self.kubectl("--namespace db exec pg-2 -- sh -c");
        command.args([psql, "sh", sql]);
        ok(command)
    }

    fn happens(&self, what: &str, mut check: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !check(self) {
            assert!(
                Instant::now() < end,
                "never happened: {what}\n{}",
                ok(self.kubectl("get pods -A -o wide"))
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A node by itself, without a configuration.
const PLAIN_KAFKA: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: kafka }
spec:
  tolerations: [{ operator: Exists }]
  containers:
    - name: kafka
      image: apache/kafka:4.3.1
      env:
        - { name: KAFKA_HEAP_OPTS, value: -Xmx256m }
"#;

#[test]
fn the_example_stands_and_a_replaced_primary_comes_back_as_a_standby() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Prints where PostgreSQL 18 is; installs it where it is missing.
    ok(Command::new(root.join("scripts/install-postgres-18.sh")));
    let sandbox = Sandbox::up("example", &[]);
    let mut up = Command::new(root.join("examples/postgres/up.sh"));
    up.args(["--image", "postgres:18", "--synchronous"])
        .env("FERRISWHEEL_STATE", sandbox.state())
        .env("KUBECTL", format!("{BINARY} kubectl --name example --"));
    ok(up);

    sandbox.pooled("CREATE TABLE kept (i int)");
    sandbox.pooled("INSERT INTO kept VALUES (1)");
    let standbys = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'quorum'";
    assert_eq!(text(&sandbox.sql("pg-0", standbys).stdout), "2");
    assert!(text(&sandbox.sql("pg-0", "SELECT version()").stdout).starts_with("PostgreSQL 18"));
    let first = ok(sandbox.kubectl("--namespace db exec pg-0 -- cat /proc/1/comm"));
    assert_eq!(first, "postgres", "the server is the container's PID 1");

    // Another member is promoted behind the primary's back, and the primary's pod goes.
    assert!(sandbox.sql("pg-1", "SELECT pg_promote()").status.success());
    let old = ok(sandbox.kubectl("--namespace db get pod pg-0 -o jsonpath={.metadata.uid}"));
    ok(sandbox.kubectl("--namespace db delete pod pg-0"));
    sandbox.happens("pg-0 comes back and streams from pg-1", |sandbox| {
        let pod = "--namespace db get pod pg-0 --ignore-not-found -o jsonpath={.metadata.uid}";
        let new = text(&sandbox.kubectl(pod).output().unwrap().stdout);
        let following = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'pg-0' AND state = 'streaming'";
        new != old && !new.is_empty() && text(&sandbox.sql("pg-1", following).stdout) == "1"
    });
    assert_eq!(
        text(&sandbox.sql("pg-0", "SELECT pg_is_in_recovery()").stdout),
        "t",
        "two members are primary"
    );
}

#[test]
fn plain_servers_are_made_from_their_environment_and_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    ok(Command::new(root.join("scripts/install-valkey-9.sh")));
    ok(Command::new(root.join("scripts/install-kafka.sh")));
    let sandbox = Sandbox::up("plain", &[SYSTEM]);
    let manifest = sandbox.state().join("plain.yaml");
    std::fs::write(
        &manifest,
        format!("{PLAIN_POSTGRES}---{PLAIN_REDIS}---{PLAIN_KAFKA}"),
    )
    .unwrap();
    let mut apply = sandbox.kubectl("apply -f");
    apply.arg(&manifest);
    ok(apply);
    ok(sandbox.kubectl("wait --for=condition=Ready pod/plain --timeout=60s"));
    let mut query =
        sandbox.kubectl("exec plain -- env PGPASSWORD=secret psql -XAt -h 127.0.0.1 -U me mine -c");
    query.arg("SELECT array_agg(i ORDER BY i), current_setting('shared_buffers') FROM a");
    assert_eq!(ok(query), "{1,2}|32MB");
    assert_eq!(
        ok(sandbox.kubectl("exec plain -- cat /proc/1/comm")),
        "postgres"
    );
    // SIGINT, the image's stop signal, is a fast shutdown: a client that is at work is told, neither waited for until
    // the grace period is over nor cut by a kill.
    let client = sandbox
        .kubectl("exec plain -- psql -U me mine -c")
        .arg("SELECT pg_sleep(600)")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    sandbox.happens("the client is at work", |sandbox| {
        let mut busy = sandbox.kubectl("exec plain -- psql -XAt -U me mine -c");
        busy.arg("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()");
        ok(busy) == "1"
    });
    ok(sandbox.kubectl("delete pod plain"));
    let told = text(&client.wait_with_output().unwrap().stderr);
    assert!(
        told.contains("terminating connection due to administrator command"),
        "{told}"
    );

    for (pod, program) in [("redis", "redis-server"), ("valkey", "valkey-server")] {
        ok(sandbox.kubectl(&format!(
            "wait --for=condition=Ready pod/{pod} --timeout=60s"
        )));
        let exec = |command: &str| ok(sandbox.kubectl(&format!("exec {pod} -- {command}")));
        sandbox.happens("the server answers", |sandbox| {
            let mut ping = sandbox.kubectl(&format!("exec {pod} -- redis-cli PING"));
            text(&ping.output().unwrap().stdout) == "PONG"
        });
        assert_eq!(exec("cat /proc/1/comm"), program);
        assert_eq!(exec("stat -c %u:%U /proc/1"), format!("999:{pod}"));
        assert_eq!(exec("redis-cli CONFIG GET dir"), "dir\n/data");
        assert_eq!(exec("redis-cli SET a 1"), "OK");
        ok(sandbox.kubectl(&format!("delete pod {pod}")));
    }

    let topics = "exec kafka -- /opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:9092";
    sandbox.happens("the broker makes a topic", |sandbox| {
        let mut make = sandbox.kubectl(&format!("{topics} --create --if-not-exists --topic a"));
        make.output().unwrap().status.success()
    });
    assert_eq!(ok(sandbox.kubectl(&format!("{topics} --list"))), "a");
    let exec = |command: &str| ok(sandbox.kubectl(&format!("exec kafka -- {command}")));
    assert_eq!(exec("cat /proc/1/comm"), "java");
    assert_eq!(exec("stat -c %u:%U /proc/1"), "1000:appuser");
    ok(sandbox.kubectl("delete pod kafka"));
}
