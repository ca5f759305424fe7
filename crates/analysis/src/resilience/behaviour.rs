//! What Kubernetes and AKS stop doing, release by release, though every API version is still served.
//!
//! # Source
//! Release notes of Kubernetes 1.33 to 1.37 and KEP pages; AKS release notes and the page on node OS
//! versions.

use serde_json::{Value, json};

use super::Settings;
use super::draft::{Draft, Edit};
use super::scene::{Scene, Workload};
use super::values::{has, list, text, texts};
use crate::codes;
use crate::findings::{Finding, Severity};

/// The kubelet stops mounting gitRepo volumes.
const GIT_REPO: u32 = 36;
/// The kubelet asks containerd 2 of its runtime.
const CONTAINERD: u32 = 36;
/// kube-proxy warns of IPVS, and Services of externalIPs.
const IPVS: u32 = 35;
const EXTERNAL_IPS: u32 = 36;
/// Both go in this minor, says the plan.
const LATER: u32 = 43;
/// Releases with an ingress-nginx that nobody keeps any more.
const INGRESS_NGINX: u32 = 35;

/// Systems of nodes: what their name starts with, the first minor without them (or none where a day
/// counts), and what to know.
const SYSTEMS: &[(&str, Option<u32>, &str)] = &[
    (
        "CBL-Mariner",
        None,
        "Azure Linux 2.0 images were removed on 2026-03-31: its pools cannot be scaled, so no surge node comes up",
    ),
    (
        "Ubuntu 18.04",
        None,
        "AKS does not support Ubuntu 18.04 since 2025-06-17",
    ),
    (
        "Ubuntu 20.04",
        None,
        "AKS ends Ubuntu 20.04 on 2027-03-17: images are removed, and pools cannot be scaled",
    ),
    (
        "Ubuntu 22.04",
        Some(35),
        "a pool of osSKU Ubuntu changes to 24.04 at 1.35: another kernel and other libraries under the same pods",
    ),
    (
        "Windows Server 2019",
        Some(33),
        "Windows Server 2019 is not supported at 1.33 and later",
    ),
    (
        "Windows Server 2022",
        Some(37),
        "Windows Server 2022 is not supported at 1.37 and later",
    ),
];

pub(crate) fn check(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        findings.extend(git_repo(workload, settings));
        findings.extend(ingress_nginx(workload, settings));
    }
    external_ips(scene, settings, findings);
    proxy_mode(scene, settings, findings);
    nodes(scene, settings, findings);
}

fn git_repo(workload: &Workload<'_>, settings: &Settings) -> Option<Finding> {
    let volumes = list(workload.pod(), "/spec/volumes");
    let (index, volume) = volumes
        .iter()
        .enumerate()
        .find(|(_, volume)| has(volume, "/gitRepo"))?;
    let name = text(volume, "/name").unwrap_or("repository");
    let repository = text(volume, "/gitRepo/repository").unwrap_or_default();
    let mut clone = vec!["clone".to_owned(), "--depth=1".to_owned()];
    if let Some(revision) = text(volume, "/gitRepo/revision") {
        clone.extend(["--revision".to_owned(), revision.to_owned()]);
    }
    clone.extend([repository.to_owned(), "/repository".to_owned()]);
    let init = json!({
        "name": format!("clone-{name}"),
        "image": "alpine/git",
        "args": clone,
        "volumeMounts": [{ "name": name, "mountPath": "/repository" }],
    });
    let goes = settings.minor >= GIT_REPO;
    let mut finding = Draft::new(
        codes::GIT_REPO,
        if goes { Severity::Blocks } else { Severity::Later },
        workload.object,
        format!("the kubelet does not mount gitRepo volumes since 1.{GIT_REPO}: the pod does not start on a new node"),
    )
    .saw("volume", format!("{name}: gitRepo {repository}"))
    .fix("clone into an emptyDir by an init container (look at what is mounted: a clone made here has no directory of the repository's name)")
    .change(
        workload.object,
        Edit::of(workload.body)
            .set(&workload.path(&format!("/volumes/{index}")), json!({ "name": name, "emptyDir": {} }))
            .push(&workload.path("/initContainers"), init),
    )
    .done();
    finding.removed_in = Some(format!("1.{GIT_REPO}"));
    Some(finding)
}

fn ingress_nginx(workload: &Workload<'_>, settings: &Settings) -> Option<Finding> {
    let image = list(workload.pod(), "/spec/containers")
        .iter()
        .filter_map(|container| text(container, "/image"))
        .find(|image| image.contains("ingress-nginx/controller"))?;
    (settings.minor >= INGRESS_NGINX).then(|| {
        Draft::new(
            codes::INGRESS_NGINX,
            Severity::Warning,
            workload.object,
            format!("ingress-nginx has been retired: no release is tested with 1.{}, and none closes its next hole", settings.minor),
        )
        .saw("image", image)
        .fix("move to a Gateway API implementation (AKS: application routing with Gateway API, Application Gateway for Containers)")
        .done()
    })
}

fn external_ips(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    if settings.minor < EXTERNAL_IPS {
        return;
    }
    for (object, body) in scene.kind("Service") {
        let addresses = texts(body, "/spec/externalIPs");
        if addresses.is_empty() {
            continue;
        }
        let mut finding = Draft::new(
            codes::EXTERNAL_IPS,
            Severity::Later,
            object,
            format!("spec.externalIPs is deprecated since 1.{EXTERNAL_IPS} and goes in 1.{LATER} (planned)"),
        )
        .saw("service", addresses.join(", "))
        .fix("publish it by a load balancer or a Gateway, move its clients, then take externalIPs out")
        .change(object, Edit::of(body).remove("/spec/externalIPs"))
        .done();
        finding.deprecated_in = Some(format!("1.{EXTERNAL_IPS}"));
        finding.removed_in = Some(format!("1.{LATER}"));
        findings.push(finding);
    }
}

fn proxy_mode(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    if settings.minor < IPVS {
        return;
    }
    for (object, body) in scene.kind("ConfigMap") {
        if !object.name.starts_with("kube-proxy") {
            continue;
        }
        let data = body.pointer("/data").and_then(Value::as_object);
        for (key, value) in data.into_iter().flatten() {
            let Some(config) = value.as_str() else {
                continue;
            };
            let line = config.lines().find(|line| {
                let line = line.trim();
                line.strip_prefix("mode:")
                    .is_some_and(|mode| mode.trim().trim_matches(['"', '\'']) == "ipvs")
            });
            let Some(line) = line else { continue };
            let mut finding = Draft::new(
                codes::IPVS,
                Severity::Later,
                object,
                format!("kube-proxy's mode ipvs is deprecated since 1.{IPVS} and goes in 1.{LATER} (planned)"),
            )
            .saw("setting", format!("{} in {key}", line.trim()))
            .fix("use nftables (another data plane: try it on one pool first)")
            .change(
                object,
                Edit::of(body).set(
                    &format!("/data/{}", super::values::escape(key)),
                    config.replacen(line.trim(), "mode: nftables", 1),
                ),
            )
            .done();
            finding.deprecated_in = Some(format!("1.{IPVS}"));
            finding.removed_in = Some(format!("1.{LATER}"));
            findings.push(finding);
        }
    }
}

fn nodes(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    for (object, body) in scene.kind("Node") {
        let system = text(body, "/status/nodeInfo/osImage").unwrap_or_default();
        let row = SYSTEMS.iter().find(|(start, ..)| system.starts_with(start));
        if let Some((_, since, why)) = row
            && since.is_none_or(|since| settings.minor >= since)
        {
            let ends = since.is_some() && system.starts_with("Windows");
            findings.push(
                Draft::new(
                    codes::NODE_SYSTEM,
                    if ends { Severity::Blocks } else { Severity::Warning },
                    object,
                    *why,
                )
                .saw("node", system)
                .owner("whoever keeps the node pools")
                .fix("make a pool with a newer osSKU beside this one and move its pods, before or instead of this upgrade")
                .done(),
            );
        }
        let runtime = text(body, "/status/nodeInfo/containerRuntimeVersion").unwrap_or_default();
        if settings.minor >= CONTAINERD && runtime.starts_with("containerd://1.") {
            findings.push(
                Draft::new(
                    codes::CONTAINERD,
                    Severity::Warning,
                    object,
                    format!("containerd 1.x is not supported since 1.{CONTAINERD}: the node's image has to change with its version"),
                )
                .saw("node", runtime)
                .owner("whoever keeps the node pools")
                .fix("upgrade the node image with the version (AKS does), and check what reads containerd's old configuration")
                .done(),
            );
        }
    }
}
