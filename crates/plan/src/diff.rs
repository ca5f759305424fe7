//! What is different between two plans, for a person who has approved the first.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::Plan;
use crate::step::Step;
use crate::version::KubernetesVersion;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something of the plan as a whole.
    Whole {
        /// What.
        what: &'static str,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
    /// A step that only the new plan has.
    Added(String),
    /// A step that only the old plan has.
    Removed(String),
    /// A step that both have, with other conditions.
    Altered(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole {
                what,
                before,
                after,
            } => write!(f, "~ {what}: {before} -> {after}"),
            Self::Added(title) => write!(f, "+ {title}"),
            Self::Removed(title) => write!(f, "- {title}"),
            Self::Altered(title) => write!(f, "~ {title}"),
        }
    }
}

/// Compares two plans; empty means that they do the same under the same conditions.
pub fn diff(before: &Plan, after: &Plan) -> Vec<Change> {
    let (old, new) = (&before.body, &after.body);
    let mut changes = Vec::new();
    let mut whole = |what, before: String, after: String| {
        if before != after {
            changes.push(Change::Whole {
                what,
                before,
                after,
            });
        }
    };
    whole("cluster", old.cluster.clone(), new.cluster.clone());
    let version = |target: Option<KubernetesVersion>| {
        target.map_or_else(|| "none".to_owned(), |version| version.to_string())
    };
    whole("target", version(old.target), version(new.target));
    whole(
        "extra nodes",
        old.peak.extra_nodes.to_string(),
        new.peak.extra_nodes.to_string(),
    );
    whole(
        "extra replicas",
        old.peak.extra_replicas.to_string(),
        new.peak.extra_replicas.to_string(),
    );
    whole(
        "fewest members",
        old.peak.fewest_members.to_string(),
        new.peak.fewest_members.to_string(),
    );
    whole("warnings", old.warnings.join("; "), new.warnings.join("; "));
    let by_title = |steps: &[Step]| -> BTreeMap<String, Step> {
        steps
            .iter()
            .map(|step| (step.title.clone(), step.clone()))
            .collect()
    };
    let (olds, news) = (by_title(&old.steps), by_title(&new.steps));
    for step in &old.steps {
        match news.get(&step.title) {
            None => changes.push(Change::Removed(step.title.clone())),
            // Its position follows from the steps before it.
            Some(other)
                if Step {
                    id: step.id,
                    ..other.clone()
                } != *step =>
            {
                changes.push(Change::Altered(step.title.clone()));
            }
            Some(_) => {}
        }
    }
    for step in &new.steps {
        if !olds.contains_key(&step.title) {
            changes.push(Change::Added(step.title.clone()));
        }
    }
    changes
}
