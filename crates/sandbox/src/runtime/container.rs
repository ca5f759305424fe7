//! A container, from the node's side: start, attach, stop, end.

use super::log::{LogChunk, pump, write};
use super::spec::{ContainerSpec, ExitFile, Launch};
use super::stdio::{Streams, resize, streams};
use super::{Error, Pod, Runtime, stages};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// 30 s: mounting and executing takes tens of milliseconds; longer means the machine is stuck.
const START: Duration = Duration::from_secs(30);
/// 1 s: what a dead shim wrote is read at once; the pipe itself never ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// 256 pieces of output wait for a slow attached client before it misses some.
const LIVE: usize = 256;
/// 1 s: what is still in the pipes when a container ends is written in well under a millisecond.
const LOGGED: Duration = Duration::from_secs(1);

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status, or 128 and the signal's number.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When.
    pub at: jiff::Timestamp,
}

/// A container that was started, also after its end.
#[derive(Debug)]
pub struct Container {
    /// As it was asked for.
    pub spec: ContainerSpec,
    /// When its program was executed.
    pub started_at: jiff::Timestamp,
    pub(super) runtime: Runtime,
    pid: i32,
    exit: watch::Receiver<Option<Exit>>,
    live: broadcast::Sender<LogChunk>,
    stdin: Mutex<Option<Stdin>>,
    terminal: Option<PathBuf>,
}

enum Stdin {
    Pipe(tokio::process::ChildStdin),
    Terminal(tokio::fs::File),
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stdin")
    }
}

/// What an attached client gets.
#[derive(Debug)]
pub struct Attachment {
    /// Output from now on.
    pub output: broadcast::Receiver<LogChunk>,
}

impl Container {
    /// Starts a container in a pod; returns when its program has been executed.
    ///
    /// # Errors
    /// The root could not be built, the user or the program is not there: the text is for the container's status.
    pub async fn start(runtime: &Runtime, pod: &Pod, spec: ContainerSpec) -> Result<Self, Error> {
        let directory = runtime.root.join("containers").join(&spec.id);
        for name in ["upper", "work", "root", "tmp", "hidden"] {
            tokio::fs::create_dir_all(directory.join(name))
                .await
                .map_err(|e| Error::io("make a container's directories", e))?;
        }
        tokio::fs::write(directory.join("termination-log"), "")
            .await
            .map_err(|e| Error::io("make the termination log", e))?;
        let launch = Launch {
            pause: pod.pid(),
            directory: directory.clone(),
            container: spec,
        };
        let text = serde_json::to_vec(&launch).map_err(Error::Encode)?;
        let file = directory.join("launch.json");
        tokio::fs::write(&file, text)
            .await
            .map_err(|e| Error::io("write a container's description", e))?;
        let spec = launch.container;

        let fifo = directory.join("events");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)
            .map_err(|e| Error::io("make the events pipe", e.into()))?;
        // Opened for both directions: the pipe never ends, whoever holds it for however long.
        let events = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&fifo)
            .map_err(|e| Error::io("open the events pipe", e))?;

        let mut command = Command::new(&runtime.binary);
        // Killed when dropped: a start that is given up must not leave a container behind. PID 1 follows its shim.
        command
            .args(["sandbox-internal", stages::SHIM])
            .arg(&file)
            .process_group(0)
            .kill_on_drop(true);
        let streams = streams(&mut command, spec.process.tty, spec.stdin)?;
        let mut shim = command
            .spawn()
            .map_err(|e| Error::io("start a container's shim", e))?;
        drop(command);

        let (live, _) = broadcast::channel(LIVE);
        let (file, records) = mpsc::channel(64);
        let logged = tokio::spawn(write(spec.log_path.clone(), records));
        let (stdin, terminal) = match streams {
            Streams::Terminal { master, path } => {
                let reader = master
                    .try_clone()
                    .map_err(|e| Error::io("share a terminal", e))?;
                let output = tokio::fs::File::from_std(reader.into());
                tokio::spawn(pump(output, false, file, live.clone()));
                (
                    Some(Stdin::Terminal(tokio::fs::File::from_std(master.into()))),
                    Some(path),
                )
            }
            Streams::Pipes => {
                if let Some(out) = shim.stdout.take() {
                    tokio::spawn(pump(out, false, file.clone(), live.clone()));
                }
                if let Some(err) = shim.stderr.take() {
                    tokio::spawn(pump(err, true, file, live.clone()));
                }
                (shim.stdin.take().map(Stdin::Pipe), None)
            }
        };

        let (exited, exit) = watch::channel(None);
        let mut executed = std::pin::pin!(executed(events));
        let pid = tokio::select! {
            biased;
            heard = &mut executed => heard?,
            // A program that ends at once is over before its start was heard of: what was reported is in the pipe.
            _ = shim.wait() => match tokio::time::timeout(LAST_WORDS, executed).await {
                Ok(heard) => heard?,
                Err(_) => return Err(Error::Start("the container's shim ended early".to_owned())),
            },
            () = tokio::time::sleep(START) => {
                return Err(Error::Timeout { what: "a container", seconds: START.as_secs() });
            }
        };
        tokio::spawn(watch_end(shim, directory, logged, exited));
        let stdin = Mutex::new(stdin);
        let started_at = jiff::Timestamp::now();
        Ok(Self {
            spec,
            started_at,
            runtime: runtime.clone(),
            pid,
            exit,
            live,
            stdin,
            terminal,
        })
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|e| e.clone());
        ended.unwrap_or_else(|| Exit {
            code: 137,
            signal: Some(9),
            at: jiff::Timestamp::now(),
        })
    }

    /// The process that is PID 1 in the container, as the node sees it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to the container's PID 1.
    pub fn signal(&self, signal: Signal) {
        if self.exit().is_none() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Asks the program to end and, after the grace period, makes it.
    pub async fn stop(&self, signal: Signal, grace: Duration) -> Exit {
        self.signal(signal);
        if let Ok(exit) = tokio::time::timeout(grace, self.ended()).await {
            return exit;
        }
        self.signal(Signal::SIGKILL);
        self.ended().await
    }

    /// What the container left at its termination message path.
    pub async fn termination_message(&self) -> Vec<u8> {
        tokio::fs::read(self.directory().join("termination-log"))
            .await
            .unwrap_or_default()
    }

    /// Follows the output from now on.
    #[must_use]
    pub fn attach(&self) -> Attachment {
        Attachment {
            output: self.live.subscribe(),
        }
    }

    /// Writes to standard input; false when there is none.
    pub async fn write_stdin(&self, bytes: &[u8]) -> bool {
        use tokio::io::AsyncWriteExt;
        match self.stdin.lock().await.as_mut() {
            Some(Stdin::Pipe(pipe)) => {
                pipe.write_all(bytes).await.is_ok() && pipe.flush().await.is_ok()
            }
            Some(Stdin::Terminal(file)) => {
                file.write_all(bytes).await.is_ok() && file.flush().await.is_ok()
            }
            None => false,
        }
    }

    /// Ends standard input.
    pub async fn close_stdin(&self) {
        let mut stdin = self.stdin.lock().await;
        if matches!(*stdin, Some(Stdin::Pipe(_))) {
            *stdin = None;
        }
    }

    /// Tells the terminal its size.
    pub async fn resize(&self, columns: u16, rows: u16) {
        if let Some(path) = &self.terminal {
            resize(path, columns, rows).await;
        }
    }

    /// Removes what the container left on the machine's disk, but not its log.
    pub async fn remove(&self) {
        let _ = tokio::fs::remove_dir_all(self.directory()).await;
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.runtime.root.join("containers").join(&self.spec.id)
    }
}

/// Reads the shim's and PID 1's reports until the program runs: two processes, so either may come first.
async fn executed(events: pipe::Receiver) -> Result<i32, Error> {
    let mut lines = BufReader::new(events).lines();
    let (mut pid, mut runs) = (None, false);
    while let Some(line) = lines
        .next_line()
        .await
        .map_err(|e| Error::io("read the events pipe", e))?
    {
        match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("pid", text) => pid = text.parse().ok(),
            ("error", text) => return Err(Error::Start(text.to_owned())),
            ("exec", _) => runs = true,
            _ => {}
        }
        if let (Some(pid), true) = (pid, runs) {
            return Ok(pid);
        }
    }
    Err(Error::NotRunning)
}

async fn watch_end(
    mut shim: Child,
    directory: PathBuf,
    logged: JoinHandle<()>,
    exited: watch::Sender<Option<Exit>>,
) {
    let status = shim.wait().await;
    let at = jiff::Timestamp::now();
    // Who hears of the end may read the whole log: all that could write to it died with PID 1.
    if tokio::time::timeout(LOGGED, logged).await.is_err() {
        tracing::warn!("a container's log goes on after its end");
    }
    let read = tokio::fs::read(directory.join("exit.json")).await.ok();
    let known = read.and_then(|t| serde_json::from_slice::<ExitFile>(&t).ok());
    // Without a report the shim itself was killed, and its death killed PID 1.
    let exit = known.unwrap_or_else(|| {
        tracing::warn!(?status, "a container's shim ended without a report");
        ExitFile {
            code: 137,
            signal: Some(9),
        }
    });
    let _ = exited.send(Some(Exit {
        code: exit.code,
        signal: exit.signal,
        at,
    }));
}
