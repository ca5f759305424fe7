//! Random small clusters, naive and as worlds.

use ferriswheel_model::drain::world::{
    self, Amount, Effect, Is, Limit, NodeId, Phase, Port, Replaces, Toleration, World,
};
use ferriswheel_model::drain::{After, Options};

use crate::naive::{
    Budget, Cluster, Controller, Map, Near, Node, Plan, Pod, Requirement, Spread, Template,
};

/// Numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn upto(&mut self, most: u64) -> u64 {
        self.next() % (most + 1)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.upto(most - least)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.upto(all.len() as u64 - 1) as usize]
    }
}

const SPACES: [&str; 4] = ["a", "a", "a", "b"];
const APPS: [&str; 3] = ["x", "y", "z"];
const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "zone";

fn is_in(key: &'static str, value: &str) -> Requirement {
    (key, "In", vec![value.to_owned()])
}

fn pod_selector(dice: &mut Dice) -> Option<Vec<Requirement>> {
    match dice.upto(11) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![("app", "NotIn", vec!["x".into()])]),
        3 => Some(vec![("tier", "Exists", Vec::new())]),
        4 => Some(vec![("tier", "DoesNotExist", Vec::new())]),
        5 => Some(vec![("app", "In", vec!["x".into(), "y".into()])]),
        _ => Some(vec![is_in("app", dice.of(&APPS))]),
    }
}

fn near(dice: &mut Dice) -> Near {
    Near {
        namespaces: match dice.upto(4) {
            0 => None,
            1 => Some(vec!["a", "b"]),
            _ => Some(vec![dice.of(&SPACES)]),
        },
        selector: pod_selector(dice),
        topology: dice.of(&[HOST, HOST, ZONE]),
    }
}

fn template(dice: &mut Dice, nodes: &[Node]) -> Template {
    let mut labels = Map::new();
    labels.insert("app", dice.of(&APPS).to_owned());
    if dice.one_in(3) {
        labels.insert("tier", dice.of(&["p", "q"]).to_owned());
    }
    let mut template = Template {
        namespace: dice.of(&SPACES),
        labels,
        cpu: dice.of(&[0, 1, 1, 1, 2, 3, 5]),
        memory: dice.of(&[0, 1, 2, 3]),
        start: dice.between(1, 6),
        ready: (!dice.one_in(12)).then(|| dice.between(1, 8)),
        stop: if dice.one_in(15) {
            60
        } else {
            dice.of(&[1, 2, 4, 9])
        },
        ..Template::default()
    };
    if dice.one_in(6) {
        let rule = match dice.upto(4) {
            0 => vec![vec![is_in(ZONE, dice.of(&["1", "2"]))]],
            1 => vec![
                vec![is_in(ZONE, "1")],
                vec![("rank", "Gt", vec![dice.upto(3).to_string()])],
            ],
            2 => vec![vec![("rank", "Lt", vec!["3".into()])]],
            3 => vec![vec![is_in(
                "metadata.name",
                &nodes[dice.upto(nodes.len() as u64 - 1) as usize].name,
            )]],
            _ => vec![vec![(ZONE, "NotIn", vec!["2".into()])]],
        };
        template.rules.push(rule);
    }
    if dice.one_in(4) {
        template.tolerations.push(match dice.upto(5) {
            0 => (None, None, None),
            1 => (Some("dedicated"), None, None),
            2 => (Some("dedicated"), Some("db"), Some("NoSchedule")),
            3 => (None, None, Some("PreferNoSchedule")),
            4 => (Some("ferriswheel.dev/old"), None, None),
            _ => (Some("node.kubernetes.io/unschedulable"), Some(""), None),
        });
    }
    if dice.one_in(10) {
        template.near.push(near(dice));
        if dice.one_in(4) {
            template.near.push(near(dice));
        }
    }
    if dice.one_in(6) {
        template.apart.push(near(dice));
    }
    if dice.one_in(5) {
        for topology in dice.of(&[&[HOST][..], &[ZONE], &[ZONE, HOST]]) {
            template.spread.push(Spread {
                skew: dice.between(1, 2) as usize,
                domains: dice.of(&[1, 1, 1, 3]),
                topology,
                selector: if dice.one_in(4) {
                    pod_selector(dice)
                } else {
                    Some(vec![is_in("app", &template.labels["app"].clone())])
                },
                ignore_rules: dice.one_in(4),
                honor_taints: dice.one_in(3),
            });
        }
    }
    if dice.one_in(15) {
        template.port = Some(80);
    }
    template
}

/// A random cluster with a random way to drain it.
pub fn cluster(dice: &mut Dice) -> (Cluster, Plan) {
    let mut c = Cluster::default();
    let real = dice.between(2, 6) as usize;
    let surge = dice.of(&[0, 0, 1, 1, 2]) as usize;
    for i in 0..real + surge {
        let name = format!("n{i}");
        let mut labels = Map::new();
        labels.insert(HOST, name.clone());
        labels.insert("metadata.name", name.clone());
        if !dice.one_in(8) {
            labels.insert(ZONE, dice.of(&["1", "2", "3"]).to_owned());
        }
        if dice.one_in(2) {
            labels.insert("rank", dice.upto(5).to_string());
        }
        let mut taints = Vec::new();
        if dice.one_in(8) {
            taints.push((
                "dedicated",
                "db",
                dice.of(&["NoSchedule", "NoExecute", "PreferNoSchedule"]),
            ));
        }
        c.nodes.push(Node {
            name,
            labels,
            taints,
            cpu: dice.of(&[4, 8, 12, 16]),
            memory: dice.of(&[6, 10, 14, 14, 0]),
            most: dice.between(3, 12) as usize,
            cordoned: i < real && dice.one_in(12),
            absent: i >= real,
            ..Node::default()
        });
    }
    for _ in 0..dice.between(1, 5) {
        let replaces = dice.of(&[
            "at-once", "at-once", "at-once", "numbered", "in-order", "in-order", "never",
            "per-node",
        ]);
        let replicas = dice.between(1, 6) as usize;
        c.templates.push(template(dice, &c.nodes.clone()));
        let scale = (!dice.one_in(12)).then(|| {
            if !c.scales.is_empty() && dice.one_in(6) {
                c.scales.len() - 1
            } else {
                // Now and then a size that is not that of the pods, as during a rollout.
                c.scales.push(if dice.one_in(8) {
                    dice.upto(6)
                } else {
                    replicas as u64
                });
                c.scales.len() - 1
            }
        });
        c.controllers.push(Controller {
            replaces,
            replicas,
            scale,
        });
        for ordinal in 0..replicas {
            if dice.one_in(20) {
                continue;
            }
            let phase = match dice.upto(19) {
                0 => "Pending",
                1 | 2 => "Unready",
                3 if !matches!(replaces, "numbered" | "in-order") => "Finished",
                _ => "Ready",
            };
            let node =
                (phase != "Pending" || dice.one_in(2)).then(|| dice.upto(real as u64 - 1) as usize);
            let origin = c.pods.len();
            c.pods.push(Pod {
                template: c.templates.len() - 1,
                controller: Some(c.controllers.len() - 1),
                ordinal,
                node,
                phase,
                terminating: dice.one_in(25),
                mirror: false,
                gone: false,
                origin,
                gone_at: None,
                runs_at: None,
                ready_at: None,
            });
        }
    }
    for _ in 0..dice.upto(2) {
        c.templates.push(template(dice, &c.nodes.clone()));
        let origin = c.pods.len();
        c.pods.push(Pod {
            template: c.templates.len() - 1,
            controller: None,
            ordinal: 0,
            node: Some(dice.upto(real as u64 - 1) as usize),
            phase: dice.of(&["Ready", "Ready", "Unready", "Finished", "Pending"]),
            terminating: false,
            mirror: dice.one_in(3),
            gone: false,
            origin,
            gone_at: None,
            runs_at: None,
            ready_at: None,
        });
    }
    for _ in 0..dice.upto(4) {
        let percent = dice.one_in(3);
        c.budgets.push(Budget {
            namespace: dice.of(&SPACES),
            selector: if dice.one_in(4) {
                pod_selector(dice)
            } else {
                Some(vec![is_in("app", dice.of(&APPS))])
            },
            min: dice.one_in(2),
            percent,
            amount: if percent {
                dice.of(&[0, 1, 30, 50, 67, 100])
            } else {
                dice.of(&[0, 1, 1, 1, 2, 3])
            },
            always: dice.one_in(3),
            gives_way: dice.one_in(6).then(|| dice.upto(12)),
        });
    }
    let mut order: Vec<usize> = (0..real).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, dice.upto(i as u64) as usize);
    }
    order.truncate(dice.between(1, real as u64) as usize);
    let plan = Plan {
        hands: if surge > 0 {
            surge
        } else {
            dice.of(&[1, 1, 1, 2, 3])
        },
        order,
        surge: (real..real + surge).collect(),
        after: dice.of(&["reimage", "reimage", "reimage-all", "delete", "leave"]),
        reimage: dice.between(1, 9),
        machine_up: dice.between(1, 5),
        soak: dice.of(&[0, 0, 3]),
        timeout: dice.of(&[12, 30, 57, 90]),
        retry: 5,
        shun: dice.one_in(2),
    };
    (c, plan)
}

/// The same as a world.
pub fn to_world(c: &Cluster, plan: &Plan) -> (World, Options) {
    let mut w = World::new();
    for node in &c.nodes {
        let mut labels: world::Labels = node
            .labels
            .iter()
            .map(|(key, value)| (w.text(key), w.text(value)))
            .collect();
        labels.sort();
        let taints = node
            .taints
            .iter()
            .map(|(key, value, effect)| world::Taint {
                key: w.text(key),
                value: w.text(value),
                effect: as_effect(effect),
            })
            .collect();
        let name = w.text(&node.name);
        w.add_node(world::Node {
            name,
            labels,
            taints,
            allocatable: vec![node.cpu, node.memory],
            max_pods: node.most as u32,
            cordoned: node.cordoned,
            absent: node.absent,
        });
    }
    // Tolerations compare with the empty value of a cordon.
    w.text("");
    w.text("node.kubernetes.io/unschedulable");
    w.text("ferriswheel.dev/old");
    for scale in &c.scales {
        w.add_scale(*scale as u32);
    }
    for controller in &c.controllers {
        let (kind, namespace, name) = (w.text("K"), w.text("a"), w.text("c"));
        w.add_controller(world::Controller {
            kind,
            namespace,
            name,
            replaces: match controller.replaces {
                "at-once" => Replaces::AtOnce,
                "numbered" => Replaces::Numbered,
                "in-order" => Replaces::InOrder,
                "per-node" => Replaces::PerNode,
                _ => Replaces::Never,
            },
            replicas: controller.replicas as u32,
            scale: controller.scale.map(|scale| world::ScaleId(scale as u32)),
        });
    }
    for pod in &c.pods {
        // Templates are shapes of their own even when they are equal, as the rules say "shape".
        let template = &c.templates[pod.template];
        let shape = to_shape(&mut w, template);
        let shape = w.shape(shape);
        let name = w.text("pod");
        w.add_pod(world::Pod {
            name,
            shape,
            controller: pod.controller.map(|id| world::ControllerId(id as u32)),
            ordinal: pod.ordinal as u32,
            node: pod.node.map(|id| NodeId(id as u32)),
            phase: match pod.phase {
                "Pending" => Phase::Pending,
                "Unready" => Phase::Unready,
                "Ready" => Phase::Ready,
                _ => Phase::Finished,
            },
            terminating: pod.terminating,
            mirror: pod.mirror,
        });
    }
    for budget in &c.budgets {
        let amount = if budget.percent {
            Amount::Percent(budget.amount as u32)
        } else {
            Amount::Pods(budget.amount as u32)
        };
        let (namespace, name) = (w.text(budget.namespace), w.text("budget"));
        let selector = budget.selector.as_ref().map(|s| to_selector(&mut w, s));
        w.add_budget(world::Budget {
            namespace,
            name,
            selector,
            limit: if budget.min {
                Limit::MinAvailable(amount)
            } else {
                Limit::MaxUnavailable(amount)
            },
            always_allow: budget.always,
            gives_way: budget.gives_way,
        });
    }
    let ids = |all: &[usize]| all.iter().map(|id| NodeId(*id as u32)).collect();
    let options = Options {
        order: ids(&plan.order),
        hands: plan.hands as u32,
        surge: ids(&plan.surge),
        after: match plan.after {
            "reimage" => After::Reimage(plan.reimage),
            "reimage-all" => After::ReimageAll(plan.reimage),
            "delete" => After::Delete,
            _ => After::Leave,
        },
        machine_up: plan.machine_up,
        soak: plan.soak,
        timeout: plan.timeout,
        retry: plan.retry,
        shun_old: plan.shun,
    };
    (w, options)
}

fn as_effect(effect: &str) -> Effect {
    match effect {
        "NoSchedule" => Effect::NoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => Effect::PreferNoSchedule,
    }
}

fn to_selector(w: &mut World, selector: &[Requirement]) -> world::Selector {
    selector
        .iter()
        .map(|(key, operator, values)| {
            let texts: Vec<_> = values.iter().map(|value| w.text(value)).collect();
            let number = || values[0].parse().unwrap_or(0);
            world::Requirement {
                key: w.text(key),
                is: match *operator {
                    "In" => Is::In(texts),
                    "NotIn" => Is::NotIn(texts),
                    "Exists" => Is::Present,
                    "DoesNotExist" => Is::Absent,
                    "Gt" => Is::Above(number()),
                    _ => Is::Below(number()),
                },
            }
        })
        .collect()
}

fn to_near(w: &mut World, near: &Near) -> world::Near {
    world::Near {
        namespaces: near
            .namespaces
            .as_ref()
            .map(|all| all.iter().map(|name| w.text(name)).collect()),
        selector: near.selector.as_ref().map(|s| to_selector(w, s)),
        topology: w.text(near.topology),
    }
}

fn to_shape(w: &mut World, t: &Template) -> world::Shape {
    let mut labels: world::Labels = t
        .labels
        .iter()
        .map(|(key, value)| (w.text(key), w.text(value)))
        .collect();
    labels.sort();
    let requests = [(world::CPU, t.cpu), (world::MEMORY, t.memory)];
    world::Shape {
        namespace: w.text(t.namespace),
        labels,
        requests: requests.into_iter().filter(|(_, many)| *many > 0).collect(),
        load: (t.cpu, t.memory),
        node_rules: t
            .rules
            .iter()
            .map(|any| any.iter().map(|s| to_selector(w, s)).collect())
            .collect(),
        tolerations: t
            .tolerations
            .iter()
            .map(|(key, value, effect)| Toleration {
                key: key.map(|key| w.text(key)),
                value: value.map(|value| w.text(value)),
                effect: effect.map(as_effect),
            })
            .collect(),
        near: t.near.iter().map(|near| to_near(w, near)).collect(),
        apart: t.apart.iter().map(|near| to_near(w, near)).collect(),
        spread: t
            .spread
            .iter()
            .map(|spread| world::Spread {
                max_skew: spread.skew as u32,
                min_domains: spread.domains as u32,
                topology: w.text(spread.topology),
                selector: spread.selector.as_ref().map(|s| to_selector(w, s)),
                ignore_node_rules: spread.ignore_rules,
                honor_taints: spread.honor_taints,
            })
            .collect(),
        ports: t
            .port
            .iter()
            .map(|number| Port {
                protocol: w.text("TCP"),
                address: None,
                number: *number,
            })
            .collect(),
        start: t.start,
        ready: t.ready,
        stop: t.stop,
    }
}
