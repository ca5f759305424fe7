//! Labels, effects and selectors as the simulation has them.

use ferriswheel_model::drain::world::{AnyOf, Effect, Is, Labels, Requirement, Selector, World};
use serde_json::Value;

use crate::resilience::values::{list, text};

pub(super) fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn labels(world: &mut World, value: Option<&Value>) -> Labels {
    let given = value.and_then(Value::as_object);
    let mut found: Labels = given
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((world.text(key), world.text(value.as_str()?))))
        .collect();
    found.sort_unstable();
    found
}

pub(super) fn effect(value: &Value) -> Option<Effect> {
    Some(match text(value, "/effect")? {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return None,
    })
}

fn requirement(world: &mut World, about: &Value, prefix: &str) -> Option<Requirement> {
    let key = text(about, "/key")?;
    let values: Vec<&str> = list(about, "/values")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let number = || values.first().and_then(|value| value.parse::<i64>().ok());
    let is = match text(about, "/operator")? {
        "In" => Is::In(values.iter().map(|value| world.text(value)).collect()),
        "NotIn" => Is::NotIn(values.iter().map(|value| world.text(value)).collect()),
        "Exists" => Is::Present,
        "DoesNotExist" => Is::Absent,
        "Gt" => Is::Above(number()?),
        "Lt" => Is::Below(number()?),
        _ => return None,
    };
    Some(Requirement {
        key: world.text(&format!("{prefix}{key}")),
        is,
    })
}

/// A label selector; nothing where it is absent, which selects nothing.
pub(super) fn selector(world: &mut World, value: Option<&Value>) -> Option<Selector> {
    let value = value.filter(|value| !value.is_null())?;
    let mut found = Selector::new();
    let wanted = value.pointer("/matchLabels").and_then(Value::as_object);
    for (key, value) in wanted.into_iter().flatten() {
        found.push(Requirement {
            key: world.text(key),
            is: Is::In(vec![world.text(value.as_str()?)]),
        });
    }
    for about in list(value, "/matchExpressions") {
        found.push(requirement(world, about, "")?);
    }
    found.sort();
    Some(found)
}

/// Terms of which one must hold. A term without conditions holds for no node.
pub(super) fn any_of(world: &mut World, terms: &Value) -> AnyOf {
    let mut found = AnyOf::new();
    for term in terms.as_array().into_iter().flatten() {
        let mut all = Selector::new();
        let mut understood = true;
        for path in ["/matchExpressions", "/matchFields"] {
            for about in list(term, path) {
                match requirement(world, about, "") {
                    Some(requirement) => all.push(requirement),
                    None => understood = false,
                }
            }
        }
        if understood && !all.is_empty() {
            all.sort();
            found.push(all);
        }
    }
    found
}
