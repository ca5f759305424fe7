//! The container runtime with real processes.
//!
//! Without the usual harness: the test is also the binary that runs again as pause process, shim and PID 1. It runs
//! in namespaces of its own, as PID 1 of a process tree, so that nothing outlives it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test without the usual harness"
)]

use ferriswheel_sandbox::runtime::spec::{
    ContainerSpec, Mount, PodNetwork, PodSpec, Process, User,
};
use ferriswheel_sandbox::runtime::{
    Container, Pod, Runtime, collect, ensure_bridge, exec, run_stage,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REAPER: &str = "RUNTIME_TEST_PID_ONE";
const INSIDE: &str = "RUNTIME_TEST_ROOT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, internal, role, file] = arguments.as_slice()
        && internal == "sandbox-internal"
    {
        return match run_stage(role, Path::new(file)) {
            Some(Ok(status)) => ExitCode::from(status),
            Some(Err(error)) => {
                eprintln!("{role}: {error}");
                ExitCode::FAILURE
            }
            None => ExitCode::FAILURE,
        };
    }
    if arguments.iter().any(|a| a == "--list") {
        println!("runtime: test");
        return ExitCode::SUCCESS;
    }
    if let Some(root) = std::env::var_os(REAPER) {
        mount_proc();
        // As in a job that a script starts in the background: containers must not inherit what is ignored here.
        return reap(
            Command::new("sh")
                .args(["-c", "trap '' HUP INT QUIT; exec \"$0\""])
                .arg(std::env::current_exe().unwrap())
                .env_remove(REAPER)
                .env(INSIDE, root),
        );
    }
    if let Some(root) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(all(PathBuf::from(root)));
        return ExitCode::SUCCESS;
    }
    assert!(
        nix::unistd::getuid().is_root(),
        "namespaces need root: run the tests as root"
    );
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .env(REAPER, root.path())
        .status()
        .unwrap();
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A node's PID 1 in small: runs one program and collects whatever is orphaned.
fn reap(program: &mut Command) -> ExitCode {
    use nix::sys::wait::{WaitStatus, wait};
    let main = i32::try_from(program.spawn().unwrap().id()).unwrap();
    loop {
        match wait().unwrap() {
            WaitStatus::Exited(pid, 0) if pid.as_raw() == main => return ExitCode::SUCCESS,
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid.as_raw() == main => {
                return ExitCode::FAILURE;
            }
            _ => {}
        }
    }
}

fn mount_proc() {
    use nix::mount::{MsFlags, mount};
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
}

async fn all(root: PathBuf) {
    let runtime = Runtime {
        binary: std::env::current_exe().unwrap(),
        root,
    };
    ensure_bridge(Ipv4Addr::new(10, 244, 1, 1), 24)
        .await
        .unwrap();
    let network = |last| PodNetwork {
        address: Ipv4Addr::new(10, 244, 1, last),
        gateway: Ipv4Addr::new(10, 244, 1, 1),
    };
    let pod = |id: &str, last| PodSpec {
        id: id.to_owned(),
        hostname: id.to_owned(),
        network: Some(network(last)),
    };
    let begun = std::time::Instant::now();
    let one = Pod::start(&runtime, pod("one", 2)).await.unwrap();
    println!("pod up in {:?}", begun.elapsed());
    let two = Pod::start(&runtime, pod("two", 3)).await.unwrap();

    pid_one_is_the_program_and_logs_are_kept(&runtime, &one).await;
    exec_joins_the_container(&runtime, &one).await;
    five_megabytes_pass_through_exec(&runtime, &one).await;
    a_terminal_is_a_terminal(&runtime, &one).await;
    users_mounts_and_isolation(&runtime, &one).await;
    stop_signal_then_kill(&runtime, &one).await;
    a_missing_program_is_reported(&runtime, &one).await;
    pods_reach_each_other(&runtime, &one, &two).await;

    one.stop(&runtime).await;
    two.stop(&runtime).await;
    println!("runtime: ok");
}

fn spec(runtime: &Runtime, id: &str, argv: &[&str]) -> ContainerSpec {
    ContainerSpec {
        id: id.to_owned(),
        mounts: Vec::new(),
        hidden: Vec::new(),
        directories: Vec::new(),
        files: Vec::new(),
        read_only_root: false,
        process: process(argv),
        stdin: false,
        log_path: runtime.root.join("log").join(id).join("0.log"),
        termination_message_path: "/dev/termination-log".into(),
    }
}

fn process(argv: &[&str]) -> Process {
    Process {
        argv: argv.iter().map(|s| (*s).to_owned()).collect(),
        env: BTreeMap::from([(
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )]),
        cwd: "/".into(),
        user: User::default(),
        tty: false,
        no_new_privileges: false,
    }
}

async fn run(container: &Container, script: &str) -> String {
    let output = collect(
        container,
        process(&["sh", "-c", script]),
        Duration::from_secs(20),
        1 << 20,
    )
    .await
    .unwrap();
    assert_eq!(
        output.code,
        Some(0),
        "{script}: {}",
        String::from_utf8_lossy(&output.text)
    );
    String::from_utf8_lossy(&output.text).trim().to_owned()
}

async fn pid_one_is_the_program_and_logs_are_kept(runtime: &Runtime, pod: &Pod) {
    let script = "echo pid $$; hostname; echo bad >&2; echo why > /dev/termination-log; exit 3";
    let spec = spec(runtime, "first", &["sh", "-c", script]);
    let begun = std::time::Instant::now();
    let container = Container::start(runtime, pod, spec).await.unwrap();
    println!("container up in {:?}", begun.elapsed());
    let exit = container.ended().await;
    assert_eq!((exit.code, exit.signal), (3, None));
    assert_eq!(container.termination_message().await, b"why\n");
    let log = loop {
        let log = std::fs::read_to_string(&container.spec.log_path).unwrap_or_default();
        if log.lines().count() == 3 {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(log.contains(" stdout F pid 1\n"), "{log}");
    assert!(log.contains(" stdout F one\n"), "{log}");
    assert!(log.contains(" stderr F bad\n"), "{log}");
    container.remove().await;
}

async fn exec_joins_the_container(runtime: &Runtime, pod: &Pod) {
    let container = Container::start(runtime, pod, spec(runtime, "sleeper", &["sleep", "1000"]))
        .await
        .unwrap();
    assert_eq!(
        run(&container, "cat /proc/1/comm; hostname").await,
        "sleep\none"
    );
    let seven = collect(
        &container,
        process(&["sh", "-c", "exit 7"]),
        Duration::from_secs(5),
        100,
    )
    .await
    .unwrap();
    assert_eq!(seven.code, Some(7));
    let missing = collect(
        &container,
        process(&["no-such-program"]),
        Duration::from_secs(5),
        1000,
    )
    .await
    .unwrap();
    assert_eq!(missing.code, Some(127));
    let slow = collect(
        &container,
        process(&["sleep", "600"]),
        Duration::from_millis(200),
        100,
    )
    .await
    .unwrap();
    assert_eq!(slow.code, None);
    assert_eq!(
        run(&container, "ls /proc | grep -c '^[0-9]'")
            .await
            .parse::<u32>()
            .map(|n| n < 8),
        Ok(true)
    );
    let ended = container
        .stop(Signal::SIGKILL, Duration::from_secs(1))
        .await;
    assert_eq!((ended.code, ended.signal), (137, Some(9)));
    container.remove().await;
}

async fn five_megabytes_pass_through_exec(runtime: &Runtime, pod: &Pod) {
    let container = Container::start(runtime, pod, spec(runtime, "pipes", &["sleep", "1000"]))
        .await
        .unwrap();
    let sent: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| n.to_le_bytes())
        .take(5_000_000)
        .collect();
    let mut running = exec(&container, process(&["cat"]), true).await.unwrap();
    let mut stdin = running.stdin.take().unwrap();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        stdin.write_all(&copy).await.unwrap();
    });
    let mut received = Vec::new();
    running.stdout.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert_eq!(running.wait().await, 0);
    assert!(
        sent == received,
        "{} bytes of {}",
        received.len(),
        sent.len()
    );
    container.stop(Signal::SIGKILL, Duration::ZERO).await;
    container.remove().await;
}

async fn a_terminal_is_a_terminal(runtime: &Runtime, pod: &Pod) {
    let container = Container::start(runtime, pod, spec(runtime, "terminal", &["sleep", "1000"]))
        .await
        .unwrap();
    let with_terminal = Process {
        tty: true,
        ..process(&[
            "sh",
            "-c",
            "tty; stty size; read line; echo got $line > /dev/tty; exit 4",
        ])
    };
    let mut running = exec(&container, with_terminal, true).await.unwrap();
    ferriswheel_sandbox::runtime::Running::resize(&running.terminal().unwrap(), 100, 40).await;
    let mut stdin = running.stdin.take().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    stdin.flush().await.unwrap();
    let mut text = Vec::new();
    let _ = running.stdout.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("got hello"), "{text}");
    assert_eq!(running.wait().await, 4);
    container.stop(Signal::SIGKILL, Duration::ZERO).await;
    container.remove().await;
}

async fn users_mounts_and_isolation(runtime: &Runtime, pod: &Pod) {
    let data = runtime.root.join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("file"), "volume").unwrap();
    let mut spec = spec(runtime, "user", &["sleep", "1000"]);
    spec.process.user = User {
        image: Some("nobody".to_owned()),
        groups: vec![4242],
        ..User::default()
    };
    spec.mounts = vec![Mount {
        source: data.clone(),
        target: "/data/deep".into(),
        read_only: true,
    }];
    spec.hidden = vec!["/var/lib/dpkg".into()];
    let container = Container::start(runtime, pod, spec).await.unwrap();
    assert_eq!(run(&container, "cat /data/deep/file").await, "volume");
    assert_eq!(
        run(&container, "touch /data/deep/x 2>/dev/null || echo refused").await,
        "refused"
    );
    assert_eq!(
        run(&container, "ls /var/lib/dpkg | wc -l; ls /tmp | wc -l").await,
        "0\n0"
    );
    assert_eq!(
        run(
            &container,
            "touch /etc/made-in-a-container && ls /etc/made-in-a-container"
        )
        .await,
        "/etc/made-in-a-container"
    );
    assert!(!Path::new("/etc/made-in-a-container").exists());
    let status = run(&container, "grep -E '^(Uid|Groups)' /proc/1/status").await;
    assert!(
        status.contains("65534") && status.contains("4242"),
        "{status}"
    );
    container.stop(Signal::SIGKILL, Duration::ZERO).await;
    container.remove().await;
}

async fn stop_signal_then_kill(runtime: &Runtime, pod: &Pod) {
    let polite = spec(
        runtime,
        "polite",
        &[
            "bash",
            "-c",
            "trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done",
        ],
    );
    let container = Container::start(runtime, pod, polite).await.unwrap();
    let mut output = container.attach().output;
    if std::fs::read_to_string(&container.spec.log_path)
        .unwrap_or_default()
        .is_empty()
    {
        let _ = tokio::time::timeout(Duration::from_secs(5), output.recv()).await;
    }
    let exit = container
        .stop(Signal::SIGINT, Duration::from_secs(10))
        .await;
    assert_eq!((exit.code, exit.signal), (5, None));
    container.remove().await;
    // PID 1 without a handler does not see SIGTERM: the grace period runs out and the kill comes.
    let deaf = Container::start(runtime, pod, spec(runtime, "deaf", &["sleep", "1000"]))
        .await
        .unwrap();
    let exit = deaf.stop(Signal::SIGTERM, Duration::from_millis(300)).await;
    assert_eq!(exit.code, 137);
    deaf.remove().await;
}

async fn a_missing_program_is_reported(runtime: &Runtime, pod: &Pod) {
    let error = Container::start(runtime, pod, spec(runtime, "missing", &["no-such-program"]))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("executable file not found in $PATH"),
        "{error}"
    );
}

async fn pods_reach_each_other(runtime: &Runtime, one: &Pod, two: &Pod) {
    let server = Container::start(
        runtime,
        two,
        spec(runtime, "server", &["python3", "-c", "import socket;s=socket.create_server(('0.0.0.0',80));c,a=s.accept();c.sendall(a[0].encode());c.close()"]),
    )
    .await
    .unwrap();
    let client = Container::start(runtime, one, spec(runtime, "client", &["sleep", "1000"]))
        .await
        .unwrap();
    let script = "import socket,time\nfor i in range(200):\n  try:\n    print(socket.create_connection(('10.244.1.3',80)).recv(99).decode());break\n  except OSError: time.sleep(.05)";
    let seen = collect(
        &client,
        process(&["python3", "-c", script]),
        Duration::from_secs(20),
        1000,
    )
    .await
    .unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.text).trim(), "10.244.1.2");
    server.ended().await;
    client.stop(Signal::SIGKILL, Duration::ZERO).await;
    server.remove().await;
    client.remove().await;
}
