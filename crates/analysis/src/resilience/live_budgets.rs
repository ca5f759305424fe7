//! Disruption budgets by what a cluster says of them: the status, and the pods of the moment.

use super::arithmetic::Rule;
use super::budgets::policy;
use super::databases;
use super::draft::{Draft, Edit};
use super::operators::{self, Conduct};
use super::scene::{Budget, Pod, Scene, full_name};
use super::values::{int, list, text};
use crate::codes;
use crate::findings::{Finding, Severity};

/// Pods named in a message.
const NAMED: usize = 5;

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for budget in &scene.budgets {
        let Ok(rule) = Rule::of(budget.body) else {
            continue;
        };
        if let Some(finding) = out_of_sync(budget).or_else(|| stale(budget)) {
            findings.push(finding);
            continue;
        }
        let now = exhausted(scene, budget, rule);
        let stuck = stuck(scene, budget, rule);
        if stuck.is_none() && now.is_none() {
            findings.extend(unset(scene, budget));
        }
        findings.extend(now);
        findings.extend(stuck);
    }
}

fn pods<'s, 'a>(scene: &'s Scene<'a>, budget: &'s Budget<'a>) -> impl Iterator<Item = &'s Pod<'a>> {
    budget
        .pods
        .iter()
        .filter_map(|at| scene.pods.get(*at))
        .filter(|pod| !pod.is_finished())
}

/// Pods that run and are not ready.
fn unready<'s, 'a>(scene: &'s Scene<'a>, budget: &'s Budget<'a>) -> Vec<&'s Pod<'a>> {
    pods(scene, budget)
        .filter(|pod| pod.facts.phase == Some("Running"))
        .filter(|pod| !pod.is_ready() && !pod.is_leaving())
        .collect()
}

/// The controller of budgets gave up.
fn out_of_sync(budget: &Budget<'_>) -> Option<Finding> {
    let condition = list(budget.body, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/reason") == Some("SyncFailed"))?;
    let why = text(condition, "/message").unwrap_or("no reason given");
    let expected = int(budget.body, "/status/expectedPods").unwrap_or(0);
    let pods = i64::try_from(budget.pods.len()).unwrap_or(0).max(expected);
    Some(
        Draft::new(
            codes::BUDGET_WITHOUT_SCALE,
            Severity::Blocks,
            budget.object,
            format!("the budget fails to sync and never lets a pod go: {why}"),
        )
        .saw("status", format!("DisruptionAllowed: SyncFailed: {why}"))
        .fix(
            "say a whole number of minAvailable, which counts pods and needs no scale, or give the custom resource a scale \
             subresource",
        )
        .change(
            budget.object,
            Edit::of(budget.body)
                .remove("/spec/maxUnavailable")
                .set("/spec/minAvailable", (pods - 1).max(0))
                // What the controller said belongs to the old spec.
                .remove("/status"),
        )
        .done(),
    )
}

/// The status speaks of an older spec.
fn stale(budget: &Budget<'_>) -> Option<Finding> {
    let generation = int(budget.body, "/metadata/generation")?;
    let observed = int(budget.body, "/status/observedGeneration")?;
    (observed < generation).then(|| {
        Draft::new(
            codes::BUDGET_STALE,
            Severity::Blocks,
            budget.object,
            "the status is older than the spec: until its controller catches up every eviction is answered with 429",
        )
        .saw("status", format!("observedGeneration {observed}, generation {generation}"))
        .fix(
            "wait a few seconds and look again; if it stays so, kube-controller-manager does not work on budgets (kubectl get \
             lease -n kube-system kube-controller-manager)",
        )
        .done()
    })
}

/// Nothing may go now, though it could.
fn exhausted(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    let allowed = int(budget.body, "/status/disruptionsAllowed")?;
    let healthy = int(budget.body, "/status/currentHealthy")?;
    let desired = int(budget.body, "/status/desiredHealthy")?;
    let expected = int(budget.body, "/status/expectedPods")?;
    if allowed > 0 || expected == 0 {
        return None;
    }
    // All are well and still none may go: that is the budget itself.
    let full = healthy >= expected;
    if full || matches!(rule, Rule::Neither) {
        return None;
    }
    if let Some(managed) = operators::of(budget, scene)
        && matches!(managed.conduct, Conduct::HandsOver(_))
    {
        return None;
    }
    let sick: Vec<String> = unready(scene, budget)
        .iter()
        .take(NAMED)
        .map(|pod| pod.object.name.to_string())
        .collect();
    let mut draft = Draft::new(
        codes::BUDGET_EXHAUSTED,
        Severity::Blocks,
        budget.object,
        format!("no pod may go now: {healthy} of {expected} are healthy and {desired} must be"),
    )
    .saw(
        "status",
        format!("disruptionsAllowed 0, currentHealthy {healthy}, desiredHealthy {desired}, expectedPods {expected}"),
    );
    if !sick.is_empty() {
        draft = draft.saw("pods", format!("not ready: {}", sick.join(", ")));
    }
    Some(
        draft
            .fix("bring the pods that are not ready to Ready, or the number of replicas up, before the upgrade")
            .done(),
    )
}

/// A pod that is not ready and that the budget holds.
fn stuck(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    if policy(budget) == Some("AlwaysAllow") {
        return None;
    }
    let sick = unready(scene, budget);
    if sick.is_empty() || operators::of(budget, scene).is_some() {
        return None;
    }
    let healthy = match int(budget.body, "/status/currentHealthy") {
        Some(healthy) => healthy,
        None => i64::try_from(
            pods(scene, budget)
                .filter(|pod| pod.is_ready() && !pod.is_leaving())
                .count(),
        )
        .unwrap_or(0),
    };
    let desired = match int(budget.body, "/status/desiredHealthy") {
        Some(desired) => desired,
        None => {
            let all = i64::try_from(pods(scene, budget).count()).unwrap_or(0);
            let count = super::arithmetic::Count {
                pods: all,
                scale: all,
            };
            rule.outcome(count, healthy).desired
        }
    };
    // IfHealthyBudget lets it go while the budget is met without it.
    if healthy >= desired && desired > 0 {
        return None;
    }
    let names: Vec<&str> = sick
        .iter()
        .take(NAMED)
        .map(|pod| &*pod.object.name)
        .collect();
    Some(
        Draft::new(
            codes::UNHEALTHY_POLICY,
            Severity::Blocks,
            budget.object,
            format!(
                "{} pods are not ready ({}), and the budget does not let even those go: {healthy} healthy, {desired} must be",
                sick.len(),
                names.join(", ")
            ),
        )
        .saw("policy", policy(budget).unwrap_or("unhealthyPodEvictionPolicy is not set, which is IfHealthyBudget"))
        .fix("let broken pods go: they serve nobody where they are")
        .change(
            budget.object,
            Edit::of(budget.body).set("/spec/unhealthyPodEvictionPolicy", "AlwaysAllow"),
        )
        .done(),
    )
}

/// The policy is not set: the day a pod crashes in a loop, the drain stops.
fn unset(scene: &Scene<'_>, budget: &Budget<'_>) -> Option<Finding> {
    let keeps_data = budget
        .workloads
        .iter()
        .filter_map(|at| scene.workloads.get(*at))
        .any(|workload| databases::of(workload).is_some());
    if policy(budget).is_some()
        || &*budget.object.api != "policy/v1"
        || budget.workloads.is_empty()
        || keeps_data
        || operators::of(budget, scene).is_some()
    {
        return None;
    }
    Some(
        Draft::new(
            codes::UNHEALTHY_POLICY,
            Severity::Info,
            budget.object,
            format!(
                "unhealthyPodEvictionPolicy is not set on {}: pods that crash in a loop will hold up a drain",
                full_name(budget.object)
            ),
        )
        .saw("policy", "not set, which is IfHealthyBudget")
        .fix("set AlwaysAllow")
        .change(
            budget.object,
            Edit::of(budget.body).set("/spec/unhealthyPodEvictionPolicy", "AlwaysAllow"),
        )
        .done(),
    )
}
