//! From a container of a pod and its image to what the runtime runs.

use super::config::NodeConfig;
use super::fields::expand;
use super::recipe::Recipe;
use super::volumes::Volumes;
use crate::runtime::spec::{ContainerSpec, Mount, Process, User};
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// What a container sees as its search path when neither image nor pod says one.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a container's description cannot be made; the text is for its status.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ConfigError(pub String);

/// Everything that goes into a description.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub recipe: &'a Recipe,
    /// Variables of the pod; the image's come below them.
    pub env: BTreeMap<String, String>,
    pub volumes: &'a Volumes,
    pub pod_directory: &'a Path,
    pub hostname: &'a str,
    pub id: String,
    pub log_path: PathBuf,
}

/// Describes the container.
pub(super) fn describe(parts: Parts<'_>) -> Result<ContainerSpec, ConfigError> {
    let Parts {
        pod,
        container,
        recipe,
        env,
        volumes,
        pod_directory,
        hostname,
        id,
        log_path,
    } = parts;
    let expanded = |list: &Option<Vec<String>>| -> Option<Vec<String>> {
        list.as_ref().filter(|l| !l.is_empty()).map(|l| {
            l.iter()
                .map(|s| expand(s, |name| env.get(name).cloned()))
                .collect()
        })
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    // The image's own arguments belong to the image's own entrypoint.
    let args = args.unwrap_or_else(|| {
        if command.is_some() {
            Vec::new()
        } else {
            recipe.cmd.clone()
        }
    });
    let mut argv = command.unwrap_or_else(|| recipe.entrypoint.clone());
    argv.extend(args);
    if argv.is_empty() {
        return Err(ConfigError("no command specified".to_owned()));
    }

    let mut mounts: Vec<Mount> = recipe.mounts.clone();
    for (name, target) in [
        ("resolv.conf", "/etc/resolv.conf"),
        ("hosts", "/etc/hosts"),
        ("hostname", "/etc/hostname"),
    ] {
        mounts.push(Mount {
            source: pod_directory.join(name),
            target: target.into(),
            read_only: false,
        });
    }
    let mut mounted: Vec<PathBuf> = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let volume = volumes.get(&wanted.name).ok_or_else(|| {
            ConfigError(format!(
                "cannot find volume {:?} to mount into container {:?}",
                wanted.name, container.name
            ))
        })?;
        let inside = match (&wanted.sub_path_expr, &wanted.sub_path) {
            (Some(expression), _) => expand(expression, |name| env.get(name).cloned()),
            (None, Some(path)) => path.clone(),
            (None, None) => String::new(),
        };
        let source = sub_path(&volume.path, &inside)?;
        mounted.push(wanted.mount_path.clone().into());
        mounts.push(Mount {
            source,
            target: wanted.mount_path.clone().into(),
            read_only: volume.read_only || wanted.read_only == Some(true),
        });
    }
    // What the image declares as a volume is a directory of the container's own unless the pod mounts one there.
    for volume in &recipe.volumes {
        if !mounted.contains(volume) {
            let source = pod_directory
                .join("anonymous")
                .join(&id)
                .join(volume.strip_prefix("/").unwrap_or(volume));
            fs::create_dir_all(&source)
                .map_err(|e| ConfigError(format!("make {}: {e}", volume.display())))?;
            mounts.push(Mount {
                source,
                target: volume.clone(),
                read_only: false,
            });
        }
    }
    mounts.sort_by_key(|m| m.target.components().count());

    let mut all = recipe.env.clone();
    all.entry("PATH".to_owned())
        .or_insert_with(|| PATH.to_owned());
    all.insert("HOSTNAME".to_owned(), hostname.to_owned());
    all.extend(env);
    let own = container.security_context.clone().unwrap_or_default();
    let shared = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default();
    let number = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    let groups = shared
        .supplemental_groups
        .iter()
        .flatten()
        .copied()
        .chain(shared.fs_group);
    let cwd = container
        .working_dir
        .clone()
        .filter(|d| !d.is_empty())
        .map(PathBuf::from);
    Ok(ContainerSpec {
        id,
        mounts,
        hidden: recipe.hidden.clone(),
        directories: recipe.directories.clone(),
        files: recipe.files.clone(),
        read_only_root: own.read_only_root_filesystem == Some(true),
        process: Process {
            argv,
            env: all,
            cwd: cwd.unwrap_or_else(|| recipe.workdir.clone()),
            user: User {
                image: recipe.user.clone(),
                uid: number(own.run_as_user.or(shared.run_as_user)),
                gid: number(own.run_as_group.or(shared.run_as_group)),
                groups: groups.filter_map(|g| u32::try_from(g).ok()).collect(),
            },
            tty: container.tty == Some(true),
            no_new_privileges: own.allow_privilege_escalation == Some(false),
        },
        stdin: container.stdin == Some(true),
        log_path,
        termination_message_path: container
            .termination_message_path
            .clone()
            .unwrap_or_else(|| "/dev/termination-log".to_owned())
            .into(),
    })
}

fn sub_path(volume: &Path, inside: &str) -> Result<PathBuf, ConfigError> {
    let escapes = Path::new(inside).components().any(|c| {
        !matches!(
            c,
            std::path::Component::Normal(_) | std::path::Component::CurDir
        )
    });
    if escapes {
        return Err(ConfigError(format!("subPath {inside:?} leaves its volume")));
    }
    let path = volume.join(inside);
    if !inside.is_empty() && !path.exists() {
        fs::create_dir_all(&path).map_err(|e| {
            ConfigError(format!(
                "failed to create subPath directory {inside:?}: {e}"
            ))
        })?;
    }
    Ok(path)
}

/// Writes the files that a pod's containers share: names and addresses.
pub(super) fn write_names(
    directory: &Path,
    pod: &Pod,
    config: &NodeConfig,
    hostname: &str,
    pod_ip: Ipv4Addr,
) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("hostname"), format!("{hostname}\n"))?;
    fs::write(
        directory.join("hosts"),
        hosts(pod, config, hostname, pod_ip),
    )?;
    fs::write(directory.join("resolv.conf"), resolver(pod, config))
}

/// The pod's host name.
pub(super) fn hostname(pod: &Pod, config: &NodeConfig) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.host_network) == Some(true) {
        return config.node_name.clone();
    }
    let name = spec
        .and_then(|s| s.hostname.clone())
        .filter(|h| !h.is_empty());
    let mut name = name.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn hosts(pod: &Pod, config: &NodeConfig, hostname: &str, pod_ip: Ipv4Addr) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let spec = pod.spec.as_ref();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = spec
        .and_then(|s| s.subdomain.as_deref())
        .filter(|s| !s.is_empty());
    let full = domain
        .map(|d| format!("{hostname}.{d}.{namespace}.svc.{}\t", config.cluster_domain))
        .unwrap_or_default();
    text.push_str(&format!("{pod_ip}\t{full}{hostname}\n"));
    let aliases: Vec<String> = spec
        .iter()
        .flat_map(|s| s.host_aliases.iter().flatten())
        .map(|a| {
            format!(
                "{}\t{}\n",
                a.ip,
                a.hostnames.clone().unwrap_or_default().join("\t")
            )
        })
        .collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        text.extend(aliases);
    }
    text
}

/// The resolver's file by the pod's DNS policy. Five dots, as every cluster has it: short names go through the
/// search list first.
fn resolver(pod: &Pod, config: &NodeConfig) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec
        .and_then(|s| s.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let host_network = spec.and_then(|s| s.host_network) == Some(true);
    let own = spec.and_then(|s| s.dns_config.clone()).unwrap_or_default();
    let cluster =
        policy == "ClusterFirstWithHostNet" || (policy == "ClusterFirst" && !host_network);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &config.cluster_domain;

    let (mut servers, mut search, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if cluster {
        servers.push(config.cluster_dns.to_string());
        search.extend([
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ]);
        options.push(("ndots".to_owned(), Some("5".to_owned())));
    } else if policy != "None" {
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        for line in host.lines() {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["nameserver", server] => servers.push((*server).to_owned()),
                ["search", domains @ ..] => search.extend(domains.iter().map(|d| (*d).to_owned())),
                _ => {}
            }
        }
    }
    servers.extend(own.nameservers.into_iter().flatten());
    search.extend(own.searches.into_iter().flatten());
    for option in own.options.into_iter().flatten() {
        let name = option.name.unwrap_or_default();
        options.retain(|(n, _)| *n != name);
        options.push((name, option.value));
    }
    let mut text: String = servers
        .iter()
        .map(|s| format!("nameserver {s}\n"))
        .collect();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        let words: Vec<String> = options
            .into_iter()
            .map(|(n, v)| v.map_or(n.clone(), |v| format!("{n}:{v}")))
            .collect();
        text.push_str(&format!("options {}\n", words.join(" ")));
    }
    text
}
