//! What a person says of a Memcached pool.

use serde::{Deserialize, Serialize};

use super::{Millis, Percent};
use crate::ids::ObjectRef;

/// Where [`MemcachedSpec::client_name`] has the name of a pod.
pub const POD: &str = "{pod}";

/// Memcached servers that clients spread their keys over; its members are the pods of one set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MemcachedSpec {
    /// The set, `namespace/name`.
    pub stateful_set: ObjectRef,
    /// Container of the set's pods that runs the server.
    #[serde(default = "default_container")]
    pub container: String,
    /// Port of the servers.
    #[serde(default = "default_port")]
    pub port: u16,
    /// How clients choose the server of a key.
    #[serde(default)]
    pub distribution: Distribution,
    /// Name by which clients have a member on their ring, with `{pod}` in place of the pod's name
    /// (`{pod}.cache.svc.cluster.local`): the places of its keys follow from it. Default: the name that the set's own
    /// Service gives to the pod.
    #[serde(default)]
    pub client_name: Option<String>,
    /// Lowest hit-rate at any time, in percent. Default: the share of the keys that the other members have, less five
    /// points.
    #[serde(default)]
    pub min_hit_rate: Option<Percent>,
    /// Most loads a second that the backend bears: misses while a member is away.
    #[serde(default)]
    pub max_backend_load: Option<u64>,
    /// A member counts as refilled when its hit-rate is not more than so many points below the others'.
    #[serde(default = "default_refill_within")]
    pub refill_within: Percent,
    /// Longest wait for a member to refill; then the run stops, and can be resumed.
    #[serde(default = "default_refill_limit")]
    pub refill_limit: Millis,
}

/// How clients choose the server of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Distribution {
    /// A ring of md5 points (libmemcached's weighted ketama, weights equal): the keys of a missing member alone move.
    #[default]
    Ketama,
    /// The hash modulo the number of servers: nearly all keys move whenever that number changes. Refused.
    Modula,
}

impl MemcachedSpec {
    /// Name by which clients know the pod, if the set's own Service has this name.
    pub fn name_of(&self, pod: &str, service: &str) -> String {
        match &self.client_name {
            Some(template) => template.replace(POD, pod),
            None => format!(
                "{pod}.{service}.{}.svc.cluster.local",
                self.stateful_set.namespace
            ),
        }
    }
}

fn default_container() -> String {
    "memcached".to_owned()
}

fn default_port() -> u16 {
    11211
}

/// 10 points: what is left then are keys that are asked for rarely, and the next member's absence costs a third or a
/// fifth of all anyway.
fn default_refill_within() -> Percent {
    Percent(10)
}

/// 10 min: a working set whose keys are asked for less often than that gains little from a cache.
fn default_refill_limit() -> Millis {
    Millis(600_000)
}
