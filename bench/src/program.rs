//! Programs with a deadline, and kubectl as one of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result, unexpected};

/// Of what a failed program said, this much is kept.
const TAIL: usize = 600;

/// A short call of kubectl. 30 s: a busy machine needs one, a hanging server is told apart.
pub const CALL: Duration = Duration::from_secs(30);

/// What a program left.
#[derive(Debug)]
pub struct Ended {
    /// Whether it reported success.
    pub success: bool,
    /// Standard output.
    pub out: String,
    /// Both outputs, the end of them.
    pub tail: String,
}

/// Runs a program to its end; dropped or late, it is killed with its group.
///
/// # Errors
/// It could not be started, or took too long. A failure that it reports itself is no error here.
pub async fn run(mut command: Command, input: Option<&str>, limit: Duration) -> Result<Ended> {
    let name = name_of(&command);
    let fail = |detail: std::io::Error| Error::Program {
        program: name.clone(),
        detail: detail.to_string(),
    };
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(fail)?;
    let group = Group(child.id());
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).await.map_err(fail)?;
    }
    let output = timeout(limit, child.wait_with_output())
        .await
        .map_err(|_| Error::Deadline {
            what: name.clone(),
            limit,
        })?
        .map_err(fail)?;
    group.ended();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let both = format!("{out}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Ended {
        success: output.status.success(),
        tail: tail(&both),
        out,
    })
}

/// As [`run`], where a failure that the program reports is an error; gives its output.
///
/// # Errors
/// See [`Error`].
pub async fn succeed(command: Command, input: Option<&str>, limit: Duration) -> Result<String> {
    let program = name_of(&command);
    let ended = run(command, input, limit).await?;
    if ended.success {
        Ok(ended.out)
    } else {
        Err(Error::Program {
            program,
            detail: ended.tail,
        })
    }
}

/// The script that hangs and what it started are killed together.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = nix::sys::signal::killpg(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

fn name_of(command: &Command) -> String {
    let command = command.as_std();
    let file = Path::new(command.get_program()).file_name();
    let mut words = vec![file.unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().take(8).map(|word| {
        let word = word.to_string_lossy();
        word.lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect()
    }));
    words.join(" ")
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let from = text.len().saturating_sub(TAIL);
    let from = (from..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.get(from..).unwrap_or_default().to_owned()
}

/// Looks again and again until there is an answer.
///
/// # Errors
/// There is none within the limit; or looking failed, which is final.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(Error::Deadline {
                what: what.to_owned(),
                limit,
            });
        }
        sleep(every).await;
    }
}

/// The cluster of the sandbox, through kubectl.
#[derive(Clone, Debug)]
pub struct Kubectl {
    /// The program.
    pub program: PathBuf,
    /// How it reaches the sandbox.
    pub kubeconfig: PathBuf,
}

impl Kubectl {
    /// The kubectl that was built with the control plane.
    ///
    /// # Errors
    /// There is none.
    pub fn find(kubeconfig: PathBuf) -> Result<Self> {
        let mut candidates: Vec<PathBuf> = std::env::var_os("KUBEBUILDER_ASSETS")
            .map(|assets| PathBuf::from(assets).join("kubectl"))
            .into_iter()
            .collect();
        let bin = crate::sandbox::cache().join("bin");
        let mut built: Vec<PathBuf> = std::fs::read_dir(&bin)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("kubectl"))
            .collect();
        built.sort();
        candidates.extend(built.into_iter().rev());
        let program = candidates
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| {
                unexpected(format!(
                    "no kubectl in {}; run: ferriswheel sandbox build",
                    bin.display()
                ))
            })?;
        Ok(Self {
            program,
            kubeconfig,
        })
    }

    /// A command in a namespace; with an empty one in those that the objects name.
    pub fn command(&self, namespace: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        if !namespace.is_empty() {
            command.args(["--namespace", namespace]);
        }
        command.args(arguments);
        command
    }

    /// Runs it; gives its output.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn call(&self, namespace: &str, arguments: &[&str]) -> Result<String> {
        self.call_within(namespace, arguments, CALL).await
    }

    /// The same, with another deadline.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn call_within(
        &self,
        namespace: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String> {
        succeed(self.command(namespace, arguments), None, limit).await
    }

    /// An object or a list.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, namespace: &str, what: &[&str]) -> Result<Value> {
        let mut arguments = vec!["get", "--output", "json"];
        arguments.extend(what);
        let text = self.call(namespace, &arguments).await?;
        serde_json::from_str(&text).map_err(|e| unexpected(format!("read {what:?}: {e}")))
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply(&self, namespace: &str, manifest: &str) -> Result<()> {
        let command = self.command(namespace, &["apply", "--filename", "-"]);
        succeed(command, Some(manifest), CALL).await.map(drop)
    }

    /// Runs a script of the repository against the sandbox, as a user would: by `KUBECTL`.
    pub fn script(&self, path: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(path);
        command
            .env("KUBECTL", OsString::from(&self.program))
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments);
        command
    }
}
