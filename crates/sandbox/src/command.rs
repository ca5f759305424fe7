//! The arguments and the printing of `ferriswheel sandbox`, shared by every binary that offers it.
//!
//! stdout is data, stderr is progress; both are passed in.

use std::io::{self, Write};
use std::process::Command as Process;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::binaries;
use crate::daemon::{ATTACH_DELAY, Outage, Request, Response};
use crate::host::{self, Ended, SandboxStatus, UpOptions};
use crate::pools::{Pool, practice};
use crate::state::{SandboxFile, StateDir, sandboxes};

/// A practice AKS on this machine.
#[derive(Clone, Debug, Args)]
pub struct SandboxArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SandboxCommand,
}

/// Name of a sandbox.
#[derive(Clone, Debug, Args)]
pub struct Name {
    /// Name of the sandbox; several can stand side by side.
    #[arg(long, default_value = "default", env = "FERRISWHEEL_SANDBOX_NAME")]
    pub name: String,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// The verbs.
#[derive(Clone, Debug, Subcommand)]
pub enum SandboxCommand {
    /// Start a practice AKS in the background and write a kubeconfig.
    #[command(
        after_help = "Example:\n  ferriswheel sandbox up\n  ferriswheel sandbox up --name small --pool name=syspool,mode=System,count=1,zones=1"
    )]
    Up(UpArgs),
    /// End a sandbox and remove every trace of it, also after it was killed.
    #[command(
        after_help = "Example:\n  ferriswheel sandbox down\n  ferriswheel sandbox down --all"
    )]
    Down {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// Every sandbox of this user.
        #[arg(long)]
        all: bool,
    },
    /// Show machines, nodes and the programs of the control plane.
    #[command(after_help = "Example:\n  ferriswheel sandbox status --output json")]
    Status {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// Format of the answer.
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Run the sandbox's own kubectl against it.
    #[command(after_help = "Example:\n  ferriswheel sandbox kubectl -- get nodes -o wide")]
    Kubectl {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Do harm on purpose.
    #[command(
        after_help = "Example:\n  ferriswheel sandbox fault freeze aks-dbpool-12345678-vmss000000 --for 200ms"
    )]
    Fault {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// What to do.
        #[command(subcommand)]
        fault: FaultCommand,
    },
    /// Build the programs of the control plane from Go modules into the cache, once.
    #[command(after_help = "Example:\n  ferriswheel sandbox build")]
    Build {
        /// Build again what is there.
        #[arg(long)]
        force: bool,
    },
}

/// Arguments of `up`.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// Which.
    #[command(flatten)]
    pub name: Name,
    /// A node pool; instead of the practice pools (syspool: 2 nodes at the control plane's version, dbpool: 3 nodes
    /// one minor behind). Written like
    /// name=dbpool,mode=User,count=3,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule
    #[arg(long = "pool")]
    pub pools: Vec<Pool>,
    /// Longest wait for the nodes to be Ready.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub wait: Duration,
    /// How long the attachment of a disk takes.
    #[arg(long, value_parser = parse_duration)]
    pub attach_delay: Option<Duration>,
    /// Seed of what the Azure emulator leaves to chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Format of the answer.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// The faults.
#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// Kill every process of a machine at once. Its disk and its attachments stay.
    Crash {
        /// Node name.
        node: String,
    },
    /// Power a crashed machine on again.
    Boot {
        /// Node name.
        node: String,
    },
    /// Stop every process of a machine where it stands.
    Freeze {
        /// Node name.
        node: String,
        /// Thaw by itself after this long.
        #[arg(long = "for", value_parser = parse_duration)]
        period: Option<Duration>,
    },
    /// Let a frozen machine go on.
    Thaw {
        /// Node name.
        node: String,
    },
    /// Take a machine's link down.
    Partition {
        /// Node name.
        node: String,
        /// Heal by itself after this long.
        #[arg(long = "for", value_parser = parse_duration)]
        period: Option<Duration>,
    },
    /// Bring a machine's link up again.
    Heal {
        /// Node name.
        node: String,
    },
    /// Attach disks this slowly from now on.
    SlowAttach {
        /// The time an attachment takes.
        #[arg(value_parser = parse_duration)]
        delay: Duration,
    },
    /// Make the API server unreachable.
    ApiOutage {
        /// For this long.
        #[arg(long = "for", value_parser = parse_duration)]
        period: Duration,
        /// Refuse connections instead of leaving them unanswered.
        #[arg(long)]
        refuse: bool,
    },
    /// Arm a fault of Azure Resource Manager, in JSON.
    #[command(
        after_help = "Example:\n  ferriswheel sandbox fault arm '{\"fault\":\"throttle\",\"times\":3,\"retryAfterSeconds\":2}'"
    )]
    Arm {
        /// The fault.
        fault: String,
    },
}

/// A verb failed. [`Error::class`] says whose turn it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `up`.
    #[error(transparent)]
    Up(#[from] host::UpError),
    /// `down`.
    #[error(transparent)]
    Down(#[from] host::DownError),
    /// `status` and `fault`.
    #[error(transparent)]
    Request(#[from] host::RequestError),
    /// `build`.
    #[error(transparent)]
    Build(#[from] host::build::BuildError),
    /// The programs are missing.
    #[error(transparent)]
    Binaries(#[from] binaries::Missing),
    /// The argument is not JSON.
    #[error("read the fault")]
    Fault(#[source] serde_json::Error),
    /// Nothing could be printed, or kubectl not started.
    #[error("write the answer")]
    Io(#[from] io::Error),
}

/// Whose turn it is after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The user's words are wrong.
    Usage,
    /// Something must be installed, started or ended first; the text says what.
    Refused,
    /// Anything else.
    Unexpected,
}

impl Error {
    /// Whose turn it is.
    #[must_use]
    pub fn class(&self) -> Class {
        use host::{DownError, RequestError, UpError};
        match self {
            Self::Up(UpError::Name(_)) | Self::Fault(_) => Class::Usage,
            Self::Up(UpError::Refusal(_) | UpError::Busy(_) | UpError::Unfinished(_))
            | Self::Down(DownError::Refusal(_) | DownError::Lock(_))
            | Self::Request(RequestError::NotUp(_) | RequestError::Failed(_))
            | Self::Build(host::build::BuildError::Go(_))
            | Self::Binaries(_) => Class::Refused,
            _ => Class::Unexpected,
        }
    }
}

/// Does what was asked; gives the exit status of a successful run, which is kubectl's own after `kubectl`.
///
/// # Errors
/// See [`Error`].
pub fn run(args: &SandboxArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Error> {
    match &args.command {
        SandboxCommand::Up(up) => run_up(up, out, err)?,
        SandboxCommand::Down { name, all } => {
            let names = if *all {
                all_names()
            } else {
                vec![name.name.clone()]
            };
            for name in names {
                let ended = match host::down(&name)? {
                    Ended::Running => "ended",
                    Ended::Leftover => "was dead; cleared what it left",
                    Ended::Nothing => "is not there",
                };
                writeln!(err, "sandbox '{name}' {ended}")?;
            }
        }
        SandboxCommand::Status { name, output } => {
            let status = host::status(&name.name)?;
            match output {
                Format::Json => writeln!(out, "{}", pretty(&status))?,
                Format::Text => print_status(&status, out)?,
            }
        }
        SandboxCommand::Kubectl { name, arguments } => {
            let status = Process::new(binaries::find()?.kubectl)
                .env("KUBECONFIG", StateDir::of(&name.name).kubeconfig())
                .args(arguments)
                .status()?;
            return Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1));
        }
        SandboxCommand::Fault { name, fault } => {
            let request = fault_request(fault)?;
            if let Response::Failed(why) = host::ask(&name.name, &request)? {
                return Err(host::RequestError::Failed(why).into());
            }
        }
        SandboxCommand::Build { force } => {
            let mut tell = |line: &str| {
                let _ = writeln!(err, "{line}");
            };
            let directory = host::build::build(*force, &mut tell)?;
            writeln!(out, "{}", directory.display())?;
        }
    }
    Ok(0)
}

fn run_up(up: &UpArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Error> {
    let options = UpOptions {
        name: up.name.name.clone(),
        pools: if up.pools.is_empty() {
            practice()
        } else {
            up.pools.clone()
        },
        ready_within: up.wait,
        attach_delay: up.attach_delay.unwrap_or(ATTACH_DELAY),
        seed: up.seed,
    };
    let began = std::time::Instant::now();
    let mut tell = |line: &str| {
        let _ = writeln!(err, "{:5.1} s  {line}", began.elapsed().as_secs_f64());
    };
    let upped = host::up(&options, &mut tell)?;
    if upped.already {
        tell("it is up already");
    } else {
        tell("up");
    }
    let sandbox = &upped.sandbox;
    match up.output {
        Format::Json => writeln!(out, "{}", pretty(sandbox))?,
        Format::Text => print_sandbox(sandbox, out)?,
    }
    Ok(())
}

fn print_sandbox(sandbox: &SandboxFile, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "export KUBECONFIG={}", sandbox.kubeconfig.display())?;
    writeln!(out, "# API server  {}", sandbox.api_server)?;
    writeln!(
        out,
        "# Azure       {} (authority {})",
        sandbox.arm.endpoint,
        sandbox.arm.ca_file.display()
    )
}

fn print_status(status: &SandboxStatus, out: &mut dyn Write) -> io::Result<()> {
    let SandboxStatus {
        sandbox, status, ..
    } = status;
    writeln!(
        out,
        "sandbox '{}', up {} s, PID 1 is process {}",
        sandbox.name, status.up_s, sandbox.pid
    )?;
    print_sandbox(sandbox, out)?;
    writeln!(
        out,
        "\nmachine                                  zone  version  address       power   node"
    )?;
    for machine in &status.machines {
        let node = match status.nodes.as_ref().map(|nodes| nodes.get(&machine.name)) {
            None => "?",
            Some(None) => "not registered",
            Some(Some(true)) => "Ready",
            Some(Some(false)) => "NotReady",
        };
        let power = if machine.partitioned {
            "cut off".to_owned()
        } else {
            format!("{:?}", machine.power).to_lowercase()
        };
        writeln!(
            out,
            "{:<40} {:<5} {:<8} {:<13} {:<7} {}",
            machine.name,
            machine.zone.as_deref().unwrap_or("-"),
            machine.version,
            machine.address,
            power,
            node
        )?;
    }
    writeln!(out)?;
    for (name, running) in &status.components {
        let state = match running.pid {
            Some(_) => "running",
            None => "down",
        };
        writeln!(out, "{name:<25} {state}, {} restarts", running.restarts)?;
    }
    Ok(())
}

fn fault_request(fault: &FaultCommand) -> Result<Request, Error> {
    let millis = |period: &Duration| u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
    Ok(match fault {
        FaultCommand::Crash { node } => Request::Crash { node: node.clone() },
        FaultCommand::Boot { node } => Request::Boot { node: node.clone() },
        FaultCommand::Freeze { node, period } => Request::Freeze {
            node: node.clone(),
            for_ms: period.as_ref().map(millis),
        },
        FaultCommand::Thaw { node } => Request::Thaw { node: node.clone() },
        FaultCommand::Partition { node, period } => Request::Partition {
            node: node.clone(),
            for_ms: period.as_ref().map(millis),
        },
        FaultCommand::Heal { node } => Request::Heal { node: node.clone() },
        FaultCommand::SlowAttach { delay } => Request::AttachDelay { ms: millis(delay) },
        FaultCommand::ApiOutage { period, refuse } => Request::ApiOutage {
            ms: millis(period),
            how: if *refuse {
                Outage::Refuse
            } else {
                Outage::Hang
            },
        },
        FaultCommand::Arm { fault } => Request::Arm {
            fault: serde_json::from_str(fault).map_err(Error::Fault)?,
        },
    })
}

fn all_names() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(sandboxes()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// `200ms`, `5s`, `2m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("'{text}' is no duration like 200ms, 5s or 2m"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => Err(format!("'{unit}' is no unit: use ms, s or m")),
    }
}

fn pretty<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| json!({ "error": error.to_string() }).to_string())
}

#[cfg(test)]
mod tests {
    use super::parse_duration;
    use std::time::Duration;

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_duration("2h").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
