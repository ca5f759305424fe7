//! The labels by which a Service finds the primary: who carries them, and when they move.
//!
//! # Invariants
//! - They go to the candidate only once the old primary has been told to stop, so a client that comes by the Service
//!   can never write on two servers.
//! - Whoever gets them gets them before the other loses them: a Service without a member refuses everybody.

use std::collections::BTreeMap;

use ferriswheel_plan::ids::ObjectRef;
use ferriswheel_plan::policy::PostgresSpec;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::databases::postgres::order::Order;
use crate::databases::postgres::record::Record;
use crate::kubernetes::request;
use crate::world::{AskError, MemberState, World};

/// The labels during a window.
pub(super) struct Labels {
    labels: BTreeMap<String, String>,
    old: ObjectRef,
    candidate: ObjectRef,
    at: Holder,
}

/// Who carries the labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Old,
    Candidate,
}

impl Labels {
    /// Before the window: the old primary has them.
    pub(super) async fn of(
        world: &World,
        spec: &PostgresSpec,
        order: &Order,
    ) -> Result<Self, AskError> {
        Ok(Self {
            labels: world.role_labels(spec).await?,
            old: ObjectRef::new(&order.old.namespace, &order.old.name),
            candidate: ObjectRef::new(&order.candidate.namespace, &order.candidate.name),
            at: Holder::Old,
        })
    }

    /// Moves them if the record says that it is time.
    pub(super) async fn follow(
        &mut self,
        world: &World,
        record: &Record,
        order: &Order,
    ) -> Result<(), AskError> {
        let wanted = holder(record, order).unwrap_or(self.at);
        if wanted == self.at || self.labels.is_empty() {
            return Ok(());
        }
        let (gains, loses) = match wanted {
            Holder::Old => (&self.old, &self.candidate),
            Holder::Candidate => (&self.candidate, &self.old),
        };
        label(world, gains, &self.labels, true).await?;
        label(world, loses, &self.labels, false).await?;
        self.at = wanted;
        Ok(())
    }
}

/// Who should have them, by what the agent has noted; `None`: whoever has them.
///
/// kube-proxy writes its rules at most once a second, a first change at once. Where clients come by the Service, the
/// labels therefore move with the stop: the rules change while the candidate is promoted. If they waited for the
/// promotion, the change that the stopped server's own readiness causes would have used up that second's turn, and
/// clients would wait for the next. Behind poolers nobody waits for the labels: they move when the window is closed and
/// nothing competes for the machines.
fn holder(record: &Record, order: &Order) -> Option<Holder> {
    if record.key != order.key {
        return None;
    }
    let seen = |moment: &str| record.at(moment).is_some();
    let promoted = seen("promoted") || seen("committed");
    if seen("oldPromoted") || (seen("resumed") && !promoted) {
        return Some(Holder::Old);
    }
    let due = if order.patroni.is_some() {
        // Patroni writes them itself where its store is Kubernetes; they mean the same.
        promoted
    } else if order.poolers.is_empty() {
        seen("stopSent")
    } else {
        promoted && seen("resumed")
    };
    due.then_some(Holder::Candidate)
}

/// Outside of a window: one member has the labels, no other does.
pub(super) async fn settle(
    world: &World,
    spec: &PostgresSpec,
    states: &[MemberState],
    primary: &ObjectRef,
) -> Result<(), AskError> {
    let labels = world.role_labels(spec).await?;
    label(world, primary, &labels, true).await?;
    for state in states.iter().filter(|state| state.member.pod != *primary) {
        label(world, &state.member.pod, &labels, false).await?;
    }
    Ok(())
}

/// Whether one member has the labels and no other does.
pub(super) async fn are_settled(
    world: &World,
    spec: &PostgresSpec,
    states: &[MemberState],
    primary: &ObjectRef,
) -> Result<bool, AskError> {
    let labels = world.role_labels(spec).await?;
    if labels.is_empty() {
        return Ok(true);
    }
    for state in states {
        let pod = read(world, &state.member.pod).await?;
        let has = labels
            .iter()
            .all(|(key, value)| pod.labels().get(key) == Some(value));
        if has != (state.member.pod == *primary) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a pod the labels of the primary, or takes them away where it has them.
async fn label(
    world: &World,
    pod: &ObjectRef,
    labels: &BTreeMap<String, String>,
    is_primary: bool,
) -> Result<(), AskError> {
    if labels.is_empty() {
        return Ok(());
    }
    let found = read(world, pod).await?;
    let mut change = serde_json::Map::new();
    for (key, value) in labels {
        let has = found.labels().get(key) == Some(value);
        if is_primary && !has {
            change.insert(key.clone(), json!(value));
        } else if !is_primary && has {
            change.insert(key.clone(), json!("replica"));
        }
    }
    if change.is_empty() {
        return Ok(());
    }
    let pods: Api<Pod> = Api::namespaced(world.kube(), &pod.namespace);
    let patch = json!({"metadata": {"uid": found.uid(), "labels": change}});
    request(
        format!("label {pod}"),
        pods.patch(&pod.name, &PatchParams::default(), &Patch::Merge(&patch)),
    )
    .await?;
    Ok(())
}

async fn read(world: &World, pod: &ObjectRef) -> Result<Pod, AskError> {
    let pods: Api<Pod> = Api::namespaced(world.kube(), &pod.namespace);
    Ok(request(format!("read {pod}"), pods.get(&pod.name)).await?)
}

#[cfg(test)]
mod tests {
    use super::{Holder, holder};
    use crate::databases::postgres::order::{Member, Order, PoolerAddress};
    use crate::databases::postgres::patroni::Asked;
    use crate::databases::postgres::record::{Log, MemoryLog, Moment, Reason, Record};

    fn order(pooled: bool) -> Order {
        let member = |name: &str| Member {
            name: name.to_owned(),
            namespace: "db".to_owned(),
            host: name.to_owned(),
            ip: String::new(),
            port: 5432,
            slot: None,
        };
        let pooler = PoolerAddress {
            name: "pgbouncer-0".to_owned(),
            namespace: "db".to_owned(),
            ip: String::new(),
            port: 6432,
            entries: Vec::new(),
        };
        Order {
            key: "k".to_owned(),
            old: member("pg-0"),
            candidate: member("pg-1"),
            others: Vec::new(),
            poolers: pooled.then_some(pooler).into_iter().collect(),
            pause_budget_ms: 1,
            window_budget_ms: 1,
            max_lag_bytes: 0,
            crash_safe: false,
            make_synchronous: false,
            patroni: None,
        }
    }

    fn record(moments: &[Moment]) -> Record {
        let log = MemoryLog::new("k");
        for moment in moments {
            log.note(moment.clone());
        }
        log.record()
    }

    const STOP: Moment = Moment::StopSent {
        flush: crate::databases::postgres::lsn::Lsn(0),
    };

    #[test]
    fn without_a_pooler_the_labels_move_with_the_stop_and_behind_one_with_the_end() {
        let mut moments = vec![Moment::PauseSent, Moment::Paused];
        assert_eq!(holder(&record(&moments), &order(false)), None);
        moments.push(STOP);
        let stopped = record(&moments);
        assert_eq!(holder(&stopped, &order(false)), Some(Holder::Candidate));
        assert_eq!(holder(&stopped, &order(true)), None);
        moments.push(Moment::Promoted { triggers: 1 });
        assert_eq!(holder(&record(&moments), &order(true)), None);
        moments.push(Moment::Resumed);
        assert_eq!(
            holder(&record(&moments), &order(true)),
            Some(Holder::Candidate)
        );
        let mut other = record(&moments);
        other.key = "another".to_owned();
        assert_eq!(holder(&other, &order(true)), None);
    }

    #[test]
    fn under_patroni_the_labels_move_once_the_candidate_is_promoted() {
        let mut order = order(false);
        order.patroni = Some(Asked {
            port: 8008,
            afterwards_ms: 1,
        });
        let flush = crate::databases::postgres::lsn::Lsn(0);
        let mut moments = vec![Moment::PauseSent, Moment::SwitchoverSent { flush }];
        assert_eq!(holder(&record(&moments), &order), None);
        moments.push(Moment::Promoted { triggers: 1 });
        assert_eq!(holder(&record(&moments), &order), Some(Holder::Candidate));
    }

    #[test]
    fn a_window_that_is_undone_gives_the_labels_back() {
        let reason = Reason::NotProven("no".to_owned());
        let undone = [
            vec![
                Moment::PauseSent,
                STOP,
                Moment::Faltered { reason },
                Moment::OldPromoted,
            ],
            vec![Moment::PauseSent, Moment::Resumed],
        ];
        for moments in undone {
            for pooled in [false, true] {
                assert_eq!(holder(&record(&moments), &order(pooled)), Some(Holder::Old));
            }
        }
    }
}
