//! Random small clusters: nodes, workloads and budgets.

use serde_json::{Value, json};

use super::cluster::Real;
use super::nodes::ready_node;

/// Numbers that look random and are the same each time.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn upto(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % (most + 1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.upto(n - 1) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.upto(all.len() as u64 - 1) as usize]
    }
}

/// Three nodes in two or three zones, two or three workloads, budgets over them.
pub(super) async fn furnish(real: &Real, name: &str, dice: &mut Dice) -> Vec<String> {
    let mut nodes = Vec::new();
    for i in 0..3 {
        let node = format!("{name}-{i}");
        let zone = if i == 2 { dice.upto(2) } else { i };
        real.create("/api/v1/nodes", json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node, "labels": {
                "of": name, "kubernetes.io/hostname": node, "topology.kubernetes.io/zone": format!("z{zone}"),
            }},
            "spec": {"taints": [{"key": "fake", "effect": "NoSchedule"}]},
            "status": {
                "allocatable": {"cpu": dice.of(&["2", "3", "4"]), "memory": "8Gi", "pods": dice.of(&["4", "6", "20"])},
                "conditions": [ready_node()],
            },
        }))
        .await;
        nodes.push(node);
    }
    real.create("/api/v1/namespaces", json!({"metadata": {"name": name}}))
        .await;
    let workloads = 2 + dice.upto(1);
    for i in 0..workloads {
        workload(real, name, &format!("w{i}"), dice).await;
    }
    if dice.one_in(4) {
        let mut pod = template(name, "alone", dice);
        pod["metadata"]["name"] = json!("alone");
        real.create(&format!("/api/v1/namespaces/{name}/pods"), pod)
            .await;
    }
    for i in 0..workloads {
        if dice.one_in(5) {
            continue;
        }
        budget(
            real,
            name,
            &format!("b{i}"),
            &json!({"app": format!("w{i}")}),
            dice,
        )
        .await;
    }
    if dice.one_in(8) {
        budget(real, name, "over", &json!({"of": name}), dice).await;
    }
    nodes
}

fn template(name: &str, app: &str, dice: &mut Dice) -> Value {
    let mut labels = json!({"app": app, "of": name, "fake": "yes"});
    if dice.one_in(7) {
        labels["sick"] = json!("yes");
    }
    let mut spec = json!({
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"of": name},
        "tolerations": [{"key": "fake", "operator": "Exists"}],
        "automountServiceAccountToken": false,
        "containers": [{
            "name": "main", "image": "none",
            "resources": {"requests": {"cpu": dice.of(&["100m", "300m", "600m"]), "memory": "64Mi"}},
        }],
    });
    let own = json!({"matchLabels": {"app": app}});
    match dice.upto(7) {
        0 => {
            spec["affinity"]["podAntiAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": own},
            ]})
        }
        1 => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": own, "nodeTaintsPolicy": dice.of(&["Honor", "Ignore"]),
            }])
        }
        2 => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": own,
            }])
        }
        3 => {
            spec["affinity"]["nodeAffinity"] = json!({"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [dice.of(&["z0", "z1"])]}]},
                ],
            }})
        }
        _ => {}
    }
    json!({"metadata": {"labels": labels}, "spec": spec})
}

async fn workload(real: &Real, name: &str, app: &str, dice: &mut Dice) {
    let mut template = template(name, app, dice);
    let set = dice.one_in(2);
    let mut replicas = if set {
        1 + dice.upto(2)
    } else {
        2 + dice.upto(3)
    };
    // Now and then with a disk that is bound to a zone.
    if dice.one_in(4) {
        replicas = 1;
        let zone = dice.of(&["z0", "z1"]);
        let volume = format!("{name}-{app}");
        real.create("/api/v1/persistentvolumes", json!({
            "metadata": {"name": volume, "labels": {"of": name}},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "claimRef": {"namespace": name, "name": app}, "hostPath": {"path": "/nowhere"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
                ]}]}},
            },
        }))
        .await;
        real.create(&format!("/api/v1/namespaces/{name}/persistentvolumeclaims"), json!({
            "metadata": {"name": app},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }))
        .await;
        template["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": app}}]);
    }
    let selector = json!({"matchLabels": {"app": app}});
    let mut object = json!({
        "apiVersion": "apps/v1", "metadata": {"name": app},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    });
    let plural = if set {
        object["kind"] = json!("StatefulSet");
        object["spec"]["serviceName"] = json!(app);
        object["spec"]["podManagementPolicy"] = json!(dice.of(&["OrderedReady", "Parallel"]));
        "statefulsets"
    } else {
        object["kind"] = json!("ReplicaSet");
        "replicasets"
    };
    real.create(&format!("/apis/apps/v1/namespaces/{name}/{plural}"), object)
        .await;
}

async fn budget(real: &Real, name: &str, budget: &str, labels: &Value, dice: &mut Dice) {
    let key = dice.of(&["minAvailable", "maxUnavailable", "maxUnavailable"]);
    let amount = match dice.upto(8) {
        0 => json!(dice.of(&["0%", "34%", "50%", "100%"])),
        1 => json!(0),
        2 => json!(2),
        _ => json!(1),
    };
    let mut spec = json!({"selector": {"matchLabels": labels}});
    spec[key] = amount;
    if dice.one_in(3) {
        spec["unhealthyPodEvictionPolicy"] = json!(dice.of(&["AlwaysAllow", "IfHealthyBudget"]));
    }
    let body = json!({"metadata": {"name": budget}, "spec": spec});
    real.create(
        &format!("/apis/policy/v1/namespaces/{name}/poddisruptionbudgets"),
        body,
    )
    .await;
}
