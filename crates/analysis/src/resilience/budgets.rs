//! Disruption budgets by what they say: is there one, does it ever let a pod go, does it let too many.

use serde_json::{Value, json};

use super::arithmetic::{Bound, Count, Rule};
use super::databases;
use super::draft::{Draft, Edit};
use super::operators::{self, Conduct, Managed};
use super::scene::{Budget, Makes, Scene, Workload, full_name, namespace};
use super::select::Selector;
use super::values::{int, text};
use crate::codes;
use crate::findings::{Evidence, Finding, Severity};
use crate::manifest::Origin;

/// Names of others in a message; the JSON names all in its evidence.
const NAMED: usize = 5;

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for workload in &scene.workloads {
        findings.extend(missing(workload));
        findings.extend(several(scene, workload));
    }
    for budget in &scene.budgets {
        let rule = match Rule::of(budget.body) {
            Ok(rule) => rule,
            Err(why) => {
                findings.push(refused(budget, &why));
                continue;
            }
        };
        let managed = operators::of(budget, scene);
        findings.extend(selects(scene, budget, managed.as_ref()));
        match &managed {
            Some(managed) => findings.extend(kept_by_operator(scene, budget, rule, managed)),
            None => {
                findings.extend(unscaled(scene, budget, rule));
                findings.extend(closed(scene, budget, rule));
                findings.extend(too_open(scene, budget, rule));
            }
        }
    }
}

/// Workloads that a budget covers.
fn covered<'s, 'a>(
    scene: &'s Scene<'a>,
    budget: &'s Budget<'a>,
) -> impl Iterator<Item = &'s Workload<'a>> {
    budget
        .workloads
        .iter()
        .filter_map(|at| scene.workloads.get(*at))
}

/// At which end of its autoscaler's range a workload is taken.
#[derive(Clone, Copy)]
enum Size {
    Fewest,
    Most,
}

/// Pods as the controller counts them, with each workload at the size that `size` says.
fn count(scene: &Scene<'_>, budget: &Budget<'_>, size: Size) -> Count {
    let mut count = Count::default();
    for workload in covered(scene, budget) {
        match workload.makes {
            Makes::Naked => count.pods += 1,
            Makes::Job => count.pods += int(workload.body, "/spec/parallelism").unwrap_or(1),
            Makes::DaemonSet | Makes::CronJob => {
                count.pods += i64::try_from(workload.pods.len()).unwrap_or(0);
            }
            _ => {
                let replicas = match size {
                    Size::Fewest => workload.fewest(),
                    Size::Most => workload.most(),
                };
                let replicas = replicas.unwrap_or(1);
                count.pods += replicas;
                count.scale += replicas;
            }
        }
    }
    // Pods whose makers the input has not: they are there all the same.
    for pod in budget.pods.iter().filter_map(|at| scene.pods.get(*at)) {
        if pod.workload.is_none() && !pod.is_finished() {
            count.pods += 1;
            count.scale += i64::from(pod.controller.is_some());
        }
    }
    count
}

/// A budget for a workload without one.
fn missing(workload: &Workload<'_>) -> Option<Finding> {
    let members = workload.fewest()?;
    if members < 2 || !workload.makes.scales() || !workload.budgets.is_empty() {
        return None;
    }
    let labels = workload
        .body
        .pointer("/spec/selector/matchLabels")
        .or_else(|| workload.pod().pointer("/metadata/labels"))
        .filter(|labels| labels.as_object().is_some_and(|all| !all.is_empty()))?;
    let mut budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": &*workload.object.name },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } },
    });
    if let Some(namespace) = &workload.object.namespace
        && let Some(metadata) = budget
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), Value::from(&**namespace));
    }
    // A member of a database that is not ready may be catching up; it is not for a drain to judge.
    if databases::of(workload).is_none()
        && let Some(spec) = budget.pointer_mut("/spec").and_then(Value::as_object_mut)
    {
        spec.insert(
            "unhealthyPodEvictionPolicy".to_owned(),
            Value::from("AlwaysAllow"),
        );
    }
    Some(
        Draft::new(
            codes::NO_BUDGET,
            Severity::Warning,
            workload.object,
            format!(
                "no disruption budget covers {}: a drain may take all {members} of its pods at once",
                workload.name()
            ),
        )
        .saw("workload", format!("{members} replicas, and no budget in the input selects them"))
        .fix("make a budget that lets one pod go at a time")
        .create(budget)
        .done(),
    )
}

/// More than one budget on the same pods.
fn several(scene: &Scene<'_>, workload: &Workload<'_>) -> Option<Finding> {
    let mut budgets: Vec<&Budget<'_>> = workload
        .budgets
        .iter()
        .filter_map(|at| scene.budgets.get(*at))
        .collect();
    budgets.sort_by_key(|budget| &budget.object.name);
    budgets.dedup_by_key(|budget| &budget.object.name);
    if budgets.len() < 2 {
        return None;
    }
    // An operator writes its own again; and of two of one kind the more exact one stays.
    let keep = budgets.iter().max_by_key(|budget| {
        let exact = match &budget.selector {
            Selector::Terms { labels, conditions } => labels.len() + conditions.len(),
            _ => 0,
        };
        let opens =
            Rule::of(budget.body).is_ok_and(|rule| !rule.never(count(scene, budget, Size::Fewest)));
        (operators::of(budget, scene).is_some(), opens, exact)
    })?;
    let names: Vec<String> = budgets
        .iter()
        .take(NAMED)
        .map(|budget| budget.object.name.to_string())
        .collect();
    let mut draft = Draft::new(
        codes::SEVERAL_BUDGETS,
        Severity::Blocks,
        workload.object,
        format!(
            "{} budgets cover the pods of {} ({}): the eviction API answers 500 for such a pod, and no retry helps",
            budgets.len(),
            workload.name(),
            names.join(", ")
        ),
    );
    for budget in &budgets {
        draft = draft.saw(
            "budget",
            format!(
                "{} selects {} ({} line {})",
                budget.object.name,
                budget.selector.describe(),
                budget.object.file,
                budget.object.line
            ),
        );
    }
    draft = draft.fix(format!(
        "leave one budget ({}) and delete the others, or make their selectors exclude each other",
        keep.object.name
    ));
    for budget in &budgets {
        if budget.object.name != keep.object.name {
            draft = draft.delete(budget.object);
        }
    }
    Some(draft.done())
}

/// What the API server does not take.
fn refused(budget: &Budget<'_>, why: &str) -> Finding {
    let edit = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    Draft::new(
        codes::BUDGET_REFUSED,
        Severity::Warning,
        budget.object,
        format!("the API server does not take this budget: {why}"),
    )
    .saw("budget", why)
    .fix("say one of minAvailable and maxUnavailable, as a whole number or a percentage")
    .change(budget.object, edit)
    .done()
}

/// What the selector picks: nothing, or the whole namespace.
fn selects(
    scene: &Scene<'_>,
    budget: &Budget<'_>,
    managed: Option<&Managed<'_>>,
) -> Option<Finding> {
    if matches!(budget.selector, Selector::Everything) {
        return whole_namespace(scene, budget);
    }
    if !budget.workloads.is_empty() || !budget.pods.is_empty() || managed.is_some() {
        return None;
    }
    // In another part of a repository there may be what it selects; here is somebody else.
    let within = namespace(budget.object);
    let neighbours: Vec<&Workload<'_>> = scene.picked(within, &Selector::Everything);
    if neighbours.is_empty() && budget.object.origin != Origin::Live {
        return None;
    }
    let stem = budget
        .object
        .name
        .trim_end_matches("-pdb")
        .trim_end_matches("-budget");
    let meant = neighbours.iter().find(|workload| {
        &*workload.object.name == stem && workload.budgets.is_empty() && workload.makes.scales()
    });
    let draft = Draft::new(
        codes::BUDGET_OF_NOTHING,
        Severity::Warning,
        budget.object,
        format!(
            "the budget selects no pod ({}): what it was made for is not protected",
            budget.selector.describe()
        ),
    )
    .saw(
        "selector",
        format!(
            "nothing in the namespace has these labels; it has {}",
            neighbours
                .iter()
                .take(NAMED)
                .map(|workload| workload.name())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    );
    let labels = meant.and_then(|workload| workload.body.pointer("/spec/selector/matchLabels"));
    Some(match (meant, labels) {
        (Some(workload), Some(labels)) => draft
            .fix(format!("select the pods of {}", workload.name()))
            .change(
                budget.object,
                Edit::of(budget.body).set("/spec/selector", json!({ "matchLabels": labels })),
            )
            .done(),
        _ => draft
            .fix("correct its selector, or delete it")
            .delete(budget.object)
            .done(),
    })
}

fn whole_namespace(scene: &Scene<'_>, budget: &Budget<'_>) -> Option<Finding> {
    let mut workloads: Vec<&Workload<'_>> = covered(scene, budget)
        .filter(|workload| workload.makes.serves())
        .collect();
    workloads.sort_by_key(|workload| {
        (
            workload.object.kind.to_string(),
            workload.object.name.to_string(),
        )
    });
    if workloads.len() < 2 || budget.object.api.ends_with("v1beta1") {
        return None;
    }
    let mut draft = Draft::new(
        codes::BUDGET_OF_ALL,
        Severity::Warning,
        budget.object,
        format!(
            "the selector {{}} covers every pod of the namespace: {} workloads share one budget",
            workloads.len()
        ),
    )
    .saw(
        "selector",
        "an empty selector matches all in policy/v1 (in v1beta1 it matched none)",
    )
    .fix("make a budget for each workload, then delete this one");
    for workload in workloads.iter().filter(|workload| workload.makes.scales()) {
        let Some(labels) = workload.body.pointer("/spec/selector/matchLabels") else {
            continue;
        };
        let mut metadata = json!({ "name": &*workload.object.name });
        if let (Some(namespace), Some(fields)) =
            (&workload.object.namespace, metadata.as_object_mut())
        {
            fields.insert("namespace".to_owned(), Value::from(&**namespace));
        }
        draft = draft.create(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata,
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": labels } },
        }));
    }
    Some(draft.delete(budget.object).done())
}

/// A budget that an operator keeps: to know, or a deadlock.
fn kept_by_operator(
    scene: &Scene<'_>,
    budget: &Budget<'_>,
    rule: Rule,
    managed: &Managed<'_>,
) -> Option<Finding> {
    let seen = format!(
        "kept by {}{}; {}",
        managed.operator,
        if managed.cluster.is_empty() {
            String::new()
        } else {
            format!(" for cluster {}", managed.cluster)
        },
        rule.describe()
    );
    let owner = format!("{} cluster {}", managed.operator, managed.cluster);
    match &managed.conduct {
        Conduct::Ordinary => {
            let mut finding = closed(scene, budget, rule)?;
            finding.owner = owner;
            finding.patches.clear();
            finding.fix = format!(
                "let one pod go at a time, in {}'s own resource: the operator writes the budget again",
                managed.operator
            );
            finding.evidence.push(Evidence {
                class: "operator",
                detail: seen,
            });
            Some(finding)
        }
        Conduct::HandsOver(how) => Some(
            Draft::new(
                codes::OPERATOR_BUDGET,
                Severity::Info,
                budget.object,
                format!("no deadlock: {how}"),
            )
            .saw("operator", seen)
            .owner(owner)
            .fix("nothing, as long as the operator runs; its own pod must not be drained in the same moment")
            .done(),
        ),
        Conduct::Waits(why) => Some(
            Draft::new(
                codes::OPERATOR_BUDGET,
                Severity::Info,
                budget.object,
                format!("not changed by hand: {why}"),
            )
            .saw("operator", seen)
            .owner(owner)
            .fix("see that what the operator waits for is there before the drain")
            .done(),
        ),
        Conduct::Deadlock(why, cure) => {
            let draft = Draft::new(
                codes::BUDGET_CLOSED,
                Severity::Blocks,
                budget.object,
                format!("no pod may ever be evicted: {why}"),
            )
            .saw("operator", seen)
            .owner(owner);
            Some(match cure {
                Some(cure) => draft
                    .fix(format!(
                        "give the cluster a second member (the operator writes the budget again, so change {} and not the budget)",
                        full_name(cure.object)
                    ))
                    .change(cure.object, Edit::of(cure.body).set(cure.path, cure.value))
                    .done(),
                None => draft
                    .fix("change it in the operator's resource: the operator writes the budget again")
                    .done(),
            })
        }
    }
}

/// Pods whose makers have no scale.
fn unscaled(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    if !rule.needs_scale() {
        return None;
    }
    let workload = covered(scene, budget)
        .find(|workload| matches!(workload.makes, Makes::DaemonSet | Makes::Job))?;
    let all = count(scene, budget, Size::Fewest);
    let edit = Edit::of(budget.body)
        .remove("/spec/maxUnavailable")
        .set("/spec/minAvailable", (all.pods - 1).max(0));
    Some(
        Draft::new(
            codes::BUDGET_WITHOUT_SCALE,
            Severity::Blocks,
            budget.object,
            format!(
                "{} has no scale, which {} needs: the budget fails to sync and never lets a pod go",
                workload.name(),
                rule.describe()
            ),
        )
        .saw("workload", format!("{} is made by a {}", workload.name(), workload.object.kind))
        .fix("say a whole number of minAvailable, which counts pods, or leave these pods out of the selector")
        .change(budget.object, edit)
        .done(),
    )
}

/// A budget that never lets a pod go, or not while its workload is at its smallest.
fn closed(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    if covered(scene, budget)
        .any(|w| rule.needs_scale() && matches!(w.makes, Makes::DaemonSet | Makes::Job))
    {
        return None;
    }
    let fewest = count(scene, budget, Size::Fewest);
    let most = count(scene, budget, Size::Most);
    if matches!(budget.selector, Selector::Nothing) {
        return None;
    }
    if fewest.pods == 0 && most.pods == 0 {
        // Nothing known of the pods: only what no number of pods changes.
        let many = Count {
            pods: 1_000,
            scale: 1_000,
        };
        return rule.never(many).then(|| never(scene, budget, rule, None));
    }
    if most.pods == 0 {
        return None;
    }
    if rule.never(most) {
        return Some(never(scene, budget, rule, Some(most)));
    }
    let scaled = covered(scene, budget).find(|workload| workload.scaler.is_some())?;
    let (scaler, body) = scaled.scaler?;
    if !rule.never(fewest) {
        return None;
    }
    let smallest = fewest.pods;
    let now = int(body, "/status/currentReplicas");
    let severity = if now == Some(smallest) {
        Severity::Blocks
    } else {
        Severity::Warning
    };
    let draft = Draft::new(
        codes::BUDGET_AT_MINIMUM,
        severity,
        budget.object,
        format!(
            "{} lets no pod go while {} is at its minimum of {smallest}",
            rule.describe(),
            scaled.name()
        ),
    )
    .saw("arithmetic", arithmetic(rule, fewest))
    .saw(
        "scaler",
        format!("{}: minReplicas {smallest}", full_name(scaler)),
    );
    let open = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    Some(if smallest >= 2 {
        draft
            .fix("let one pod go whatever the size")
            .change(budget.object, open)
            .done()
    } else {
        draft
            .fix("keep two pods at least, and let one go whatever the size")
            .change(scaler, Edit::of(body).set("/spec/minReplicas", 2))
            .change(budget.object, open)
            .done()
    })
}

fn never(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule, count: Option<Count>) -> Finding {
    let mut draft = Draft::new(
        codes::BUDGET_CLOSED,
        Severity::Blocks,
        budget.object,
        format!(
            "{} never lets a pod go: the drain of its node waits until it times out, and AKS refuses the upgrade (UnsatisfiablePDB)",
            rule.describe()
        ),
    )
    .saw(
        "arithmetic",
        count.map_or_else(|| "whatever the number of pods".to_owned(), |count| arithmetic(rule, count)),
    );
    let workloads: Vec<&Workload<'_>> = covered(scene, budget).collect();
    for workload in workloads.iter().take(NAMED) {
        draft = draft.saw("workload", workload.name());
    }
    let open = Edit::of(budget.body)
        .remove("/spec/minAvailable")
        .set("/spec/maxUnavailable", 1);
    let pods = count.map_or(0, |count| count.pods);
    let scaled = count.is_none_or(|count| count.scale > 0);
    match workloads.as_slice() {
        // One pod: another one first, where a second is just as good.
        [one] if pods == 1 && matches!(one.makes, Makes::Deployment | Makes::Rollout) => {
            draft = draft.fix("run two pods, and let one of them go at a time");
            draft = match one.scaler {
                Some((scaler, body)) => {
                    let most = int(body, "/spec/maxReplicas").unwrap_or(2).max(2);
                    let edit = Edit::of(body).set("/spec/minReplicas", 2).set("/spec/maxReplicas", most);
                    draft.change(scaler, edit)
                }
                None => draft.change(one.object, Edit::of(one.body).set("/spec/replicas", 2)),
            };
            draft.change(budget.object, open).done()
        }
        [one] if pods == 1 && scaled => draft
            .fix(format!(
                "{} has one member: let it go and take its restart as downtime, or add members and hand over first",
                one.name()
            ))
            .change(budget.object, open)
            .done(),
        _ if !scaled => draft
            .fix("pods that nobody makes count only for a whole number of minAvailable: leave one free, or put them under a controller")
            .change(
                budget.object,
                Edit::of(budget.body)
                    .remove("/spec/maxUnavailable")
                    .set("/spec/minAvailable", (pods - 1).max(0)),
            )
            .done(),
        _ => draft
            .fix("let one pod go at a time")
            .change(budget.object, open)
            .done(),
    }
}

fn arithmetic(rule: Rule, count: Count) -> String {
    let outcome = rule.outcome(count, count.pods);
    format!(
        "{}: of {} expected {} must stay, so {} of {} healthy may go",
        rule.describe(),
        outcome.expected,
        outcome.desired,
        outcome.allowed,
        count.pods
    )
}

/// A budget that lets a quorum, or everybody, go at once.
fn too_open(scene: &Scene<'_>, budget: &Budget<'_>, rule: Rule) -> Option<Finding> {
    let fewest = count(scene, budget, Size::Fewest);
    let outcome = rule.outcome(fewest, fewest.pods);
    if fewest.pods < 2 || outcome.allowed < 2 {
        return None;
    }
    let quorum = covered(scene, budget)
        .find_map(|workload| databases::of(workload).filter(|found| found.quorum));
    let spare = (fewest.pods - 1).div_euclid(2);
    let message = match quorum {
        Some(database) if outcome.allowed > spare.max(1) => format!(
            "{} lets {} of {} members go at once: {} loses its majority",
            rule.describe(),
            outcome.allowed,
            fewest.pods,
            database.name
        ),
        None if outcome.allowed >= fewest.pods => format!(
            "{} lets all {} pods go at once",
            rule.describe(),
            fewest.pods
        ),
        _ => return None,
    };
    let rounded = match rule {
        Rule::MaxUnavailable(Bound::Percent(_)) => " (percentages round up)",
        _ => "",
    };
    Some(
        Draft::new(
            codes::BUDGET_OPEN,
            Severity::Warning,
            budget.object,
            message,
        )
        .saw(
            "arithmetic",
            format!("{}{rounded}", arithmetic(rule, fewest)),
        )
        .fix("let one pod go at a time")
        .change(
            budget.object,
            Edit::of(budget.body)
                .remove("/spec/minAvailable")
                .set("/spec/maxUnavailable", 1),
        )
        .done(),
    )
}

/// What a budget does about pods that are not ready.
pub(crate) fn policy<'a>(budget: &Budget<'a>) -> Option<&'a str> {
    text(budget.body, "/spec/unhealthyPodEvictionPolicy")
}
