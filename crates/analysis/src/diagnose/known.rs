//! Errors of AKS that are known, with what each means.
//!
//! Codes alone do not tell: `OperationNotAllowed` is a quota, a version or another operation, by its message.
//!
//! # Source
//! Microsoft's support pages on failed upgrades of AKS, and what users report of them.

use super::case::Case;
use super::ward::Ward;
use super::{Symptom, codes};
use crate::findings::{ObjectRef, Place};

/// A text that may hold errors.
pub(super) struct Source {
    pub object: ObjectRef,
    pub place: Place,
    pub class: &'static str,
    pub text: String,
    /// An error that nobody here knows is told too.
    pub must_be_known: bool,
}

impl Source {
    fn case(&self, code: &'static str, cause: impl Into<String>) -> Case {
        Case::of(
            code,
            Symptom::Refused,
            self.object.clone(),
            self.place.clone(),
            cause.into(),
        )
        .saw(self.class, self.text.clone())
    }
}

/// Everything that a text is known to mean; usually one thing.
pub(super) fn recognise(ward: &Ward<'_>, source: &Source) -> Vec<Case> {
    let text = source.text.as_str();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let mut found = Vec::new();
    let evicts = text.contains("evict") || text.contains("Evict");
    if has(&["PodDrainFailure"]) || (evicts && has(&["Too Many Requests", "PDB debug info"])) {
        found.push(drain(ward, source));
    }
    if has(&["UnsatisfiablePDB"]) {
        found.push(unsatisfiable(source));
    }
    let quota = has(&[
        "QuotaExceeded",
        "InsufficientVCPUQuota",
        "nsufficient vcpu quota",
    ]) || (has(&["uota"]) && has(&["xceeding approved", "exceeding quota limit"]));
    if quota {
        found.push(self::quota(ward, source));
    }
    if has(&[
        "SubnetIsFull",
        "InsufficientSubnetSize",
        "Pre-allocated IPs",
    ]) {
        found.push(subnet(ward, source));
    }
    if has(&[
        "SKUNotAvailable",
        "SkuNotAvailable",
        "AllocationFailed",
        "Overconstrained",
    ]) {
        found.push(capacity(ward, source));
    }
    if has(&["NodePoolMcVersionIncompatible"]) {
        found.push(skew(ward, source));
    }
    if has(&["NotAllAgentPoolOrchestratorVersionSpecifiedAndUnchanged"]) {
        found.push(pool_versions(ward, source));
    }
    let allowed = has(&["OperationNotAllowed"]) && !quota;
    if has(&["AKSOperationPreempted"])
        || (allowed && has(&["nother operation", "in progress", "operation is running"]))
    {
        found.push(busy(ward, source));
    } else if has(&["K8sVersionNotSupported"])
        || (allowed && has(&["vailable upgrades", "Upgrading", "Downgrading"]))
    {
        found.push(version_path(ward, source));
    }
    if has(&["Throttled", "request limit has been exceeded"]) {
        found.push(throttled(source));
    }
    if has(&[
        "VMExtensionProvisioningError",
        "vmssCSE",
        "ReconcileVMSSAgentPoolFailed",
    ]) {
        found.push(outbound(source));
    }
    if found.is_empty() && source.must_be_known && !has(&["UpgradeBlockedOnDeprecatedAPIUsage"]) {
        found.push(unknown(ward, source));
    }
    found
}

/// The text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = text.split_once(before)?.1;
    let found = rest.split_once(after)?.0.trim();
    (!found.is_empty() && found.len() <= 253).then_some(found)
}

/// The number that comes next.
fn number(text: &str, before: &str) -> Option<i64> {
    let rest = text.split_once(before)?.1.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// How an operation goes on when its cause is gone.
fn again(ward: &Ward<'_>) -> String {
    format!(
        "az aks nodepool upgrade {} --name POOL --kubernetes-version VERSION   # the version that it was on its way to: it goes on",
        ward.cluster
    )
}

fn drain(ward: &Ward<'_>, source: &Source) -> Case {
    let text = &source.text;
    let node = between(text, "Drain node ", " failed").or_else(|| between(text, "Node ", ":"));
    // The second form names the namespace too.
    let pod = between(text, "PDB debug info: ", " blocked")
        .or_else(|| between(text, "evicting pod ", " failed"));
    let budget = between(text, "blocked by pdb ", " with");
    let unready = between(text, "blocked by pdb ", ".").and_then(|rest| number(rest, " with "));
    let held = match (pod, budget) {
        (Some(pod), Some(budget)) => format!("budget {budget} held pod {pod}"),
        (Some(pod), None) => format!("a budget held pod {pod}"),
        _ => "a budget held a pod".to_owned(),
    };
    let why = match unready {
        Some(0) => "; all its pods were ready, so it never lets one go",
        Some(_) => "; some of its pods were not ready, and it waits for them",
        None => "",
    };
    let mut case = source.case(
        codes::DRAIN_REFUSED,
        format!(
            "the drain{} ended at its timeout: {held}{why}",
            node.map_or(String::new(), |node| format!(" of node {node}"))
        ),
    );
    if let Some((namespace, name)) = pod.and_then(|pod| pod.split_once('/')) {
        case = case.next(format!("kubectl get pdb -n {namespace}   # ALLOWED DISRUPTIONS 0 is the one; which pods does it pick?"));
        case = case.next(format!("kubectl describe pod -n {namespace} {name}"));
    } else {
        case = case.next("kubectl get pdb -A   # those with ALLOWED DISRUPTIONS 0");
    }
    case.next("ferriswheel diagnose   # once more with the cluster at hand: it names the budget and its patch")
        .next(again(ward))
        .avoid(
            "do not use forceUpgrade: since 2025-09-01 it evicts against budgets, all pods at once if it comes to that; raising the drain \
             timeout does not help a budget that never allows one",
        )
}

fn unsatisfiable(source: &Source) -> Case {
    let name = between(&source.text, "PDB ", " has");
    let case = source.case(
        codes::UNSATISFIABLE,
        format!(
            "AKS does not begin: {} allows no pod to go; it asks this of every budget of the cluster, whichever pool is upgraded",
            name.map_or("a budget".to_owned(), |name| format!("budget {name}"))
        ),
    );
    let case = match name.and_then(|name| name.split_once('/')) {
        Some((namespace, name)) => {
            case.next(format!("kubectl get pdb -n {namespace} {name} -o yaml"))
        }
        None => case.next("kubectl get pdb -A"),
    };
    case.next("ferriswheel check --only resilience --target VERSION   # the patch, and whether an operator keeps the budget (FWR021, FWR030)")
        .avoid("do not delete the budget of a database, nor use forceUpgrade: scale to two or allow one, and put it back afterwards")
}

fn quota(ward: &Ward<'_>, source: &Source) -> Case {
    let text = &source.text;
    let family = between(text, "for family ", " ").or_else(|| between(text, "approved ", " Cores"));
    let (asked, left) = (number(text, "requested "), number(text, "remaining "));
    source
        .case(
            codes::QUOTA,
            format!(
                "surge nodes need processors that the quota{} does not have{}",
                family.map_or(String::new(), |family| format!(" of {family}")),
                match (asked, left) {
                    (Some(asked), Some(left)) => format!(": {asked} asked for, {left} left"),
                    _ => String::new(),
                }
            ),
        )
        .next("az vm list-usage --location REGION -o table   # the family's row, and Total Regional vCPUs")
        .next(format!(
            "az aks nodepool update {} --name POOL --max-surge 1   # or raise the quota, or upgrade pool by pool",
            ward.cluster
        ))
        .next(again(ward))
        .avoid("do not delete nodes to make room while the operation is Failed: put the same version again and let AKS take its surge nodes away")
}

fn subnet(ward: &Ward<'_>, source: &Source) -> Case {
    let text = &source.text;
    let (asked, left) = (
        number(text, "Pre-allocated IPs "),
        number(text, "IPs available "),
    );
    source
        .case(
            codes::SUBNET,
            format!(
                "the subnet has no addresses for surge nodes and their pods{}",
                match (asked, left) {
                    (Some(asked), Some(left)) => format!(": {asked} needed, {left} there"),
                    _ => String::new(),
                }
            ),
        )
        .next("az network vnet subnet show --resource-group GROUP --vnet-name NETWORK --name SUBNET --query addressPrefix")
        .next(format!(
            "az aks nodepool update {} --name POOL --max-surge 1   # each surge node takes 1 + maxPods addresses with flat Azure CNI",
            ward.cluster
        ))
        .next(again(ward))
        .avoid("do not lower maxPods of the pool for it: that is fixed when a pool is made; a new pool on another subnet is the way out")
}

fn capacity(ward: &Ward<'_>, source: &Source) -> Case {
    let zonal = source.text.contains("Zonal") || source.text.contains("zone");
    source
        .case(
            codes::CAPACITY,
            if zonal {
                "Azure has no machines of this size in a zone of the pool at the moment"
            } else {
                "Azure has no machines of this size in the region at the moment, or not for this subscription"
            },
        )
        .next("az vm list-skus --location REGION --size SIZE --all -o table   # restrictions by zone")
        .next(format!(
            "az aks nodepool update {} --name POOL --max-surge 1   # fewer at a time; or maxUnavailable, which needs no new machine",
            ward.cluster
        ))
        .next(again(ward))
        .avoid("do not delete old nodes first to free machines: they may not come back either")
}

fn skew(ward: &Ward<'_>, source: &Source) -> Case {
    source
        .case(
            codes::SKEW,
            "the pool and the control plane would be too far apart: nodes are never ahead, and at most three minors behind",
        )
        .next(format!("az aks nodepool list {} --query '[].{{name:name,version:currentOrchestratorVersion}}' -o table", ward.cluster))
        .next(again(ward))
        .avoid("do not try to take the control plane back: it never goes to an older version; upgrade the pool that is behind")
}

fn pool_versions(ward: &Ward<'_>, source: &Source) -> Case {
    source
        .case(
            codes::POOL_VERSIONS,
            "the request changes the versions of some pools through the cluster's resource: all must stay as they are, or all be the control \
             plane's",
        )
        .next(format!("az aks nodepool list {} --query '[].{{name:name,version:orchestratorVersion}}' -o table", ward.cluster))
        .next("send every pool's version as it is; upgrade a pool through its own resource (az aks nodepool upgrade)")
        .avoid("do not leave the versions out in a template to get past it: with an upgrade channel on, AKS has moved them since")
}

fn busy(ward: &Ward<'_>, source: &Source) -> Case {
    let preempted = source.text.contains("Preempted");
    source
        .case(
            codes::BUSY,
            if preempted {
                "a newer operation took this one's place; what it had done stays done"
            } else {
                "another operation is going on, and AKS does one at a time"
            },
        )
        .next(format!(
            "az aks nodepool list {} --query '[].{{name:name,state:provisioningState}}' -o table   # wait until all say Succeeded",
            ward.cluster
        ))
        .next("az monitor activity-log list --resource-group GROUP --offset 6h -o table   # who started it: a pipeline, a channel, a person?")
        .avoid("do not abort what you did not start: an abort stops where it is and rolls nothing back")
}

fn throttled(source: &Source) -> Case {
    let wait = number(&source.text, "retry again in ");
    source
        .case(
            codes::THROTTLED,
            format!(
                "Azure takes no more requests of this kind for a while{}",
                wait.map_or(String::new(), |seconds| format!(": {seconds} s, it says"))
            ),
        )
        .next("wait as long as Retry-After says, then send it once")
        .next("look for what polls or retries beside you: pipelines, controllers, many clusters with the same maintenance window")
        .avoid("do not retry in a loop: pools and clusters have one write a minute after a burst of 20, and every try counts")
}

fn outbound(source: &Source) -> Case {
    let status =
        number(&source.text, "exit status=").or_else(|| number(&source.text, "exit status "));
    let fifty = status == Some(50);
    source
        .case(
            codes::OUTBOUND,
            match status {
                Some(50) => {
                    "a new machine could not reach the network outside (exit status 50), so it never became a node".to_owned()
                }
                Some(status) => format!(
                    "a new machine did not get through its set-up (exit status {status}), so it never became a node"
                ),
                None => "a new machine did not get through its set-up, so it never became a node".to_owned(),
            },
        )
        .next(if fifty {
            "az network route-table list -o table   # and firewall, NSG, NAT gateway: does the subnet still reach mcr.microsoft.com:443?"
        } else {
            "az vmss list-instances --resource-group NODE_GROUP --name SCALE_SET -o table   # which machines"
        })
        .next("look whether somebody changed the scale set beside AKS (application security groups, extensions): an upgrade takes that away")
        .avoid("do not scale the pool up to try: each new machine fails the same way and uses up quota and addresses")
}

fn version_path(ward: &Ward<'_>, source: &Source) -> Case {
    source
        .case(
            codes::VERSION_PATH,
            "AKS does not offer this version from the one that runs: one minor at a time, never back, and only what the region supports",
        )
        .next(format!(
            "az aks get-upgrades {} -o table",
            ward.cluster.replace("--cluster-name", "--name")
        ))
        .avoid("do not make a new cluster at once: when get-upgrades lists nothing the cluster is too old for a path, else there is a step between")
}

/// What nobody here knows is told as it is.
fn unknown(ward: &Ward<'_>, source: &Source) -> Case {
    let empty = !source.text.contains(": ") && source.text.starts_with("provisioningState");
    source
        .case(
            codes::UNKNOWN,
            if empty {
                "the operation ended badly, and Azure says no more than that"
            } else {
                "an error that is not known here; it is told as it came"
            },
        )
        .next("az monitor activity-log list --resource-group GROUP --offset 24h --status Failed -o json > activity.json")
        .next("ferriswheel diagnose --from activity.json")
        .next(again(ward))
        .avoid("do not delete or re-create the pool before the cause is known: a PUT of the same version is the way to go on, and harmless")
}
