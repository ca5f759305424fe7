//! Codes of findings. Each has a page under `docs/checks`.

/// The target does not serve this API version.
pub const NOT_SERVED: &str = "FWD001";
/// The live object is well; the manifest that it was applied from is not.
pub const STALE_APPLY: &str = "FWD002";
/// The live object is well; the manifest that Helm keeps of its release is not.
pub const STALE_RELEASE: &str = "FWD003";
/// A client wrote the object with a version that the target does not serve.
pub const STALE_WRITER: &str = "FWD004";
/// Served at the target; goes in a later release.
pub const GOES_LATER: &str = "FWD005";
/// Deprecated; no release is known in which it goes.
pub const DEPRECATED: &str = "FWD006";
/// The target does not serve this API version yet.
pub const NOT_YET: &str = "FWD007";
/// A client calls a version that goes.
pub const STILL_CALLED: &str = "FWD008";
/// AKS refuses the upgrade because of a version that was used.
pub const REFUSED_BY_AKS: &str = "FWD009";
/// Objects may be stored in a version that the CRD is about to lose.
pub const STORED_VERSION: &str = "FWD010";
/// A custom object uses a version that its CRD does not serve.
pub const CUSTOM_NOT_SERVED: &str = "FWD011";
/// A custom object uses a version that its CRD deprecates.
pub const CUSTOM_DEPRECATED: &str = "FWD012";
/// gitRepo volumes are not mounted any more.
pub const GIT_REPO: &str = "FWD020";
/// External addresses of Services go.
pub const EXTERNAL_IPS: &str = "FWD021";
/// kube-proxy's mode ipvs goes.
pub const IPVS: &str = "FWD022";
/// ingress-nginx has been retired.
pub const INGRESS_NGINX: &str = "FWD023";
/// The node's system ends.
pub const NODE_SYSTEM: &str = "FWD024";
/// containerd 1.x is not supported any more.
pub const CONTAINERD: &str = "FWD025";

/// A container with a port has no readiness probe.
pub const NO_READINESS: &str = "FWR001";
/// Liveness asks what readiness asks, with the same patience.
pub const SAME_PROBES: &str = "FWR002";
/// A probe asks a port that the container does not name.
pub const PROBE_PORT: &str = "FWR003";
/// A container with a port has no liveness probe.
pub const NO_LIVENESS: &str = "FWR004";
/// There is no second pod while a node drains.
pub const SINGLE_REPLICA: &str = "FWR010";
/// Two members of something that decides by majority.
pub const NO_MAJORITY: &str = "FWR011";
/// No disruption budget covers the pods.
pub const NO_BUDGET: &str = "FWR020";
/// The budget never lets a pod go.
pub const BUDGET_CLOSED: &str = "FWR021";
/// The budget lets no pod go while its workload is at its smallest.
pub const BUDGET_AT_MINIMUM: &str = "FWR022";
/// No pod may go now.
pub const BUDGET_EXHAUSTED: &str = "FWR023";
/// The budget selects no pod.
pub const BUDGET_OF_NOTHING: &str = "FWR024";
/// Several budgets cover one pod.
pub const SEVERAL_BUDGETS: &str = "FWR025";
/// Pods that are not ready hold up a drain.
pub const UNHEALTHY_POLICY: &str = "FWR026";
/// The budget cannot be computed.
pub const BUDGET_WITHOUT_SCALE: &str = "FWR027";
/// The budget's status is older than its spec.
pub const BUDGET_STALE: &str = "FWR028";
/// The budget lets too many go at once.
pub const BUDGET_OPEN: &str = "FWR029";
/// An operator keeps the budget.
pub const OPERATOR_BUDGET: &str = "FWR030";
/// One budget for the whole namespace.
pub const BUDGET_OF_ALL: &str = "FWR031";
/// The API server does not take the budget.
pub const BUDGET_REFUSED: &str = "FWR032";
/// Nothing keeps the pods apart.
pub const NO_SPREAD: &str = "FWR040";
/// All pods are on one node.
pub const ON_ONE_NODE: &str = "FWR041";
/// All pods are in one zone.
pub const IN_ONE_ZONE: &str = "FWR042";
/// A change of the workload stops all of it.
pub const ROLLOUT: &str = "FWR045";
/// Ready for a moment counts as available.
pub const HASTY: &str = "FWR046";
/// The process is killed without a word.
pub const NO_GRACE: &str = "FWR050";
/// A pod may take longer to go than the drain waits.
pub const LONG_GRACE: &str = "FWR051";
/// preStop leaves the process no time.
pub const HOOK_OUTLASTS: &str = "FWR052";
/// The process stops before its endpoint does.
pub const NO_HOOK: &str = "FWR053";
/// Nobody makes this pod again.
pub const NAKED_POD: &str = "FWR060";
/// Data in an emptyDir.
pub const EMPTY_DIR: &str = "FWR061";
/// Data in a directory of the node.
pub const HOST_PATH: &str = "FWR062";
/// A volume on one node.
pub const LOCAL_VOLUME: &str = "FWR063";
/// The disk goes with its claim.
pub const RECLAIM_DELETE: &str = "FWR064";
/// The disk's zone has no second node.
pub const PINNED_VOLUME: &str = "FWR065";
/// A disk is made before its pod has a zone.
pub const IMMEDIATE_BINDING: &str = "FWR066";
/// A webhook must admit its own pods.
pub const WEBHOOK_SPIRAL: &str = "FWR070";
/// A webhook of the cluster must admit kube-system.
pub const WEBHOOK_ON_SYSTEM: &str = "FWR071";
/// A webhook that must answer has one pod.
pub const WEBHOOK_ALONE: &str = "FWR072";
/// Every change waits long for a webhook that is away.
pub const WEBHOOK_PATIENCE: &str = "FWR073";
/// A webhook is asked about evictions.
pub const WEBHOOK_ON_EVICTION: &str = "FWR074";
/// Nothing is requested.
pub const NO_REQUESTS: &str = "FWR080";
/// The rest of the pool does not hold what a node runs.
pub const NO_ROOM: &str = "FWR081";
/// An autoscaler would grow past the nodes.
pub const SCALER_WITHOUT_ROOM: &str = "FWR082";
/// A connection to a server that is gone hangs.
pub const NO_TIMEOUT: &str = "FWR090";
/// Pooled connections live for ever.
pub const ETERNAL: &str = "FWR091";
/// Writes in flight are not retried.
pub const NO_RETRY: &str = "FWR092";
/// Names are resolved once.
pub const NAMES_FOR_EVER: &str = "FWR093";
/// A client names one member of a set.
pub const ONE_MEMBER: &str = "FWR094";
/// A write is acknowledged before a second member has it.
pub const LOOSE_WRITES: &str = "FWR095";
/// A client may end up with a replica.
pub const ANY_ROLE: &str = "FWR096";
/// No circuit breaker, or one that breaks everything.
pub const NO_BREAKER: &str = "FWR097";
/// The pool gives up sooner than a hand-over takes.
pub const IMPATIENT: &str = "FWR098";
/// A node of a pool cannot be drained as things are.
pub const DRAIN_BLOCKED: &str = "FWS001";
/// A drain leaves pods without a node.
pub const DRAIN_NO_ROOM: &str = "FWS002";
/// Pods move more often than they must.
pub const DRAIN_CHURN: &str = "FWS003";

/// Nothing keeps a healthy replica.
pub const PRACTICE_REPLICA: &str = "FWB002";
/// Replication is asynchronous.
pub const PRACTICE_SYNCHRONOUS: &str = "FWB003";
/// Nobody watches the replication lag.
pub const PRACTICE_LAG: &str = "FWB005";
/// The way back is not ready.
pub const PRACTICE_BACKUP: &str = "FWB006";
/// A database shares its nodes.
pub const PRACTICE_POOL: &str = "FWB009";
/// Claims go with their set.
pub const PRACTICE_RETAIN: &str = "FWB010";

/// An operation of AKS failed or is going on.
pub const AKS_STATE: &str = "FWA001";
/// The cluster or the pool is stopped.
pub const AKS_STOPPED: &str = "FWA002";
/// More than one minor at a time.
pub const AKS_JUMP: &str = "FWA003";
/// The pool is too far behind.
pub const AKS_SKEW: &str = "FWA004";
/// The nodes of a pool are not one version.
pub const AKS_DRIFT: &str = "FWA005";
/// AKS upgrades the cluster by itself.
pub const AKS_CHANNEL: &str = "FWA006";
/// A channel without a window, or a window without a channel.
pub const AKS_WINDOW: &str = "FWA007";
/// forceUpgrade was left behind.
pub const AKS_FORCED: &str = "FWA008";
/// The node image is old.
pub const AKS_IMAGE: &str = "FWA009";
/// A node was left cordoned.
pub const AKS_CORDONED: &str = "FWA010";
/// Labels and taints that the upgrade takes away.
pub const AKS_BY_HAND: &str = "FWA011";
/// The clock of the way back.
pub const AKS_ROLLBACK: &str = "FWA012";
/// No quota for surge nodes.
pub const AKS_QUOTA: &str = "FWA013";
/// No addresses for surge nodes.
pub const AKS_ADDRESSES: &str = "FWA014";
/// Surge nodes do not come in every zone.
pub const AKS_SURGE_ZONES: &str = "FWA015";
/// The autoscaler may shrink the pool.
pub const AKS_AUTOSCALER: &str = "FWA016";
/// The load balancer probes a path that nobody serves.
pub const AKS_PROBE: &str = "FWA017";
/// The autoscaler has no room left.
pub const AKS_AT_MAXIMUM: &str = "FWA018";

/// All of them.
pub const ALL: &[&str] = &[
    NOT_SERVED,
    STALE_APPLY,
    STALE_RELEASE,
    STALE_WRITER,
    GOES_LATER,
    DEPRECATED,
    NOT_YET,
    STILL_CALLED,
    REFUSED_BY_AKS,
    STORED_VERSION,
    CUSTOM_NOT_SERVED,
    CUSTOM_DEPRECATED,
    GIT_REPO,
    EXTERNAL_IPS,
    IPVS,
    INGRESS_NGINX,
    NODE_SYSTEM,
    CONTAINERD,
    NO_READINESS,
    SAME_PROBES,
    PROBE_PORT,
    NO_LIVENESS,
    SINGLE_REPLICA,
    NO_MAJORITY,
    NO_BUDGET,
    BUDGET_CLOSED,
    BUDGET_AT_MINIMUM,
    BUDGET_EXHAUSTED,
    BUDGET_OF_NOTHING,
    SEVERAL_BUDGETS,
    UNHEALTHY_POLICY,
    BUDGET_WITHOUT_SCALE,
    BUDGET_STALE,
    BUDGET_OPEN,
    OPERATOR_BUDGET,
    BUDGET_OF_ALL,
    BUDGET_REFUSED,
    NO_SPREAD,
    ON_ONE_NODE,
    IN_ONE_ZONE,
    ROLLOUT,
    HASTY,
    NO_GRACE,
    LONG_GRACE,
    HOOK_OUTLASTS,
    NO_HOOK,
    NAKED_POD,
    EMPTY_DIR,
    HOST_PATH,
    LOCAL_VOLUME,
    RECLAIM_DELETE,
    PINNED_VOLUME,
    IMMEDIATE_BINDING,
    WEBHOOK_SPIRAL,
    WEBHOOK_ON_SYSTEM,
    WEBHOOK_ALONE,
    WEBHOOK_PATIENCE,
    WEBHOOK_ON_EVICTION,
    NO_REQUESTS,
    NO_ROOM,
    SCALER_WITHOUT_ROOM,
    NO_TIMEOUT,
    ETERNAL,
    NO_RETRY,
    NAMES_FOR_EVER,
    ONE_MEMBER,
    LOOSE_WRITES,
    ANY_ROLE,
    NO_BREAKER,
    IMPATIENT,
    DRAIN_BLOCKED,
    DRAIN_NO_ROOM,
    DRAIN_CHURN,
    PRACTICE_REPLICA,
    PRACTICE_SYNCHRONOUS,
    PRACTICE_LAG,
    PRACTICE_BACKUP,
    PRACTICE_POOL,
    PRACTICE_RETAIN,
    AKS_STATE,
    AKS_STOPPED,
    AKS_JUMP,
    AKS_SKEW,
    AKS_DRIFT,
    AKS_CHANNEL,
    AKS_WINDOW,
    AKS_FORCED,
    AKS_IMAGE,
    AKS_CORDONED,
    AKS_BY_HAND,
    AKS_ROLLBACK,
    AKS_QUOTA,
    AKS_ADDRESSES,
    AKS_SURGE_ZONES,
    AKS_AUTOSCALER,
    AKS_PROBE,
    AKS_AT_MAXIMUM,
];
