//! The state of an AKS cluster: what stops an upgrade before it starts, and what interferes with it.
//!
//! # Source
//! The API of 2026-08-01 and Microsoft's pages on upgrades, channels, windows and node pool rollback.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::draft::{Draft, Edit};
use super::scene::{Scene, namespace};
use super::values::{flag, has, int, list, text, texts};
use super::{Settings, aks_nodes};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::manifest::Object;

/// Minors that a kubelet may be behind its API server.
const SKEW: u32 = 3;
/// Label of a node's pool.
pub(super) const POOL: &str = "/metadata/labels/kubernetes.azure.com~1agentpool";

pub(crate) fn check(scene: &Scene<'_>, settings: &Settings, findings: &mut Vec<Finding>) {
    let pools = pools(scene);
    for (object, body) in scene.kind("ManagedCluster") {
        findings.extend(state(object, body, "the cluster"));
        findings.extend(power(object, body));
        findings.extend(jump(object, body, settings));
        findings.extend(forced(object, body));
        channels(scene, object, body, findings);
    }
    for (object, body) in pools.values() {
        findings.extend(state(object, body, "the pool"));
        findings.extend(power(object, body));
        findings.extend(skew(object, body, settings));
        findings.extend(surge_by_zone(object, body));
        findings.extend(shrinks(object, body));
        findings.extend(at_its_maximum(object, body));
    }
    for (object, body) in scene.kind("UpgradeProfile") {
        findings.extend(way_back(object, body));
    }
    aks_nodes::check(scene, &pools, settings, findings);
    balancers(scene, findings);
}

/// Pools by cluster and name; a pool of its own answer before one inside its cluster's.
pub(super) fn pools<'a>(
    scene: &Scene<'a>,
) -> BTreeMap<(&'a str, &'a str), (&'a Object, &'a Value)> {
    let mut pools = BTreeMap::new();
    for (object, body) in scene.kind("AgentPool") {
        let key = (namespace(object), &*object.name);
        let own = has(body, "/id");
        if own || !pools.contains_key(&key) {
            pools.insert(key, (*object, *body));
        }
    }
    pools
}

/// `1.34` and `1.34.2`.
pub(crate) fn minor(version: &str) -> Option<u32> {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next() == Some("1")).then_some(())?;
    parts.next()?.parse().ok()
}

/// An operation that failed, or runs.
fn state(object: &Object, body: &Value, what: &str) -> Option<Finding> {
    let state = text(body, "/provisioningState")?;
    let (why, fix) = match state {
        "Succeeded" => return None,
        "Failed" | "Canceled" => (
            format!(
                "the last operation on {what} {} ended {state}: the next PUT resumes it",
                object.name
            ),
            "find the cause (properties.status.provisioningError), then put the same version again (az aks update, or az aks nodepool \
             upgrade with the version it has) until it has succeeded",
        ),
        _ => (
            format!(
                "an operation on {what} {} is going on ({state}): AKS refuses a second one with OperationNotAllowed",
                object.name
            ),
            "wait until every pool says Succeeded",
        ),
    };
    let mut draft = Draft::new(codes::AKS_STATE, Severity::Blocks, object, why)
        .saw("arm", format!("provisioningState {state}"));
    if let Some(error) = text(body, "/status/provisioningError/code") {
        draft = draft.saw("arm", format!("provisioningError {error}"));
    }
    Some(draft.fix(fix).done())
}

fn power(object: &Object, body: &Value) -> Option<Finding> {
    let code = text(body, "/powerState/code")?;
    (code != "Running").then(|| {
        Draft::new(
            codes::AKS_STOPPED,
            Severity::Blocks,
            object,
            format!(
                "{} is {code}: it is not upgraded, misses its windows, and fails a fleet's run",
                object.name
            ),
        )
        .saw("arm", format!("powerState {code}"))
        .fix("start it first, or leave it out of the run")
        .done()
    })
}

/// One minor at a time.
fn jump(object: &Object, body: &Value, settings: &Settings) -> Option<Finding> {
    let version =
        text(body, "/currentKubernetesVersion").or_else(|| text(body, "/kubernetesVersion"))?;
    let now = minor(version)?;
    if settings.minor > now + 1 {
        return Some(
            Draft::new(
                codes::AKS_JUMP,
                Severity::Blocks,
                object,
                format!(
                    "AKS upgrades one minor at a time: from {version} to 1.{} are {} upgrades",
                    settings.minor,
                    settings.minor - now
                ),
            )
            .saw("arm", format!("currentKubernetesVersion {version}"))
            .fix(format!(
                "upgrade to 1.{} first, and check that target",
                now + 1
            ))
            .done(),
        );
    }
    (settings.minor < now).then(|| {
        Draft::new(
            codes::AKS_JUMP,
            Severity::Blocks,
            object,
            format!(
                "the control plane runs {version}; it never goes back to 1.{}",
                settings.minor
            ),
        )
        .saw("arm", format!("currentKubernetesVersion {version}"))
        .fix("say a target that is not older than the cluster")
        .done()
    })
}

/// Nodes may be three minors behind, and never ahead.
fn skew(object: &Object, body: &Value, settings: &Settings) -> Option<Finding> {
    let version =
        text(body, "/currentOrchestratorVersion").or_else(|| text(body, "/orchestratorVersion"))?;
    let now = minor(version)?;
    let behind = settings.minor.checked_sub(now)?;
    if behind < SKEW {
        return None;
    }
    Some(
        Draft::new(
            codes::AKS_SKEW,
            if behind > SKEW {
                Severity::Blocks
            } else {
                Severity::Warning
            },
            object,
            format!(
                "pool {} runs {version}, {behind} minors behind 1.{}: {SKEW} are allowed",
                object.name, settings.minor
            ),
        )
        .saw("arm", format!("currentOrchestratorVersion {version}"))
        .fix("upgrade this pool before the control plane goes further (az aks nodepool upgrade)")
        .done(),
    )
}

/// A force that somebody left behind.
fn forced(object: &Object, body: &Value) -> Option<Finding> {
    let path = "/upgradeSettings/overrideSettings";
    (flag(body, &format!("{path}/forceUpgrade")) == Some(true)).then(|| {
        let until = text(body, &format!("{path}/until")).unwrap_or("no end, so without effect");
        Draft::new(
            codes::AKS_FORCED,
            Severity::Blocks,
            object,
            format!(
                "forceUpgrade is set (until {until}): an upgrade that starts before then skips the checks and evicts pods against \
                 their budgets, all at once if it comes to that"
            ),
        )
        .saw("arm", format!("overrideSettings.forceUpgrade, until {until}"))
        .fix("take it away: az aks update --disable-force-upgrade")
        .done()
    })
}

/// Channels that upgrade on their own, and windows that never come.
fn channels(scene: &Scene<'_>, object: &Object, body: &Value, findings: &mut Vec<Finding>) {
    let cluster = text(body, "/autoUpgradeProfile/upgradeChannel").unwrap_or("none");
    let nodes = text(body, "/autoUpgradeProfile/nodeOSUpgradeChannel").unwrap_or("NodeImage");
    let windows: BTreeSet<&str> = scene
        .kind("MaintenanceConfiguration")
        .iter()
        .map(|(object, _)| &*object.name)
        .collect();
    // Without any answer about windows nothing is known of them; a snapshot says that there are none.
    let known = !windows.is_empty()
        || scene
            .kind("SnapshotIndex")
            .iter()
            .any(|(_, index)| int(index, "/objects/arm.maintenanceConfigurations") == Some(0));
    let none = |channel: &str| channel.eq_ignore_ascii_case("none");
    if !none(cluster) {
        findings.push(
            Draft::new(
                codes::AKS_CHANNEL,
                Severity::Warning,
                object,
                format!(
                    "AKS upgrades this cluster by itself (channel {cluster}): in the middle of your own upgrade too, and a pool cannot be \
                     rolled back while it is on"
                ),
            )
            .saw("arm", format!("upgradeChannel {cluster}"))
            .fix("switch it off for the time of the upgrade: az aks update --auto-upgrade-channel none")
            .done(),
        );
    }
    for (channel, kind, window, off) in [
        (
            cluster,
            "cluster",
            "aksManagedAutoUpgradeSchedule",
            none(cluster),
        ),
        (
            nodes,
            "node OS",
            "aksManagedNodeOSUpgradeSchedule",
            none(nodes) || nodes == "Unmanaged",
        ),
    ] {
        let has_window = windows.contains(window) || windows.contains("default");
        if !off && !has_window && known {
            findings.push(
                Draft::new(
                    codes::AKS_WINDOW,
                    Severity::Warning,
                    object,
                    format!("the {kind} channel is {channel} and has no window: nodes may be replaced at any hour"),
                )
                .saw("arm", format!("no maintenance configuration {window}"))
                .fix(format!("give it one: az aks maintenanceconfiguration add --name {window} --schedule-type Weekly ..."))
                .done(),
            );
        }
        if off && windows.contains(window) {
            findings.push(
                Draft::new(
                    codes::AKS_WINDOW,
                    Severity::Info,
                    object,
                    format!("there is a window for the {kind} channel, and the channel is {channel}: nothing ever happens in it"),
                )
                .saw("arm", format!("maintenance configuration {window}"))
                .fix("a window triggers nothing: switch a channel on, or do not count on it")
                .done(),
            );
        }
    }
}

/// Surge nodes come in some zone.
fn surge_by_zone(object: &Object, body: &Value) -> Option<Finding> {
    let zones = texts(body, "/availabilityZones").len();
    if zones < 2 {
        return None;
    }
    let surge = surge(body)?;
    let zones = i64::try_from(zones).unwrap_or(i64::MAX);
    (surge > 0 && surge % zones != 0).then(|| {
        Draft::new(
            codes::AKS_SURGE_ZONES,
            Severity::Info,
            object,
            format!(
                "pool {} is in {zones} zones and surges by {surge}: which zones get a surge node is not said, and a pod with a zonal disk \
                 waits for one in its own",
                object.name
            ),
        )
        .saw("arm", format!("maxSurge {}, availabilityZones {zones}", show_surge(body)))
        .fix(format!("surge by a multiple of the zones: az aks nodepool update --name {} --max-surge {zones}", object.name))
        .done()
    })
}

/// Surge nodes of a pool, as AKS counts them: percentages round up. One when it does not say.
pub(crate) fn surge(body: &Value) -> Option<i64> {
    let count = int(body, "/count").unwrap_or(0);
    let said = body.pointer("/upgradeSettings/maxSurge");
    match said {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(said)) => match said.strip_suffix('%') {
            Some(percent) => {
                let percent: i64 = percent
                    .parse()
                    .ok()
                    .filter(|percent| (0..=100).contains(percent))?;
                Some((count * percent).div_euclid(100) + i64::from(count * percent % 100 != 0))
            }
            None => said.parse::<i32>().ok().map(i64::from),
        },
        _ => Some(1),
    }
}

fn show_surge(body: &Value) -> String {
    body.pointer("/upgradeSettings/maxSurge")
        .map_or_else(|| "not set".to_owned(), Value::to_string)
}

/// An autoscaler that takes nodes away while others drain.
fn shrinks(object: &Object, body: &Value) -> Option<Finding> {
    if flag(body, "/enableAutoScaling") != Some(true) {
        return None;
    }
    let (count, least) = (int(body, "/count")?, int(body, "/minCount")?);
    (least < count).then(|| {
        Draft::new(
            codes::AKS_AUTOSCALER,
            Severity::Info,
            object,
            format!("the autoscaler may take pool {} from {count} down to {least} nodes while it is upgraded", object.name),
        )
        .saw("arm", format!("count {count}, minCount {least}"))
        .fix(format!(
            "hold it for the time of the upgrade: az aks nodepool update --name {} --update-cluster-autoscaler --min-count {count} \
             --max-count {}",
            object.name,
            int(body, "/maxCount").unwrap_or(count).max(count)
        ))
        .done()
    })
}

/// An autoscaler that has nothing more to give.
fn at_its_maximum(object: &Object, body: &Value) -> Option<Finding> {
    if flag(body, "/enableAutoScaling") != Some(true) {
        return None;
    }
    let (count, most) = (int(body, "/count")?, int(body, "/maxCount")?);
    (count >= most).then(|| {
        Draft::new(
            codes::AKS_AT_MAXIMUM,
            Severity::Warning,
            object,
            format!(
                "pool {} has {count} nodes and its autoscaler may have {most}: pods that find no place while a node drains get no other, \
                 and what holds their budgets waits with them",
                object.name
            ),
        )
        .saw("arm", format!("count {count}, maxCount {most}"))
        .fix(format!(
            "let it grow by its surge for the time of the upgrade: az aks nodepool update --name {} --update-cluster-autoscaler --min-count {} \
             --max-count {}",
            object.name,
            int(body, "/minCount").unwrap_or(count),
            count + surge(body).unwrap_or(1).max(1)
        ))
        .done()
    })
}

/// What a pool can go back to.
fn way_back(object: &Object, body: &Value) -> Option<Finding> {
    let version = list(body, "/recentlyUsedVersions").first()?;
    let (kubernetes, image) = (
        text(version, "/orchestratorVersion").unwrap_or("?"),
        text(version, "/nodeImageVersion").unwrap_or("?"),
    );
    let since = text(version, "/timestamp").unwrap_or("a time that is not said");
    Some(
        Draft::new(
            codes::AKS_ROLLBACK,
            Severity::Info,
            object,
            format!(
                "pool {} can go back to {kubernetes} ({image}) for 7 days after its upgrade ({since}); another upgrade starts a new clock \
                 and ends this one",
                object.name
            ),
        )
        .saw("arm", format!("recentlyUsedVersions: {kubernetes}, {image}, {since}"))
        .fix("decide within that time; the cluster's and the node OS channel must be off for it")
        .done(),
    )
}

/// A load balancer whose health probe asks for a path that nobody serves.
fn balancers(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    const ANNOTATION: &str =
        "service.beta.kubernetes.io/azure-load-balancer-health-probe-request-path";
    let aks = scene.kind("Node").iter().any(|(_, body)| has(body, POOL))
        || !scene.kind("ManagedCluster").is_empty();
    if !aks {
        return;
    }
    for (object, body) in scene.kind("Service") {
        let http = list(body, "/spec/ports")
            .iter()
            .any(|port| matches!(text(port, "/appProtocol"), Some("http" | "https")));
        let path = format!(
            "/metadata/annotations/{}",
            super::values::escape(ANNOTATION)
        );
        if text(body, "/spec/type") != Some("LoadBalancer")
            || !http
            || has(body, &path)
            || text(body, "/spec/externalTrafficPolicy") == Some("Local")
        {
            continue;
        }
        findings.push(
            Draft::new(
                codes::AKS_PROBE,
                Severity::Warning,
                object,
                "appProtocol makes Azure's load balancer probe by HTTP at /, and a server that answers anything but 200 there is taken out",
            )
            .saw("service", "appProtocol http, and no path for the health probe")
            .fix("name a path that answers 200 (the patch says /healthz: check that it is served)")
            .change(object, Edit::of(body).set(&path, "/healthz"))
            .done(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up() {
        let of = |surge: Value| {
            super::surge(
                &serde_json::json!({ "count": 5, "upgradeSettings": { "maxSurge": surge } }),
            )
        };
        assert_eq!(of(Value::from("33%")), Some(2));
        assert_eq!(of(Value::from("2")), Some(2));
        assert_eq!(of(Value::Null), Some(1));
    }
}
