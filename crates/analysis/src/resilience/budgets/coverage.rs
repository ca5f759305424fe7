//! Which pods have a budget: none, several, or one that was made for nothing or for everything.

use serde_json::{Value, json};

use super::{NAMED, Size, count, covered};
use crate::codes;
use crate::findings::{Finding, Severity};
use crate::manifest::Origin;
use crate::resilience::arithmetic::Rule;
use crate::resilience::databases;
use crate::resilience::draft::{Draft, Edit};
use crate::resilience::operators::{self, Managed};
use crate::resilience::scene::{Budget, Scene, Workload, namespace};
use crate::resilience::select::Selector;
use crate::resilience::values::at;

/// A budget for a workload without one.
pub(super) fn missing(workload: &Workload<'_>) -> Option<Finding> {
    let members = workload.fewest()?;
    if members < 2 || !workload.makes.scales() || !workload.budgets.is_empty() {
        return None;
    }
    let labels = at(workload.body, "/spec/selector/matchLabels")
        .or_else(|| at(workload.pod(), "/metadata/labels"))
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
pub(super) fn several(scene: &Scene<'_>, workload: &Workload<'_>) -> Option<Finding> {
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

/// What the selector picks: nothing, or the whole namespace.
pub(super) fn selects(
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
