//! Measures the drain simulation on a large cluster: 5,000 nodes and 100,000 pods.
//!
//! `cargo run --release -p ferriswheel-model --example drain [NODES] [HANDS]`
//!
//! The cluster: three zones, 20 pods a node of which three belong to daemon sets; deployments of 3 to
//! 60 pods, half of them under a budget, a third spread over zones, a fifth one to a node; stateful
//! sets of 3 and 5 pods, one to a node, under a budget, their disks in a zone. Requests fill about
//! 60 % of the nodes.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use ferriswheel_model::drain::world::{
    Amount, Budget, Controller, HOSTNAME, Is, Labels, Limit, Near, Node, NodeId, Phase, Pod,
    Replaces, Requirement, Selector, Shape, Spread, Text, World,
};
use ferriswheel_model::drain::{After, Options, batches, simulate};

const SECOND: u64 = 1_000;
const ZONE: &str = "topology.kubernetes.io/zone";

struct Cluster {
    world: World,
    nodes: u32,
    dice: u64,
}

impl Cluster {
    fn dice(&mut self, most: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % (most + 1)
    }

    fn labels(&mut self, all: &[(&str, &str)]) -> Labels {
        let mut labels: Labels = all
            .iter()
            .map(|(key, value)| (self.world.text(key), self.world.text(value)))
            .collect();
        labels.sort_unstable();
        labels
    }

    fn selector(&mut self, app: Text) -> Selector {
        vec![Requirement {
            key: self.world.text("app"),
            is: Is::In(vec![app]),
        }]
    }

    fn node(&mut self, i: u32) {
        let (name, zone) = (format!("node-{i:05}"), format!("{}", i % 3 + 1));
        let labels = self.labels(&[(HOSTNAME, &name), (ZONE, &zone)]);
        let name = self.world.text(&name);
        self.world.add_node(Node {
            name,
            labels,
            taints: Vec::new(),
            allocatable: vec![15_800, 60 << 30],
            max_pods: 110,
            cordoned: false,
            absent: false,
        });
    }

    fn shape(&mut self, namespace: Text, app: Text, cpu: u64, memory: u64) -> Shape {
        Shape {
            namespace,
            labels: vec![(self.world.text("app"), app)],
            requests: vec![(0, cpu), (1, memory << 20)],
            load: (cpu, memory << 20),
            node_rules: Vec::new(),
            tolerations: Vec::new(),
            near: Vec::new(),
            apart: Vec::new(),
            spread: Vec::new(),
            ports: Vec::new(),
            start: 5 * SECOND,
            ready: Some(10 * SECOND),
            stop: 5 * SECOND,
        }
    }

    fn daemons(&mut self) {
        for daemon in 0..3 {
            let (namespace, app) = (
                self.world.text("kube-system"),
                self.world.text(&format!("daemon-{daemon}")),
            );
            let shape = self.shape(namespace, app, 100, 200);
            let shape = self.world.shape(shape);
            let controller = self.controller(namespace, app, Replaces::PerNode, self.nodes, false);
            for node in 0..self.nodes {
                self.pod(app, shape, controller, 0, node);
            }
        }
    }

    fn controller(
        &mut self,
        namespace: Text,
        name: Text,
        replaces: Replaces,
        replicas: u32,
        sized: bool,
    ) -> u32 {
        let kind = self.world.text("Controller");
        let scale = sized.then(|| self.world.add_scale(replicas));
        let id = self.world.add_controller(Controller {
            kind,
            namespace,
            name,
            replaces,
            replicas,
            scale,
        });
        id.0
    }

    fn pod(
        &mut self,
        name: Text,
        shape: ferriswheel_model::drain::world::ShapeId,
        controller: u32,
        ordinal: u32,
        node: u32,
    ) {
        self.world.add_pod(Pod {
            name,
            shape,
            controller: Some(ferriswheel_model::drain::world::ControllerId(controller)),
            ordinal,
            node: Some(NodeId(node)),
            phase: Phase::Ready,
            terminating: false,
            mirror: false,
        });
    }

    fn budget(&mut self, namespace: Text, name: Text, selector: Selector, amount: Amount) {
        self.world.add_budget(Budget {
            namespace,
            name,
            selector: Some(selector),
            limit: Limit::MaxUnavailable(amount),
            always_allow: false,
            gives_way: None,
        });
    }

    fn workload(&mut self, i: u32) -> u32 {
        let namespace = self.world.text(&format!("team-{}", i % 100));
        let app = self.world.text(&format!("app-{i}"));
        let selector = self.selector(app);
        let first = u32::try_from(self.dice(u64::from(self.nodes) - 1)).unwrap_or(0);
        let memory = 512 << self.dice(2);
        let mut shape = self.shape(namespace, app, 250, memory);
        let host = self.world.text(HOSTNAME);
        let zone = self.world.text(ZONE);
        let apart = Near {
            namespaces: Some(vec![namespace]),
            selector: Some(selector.clone()),
            topology: host,
        };
        // Every eighth workload is a stateful set.
        if i.is_multiple_of(8) {
            let replicas = if i.is_multiple_of(16) { 3 } else { 5 };
            let controller = self.controller(namespace, app, Replaces::InOrder, replicas, true);
            shape.apart.push(apart);
            for ordinal in 0..replicas {
                let node = (first + ordinal) % self.nodes;
                let mut own = shape.clone();
                let name = self.world.text(&format!("app-{i}-{ordinal}"));
                own.labels
                    .push((self.world.text("statefulset.kubernetes.io/pod-name"), name));
                own.labels.sort_unstable();
                let place = self.world.text(&format!("{}", node % 3 + 1));
                own.node_rules.push(vec![vec![Requirement {
                    key: zone,
                    is: Is::In(vec![place]),
                }]]);
                own.start += 15 * SECOND;
                let shape = self.world.shape(own);
                self.pod(name, shape, controller, ordinal, node);
            }
            self.budget(namespace, app, selector, Amount::Pods(1));
            return replicas;
        }
        let replicas = 3 + u32::try_from(self.dice(57)).unwrap_or(0);
        if i.is_multiple_of(3) {
            shape.spread.push(Spread {
                max_skew: 2,
                min_domains: 1,
                topology: zone,
                selector: Some(selector.clone()),
                ignore_node_rules: false,
                honor_taints: false,
            });
        }
        if i.is_multiple_of(5) {
            shape.apart.push(apart);
        }
        let shape = self.world.shape(shape);
        let controller = self.controller(namespace, app, Replaces::AtOnce, replicas, true);
        for pod in 0..replicas {
            self.pod(app, shape, controller, 0, (first + pod) % self.nodes);
        }
        if i.is_multiple_of(2) {
            let amount = if i.is_multiple_of(4) {
                Amount::Pods(1)
            } else {
                Amount::Percent(25)
            };
            self.budget(namespace, app, selector, amount);
        }
        replicas
    }
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u32>().unwrap_or(0));
    let nodes = arguments.next().unwrap_or(5_000);
    let hands = arguments.next().unwrap_or(nodes / 10).max(1);
    let start = Instant::now();
    let mut cluster = Cluster {
        world: World::new(),
        nodes,
        dice: 0x9e37_79b9_7f4a_7c15,
    };
    for i in 0..nodes {
        cluster.node(i);
    }
    cluster.daemons();
    let mut pods = 3 * nodes;
    let mut i = 0;
    while pods < nodes * 20 {
        pods += cluster.workload(i);
        i += 1;
    }
    let mut world = cluster.world;
    let surge: Vec<NodeId> = (0..hands)
        .filter_map(|i| world.add_surge(NodeId(i % nodes), &format!("surge-{i}")))
        .collect();
    println!(
        "built in {:.2?}: {nodes} nodes, {} pods, {} shapes, {} controllers, {} budgets",
        start.elapsed(),
        world.pods.len(),
        world.shapes.len(),
        world.controllers.len(),
        world.budgets.len()
    );
    let mut options = Options {
        order: (0..nodes).map(NodeId).collect(),
        hands,
        surge,
        after: After::Reimage(120 * SECOND),
        machine_up: 120 * SECOND,
        soak: 0,
        timeout: 1_800 * SECOND,
        retry: 5 * SECOND,
        shun_old: false,
    };
    for shun in [false, true] {
        options.shun_old = shun;
        let start = Instant::now();
        let outcome = simulate(&world, &options);
        let blocked = outcome
            .drains
            .iter()
            .filter(|drain| !drain.blocked.is_empty())
            .count();
        println!(
            "shun old {shun}: {:.2?}; {} evictions, {} placements, {blocked} blocked, {} without a node, {} s of virtual time",
            start.elapsed(),
            outcome.evictions.len(),
            outcome.placements.len(),
            outcome.homeless.len(),
            outcome.ended / SECOND
        );
    }
    let start = Instant::now();
    let found = batches(&world, &options.order, hands);
    println!(
        "batches: {:.2?}; {} batches, at least {}",
        start.elapsed(),
        found.batches.len(),
        found.lower_bound
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!(
        "most memory: {}",
        peak.unwrap_or_default().trim_start_matches("VmHWM:").trim()
    );
}
