//! The real kubectl, and kube's own client, against a real sandbox: what people type must work as they know it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{SYSTEM, Sandbox};

/// Nothing here takes half of this on a loaded machine; a wait that long is a failure.
const DEADLINE: Duration = Duration::from_secs(180);
/// More than all buffers on the way together.
const LARGE: usize = 5 << 20;

/// A sandbox, and the kubectl that was built with its control plane.
struct Practice {
    sandbox: Sandbox,
    kubectl: PathBuf,
}

impl Practice {
    fn up() -> Self {
        let kubectl = match ferriswheel_sandbox::binaries::find() {
            Ok(binaries) => binaries.kubectl,
            Err(missing) => panic!("{missing}"),
        };
        let work = "name=work,mode=User,count=3,zones=1+2+3,label=for:work";
        Self {
            sandbox: Sandbox::up("kubectl", &[SYSTEM, work]),
            kubectl,
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.sandbox.kubeconfig()
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        finished(self.kubectl(arguments)).await
    }

    /// Runs it to a good end; gives what it printed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.kubectl(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let write = async {
            // A program that ends early reads no more.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let both = async { tokio::join!(write, child.wait_with_output()).1.unwrap() };
        tokio::time::timeout(DEADLINE, both).await.unwrap()
    }

    async fn apply(&self, object: &Value) {
        let output = self
            .with_input(&["apply", "-f", "-"], object.to_string().as_bytes())
            .await;
        assert!(output.status.success(), "{output:?}");
    }

    async fn ready(&self, pod: &str) {
        let deadline = format!("--timeout={}s", DEADLINE.as_secs());
        self.ok(&[
            "wait",
            "--for=condition=Ready",
            &format!("pod/{pod}"),
            &deadline,
        ])
        .await;
    }

    /// Starts one that goes on, and reads its lines.
    fn follow(&self, arguments: &[&str]) -> Following {
        let mut command = self.kubectl(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Following { child, lines }
    }

    async fn client(&self) -> Client {
        let file = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        Client::try_from(
            Config::from_custom_kubeconfig(file, &options)
                .await
                .unwrap(),
        )
        .unwrap()
    }
}

struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    async fn line(&mut self) -> Option<String> {
        tokio::time::timeout(DEADLINE, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
    }
}

async fn finished(mut command: Command) -> Output {
    tokio::time::timeout(DEADLINE, command.output())
        .await
        .unwrap()
        .unwrap()
}

fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("main");
    container["image"] = json!("debian");
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "nodeSelector": {"for": "work"},
            "containers": [container],
        },
    })
}

fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(LARGE);
    while bytes.len() < LARGE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives back what it gets and, after the client's end, says `END`.
const ECHO: &str = r#"
use IO::Socket::INET;
$SIG{CHLD} = "IGNORE";
my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 7000, Listen => 64, ReuseAddr => 1) or die $!;
while (1) {
    my $c = $s->accept or next;
    if (!fork) {
        close $s;
        while (sysread($c, my $b, 65536)) {
            my $o = 0;
            while ($o < length $b) { $o += syswrite($c, $b, length($b) - $o, $o) }
        }
        syswrite($c, "END");
        exit;
    }
    close $c;
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_as_people_know_it() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(
        nix::unistd::getuid().is_root(),
        "namespaces need root: run the tests as root"
    );
    let practice = Practice::up();
    watches_and_logs(&practice).await;
    practice
        .apply(&pod("shell", json!({"command": ["sleep", "infinity"]})))
        .await;
    practice
        .apply(&pod(
            "echo",
            json!({
                "command": ["perl", "-e", ECHO],
                "readinessProbe": {"exec": {"command": ["perl", "-MIO::Socket::INET", "-e",
                    "IO::Socket::INET->new('127.0.0.1:7000') or exit 1"]}, "periodSeconds": 1},
            }),
        ))
        .await;
    practice.ready("shell").await;
    practice.ready("echo").await;
    programs_run(&practice).await;
    what_a_client_started_goes_with_it(&practice).await;
    terminals_have_a_size(&practice).await;
    attached_clients_talk(&practice).await;
    files_are_copied(&practice).await;
    ports_are_forwarded(&practice).await;
    other_clients_are_served(&practice).await;
    drains_respect_the_budget(&practice).await;
}

async fn watches_and_logs(practice: &Practice) {
    let script =
        "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.2; done; printf unfinished";
    let phases = "{.metadata.name} {.status.phase}{\"\\n\"}";
    let mut watch = practice.follow(&["get", "pods", "-w", "-o", &format!("jsonpath={phases}")]);
    practice
        .apply(&pod("counter", json!({"command": ["sh", "-c", script]})))
        .await;
    practice.ready("counter").await;
    let mut log = practice.follow(&["logs", "-f", "counter"]);
    let mut lines = Vec::new();
    while let Some(line) = log.line().await {
        lines.push(line);
    }
    assert!(log.child.wait().await.unwrap().success());
    let mut expected: Vec<String> = (1..=10).map(|n| format!("line {n}")).collect();
    expected.push("unfinished".to_owned());
    assert_eq!(lines, expected);

    let mut seen = Vec::new();
    while seen.last().is_none_or(|l| l != "counter Succeeded") {
        let line = watch.line().await.unwrap();
        if seen.last() != Some(&line) {
            seen.push(line);
        }
    }
    assert_eq!(
        seen,
        ["counter Pending", "counter Running", "counter Succeeded"]
    );

    assert_eq!(
        practice.ok(&["logs", "counter", "--tail=2"]).await,
        "line 10\nunfinished\n"
    );
    assert_eq!(
        practice.ok(&["logs", "counter", "--limit-bytes=6"]).await,
        "line 1"
    );
    let stamped = practice
        .ok(&["logs", "counter", "--timestamps", "--tail=1"])
        .await;
    let (time, rest) = stamped.split_once(' ').unwrap();
    assert_eq!(rest, "unfinished\n");
    let since = practice
        .ok(&["logs", "counter", &format!("--since-time={time}")])
        .await;
    // kubectl sends whole seconds.
    assert!(
        since.ends_with("unfinished\n") && !since.contains("line 1\n"),
        "{since}"
    );
    let before = practice.run(&["logs", "counter", "--previous"]).await;
    let why = text(&before.stderr);
    assert!(
        why.contains("previous terminated container \"main\" in pod \"counter\" not found"),
        "{why}"
    );
}

async fn programs_run(practice: &Practice) {
    let noise = noise();
    for _ in 0..3 {
        let echoed = practice
            .with_input(&["exec", "-i", "shell", "--", "cat"], &noise)
            .await;
        assert!(echoed.status.success(), "{}", text(&echoed.stderr));
        assert!(
            echoed.stdout == noise,
            "{} bytes came back",
            echoed.stdout.len()
        );
    }
    // A program that reads nothing of it.
    let deaf = practice
        .with_input(&["exec", "-i", "shell", "--", "echo", "deaf"], &noise)
        .await;
    assert_eq!(
        (deaf.status.code(), text(&deaf.stdout)),
        (Some(0), "deaf\n".to_owned())
    );

    let script = "echo out; echo err >&2; exit 3";
    let failed = practice
        .run(&["exec", "shell", "--", "sh", "-c", script])
        .await;
    assert_eq!(failed.status.code(), Some(3));
    assert_eq!(text(&failed.stdout), "out\n");
    assert_eq!(
        text(&failed.stderr),
        "err\ncommand terminated with exit code 3\n"
    );
    let missing = practice
        .run(&["exec", "shell", "--", "no-such-program"])
        .await;
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    // What it leaves behind keeps nobody waiting.
    practice
        .ok(&["exec", "shell", "--", "sh", "-c", "sleep 600 &"])
        .await;
    let ended = practice.run(&["exec", "counter", "--", "true"]).await;
    assert!(
        !ended.status.success() && !ended.stderr.is_empty(),
        "{ended:?}"
    );
}

async fn what_a_client_started_goes_with_it(practice: &Practice) {
    let script =
        "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null; true";
    let runs = async || {
        let all = practice
            .ok(&["exec", "shell", "--", "sh", "-c", script])
            .await;
        all.lines().any(|l| l.trim_end() == "sleep 4242")
    };
    let work = async {
        let mut client = practice
            .kubectl(&["exec", "shell", "--", "sleep", "4242"])
            .spawn()
            .unwrap();
        while !runs().await {}
        client.kill().await.unwrap();
        while runs().await {}
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap();
}

async fn terminals_have_a_size(practice: &Practice) {
    let inside =
        "until [ \"$(stty size)\" = \"40 120\" ]; do sleep 0.1; done; test -t 1 && echo terminal";
    let line = format!(
        "stty rows 40 cols 120; exec {} exec -it shell -- sh -c '{inside}'",
        practice.kubectl.display()
    );
    let mut command = Command::new("script");
    command
        .env("KUBECONFIG", practice.kubeconfig())
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = finished(command).await;
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("terminal"), "{output:?}");
}

async fn attached_clients_talk(practice: &Practice) {
    let spec = json!({"command": ["cat"], "stdin": true, "stdinOnce": true});
    practice.apply(&pod("listens", spec)).await;
    practice.ready("listens").await;
    let output = practice
        .with_input(&["attach", "-i", "-q", "listens"], b"hello\nthere\n")
        .await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stdout), "hello\nthere\n");
    assert_eq!(practice.ok(&["logs", "listens"]).await, "hello\nthere\n");
}

async fn files_are_copied(practice: &Practice) {
    let directory = practice.sandbox.state();
    let (there, back) = (directory.join("there"), directory.join("back"));
    std::fs::write(&there, noise()).unwrap();
    practice
        .ok(&["cp", there.to_str().unwrap(), "shell:/tmp/copied"])
        .await;
    practice
        .ok(&["cp", "shell:/tmp/copied", back.to_str().unwrap()])
        .await;
    assert!(std::fs::read(back).unwrap() == noise());
}

async fn ports_are_forwarded(practice: &Practice) {
    let mut forward =
        practice.follow(&["port-forward", "pod/echo", ":7000", "--address=127.0.0.1"]);
    let line = forward.line().await.unwrap();
    let port = line
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|l| l.split_once(' '));
    let port: u16 = port.unwrap().0.parse().unwrap();
    // What it says of each connection must be read, or it stops.
    let Following { child, mut lines } = forward;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

    let all = (0..20_u8).map(|n| tokio::spawn(talk(port, vec![n; 300_000 + usize::from(n)])));
    for one in futures::future::join_all(all).await {
        one.unwrap();
    }
    talk(port, noise()).await;
    drop(child);
}

/// Sends, ends its side, and reads what comes after that.
async fn talk(port: u16, sent: Vec<u8>) {
    let work = async {
        let (mut reader, mut writer) = TcpStream::connect(("127.0.0.1", port))
            .await
            .unwrap()
            .into_split();
        let expected = [&sent[..], b"END"].concat();
        let write = async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
            writer
        };
        let mut received = Vec::new();
        let (_writer, read) = tokio::join!(write, reader.read_to_end(&mut received));
        read.unwrap();
        assert!(
            received == expected,
            "{} of {} bytes came back",
            received.len(),
            expected.len()
        );
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap();
}

async fn other_clients_are_served(practice: &Practice) {
    let pods: Api<Pod> = Api::default_namespaced(practice.client().await);
    let noise = noise();
    let wanted = AttachParams::default().stdin(true).stderr(false);
    let mut cat = pods.exec("shell", ["cat"], &wanted).await.unwrap();
    let (mut stdin, mut stdout) = (cat.stdin().unwrap(), cat.stdout().unwrap());
    let input = noise.clone();
    tokio::spawn(async move {
        stdin.write_all(&input).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let status = cat.take_status().unwrap();
    let mut received = Vec::new();
    tokio::time::timeout(DEADLINE, stdout.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(received == noise, "{} bytes came back", received.len());
    assert_eq!(status.await.unwrap().status.as_deref(), Some("Success"));

    // This client ends both directions with its own: it reads the answer first.
    let mut forwarder = pods.portforward("echo", &[7000]).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(forwarder.take_stream(7000).unwrap());
    let input = noise.clone();
    let write = tokio::spawn(async move {
        writer.write_all(&input).await.unwrap();
        writer
    });
    let mut received = vec![0; noise.len()];
    tokio::time::timeout(DEADLINE, reader.read_exact(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(received == noise);
    drop((reader, write.await.unwrap()));
    let mut refused = pods.portforward("echo", &[7001]).await.unwrap();
    let why = tokio::time::timeout(DEADLINE, refused.take_error(7001).unwrap())
        .await
        .unwrap();
    assert!(why.unwrap().contains("refused"));
}

async fn drains_respect_the_budget(practice: &Practice) {
    let labels = json!({"app": "set"});
    practice
        .apply(&json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "set"},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        }))
        .await;
    let apart = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}},
    }]}});
    practice
        .apply(&json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"},
            "spec": {
                "replicas": 3, "serviceName": "set", "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "terminationGracePeriodSeconds": 1, "nodeSelector": {"for": "work"}, "affinity": apart,
                    "containers": [{
                        "name": "main", "image": "debian", "command": ["sleep", "infinity"],
                        "readinessProbe": {"exec": {"command": ["true"]}, "initialDelaySeconds": 3, "periodSeconds": 1},
                    }],
                }},
            },
        }))
        .await;
    let deadline = format!("--timeout={}s", DEADLINE.as_secs());
    practice
        .ok(&["rollout", "status", "statefulset/set", &deadline])
        .await;
    let nodes = practice
        .ok(&[
            "get",
            "pods",
            "-l",
            "app=set",
            "-o",
            "jsonpath={.items[*].spec.nodeName}",
        ])
        .await;
    let nodes: Vec<&str> = nodes.split(' ').collect();
    assert!(
        nodes[0] != nodes[1] && nodes[1] != nodes[2] && nodes[0] != nodes[2],
        "{nodes:?}"
    );

    let shown =
        "jsonpath={.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}";
    let mut watch = practice.follow(&["get", "pods", "-l", "app=set", "-w", "-o", shown]);
    let mut ready = BTreeMap::new();
    while ready.values().filter(|r| **r).count() < 3 {
        let line = watch.line().await.unwrap();
        let (name, status) = line.split_once('=').unwrap();
        ready.insert(name.to_owned(), status == "True");
    }
    // Both at once: each alone would leave two.
    let drain = |node: &str| {
        let arguments = [
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
            &deadline,
        ];
        finished(practice.kubectl(&arguments))
    };
    let both = async { tokio::join!(drain(nodes[0]), drain(nodes[1])) };
    tokio::pin!(both);
    let mut fewest = 3;
    let mut drained = false;
    while !drained || ready.values().filter(|r| **r).count() < 3 {
        tokio::select! {
            (first, second) = &mut both, if !drained => {
                assert!(first.status.success(), "{}", text(&first.stderr));
                assert!(second.status.success(), "{}", text(&second.stderr));
                drained = true;
            }
            line = watch.line() => {
                let line = line.unwrap();
                let (name, status) = line.split_once('=').unwrap();
                ready.insert(name.to_owned(), status == "True");
                fewest = fewest.min(ready.values().filter(|r| **r).count());
            }
        }
    }
    assert_eq!(fewest, 2, "one at a time, and each in its turn");
    let homes = practice
        .ok(&[
            "get",
            "pods",
            "-l",
            "app=set",
            "-o",
            "jsonpath={.items[*].spec.nodeName}",
        ])
        .await;
    assert_eq!(homes, [nodes[2]; 3].join(" "));
}
