//! Label selectors, as the API server reads them.

use serde_json::Value;

use super::values::{at, list, text, texts};

/// Labels of an object.
pub(crate) type Labels<'a> = Option<&'a serde_json::Map<String, Value>>;

/// The labels under a path.
pub(crate) fn labels<'a>(value: &'a Value, path: &str) -> Labels<'a> {
    at(value, path).and_then(Value::as_object)
}

/// What a selector picks.
#[derive(Clone, Debug)]
pub(crate) enum Selector<'a> {
    /// `null`, or not given: nothing.
    Nothing,
    /// `{}`: everything.
    Everything,
    /// Labels that must be so, and conditions.
    Terms {
        labels: Vec<(&'a str, &'a str)>,
        conditions: Vec<Condition<'a>>,
    },
}

/// An entry of `matchExpressions`.
#[derive(Clone, Debug)]
pub(crate) struct Condition<'a> {
    key: &'a str,
    operator: &'a str,
    values: Vec<&'a str>,
}

impl<'a> Selector<'a> {
    /// A `LabelSelector`, such as a budget's.
    pub(crate) fn of(value: Option<&'a Value>) -> Self {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Self::Nothing;
        };
        let labels: Vec<(&str, &str)> = pairs(at(value, "/matchLabels"));
        let conditions: Vec<Condition<'a>> = list(value, "/matchExpressions")
            .iter()
            .filter_map(|entry| {
                Some(Condition {
                    key: text(entry, "/key")?,
                    operator: text(entry, "/operator")?,
                    values: texts(entry, "/values"),
                })
            })
            .collect();
        if labels.is_empty() && conditions.is_empty() {
            Self::Everything
        } else {
            Self::Terms { labels, conditions }
        }
    }

    /// A plain map of labels, such as a Service's. An empty one picks nothing.
    pub(crate) fn plain(value: Option<&'a Value>) -> Self {
        let labels = pairs(value);
        if labels.is_empty() {
            return Self::Nothing;
        }
        Self::Terms {
            labels,
            conditions: Vec::new(),
        }
    }

    /// Does it pick an object with these labels?
    pub(crate) fn picks(&self, labels: Labels<'_>) -> bool {
        let get = |key: &str| labels.and_then(|all| all.get(key)).and_then(Value::as_str);
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Terms {
                labels: wanted,
                conditions,
            } => {
                wanted.iter().all(|(key, value)| get(key) == Some(value))
                    && conditions.iter().all(|condition| {
                        let found = get(condition.key);
                        match condition.operator {
                            "In" => found.is_some_and(|value| condition.values.contains(&value)),
                            // A label that is not there is not in any list.
                            "NotIn" => found.is_none_or(|value| !condition.values.contains(&value)),
                            "Exists" => found.is_some(),
                            "DoesNotExist" => found.is_none(),
                            _ => false,
                        }
                    })
            }
        }
    }

    /// One label that everything picked has, to look candidates up by.
    pub(crate) fn handle(&self) -> Option<(&'a str, &'a str)> {
        match self {
            Self::Terms { labels, .. } => labels.last().copied(),
            _ => None,
        }
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Nothing => "no selector".to_owned(),
            Self::Everything => "{}".to_owned(),
            Self::Terms { labels, conditions } => {
                let mut parts: Vec<String> =
                    labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                parts.extend(conditions.iter().map(|c| {
                    let values = c.values.join(",");
                    format!("{} {} {values}", c.key, c.operator)
                        .trim_end()
                        .to_owned()
                }));
                parts.join(", ")
            }
        }
    }
}

fn pairs(value: Option<&Value>) -> Vec<(&str, &str)> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_picks_all_and_absent_picks_none() {
        let labels = json!({"app": "a", "tier": "x"});
        let picks = |selector: Value| Selector::of(Some(&selector)).picks(labels.as_object());
        assert!(picks(json!({})));
        assert!(!picks(Value::Null));
        assert!(picks(json!({"matchLabels": {"app": "a"}})));
        assert!(!picks(json!({"matchLabels": {"app": "b"}})));
        let one = |operator: &str, key: &str, values: &[&str]| {
            picks(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(one("In", "app", &["a", "b"]));
        assert!(!one("In", "none", &["a"]));
        assert!(one("NotIn", "none", &["a"]));
        assert!(!one("NotIn", "app", &["a"]));
        assert!(one("Exists", "app", &[]));
        assert!(one("DoesNotExist", "none", &[]));
        assert!(!Selector::plain(Some(&json!({}))).picks(labels.as_object()));
    }
}
