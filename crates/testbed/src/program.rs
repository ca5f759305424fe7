//! A program of a set: in its own mount namespace, as the user postgres, ended with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A mount in a program's own namespace.
#[derive(Clone, Debug)]
pub enum Mount {
    /// A path shows another one.
    Bind {
        /// What is shown.
        source: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// A directory is copied when it is written to.
    Overlay {
        /// The original.
        lower: PathBuf,
        /// What was written.
        upper: PathBuf,
        /// For the kernel, beside `upper`.
        work: PathBuf,
        /// Where.
        at: PathBuf,
    },
}

/// What a process is started with.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it sees of the file system that others do not.
    pub mounts: Vec<Mount>,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Recipe {
    /// Starts a process with more arguments.
    ///
    /// It is ended with the thread that starts it and with the returned value, whichever ends
    /// first.
    pub fn spawn(&self, more: &[String]) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        // Mounts up to `--`, then the program.
        let script = "while [ \"$1\" != -- ]; do case \"$1\" in \
             bind) mount --bind \"$2\" \"$3\" || exit 1; shift 3;; \
             overlay) mount -t overlay overlay -o \"lowerdir=$2,upperdir=$3,workdir=$4\" \"$5\" || exit 1; shift 5;; \
             esac; done; shift; \
             exec setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig KILL \"$@\"";
        let mut command = Command::new("unshare");
        // Not that of whoever runs the tests: libpq looks for certificates there.
        command.env("HOME", "/nonexistent");
        // A server that is killed leaves its shared memory behind, until nobody gets any: its namespace takes it along.
        command.args(["-m", "-i", "--", "sh", "-c", script, "sh"]);
        for mount in &self.mounts {
            match mount {
                Mount::Bind { source, at } => command.arg("bind").arg(source).arg(at),
                Mount::Overlay {
                    lower,
                    upper,
                    work,
                    at,
                } => command.arg("overlay").args([lower, upper, work, at]),
            };
        }
        command
            .arg("--")
            .args(&self.argv)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("unshare and setpriv (apt-get install util-linux), as root")
    }

    /// Runs the program to its end.
    pub async fn run(&self) {
        let status = self.spawn(&[]).wait().await.unwrap();
        assert!(
            status.success(),
            "{:?}: {status}\n{}",
            self.argv,
            fs::read_to_string(&self.log).unwrap_or_default()
        );
    }
}

/// A program that runs, has ended, or is started again when it ends.
pub struct Program {
    recipe: Recipe,
    /// Time until it is started again; `None`: it stays ended.
    again: Option<Duration>,
    pid: Arc<Mutex<Option<Pid>>>,
    over: Arc<AtomicBool>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Program {
    /// Not started yet.
    pub fn new(recipe: Recipe, again: Option<Duration>) -> Self {
        Self {
            recipe,
            again,
            pid: Arc::default(),
            over: Arc::default(),
            keeper: Mutex::default(),
        }
    }

    /// Starts it, with more arguments than its recipe has. It must not run.
    pub fn start(&self, more: &[String]) {
        assert!(self.pid().is_none(), "{:?} runs already", self.recipe.argv);
        let child = self.recipe.spawn(more);
        *lock(&self.pid) = pid_of(&child);
        let keeper = keep(
            child,
            self.recipe.clone(),
            self.again,
            Arc::clone(&self.pid),
            Arc::clone(&self.over),
        );
        *lock(&self.keeper) = Some(tokio::spawn(keeper));
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        *lock(&self.pid)
    }

    /// Sends a signal to its process and all its children.
    pub fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid() else {
            return;
        };
        // A stopped parent makes no more children.
        let _ = kill(pid, Signal::SIGSTOP);
        for process in family(pid) {
            let _ = kill(process, signal);
        }
        if signal != Signal::SIGSTOP {
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// Ends it for good, and waits until nothing of it is left.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(pid) = self.pid() {
            let processes = family(pid);
            self.signal(Signal::SIGKILL);
            // A killed process is gone within milliseconds; on a busy machine within a second.
            for _ in 0..500 {
                if !processes.iter().any(|process| is_running(*process)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.abort();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

async fn keep(
    mut child: Child,
    recipe: Recipe,
    again: Option<Duration>,
    pid: Arc<Mutex<Option<Pid>>>,
    over: Arc<AtomicBool>,
) {
    loop {
        child.wait().await.expect("wait for a program");
        *lock(&pid) = None;
        let Some(after) = again else {
            return;
        };
        sleep(after).await;
        if over.load(Ordering::SeqCst) {
            return;
        }
        child = recipe.spawn(&[]);
        *lock(&pid) = pid_of(&child);
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    child
        .id()
        .map(|pid| Pid::from_raw(i32::try_from(pid).unwrap()))
}

/// A process and its children.
fn family(pid: Pid) -> Vec<Pid> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|child| Some(Pid::from_raw(child.parse().ok()?)));
    std::iter::once(pid).chain(children).collect()
}

/// A process that has ended and is only waited for does not run.
fn is_running(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    state != Some('Z')
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
