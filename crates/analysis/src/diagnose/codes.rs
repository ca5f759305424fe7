//! Codes of diagnoses. Each has a page under `docs/diagnoses`.

/// A budget held the drain until AKS gave up.
pub const DRAIN_REFUSED: &str = "FWT001";
/// AKS does not begin while a budget allows nothing.
pub const UNSATISFIABLE: &str = "FWT002";
/// AKS does not begin while an old API is used.
pub const OLD_API: &str = "FWT003";
/// No processors are left in the quota.
pub const QUOTA: &str = "FWT004";
/// No addresses are left in the subnet.
pub const SUBNET: &str = "FWT005";
/// The region or the zone has no such machines.
pub const CAPACITY: &str = "FWT006";
/// Pool and control plane would be too far apart.
pub const SKEW: &str = "FWT007";
/// The pools' versions in the request do not fit together.
pub const POOL_VERSIONS: &str = "FWT008";
/// Another operation is in the way, or took over.
pub const BUSY: &str = "FWT009";
/// Too many requests to Azure.
pub const THROTTLED: &str = "FWT010";
/// A new machine did not reach the network.
pub const OUTBOUND: &str = "FWT011";
/// AKS does not offer this version.
pub const VERSION_PATH: &str = "FWT012";
/// An operation failed, and the error is not known here.
pub const UNKNOWN: &str = "FWT019";

/// A budget never lets a pod of the drained node go.
pub const CLOSED: &str = "FWT101";
/// A budget is used up by pods that are not ready.
pub const EXHAUSTED: &str = "FWT102";
/// Two budgets on one pod: every eviction ends in an error.
pub const TWO_BUDGETS: &str = "FWT103";
/// A budget that its controller cannot compute.
pub const UNCOMPUTED: &str = "FWT104";
/// A pod that was told to go does not go.
pub const LINGERS: &str = "FWT105";
/// A pod that was evicted finds no node.
pub const NO_PLACE: &str = "FWT106";
/// A disk does not follow its pod.
pub const DISK: &str = "FWT107";
/// A webhook is in the way.
pub const WEBHOOK: &str = "FWT108";
/// AKS gave a node up.
pub const QUARANTINED: &str = "FWT109";
/// An operator has not handed its primary over yet.
pub const OPERATOR: &str = "FWT110";

/// One node at a time.
pub const ONE_BY_ONE: &str = "FWT201";
/// Pods take long to stop.
pub const LONG_STOP: &str = "FWT202";
/// Images take long to arrive.
pub const LONG_PULL: &str = "FWT203";
/// A node does not become ready.
pub const NODE_NOT_READY: &str = "FWT204";
/// The pool is told to wait after each node.
pub const SOAK: &str = "FWT205";

/// A container crashes over and over.
pub const CRASHES: &str = "FWT301";
/// A container needs more memory than it may have.
pub const OUT_OF_MEMORY: &str = "FWT302";
/// A running container does not become ready.
pub const NOT_READY: &str = "FWT303";
/// A Service has nobody to answer.
pub const NO_ENDPOINT: &str = "FWT304";
/// An image cannot be had.
pub const NO_IMAGE: &str = "FWT305";
/// A node runs out of memory, disk or processes.
pub const PRESSURE: &str = "FWT306";

/// No server of names is ready.
pub const DNS_DOWN: &str = "FWT401";
/// A server of names does not take its configuration.
pub const DNS_CONFIGURATION: &str = "FWT402";
/// The Service of the name servers leads nowhere.
pub const DNS_SERVICE: &str = "FWT403";
/// A network policy forbids to ask for names.
pub const DNS_FORBIDDEN: &str = "FWT404";
/// All servers of names are on one node.
pub const DNS_ALONE: &str = "FWT405";

/// All of them.
pub const ALL: &[&str] = &[
    DRAIN_REFUSED,
    UNSATISFIABLE,
    OLD_API,
    QUOTA,
    SUBNET,
    CAPACITY,
    SKEW,
    POOL_VERSIONS,
    BUSY,
    THROTTLED,
    OUTBOUND,
    VERSION_PATH,
    UNKNOWN,
    CLOSED,
    EXHAUSTED,
    TWO_BUDGETS,
    UNCOMPUTED,
    LINGERS,
    NO_PLACE,
    DISK,
    WEBHOOK,
    QUARANTINED,
    OPERATOR,
    ONE_BY_ONE,
    LONG_STOP,
    LONG_PULL,
    NODE_NOT_READY,
    SOAK,
    CRASHES,
    OUT_OF_MEMORY,
    NOT_READY,
    NO_ENDPOINT,
    NO_IMAGE,
    PRESSURE,
    DNS_DOWN,
    DNS_CONFIGURATION,
    DNS_SERVICE,
    DNS_FORBIDDEN,
    DNS_ALONE,
];
