//! What a disruption budget allows, in the arithmetic of its controller.
//!
//! An integer `minAvailable` counts the pods that match. A percentage, and `maxUnavailable` in either
//! form, count the scale of the pods' controllers; pods without a controller do not count, and a
//! controller without a scale makes the controller of budgets give up (nothing is allowed then).
//! Percentages round up in both: 50 % available of 3 keeps 2, 1 % unavailable of 3 frees 1.
//!
//! # Source
//! `getExpectedPodCount` and `updatePdbStatus` in `pkg/controller/disruption/disruption.go`.

use serde_json::Value;

/// A number of pods, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Count(i64),
    Percent(i64),
}

/// What a budget's spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    MinAvailable(Bound),
    MaxUnavailable(Bound),
    /// Neither: zero pods are expected, so none may go.
    Neither,
}

/// Pods as the controller of budgets counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Pods that match.
    pub pods: i64,
    /// Scale of their controllers, together.
    pub scale: i64,
}

/// The result, when `healthy` pods are healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub expected: i64,
    pub desired: i64,
    pub allowed: i64,
}

impl Bound {
    fn of(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(count) if (0..1 << 31).contains(&count) => Ok(Self::Count(count)),
                _ => Err(format!("{number} is not a number of pods")),
            },
            Value::String(text) => text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok())
                .filter(|percent| (0..=100).contains(percent))
                .map(Self::Percent)
                .ok_or_else(|| {
                    format!("{text:?} is neither a whole number nor a percentage up to 100%")
                }),
            other => Err(format!(
                "{other} is neither a whole number nor a percentage"
            )),
        }
    }

    /// Of `total`, rounded up.
    pub(crate) fn of_total(self, total: i64) -> i64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                (total * percent).div_euclid(100) + i64::from(total * percent % 100 != 0)
            }
        }
    }
}

impl Rule {
    /// Reads a budget's spec.
    ///
    /// # Errors
    /// What the API server refuses, and why.
    pub(crate) fn of(body: &Value) -> Result<Self, String> {
        let get = |path| body.pointer(path).filter(|value: &&Value| !value.is_null());
        match (get("/spec/minAvailable"), get("/spec/maxUnavailable")) {
            (Some(_), Some(_)) => {
                Err("minAvailable and maxUnavailable exclude each other".to_owned())
            }
            (Some(bound), None) => Ok(Self::MinAvailable(Bound::of(bound)?)),
            (None, Some(bound)) => Ok(Self::MaxUnavailable(Bound::of(bound)?)),
            (None, None) => Ok(Self::Neither),
        }
    }

    /// Does it need the scale of the pods' controllers?
    pub(crate) fn needs_scale(self) -> bool {
        matches!(
            self,
            Self::MaxUnavailable(_) | Self::MinAvailable(Bound::Percent(_))
        )
    }

    /// What it allows while `healthy` pods are healthy.
    pub(crate) fn outcome(self, count: Count, healthy: i64) -> Outcome {
        let (expected, desired) = match self {
            Self::MinAvailable(Bound::Count(least)) => (count.pods, least),
            Self::MinAvailable(share) => (count.scale, share.of_total(count.scale)),
            Self::MaxUnavailable(bound) => (
                count.scale,
                (count.scale - bound.of_total(count.scale)).max(0),
            ),
            Self::Neither => (0, 0),
        };
        let allowed = if expected <= 0 {
            0
        } else {
            (healthy - desired).max(0)
        };
        Outcome {
            expected,
            desired,
            allowed,
        }
    }

    /// Can no number of healthy pods ever free one? `count` is what they could be.
    pub(crate) fn never(self, count: Count) -> bool {
        self.outcome(count, count.pods).allowed == 0
    }

    /// `minAvailable 50%`.
    pub(crate) fn describe(self) -> String {
        let bound = |bound| match bound {
            Bound::Count(count) => count.to_string(),
            Bound::Percent(percent) => format!("{percent}%"),
        };
        match self {
            Self::MinAvailable(b) => format!("minAvailable {}", bound(b)),
            Self::MaxUnavailable(b) => format!("maxUnavailable {}", bound(b)),
            Self::Neither => "neither minAvailable nor maxUnavailable".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn allowed(spec: Value, pods: i64) -> i64 {
        let rule = Rule::of(&json!({ "spec": spec })).expect("a rule");
        let count = Count { pods, scale: pods };
        rule.outcome(count, pods).allowed
    }

    #[test]
    fn as_the_controller_counts() {
        for (spec, pods, expected) in [
            (json!({"minAvailable": 1}), 1, 0),
            (json!({"minAvailable": 1}), 3, 2),
            (json!({"minAvailable": "50%"}), 3, 1),
            (json!({"minAvailable": "51%"}), 2, 0),
            (json!({"minAvailable": "67%"}), 3, 0),
            (json!({"minAvailable": "66%"}), 3, 1),
            (json!({"minAvailable": "100%"}), 9, 0),
            (json!({"minAvailable": "0%"}), 2, 2),
            (json!({"maxUnavailable": "1%"}), 3, 1),
            (json!({"maxUnavailable": "34%"}), 3, 2),
            (json!({"maxUnavailable": "0%"}), 3, 0),
            (json!({"maxUnavailable": 0}), 3, 0),
            (json!({"maxUnavailable": 5}), 3, 3),
            (json!({}), 3, 0),
        ] {
            assert_eq!(allowed(spec.clone(), pods), expected, "{spec} of {pods}");
        }
    }

    #[test]
    fn pods_and_scale_are_different_counts() {
        // Two pods of a Deployment of 2 and one that nobody makes.
        let count = Count { pods: 3, scale: 2 };
        let of = |spec: Value| {
            Rule::of(&json!({ "spec": spec }))
                .expect("a rule")
                .outcome(count, 3)
        };
        assert_eq!(
            of(json!({"minAvailable": 2})),
            Outcome {
                expected: 3,
                desired: 2,
                allowed: 1
            }
        );
        assert_eq!(
            of(json!({"minAvailable": "100%"})),
            Outcome {
                expected: 2,
                desired: 2,
                allowed: 1
            }
        );
        // Nobody makes any of them: nothing is expected, and nothing may go.
        let naked = Count { pods: 3, scale: 0 };
        let rule = Rule::of(&json!({"spec": {"maxUnavailable": 1}})).expect("a rule");
        assert_eq!(rule.outcome(naked, 3).allowed, 0);
    }

    #[test]
    fn what_the_api_server_refuses() {
        for spec in [
            json!({"minAvailable": 1, "maxUnavailable": 1}),
            json!({"minAvailable": "2"}),
            json!({"maxUnavailable": "101%"}),
            json!({"maxUnavailable": -1}),
        ] {
            assert!(Rule::of(&json!({ "spec": spec })).is_err(), "{spec}");
        }
    }
}
