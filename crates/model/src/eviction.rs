//! The eviction API with its disruption budgets.

use crate::cluster::Cluster;
use crate::objects::{Owner, selects};

/// What the API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// 201: the pod is being deleted.
    Accepted,
    /// 404, or another pod has the name.
    Gone,
    /// 429: the budget does not allow it now.
    Blocked(String),
    /// 500: two budgets select the pod.
    Misconfigured(String),
}

impl Cluster {
    /// Evicts a pod by UID.
    ///
    /// # Source
    /// Kubernetes, "API-initiated eviction": 429 when a budget would be violated, 500 when several
    /// budgets select the pod; a pod that is not Ready may go while the budget is met
    /// (`IfHealthyBudget`).
    pub fn evict(&mut self, name: &str, uid: &str) -> Eviction {
        let Some(pod) = self.pods.get(name).filter(|pod| pod.uid == uid) else {
            return Eviction::Gone;
        };
        if pod.terminating {
            return Eviction::Accepted;
        }
        let namespace = name.split('/').next().unwrap_or_default();
        let budgets: Vec<_> = self
            .budgets
            .iter()
            .filter(|(budget, _)| budget.split('/').next() == Some(namespace))
            .filter(|(_, budget)| selects(&budget.selector, &pod.labels))
            .collect();
        match budgets.as_slice() {
            [] => {}
            [(budget, found)] => {
                let (healthy, expected) = self.health(namespace, &found.selector);
                let desired = expected.saturating_sub(found.max_unavailable);
                let allowed = if pod.ready {
                    healthy > desired
                } else {
                    healthy >= desired
                };
                if !allowed {
                    return Eviction::Blocked(format!(
                        "{budget} needs {desired} healthy pods and has {healthy}"
                    ));
                }
            }
            many => {
                let names: Vec<_> = many.iter().map(|(name, _)| name.as_str()).collect();
                return Eviction::Misconfigured(format!(
                    "more than one budget selects the pod: {}",
                    names.join(", ")
                ));
            }
        }
        self.stop_pod(name);
        self.settle();
        Eviction::Accepted
    }

    /// Evictions that the budgets over a pod would allow now; `None`: no budget.
    pub fn disruptions_allowed(&self, name: &str) -> Option<u32> {
        let pod = self.pods.get(name)?;
        let namespace = name.split('/').next()?;
        self.budgets
            .iter()
            .filter(|(budget, _)| budget.split('/').next() == Some(namespace))
            .filter(|(_, budget)| selects(&budget.selector, &pod.labels))
            .map(|(_, budget)| {
                let (healthy, expected) = self.health(namespace, &budget.selector);
                healthy.saturating_sub(expected.saturating_sub(budget.max_unavailable))
            })
            .min()
    }

    /// Healthy pods, and pods that their controllers want.
    fn health(&self, namespace: &str, selector: &crate::objects::Labels) -> (u32, u32) {
        let inside = |name: &str| name.split('/').next() == Some(namespace);
        let mut healthy = 0;
        let mut expected = 0;
        for (name, pod) in &self.pods {
            if inside(name) && selects(selector, &pod.labels) {
                healthy += u32::from(pod.ready && !pod.terminating);
                expected += u32::from(pod.owner == Owner::Nobody);
            }
        }
        for (name, set) in &self.sets {
            if inside(name) && selects(selector, &set.labels) {
                expected += set.replicas;
            }
        }
        for (name, deployment) in &self.deployments {
            if inside(name) && selects(selector, &deployment.labels) {
                expected += deployment.replicas;
            }
        }
        (healthy, expected)
    }
}
