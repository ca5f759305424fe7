//! What pods of one template have in common: what they ask for, where they may go, and how long they take.

use ferriswheel_model::drain::world::{
    self, AnyOf, Is, Near, Port, Requirement, Selector, Shape, ShapeId, Spread, Text, World,
};
use serde_json::Value;

use super::pods::Times;
use super::rules::{any_of, effect, labels, list_of, selector};
use super::{Builder, Fields, SECOND};
use crate::drain::sketch::PodSketch;
use crate::resilience::values::{int, list, text};

/// From its place on a node until a container runs, where no pod of the workload shows it: an image
/// that is not on a fresh node yet.
const START: u64 = 10;
/// A disk that has to be detached from one node and attached to another takes this long on Azure.
const ATTACH: u64 = 20;

impl<'a> Builder<'a> {
    pub(super) fn shape(
        &mut self,
        namespace: &'a str,
        pod: &'a PodSketch,
        times: Times,
    ) -> ShapeId {
        let common = match self.templates.get(&(namespace, &*pod.template)) {
            Some(shape) => shape.clone(),
            None => {
                let shape = self.template(namespace, &pod.template);
                self.templates
                    .insert((namespace, &pod.template), shape.clone());
                shape
            }
        };
        let mut shape = common;
        let own = serde_json::from_str::<Value>(&pod.labels).ok();
        shape.labels = labels(&mut self.built.world, own.as_ref());
        let mut disk = false;
        for claim in &pod.claims {
            disk = true;
            let key = ("PersistentVolumeClaim", namespace, &**claim);
            let volume = self
                .others
                .get(&key)
                .and_then(|claim| claim.text("/spec/volumeName"));
            let volume = volume.and_then(|name| self.others.get(&("PersistentVolume", "", name)));
            if let Some(volume) = volume {
                let rules = volume_rules(&mut self.built.world, volume);
                shape.node_rules.extend(rules);
            }
        }
        shape.node_rules.sort();
        shape.node_rules.dedup();
        let (start, ready) = match times.observed {
            Some(all) => (all / 2 * SECOND, (all - all / 2) * SECOND),
            None => {
                let attach = if disk { ATTACH } else { 0 };
                // Until here the template's own figure stands in `ready`.
                ((START + attach) * SECOND, shape.ready.unwrap_or(1))
            }
        };
        shape.start = start.max(1);
        shape.ready = (!times.sick).then_some(ready.max(1));
        self.built.world.shape(shape)
    }

    /// What a template says, without labels and volumes.
    fn template(&mut self, namespace: &str, template: &str) -> Shape {
        let fields = serde_json::from_str::<Value>(template).unwrap_or(Value::Null);
        let field = |path: &str| fields.get(path);
        let near = |kind: &str| {
            let path =
                format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution");
            field(&path)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let (friends, foes) = (near("podAffinity"), near("podAntiAffinity"));
        let world = &mut self.built.world;
        let own = world.text(namespace);
        let mut node_rules = Vec::new();
        if let Some(wanted) = field("/spec/nodeSelector").and_then(Value::as_object) {
            let wanted: Selector = wanted
                .iter()
                .filter_map(|(key, value)| {
                    Some(Requirement {
                        key: world.text(key),
                        is: Is::In(vec![world.text(value.as_str()?)]),
                    })
                })
                .collect();
            if !wanted.is_empty() {
                node_rules.push(vec![wanted]);
            }
        }
        let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        if let Some(terms) = field(terms) {
            node_rules.push(any_of(world, terms));
        }
        let number = |name: &str| fields.get(name).and_then(Value::as_u64);
        let load = |i: usize| {
            fields
                .pointer(&format!("/load/{i}"))
                .and_then(Value::as_u64)
        };
        let mut requests: Vec<(usize, u64)> = fields
            .get("requests")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(name, amount)| {
                let amount = amount.as_u64().filter(|amount| *amount > 0)?;
                Some((world.resource(name), amount))
            })
            .collect();
        requests.sort_unstable();
        let ports = list(&fields, "/ports").iter().filter_map(|port| {
            let [protocol, address, number] = port.as_array()?.as_slice() else {
                return None;
            };
            let address = address.as_str().unwrap_or_default();
            let any = address.is_empty() || address == "0.0.0.0";
            Some(Port {
                protocol: world.text(protocol.as_str()?),
                address: (!any).then(|| world.text(address)),
                number: u16::try_from(number.as_u64()?).ok()?,
            })
        });
        let ports = ports.collect();
        let tolerations = tolerations(world, field("/spec/tolerations"));
        let spread = list_of(field("/spec/topologySpreadConstraints"))
            .iter()
            .filter(|spread| text(spread, "/whenUnsatisfiable") == Some("DoNotSchedule"))
            .filter_map(|about| spread(world, about))
            .collect();
        Shape {
            namespace: own,
            labels: Vec::new(),
            requests,
            load: (load(0).unwrap_or(0), load(1).unwrap_or(0)),
            node_rules,
            tolerations,
            near: self.near(own, &friends),
            apart: self.near(own, &foes),
            spread,
            ports,
            start: 1,
            ready: Some((number("probe").unwrap_or(1) * SECOND).max(1)),
            stop: (number("stop").unwrap_or(1) * SECOND).max(1),
        }
    }

    fn near(&mut self, own: Text, terms: &[Value]) -> Vec<Near> {
        let mut found = Vec::new();
        for term in terms {
            let world = &mut self.built.world;
            let Some(topology) = text(term, "/topologyKey") else {
                continue;
            };
            let topology = world.text(topology);
            let selector = selector(world, term.pointer("/labelSelector"));
            let mut names: Vec<Text> = list(term, "/namespaces")
                .iter()
                .filter_map(|name| Some(world.text(name.as_str()?)))
                .collect();
            let by_label = term
                .pointer("/namespaceSelector")
                .filter(|value| !value.is_null());
            let everywhere = by_label
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty);
            if let Some(wanted) = self::selector(world, by_label) {
                let all = self.namespaces.iter();
                let picked = all.filter(|(_, labels)| world.selects(&wanted, labels));
                names.extend(picked.map(|(name, _)| *name));
            } else if names.is_empty() {
                names.push(own);
            }
            names.sort_unstable();
            names.dedup();
            found.push(Near {
                namespaces: (!everywhere).then_some(names),
                selector,
                topology,
            });
        }
        found
    }
}

fn tolerations(world: &mut World, value: Option<&Value>) -> Vec<world::Toleration> {
    let mut found: Vec<world::Toleration> = list_of(value)
        .iter()
        .map(|about| {
            let key = text(about, "/key").filter(|key| !key.is_empty());
            let any = text(about, "/operator") == Some("Exists");
            let value = text(about, "/value").unwrap_or_default();
            world::Toleration {
                key: key.map(|key| world.text(key)),
                value: (!any).then(|| world.text(value)),
                effect: effect(about),
            }
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn spread(world: &mut World, about: &Value) -> Option<Spread> {
    let number = |path: &str| int(about, path).and_then(|number| u32::try_from(number).ok());
    Some(Spread {
        max_skew: number("/maxSkew").unwrap_or(1),
        min_domains: number("/minDomains").unwrap_or(1),
        topology: world.text(text(about, "/topologyKey")?),
        selector: selector(world, about.pointer("/labelSelector")),
        ignore_node_rules: text(about, "/nodeAffinityPolicy") == Some("Ignore"),
        honor_taints: text(about, "/nodeTaintsPolicy") == Some("Honor"),
    })
}

/// Where a volume can be mounted.
fn volume_rules(world: &mut World, volume: &Fields<'_>) -> Vec<AnyOf> {
    let mut rules = Vec::new();
    if let Some(terms) = volume.get("/spec/nodeAffinity/required/nodeSelectorTerms") {
        rules.push(any_of(world, terms));
    }
    for key in [
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/zone",
    ] {
        let labels = volume.get("/metadata/labels");
        if let Some(zones) = labels.and_then(|labels| labels.get(key)?.as_str()) {
            let values = zones.split("__").map(|zone| world.text(zone)).collect();
            rules.push(vec![vec![Requirement {
                key: world.text(key),
                is: Is::In(values),
            }]]);
        }
    }
    rules
}
