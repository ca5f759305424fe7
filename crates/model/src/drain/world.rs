//! The cluster that is drained, in interned and flat form.
//!
//! Names are numbers, everything that pods of one template share is one [`Shape`], and objects refer
//! to each other by place in a list: 100,000 pods take a few megabytes.
//!
//! Must not know: manifests and their defaults. Whoever builds a world has applied them.

use std::collections::BTreeMap;

/// Virtual time in milliseconds.
pub type Millis = u64;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// As a place in a list.
            pub fn at(self) -> usize {
                self.0 as usize
            }

            /// The number of the place that a list grows by next.
            pub(crate) fn next(len: usize) -> Self {
                Self(u32::try_from(len).unwrap_or(u32::MAX))
            }
        }
    )*};
}

numbers! {
    /// An interned string.
    Text,
    /// A node by its place in [`World::nodes`].
    NodeId,
    /// A pod by its place in [`World::pods`]; pods that a simulation makes are numbered on from there.
    PodId,
    /// A shape by its place in [`World::shapes`].
    ShapeId,
    /// A controller by its place in [`World::controllers`].
    ControllerId,
    /// A number of replicas by its place in [`World::scales`].
    ScaleId,
    /// A budget by its place in [`World::budgets`].
    BudgetId,
}

/// Place of `cpu`, in thousandths of a core, in [`Node::allocatable`].
pub const CPU: usize = 0;
/// Place of `memory`, in bytes, in [`Node::allocatable`].
pub const MEMORY: usize = 1;

/// The label that names a machine.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Stands for the field `metadata.name` among a node's labels.
pub const NAME_FIELD: &str = "metadata.name";
/// The taint that a cordon sets.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taint that keeps pods off nodes that are about to go.
pub const OLD: &str = "ferriswheel.dev/old";

/// Sorted keys and values.
pub type Labels = Vec<(Text, Text)>;

/// A machine.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name.
    pub name: Text,
    /// Labels, with [`NAME_FIELD`] among them.
    pub labels: Labels,
    /// Taints, that of a cordon excepted.
    pub taints: Vec<Taint>,
    /// By the places of [`World::resources`].
    pub allocatable: Vec<u64>,
    /// Most pods.
    pub max_pods: u32,
    /// Is it cordoned?
    pub cordoned: bool,
    /// Comes up only when a drain brings it as a surge node.
    pub absent: bool,
}

/// A taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: Text,
    /// Value.
    pub value: Text,
    /// Effect.
    pub effect: Effect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// No new pods.
    NoSchedule,
    /// New pods only when nothing else fits.
    PreferNoSchedule,
    /// No pods.
    NoExecute,
}

/// What a pod bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toleration {
    /// Nothing: every key.
    pub key: Option<Text>,
    /// Nothing: every value.
    pub value: Option<Text>,
    /// Nothing: every effect.
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Does it bear the taint?
    pub fn bears(&self, taint: &Taint) -> bool {
        self.key.is_none_or(|key| key == taint.key)
            && self.value.is_none_or(|value| value == taint.value)
            && self.effect.is_none_or(|effect| effect == taint.effect)
    }
}

/// One condition on labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// Label.
    pub key: Text,
    /// Condition.
    pub is: Is,
}

/// A condition on a label's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Is {
    /// One of these.
    In(Vec<Text>),
    /// None of these, or no such label.
    NotIn(Vec<Text>),
    /// There is such a label.
    Present,
    /// There is no such label.
    Absent,
    /// A number above this one.
    Above(i64),
    /// A number below this one.
    Below(i64),
}

/// Conditions that must all hold; none: everything is selected.
pub type Selector = Vec<Requirement>;

/// Selectors of which one must hold.
pub type AnyOf = Vec<Selector>;

/// Pods that a pod wants near, or far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Near {
    /// Nothing: every namespace.
    pub namespaces: Option<Vec<Text>>,
    /// Which pods; nothing selects none.
    pub selector: Option<Selector>,
    /// Nodes with the same value of this label are one place.
    pub topology: Text,
}

/// A topology spread constraint that is binding (`DoNotSchedule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread {
    /// Largest difference between a place and the emptiest one.
    pub max_skew: u32,
    /// With fewer places the emptiest one counts as empty.
    pub min_domains: u32,
    /// Nodes with the same value of this label are one place.
    pub topology: Text,
    /// Which pods of the own namespace; nothing selects none.
    pub selector: Option<Selector>,
    /// Nodes that the pod's own node rules exclude count as well.
    pub ignore_node_rules: bool,
    /// Nodes whose taints the pod does not bear do not count.
    pub honor_taints: bool,
}

/// A port of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: Text,
    /// Address; nothing is all of them.
    pub address: Option<Text>,
    /// Number.
    pub number: u16,
}

/// What pods of one template share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Namespace.
    pub namespace: Text,
    /// Labels.
    pub labels: Labels,
    /// Requested amounts by the places of [`World::resources`], ascending.
    pub requests: Vec<(usize, u64)>,
    /// Thousandths of a core and bytes that count as its load: a container without a request
    /// counts with a default.
    pub load: (u64, u64),
    /// Node selector, node affinity, the places of volumes: all must hold.
    pub node_rules: Vec<AnyOf>,
    /// What it bears.
    pub tolerations: Vec<Toleration>,
    /// Pods that must be near.
    pub near: Vec<Near>,
    /// Pods that must not be near.
    pub apart: Vec<Near>,
    /// Binding spread.
    pub spread: Vec<Spread>,
    /// Ports of the node.
    pub ports: Vec<Port>,
    /// From its place on a node until it runs; at least 1.
    pub start: Millis,
    /// From then until it is ready, at least 1; nothing: it never is.
    pub ready: Option<Millis>,
    /// From the deletion until it is gone; at least 1.
    pub stop: Millis,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Name.
    pub name: Text,
    /// What it shares with others.
    pub shape: ShapeId,
    /// Who replaces it.
    pub controller: Option<ControllerId>,
    /// Its number in a controller that numbers its pods, from 0.
    pub ordinal: u32,
    /// Where it is.
    pub node: Option<NodeId>,
    /// How far it is.
    pub phase: Phase,
    /// Is it being deleted?
    pub terminating: bool,
    /// A static pod of the node: nobody evicts it.
    pub mirror: bool,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not running yet (`Pending`), with or without a node.
    Pending,
    /// Runs, not ready, and stays so.
    Unready,
    /// Runs and is ready.
    Ready,
    /// Ran to its end (`Succeeded`, `Failed`).
    Finished,
}

/// Who replaces pods.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Kind, for messages.
    pub kind: Text,
    /// Namespace.
    pub namespace: Text,
    /// Name.
    pub name: Text,
    /// How it replaces them.
    pub replaces: Replaces,
    /// How many pods it wants.
    pub replicas: u32,
    /// What the disruption controller reads as its size; nothing: it has no scale subresource.
    pub scale: Option<ScaleId>,
}

/// How a controller replaces pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// With a new pod as soon as the old one is being deleted (ReplicaSet, Job).
    AtOnce,
    /// With a pod of the same number when the old one is gone.
    Numbered,
    /// As [`Replaces::Numbered`], and only when all lower numbers are ready.
    InOrder,
    /// One on each node: a drain leaves it alone (DaemonSet).
    PerNode,
    /// Never.
    Never,
}

/// A disruption budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Namespace.
    pub namespace: Text,
    /// Name.
    pub name: Text,
    /// Which pods; nothing selects none.
    pub selector: Option<Selector>,
    /// How much.
    pub limit: Limit,
    /// Pods that are not ready may always go.
    pub always_allow: bool,
    /// Its operator hands the pod's duty over to another pod within this time when the node is
    /// cordoned, and the eviction goes through then.
    pub gives_way: Option<Millis>,
}

/// How much a budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// This many must stay.
    MinAvailable(Amount),
    /// This many may go.
    MaxUnavailable(Amount),
}

/// A number or a share of the controllers' sizes, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Pods.
    Pods(u32),
    /// Percent.
    Percent(u32),
}

/// A cluster.
#[derive(Clone, Debug, Default)]
pub struct World {
    texts: Vec<Box<str>>,
    text_ids: BTreeMap<Box<str>, Text>,
    shape_ids: BTreeMap<Shape, ShapeId>,
    /// Names of resources; [`CPU`] and [`MEMORY`] come first.
    pub resources: Vec<Text>,
    /// Machines.
    pub nodes: Vec<Node>,
    /// What pods share.
    pub shapes: Vec<Shape>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Who replaces them.
    pub controllers: Vec<Controller>,
    /// Sizes of controllers: two replica sets of one deployment share one.
    pub scales: Vec<u32>,
    /// Budgets.
    pub budgets: Vec<Budget>,
}

impl World {
    /// An empty cluster.
    pub fn new() -> Self {
        let mut world = Self::default();
        for name in ["cpu", "memory"] {
            let name = world.text(name);
            world.resources.push(name);
        }
        world
    }

    /// The number of a string.
    pub fn text(&mut self, text: &str) -> Text {
        if let Some(known) = self.text_ids.get(text) {
            return *known;
        }
        let id = Text::next(self.texts.len());
        self.texts.push(text.into());
        self.text_ids.insert(text.into(), id);
        id
    }

    /// The number of a string that some object has.
    pub fn known(&self, text: &str) -> Option<Text> {
        self.text_ids.get(text).copied()
    }

    /// The string of a number.
    pub fn str(&self, text: Text) -> &str {
        self.texts.get(text.at()).map_or("", |text| text)
    }

    /// The place of a resource.
    pub fn resource(&mut self, name: &str) -> usize {
        let name = self.text(name);
        if let Some(at) = self.resources.iter().position(|known| *known == name) {
            return at;
        }
        self.resources.push(name);
        self.resources.len() - 1
    }

    /// The number of a shape.
    pub fn shape(&mut self, shape: Shape) -> ShapeId {
        if let Some(known) = self.shape_ids.get(&shape) {
            return *known;
        }
        let id = ShapeId::next(self.shapes.len());
        self.shapes.push(shape.clone());
        self.shape_ids.insert(shape, id);
        id
    }

    /// Adds a machine; its name is made one of its labels.
    pub fn add_node(&mut self, mut node: Node) -> NodeId {
        let field = self.text(NAME_FIELD);
        node.labels.retain(|(key, _)| *key != field);
        node.labels.push((field, node.name));
        node.labels.sort_unstable();
        node.allocatable
            .resize(self.resources.len().max(node.allocatable.len()), 0);
        self.nodes.push(node);
        NodeId::next(self.nodes.len() - 1)
    }

    /// Adds a pod.
    pub fn add_pod(&mut self, pod: Pod) -> PodId {
        self.pods.push(pod);
        PodId::next(self.pods.len() - 1)
    }

    /// Adds a size.
    pub fn add_scale(&mut self, size: u32) -> ScaleId {
        self.scales.push(size);
        ScaleId::next(self.scales.len() - 1)
    }

    /// Adds a controller.
    pub fn add_controller(&mut self, controller: Controller) -> ControllerId {
        self.controllers.push(controller);
        ControllerId::next(self.controllers.len() - 1)
    }

    /// Adds a budget.
    pub fn add_budget(&mut self, budget: Budget) -> BudgetId {
        self.budgets.push(budget);
        BudgetId::next(self.budgets.len() - 1)
    }

    /// Adds an absent copy of a machine, with the pods that every such machine has.
    pub fn add_surge(&mut self, like: NodeId, name: &str) -> Option<NodeId> {
        let mut node = self.nodes.get(like.at())?.clone();
        let (name, hostname) = (self.text(name), self.text(HOSTNAME));
        node.name = name;
        node.cordoned = false;
        node.absent = true;
        for (key, value) in &mut node.labels {
            if *key == hostname {
                *value = name;
            }
        }
        let id = self.add_node(node);
        let own: Vec<Pod> = self
            .pods
            .iter()
            .filter(|pod| pod.node == Some(like) && !pod.terminating && self.stays(pod))
            .cloned()
            .collect();
        for pod in own {
            self.pods.push(Pod {
                node: Some(id),
                ..pod
            });
        }
        Some(id)
    }

    /// Does a drain leave the pod alone?
    pub fn stays(&self, pod: &Pod) -> bool {
        let daemon = pod
            .controller
            .and_then(|id| self.controllers.get(id.at()))
            .is_some_and(|controller| controller.replaces == Replaces::PerNode);
        pod.mirror || daemon
    }

    /// The value of a label.
    pub fn label(labels: &Labels, key: Text) -> Option<Text> {
        let at = labels.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        labels.get(at).map(|(_, value)| *value)
    }

    /// Do all conditions hold?
    pub fn selects(&self, selector: &Selector, labels: &Labels) -> bool {
        selector.iter().all(|requirement| {
            let value = Self::label(labels, requirement.key);
            let number = || value.and_then(|value| self.str(value).parse::<i64>().ok());
            match &requirement.is {
                Is::In(values) => value.is_some_and(|value| values.contains(&value)),
                Is::NotIn(values) => value.is_none_or(|value| !values.contains(&value)),
                Is::Present => value.is_some(),
                Is::Absent => value.is_none(),
                Is::Above(than) => number().is_some_and(|number| number > *than),
                Is::Below(than) => number().is_some_and(|number| number < *than),
            }
        })
    }

    /// Does every rule have a selector that holds for the node?
    pub(crate) fn allows(&self, rules: &[AnyOf], node: &Node) -> bool {
        rules.iter().all(|any| {
            any.iter()
                .any(|selector| self.selects(selector, &node.labels))
        })
    }

    /// Is a pod of this shape meant?
    pub(crate) fn is_near(&self, near: &Near, shape: &Shape) -> bool {
        near.namespaces
            .as_ref()
            .is_none_or(|all| all.contains(&shape.namespace))
            && near
                .selector
                .as_ref()
                .is_some_and(|selector| self.selects(selector, &shape.labels))
    }
}
