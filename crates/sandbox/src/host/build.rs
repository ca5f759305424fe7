//! `sandbox build`: builds the programs of the control plane from Go modules into the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::binaries::{KUBERNETES_VERSION, PROGRAMS, build_dir};

/// The module that pins every version, and the checksums of everything it needs.
const GO_MOD: &str = include_str!("../../control-plane/go.mod");
const GO_SUM: &str = include_str!("../../control-plane/go.sum");

/// The version of CoreDNS that AKS runs with this Kubernetes.
const COREDNS: &str = "github.com/coredns/coredns@v1.13.1";

/// The programs were not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no Go.
    #[error("run go: install Go 1.26 or newer and put it on the PATH")]
    Go(#[source] io::Error),
    /// Go failed; what it said is on standard error.
    #[error("build {what}: go ended with {status}")]
    Failed {
        /// What was being built.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file could not be written.
    #[error("write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Builds what is missing; gives the directory. What Go says goes to standard error.
///
/// # Guarantees
/// Each program appears whole or not at all. Of two builds side by side one builds and the other waits.
///
/// # Errors
/// Go is missing or fails, or the cache is not writable.
pub fn build(force: bool, tell: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
    let target = build_dir();
    if !force && let Ok(found) = crate::binaries::find() {
        tell("all programs are there");
        return Ok(found.dir);
    }
    make(&target)?;
    let _alone = lock(&target.join(".lock"))?;
    let missing = |program: &&str| force || !target.join(program).is_file();
    // Next to the target, so that each program appears whole by a rename.
    let work = target.with_extension("building");
    let module = work.join("module");
    make(&module)?;
    let result = build_in(&work, &module, &target, &missing, tell);
    let _ = fs::remove_dir_all(&work);
    result.map(|()| target)
}

fn build_in(
    work: &Path,
    module: &Path,
    target: &Path,
    missing: &dyn Fn(&&str) -> bool,
    tell: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    for (name, text) in [("go.mod", GO_MOD), ("go.sum", GO_SUM)] {
        let path = module.join(name);
        fs::write(&path, text).map_err(|source| BuildError::Io { path, source })?;
    }
    let out = work.join("bin");
    make(&out)?;
    let kubernetes: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|program| *program != "coredns" && missing(program))
        .collect();
    if !kubernetes.is_empty() {
        tell(&format!(
            "building {} {KUBERNETES_VERSION} (about 7 minutes on 2 cores the first time)",
            kubernetes.join(", ")
        ));
        let packages = kubernetes.iter().map(|program| match *program {
            "etcd" => "go.etcd.io/etcd/server/v3".to_owned(),
            program => format!("k8s.io/kubernetes/cmd/{program}"),
        });
        let status = Command::new("go")
            .current_dir(module)
            .env("CGO_ENABLED", "0")
            .env_remove("GOFLAGS")
            .args([
                "build",
                "-mod=mod",
                "-trimpath",
                "-ldflags",
                &link_flags(),
                "-o",
            ])
            .arg(&out)
            .args(packages)
            .status()
            .map_err(BuildError::Go)?;
        if !status.success() {
            return Err(BuildError::Failed {
                what: "Kubernetes and etcd",
                status,
            });
        }
        for program in kubernetes {
            // Go names a program after the last segment of its package.
            let built = if program == "etcd" { "server" } else { program };
            place(&out.join(built), &target.join(program))?;
        }
    }
    if missing(&"coredns") {
        tell("building CoreDNS (about 2 minutes the first time)");
        let status = Command::new("go")
            .current_dir(work)
            .env("CGO_ENABLED", "0")
            .env("GOBIN", &out)
            .env_remove("GOFLAGS")
            .args(["install", "-trimpath", "-ldflags", "-s -w", COREDNS])
            .status()
            .map_err(BuildError::Go)?;
        if !status.success() {
            return Err(BuildError::Failed {
                what: "CoreDNS",
                status,
            });
        }
        place(&out.join("coredns"), &target.join("coredns"))?;
    }
    Ok(())
}

/// The version that the programs report, as in a release.
fn link_flags() -> String {
    let mut numbers = KUBERNETES_VERSION.split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", format!("v{KUBERNETES_VERSION}").as_str()),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.push_str(&format!(" -X {package}.{name}={value}"));
        }
    }
    flags
}

/// Waits for another build; the lock goes with the file, also when this program is killed.
fn lock(path: &Path) -> Result<fs::File, BuildError> {
    let taken = fs::File::create(path).and_then(|file| file.lock().map(|()| file));
    taken.map_err(|source| BuildError::Io {
        path: path.to_owned(),
        source,
    })
}

fn make(path: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(path).map_err(|source| BuildError::Io {
        path: path.to_owned(),
        source,
    })
}

fn place(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::rename(from, to).map_err(|source| BuildError::Io {
        path: to.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{GO_MOD, KUBERNETES_VERSION};

    #[test]
    fn what_is_built_is_what_its_directory_says() {
        let pinned = format!("k8s.io/kubernetes v{KUBERNETES_VERSION}\n");
        assert!(GO_MOD.contains(&pinned), "{GO_MOD}");
    }
}
