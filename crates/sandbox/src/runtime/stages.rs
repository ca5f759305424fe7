//! The runtime's part of the hidden subcommand: what this binary does when it runs again as a pause process, a
//! shim, a container's PID 1 or a joined program.
//!
//! Each stage is single-threaded: changing namespaces is a matter of the calling thread.

use super::root;
use super::spec::{ExitFile, Join, Launch, PodSpec, Process};
use super::users;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgid, setgroups, sethostname, setsid, setuid};
use serde::de::DeserializeOwned;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

/// The role of a pod's pause process.
pub(super) const POD: &str = "pod";
/// The role of a container's shim.
pub(super) const SHIM: &str = "container-shim";
/// The role of a container's PID 1 until it executes the server.
pub(super) const INIT: &str = "container-init";
/// The role that joins a running container.
pub(super) const JOIN: &str = "container-join";

/// What a pause process calls itself, followed by the path of its description.
pub(super) const PAUSE: &str = "ferriswheel-pause ";

/// 127 and 126: the shell's statuses for a program that is not there, and one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// 128: added to a signal's number, as shells and runtimes report it.
const SIGNALLED: i32 = 128;

/// Why a stage could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The description is unreadable.
    #[error("read the description {path}")]
    Description {
        /// Its file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A step failed.
    #[error("{0}")]
    Step(#[from] io::Error),
}

/// Runs a stage if `role` is one of the runtime's, and gives the status to exit with.
///
/// # Errors
/// The stage could not do its part. What a container's user should see was already reported.
pub fn run_stage(role: &str, file: &Path) -> Option<Result<u8, StageError>> {
    let run = match role {
        POD => pod,
        SHIM => shim,
        INIT => init,
        JOIN => join,
        _ => return None,
    };
    // Whoever started this may have blocked signals, and a mask is inherited: a container's program starts with none.
    let unblocked = SigSet::empty().thread_set_mask().map_err(io::Error::from);
    Some(unblocked.map_err(StageError::from).and_then(|()| run(file)))
}

fn describe<T: DeserializeOwned>(file: &Path) -> Result<T, StageError> {
    let failed = |source| StageError::Description {
        path: file.to_owned(),
        source,
    };
    let text = fs::read(file).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|e| failed(e.into()))
}

/// Opens the pod's namespaces, waits for its link, sets it up and sleeps.
fn pod(file: &Path) -> Result<u8, StageError> {
    let spec: PodSpec = describe(file)?;
    let mut flags = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if spec.network.is_some() {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).map_err(io::Error::from)?;
    sethostname(&spec.hostname).map_err(io::Error::from)?;
    if let Some(network) = spec.network {
        io::stdout().write_all(b"link\n")?;
        io::stdout().flush()?;
        let mut go = [0_u8; 1];
        io::stdin().read_exact(&mut go)?;
        let commands = format!(
            "link set lo up\nlink set eth0 address {mac} up\naddr add {address}/32 dev eth0\nroute add {gateway} dev eth0 scope link\n\
             route add default via {gateway} src {address}\n",
            mac = super::pod::hardware_address(network.address),
            address = network.address,
            gateway = network.gateway,
        );
        batch(&commands)?;
        // As container runtimes set them in a pod: a server without privileges may use any port, and ping works.
        fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        // All traffic goes through the node: no neighbour is on the link, whatever the node's kernel advises.
        fs::write("/proc/sys/net/ipv4/conf/all/accept_redirects", "0")?;
        fs::write("/proc/sys/net/ipv4/conf/eth0/accept_redirects", "0")?;
    }
    io::stdout().write_all(b"up\n")?;
    io::stdout().flush()?;
    // A small program keeps the namespaces open: a hundred copies of this binary would be felt.
    let error = Command::new("sleep")
        .arg0(format!("{PAUSE}{}", file.display()))
        .arg("infinity")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .exec();
    Err(error.into())
}

fn batch(commands: &str) -> io::Result<()> {
    let mut ip = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(commands.as_bytes())?;
    }
    let status = ip.wait()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| io::Error::other(format!("ip: {status}")))
}

/// Joins the pod, opens the PID namespace, starts PID 1 and tells how it ended.
fn shim(file: &Path) -> Result<u8, StageError> {
    let launch: Launch = describe(file)?;
    let mut events = OpenOptions::new()
        .write(true)
        .open(launch.directory.join("events"))?;
    let started = (|| {
        let namespace = |name: &str| File::open(format!("/proc/{}/ns/{name}", launch.pause));
        let joined = [
            (namespace("net")?, CloneFlags::CLONE_NEWNET),
            (namespace("ipc")?, CloneFlags::CLONE_NEWIPC),
            (namespace("uts")?, CloneFlags::CLONE_NEWUTS),
        ];
        for (file, kind) in joined {
            setns(file, kind)?;
        }
        unshare(CloneFlags::CLONE_NEWPID)?;
        Command::new("/proc/self/exe")
            .args(["sandbox-internal", INIT])
            .arg(file)
            .spawn()
    })();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            writeln!(events, "error {error}")?;
            return Err(error.into());
        }
    };
    writeln!(events, "pid {}", child.id())?;
    drop(events);
    drop_streams()?;
    let status = child.wait()?;
    let exit = ExitFile {
        code: code(status),
        signal: status.signal(),
    };
    let text = serde_json::to_vec(&exit).map_err(io::Error::from)?;
    fs::write(launch.directory.join("exit.json"), text)?;
    Ok(0)
}

/// Gives up the container's streams, so that their ends are the container's alone and close with it.
fn drop_streams() -> io::Result<()> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or_default())
}

/// PID 1: builds the root, becomes the user, becomes the server.
fn init(file: &Path) -> Result<u8, StageError> {
    let launch: Launch = describe(file)?;
    let mut events = OpenOptions::new()
        .write(true)
        .open(launch.directory.join("events"))?;
    let process = &launch.container.process;
    let prepared = (|| {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if process.tty {
            take_terminal()?;
        } else {
            setsid()?;
        }
        unshare(CloneFlags::CLONE_NEWNS)?;
        root::enter(&launch)?;
        let command = program(process)?;
        // Again: a change of user clears it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok::<_, io::Error>(command)
    })();
    let mut command = match prepared {
        Ok(command) => command,
        Err(error) => {
            writeln!(events, "error {error}")?;
            return Ok(NOT_EXECUTABLE);
        }
    };
    writeln!(events, "exec")?;
    let error = command.exec();
    writeln!(events, "error exec {:?}: {error}", process.argv.first())?;
    Ok(NOT_EXECUTABLE)
}

/// Enters a running container and runs a program there.
fn join(file: &Path) -> Result<u8, StageError> {
    let spec: Join = describe(file)?;
    fs::remove_file(file)?;
    if spec.process.tty {
        take_terminal()?;
    } else {
        setsid().map_err(io::Error::from)?;
    }
    let namespace = |name: &str| File::open(format!("/proc/{}/ns/{name}", spec.pid));
    let joined = [
        (namespace("pid")?, CloneFlags::CLONE_NEWPID),
        (namespace("net")?, CloneFlags::CLONE_NEWNET),
        (namespace("ipc")?, CloneFlags::CLONE_NEWIPC),
        (namespace("uts")?, CloneFlags::CLONE_NEWUTS),
        (namespace("mnt")?, CloneFlags::CLONE_NEWNS),
    ];
    for (file, kind) in joined {
        setns(file, kind).map_err(io::Error::from)?;
    }
    let mut command = match program(&spec.process) {
        Ok(command) => command,
        Err(error) => {
            writeln!(io::stderr(), "exec failed: {error}")?;
            return Ok(status_of(&error));
        }
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            writeln!(io::stderr(), "exec failed: {error}")?;
            return Ok(status_of(&error));
        }
    };
    drop_streams()?;
    let status = child.wait()?;
    Ok(u8::try_from(code(status)).unwrap_or(u8::MAX))
}

fn status_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    }
}

/// A new session whose terminal is the one on standard input: the first terminal that a session's leader opens.
fn take_terminal() -> io::Result<()> {
    setsid()?;
    open(
        "/proc/self/fd/0",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    Ok(())
}

/// Becomes the user and readies the program, inside the container's root.
fn program(process: &Process) -> io::Result<Command> {
    let identity = users::resolve(&process.user)?;
    fs::create_dir_all(&process.cwd)
        .or_else(|e| if process.cwd.is_dir() { Ok(()) } else { Err(e) })?;
    let mut env = process.env.clone();
    env.entry("HOME".to_owned())
        .or_insert_with(|| identity.home.to_string_lossy().into_owned());
    if process.tty {
        env.entry("TERM".to_owned())
            .or_insert_with(|| "xterm".to_owned());
    }

    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setgid(Gid::from_raw(identity.gid))?;
    setuid(Uid::from_raw(identity.uid))?;
    if process.no_new_privileges {
        prctl::set_no_new_privs()?;
    }
    std::env::set_current_dir(&process.cwd)?;

    let [name, arguments @ ..] = process.argv.as_slice() else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no command specified",
        ));
    };
    let path = find(name, env.get("PATH").map_or("", String::as_str))?;
    heed_signals()?;
    let mut command = Command::new(path);
    command.arg0(name).args(arguments).env_clear().envs(env);
    Ok(command)
}

/// Signals that shells and `nohup` make what they start in the background ignore.
const IGNORED_BY_SHELLS: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// No signal is ignored by what is executed next, whoever started this tree: a handler does not outlive an exec, an
/// ignored signal does, and a shell cannot trap one that it was born ignoring.
fn heed_signals() -> io::Result<()> {
    for signal in IGNORED_BY_SHELLS {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

fn find(name: &str, path: &str) -> io::Result<PathBuf> {
    let executable = |p: &Path| {
        p.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let file = PathBuf::from(name);
        if executable(&file) {
            return Ok(file);
        }
        let kind = if file.exists() {
            io::ErrorKind::PermissionDenied
        } else {
            io::ErrorKind::NotFound
        };
        let why = if file.exists() {
            "permission denied"
        } else {
            "no such file or directory"
        };
        return Err(io::Error::new(
            kind,
            format!("exec: {name:?}: stat {name}: {why}"),
        ));
    }
    path.split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|p| executable(p))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("exec: {name:?}: executable file not found in $PATH"),
            )
        })
}
