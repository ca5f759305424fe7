//! Disruption budgets, and what the cluster itself reported of them.

use ferriswheel_model::drain::world::{self, Amount, Limit};
use serde_json::Value;

use super::rules::{list_of, selector};
use super::{Builder, Fields, Reported, SECOND};
use crate::resilience::values::{int, text};

/// An operator that sees the cordon hands over within this time: its resync, and the promotion.
const HAND_OVER: u64 = 30;

impl Builder<'_> {
    pub(super) fn budgets(&mut self) {
        let range = ("PodDisruptionBudget", "", "")..("PodDisruptionBudget\u{0}", "", "");
        for ((_, namespace, name), fields) in self.others.range(range) {
            let spec = fields.get("/spec").unwrap_or(&Value::Null);
            let limit = match (spec.get("maxUnavailable"), spec.get("minAvailable")) {
                (Some(most), _) => amount(most).map(Limit::MaxUnavailable),
                (None, Some(least)) => amount(least).map(Limit::MinAvailable),
                // Neither: nothing is expected, and nothing allowed.
                (None, None) => Some(Limit::MinAvailable(Amount::Percent(100))),
            };
            let Some(limit) = limit else { continue };
            let old = fields.object.api.ends_with("/v1beta1");
            let world = &mut self.built.world;
            let mut picks = selector(world, spec.get("selector"));
            // In policy/v1beta1 an empty selector picks nothing.
            if old && picks.as_ref().is_some_and(Vec::is_empty) {
                picks = None;
            }
            let (namespace, text_name) = (world.text(namespace), world.text(name));
            let id = world.add_budget(world::Budget {
                namespace,
                name: text_name,
                selector: picks,
                limit,
                always_allow: text(spec, "/unhealthyPodEvictionPolicy") == Some("AlwaysAllow"),
                gives_way: hands_over(fields, name).then_some(HAND_OVER * SECOND),
            });
            self.built.budgets.insert(id, fields.object);
            if let Some(status) = fields.get("/status") {
                let of = |path| int(status, path).unwrap_or(0);
                let reported = Reported {
                    expected: of("/expectedPods"),
                    desired: of("/desiredHealthy"),
                    healthy: of("/currentHealthy"),
                    allowed: of("/disruptionsAllowed"),
                };
                self.built.reported.insert(id, reported);
            }
        }
    }
}

/// CloudNativePG keeps a budget over its primary that allows nothing, and switches over when the node
/// is cordoned.
fn hands_over(fields: &Fields<'_>, name: &str) -> bool {
    let owners = list_of(fields.get("/metadata/ownerReferences"));
    let own = |owner: &Value| {
        text(owner, "/apiVersion").is_some_and(|api| api.starts_with("postgresql.cnpg.io/"))
    };
    name.ends_with("-primary") && owners.iter().any(own)
}

fn amount(value: &Value) -> Option<Amount> {
    match value {
        Value::Number(number) => Some(Amount::Pods(u32::try_from(number.as_i64()?).ok()?)),
        Value::String(text) => match text.strip_suffix('%') {
            Some(percent) => Some(Amount::Percent(percent.parse().ok()?)),
            None => None,
        },
        _ => None,
    }
}
