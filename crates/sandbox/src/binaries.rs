//! Where the programs of the control plane are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Version of the control plane: the newest release of the newest minor that AKS has generally available and the Go
/// module proxy serves.
pub const KUBERNETES_VERSION: &str = "1.36.3";

/// The programs, by the name of their file.
pub const PROGRAMS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
    "coredns",
];

/// Paths of the programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Binaries {
    /// Where `coredns` is; the image catalogue looks for it there too.
    pub dir: PathBuf,
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub apiserver: PathBuf,
    /// kube-controller-manager.
    pub controller_manager: PathBuf,
    /// kube-scheduler.
    pub scheduler: PathBuf,
    /// kube-proxy.
    pub proxy: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
}

/// Programs are missing.
#[derive(Debug, thiserror::Error)]
#[error(
    "find {} in {}: run `ferriswheel sandbox build` (needs Go 1.26, about 9 minutes, once), or point KUBEBUILDER_ASSETS at a directory that has them",
    missing.join(", "),
    looked.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" or ")
)]
pub struct Missing {
    /// Their names.
    pub missing: Vec<String>,
    /// The directories that were searched.
    pub looked: Vec<PathBuf>,
}

/// The cache: `$FERRISWHEEL_CACHE` or `~/.cache/ferriswheel`.
#[must_use]
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("FERRISWHEEL_CACHE").map_or_else(
        || crate::state::home().join(".cache/ferriswheel"),
        PathBuf::from,
    );
    std::path::absolute(&cache).unwrap_or(cache)
}

/// Where `sandbox build` puts the programs.
#[must_use]
pub fn build_dir() -> PathBuf {
    cache().join("bin").join(KUBERNETES_VERSION)
}

/// Finds every program: in `KUBEBUILDER_ASSETS` if it is set, else and for what is missing there in the cache.
///
/// # Errors
/// Names all that are missing and the command that builds them.
pub fn find() -> Result<Binaries, Missing> {
    let mut looked: Vec<PathBuf> = Vec::new();
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        looked.push(PathBuf::from(assets));
    }
    looked.push(build_dir());
    let found: Vec<Option<PathBuf>> = PROGRAMS
        .iter()
        .map(|program| {
            looked
                .iter()
                .map(|dir| dir.join(program))
                .find(|p| executable(p))
        })
        .collect();
    let [
        Some(etcd),
        Some(apiserver),
        Some(controller_manager),
        Some(scheduler),
        Some(proxy),
        Some(kubectl),
        Some(coredns),
    ] = found.as_slice()
    else {
        let missing = PROGRAMS
            .iter()
            .zip(&found)
            .filter(|(_, path)| path.is_none())
            .map(|(program, _)| (*program).to_owned())
            .collect();
        return Err(Missing { missing, looked });
    };
    Ok(Binaries {
        dir: coredns.parent().map_or_else(build_dir, Path::to_owned),
        etcd: etcd.clone(),
        apiserver: apiserver.clone(),
        controller_manager: controller_manager.clone(),
        scheduler: scheduler.clone(),
        proxy: proxy.clone(),
        kubectl: kubectl.clone(),
        coredns: coredns.clone(),
    })
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
