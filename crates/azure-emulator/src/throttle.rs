//! Request limits of the AKS resource provider, and faults that are injected on purpose.

use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ArmError;

/// A token bucket: `burst` requests at once, one more every `refill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Requests at once.
    pub burst: u32,
    /// Time for one more.
    pub refill: Duration,
}

/// The limits in force.
///
/// Source: AKS "quotas, virtual machine size restrictions, and region availability": the figures of [`Default`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// LIST requests of a subscription.
    pub list: Bucket,
    /// PUT requests on node pools.
    pub put_pool: Bucket,
    /// PUT requests on clusters.
    pub put_cluster: Bucket,
}

impl Default for Limits {
    fn default() -> Self {
        let put = Bucket {
            burst: 20,
            refill: Duration::from_secs(60),
        };
        Self {
            list: Bucket {
                burst: 500,
                refill: Duration::from_secs(1),
            },
            put_pool: put,
            put_cluster: put,
        }
    }
}

/// Which limit a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    List,
    PutPool,
    PutCluster,
}

impl Class {
    fn handler(self) -> &'static str {
        match self {
            Self::List => "ListAgentPoolsHandler.GET",
            Self::PutPool => "PutAgentPoolHandler.PUT",
            Self::PutCluster => "PutManagedClusterHandler.PUT",
        }
    }
}

/// Fill levels of the three buckets.
#[derive(Debug)]
pub(crate) struct Throttle {
    list: Level,
    put_pool: Level,
    put_cluster: Level,
}

#[derive(Debug)]
struct Level {
    bucket: Bucket,
    tokens: f64,
    at: Timestamp,
}

impl Level {
    fn new(bucket: Bucket, now: Timestamp) -> Self {
        Self {
            bucket,
            tokens: f64::from(bucket.burst),
            at: now,
        }
    }

    /// Takes one token, or says how long until there is one.
    fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let refill = self.bucket.refill.as_secs_f64().max(1e-9);
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + passed / refill).min(f64::from(self.bucket.burst));
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) * refill))
        }
    }
}

impl Throttle {
    pub(crate) fn new(limits: Limits, now: Timestamp) -> Self {
        Self {
            list: Level::new(limits.list, now),
            put_pool: Level::new(limits.put_pool, now),
            put_cluster: Level::new(limits.put_cluster, now),
        }
    }

    pub(crate) fn admit(
        &mut self,
        class: Class,
        subscription: &str,
        now: Timestamp,
    ) -> Result<(), ArmError> {
        let level = match class {
            Class::List => &mut self.list,
            Class::PutPool => &mut self.put_pool,
            Class::PutCluster => &mut self.put_cluster,
        };
        level
            .take(now)
            .map_err(|wait| throttled(class.handler(), subscription, wait))
    }
}

fn throttled(handler: &str, subscription: &str, wait: Duration) -> ArmError {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let message = format!(
        "The {handler} request limit has been exceeded for SubID={subscription}, please retry again in {seconds} seconds"
    );
    ArmError::aks(StatusCode::TOO_MANY_REQUESTS, "Throttled", message).after(wait)
}

/// A fault that a test or a person asks for. All of them are spent after `times` uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "fault",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Fault {
    /// Requests are answered 429 with Retry-After; nothing is done.
    Throttle {
        /// How many requests.
        #[serde(default = "once")]
        times: u32,
        /// Value of Retry-After.
        #[serde(default = "two_seconds")]
        retry_after_seconds: u64,
        /// Only requests of this method.
        #[serde(default)]
        method: Option<String>,
        /// Only requests whose path contains this, compared without regard to case.
        #[serde(default)]
        path: Option<String>,
    },
    /// Requests are answered with this status, a 5xx usually; nothing is done.
    Status {
        /// HTTP status.
        status: u16,
        /// How many requests.
        #[serde(default = "once")]
        times: u32,
        /// Only requests of this method.
        #[serde(default)]
        method: Option<String>,
        /// Only requests whose path contains this.
        #[serde(default)]
        path: Option<String>,
    },
    /// Requests are carried out, but the answer is lost: the client sees 504 from the gateway.
    LoseReply {
        /// How many requests.
        #[serde(default = "once")]
        times: u32,
        /// Only requests of this method.
        #[serde(default)]
        method: Option<String>,
        /// Only requests whose path contains this.
        #[serde(default)]
        path: Option<String>,
    },
    /// The next operations that are accepted fail on the way: the resource ends in `Failed` with this error, and
    /// what was done before stays done.
    FailOperation {
        /// Error code, `AllocationFailed`.
        code: String,
        /// Error text.
        #[serde(default)]
        message: String,
        /// Only operations on this node pool.
        #[serde(default)]
        pool: Option<String>,
        /// How many machines are created or deleted before the failure.
        #[serde(default)]
        after_machines: u32,
        /// How many operations.
        #[serde(default = "once")]
        times: u32,
    },
}

fn once() -> u32 {
    1
}

fn two_seconds() -> u64 {
    2
}

/// A long-running operation's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedFailure {
    pub code: String,
    pub message: String,
    pub after_machines: u32,
}

/// The faults that are waiting for their moment.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn list(&self) -> &[Fault] {
        &self.0
    }

    /// The refusal that this request is to meet instead of its answer.
    pub(crate) fn refusal(
        &mut self,
        method: &Method,
        path: &str,
        subscription: &str,
    ) -> Option<ArmError> {
        let index = self.0.iter().position(|fault| match fault {
            Fault::Throttle {
                method: m, path: p, ..
            }
            | Fault::Status {
                method: m, path: p, ..
            } => matches(m.as_ref(), p.as_ref(), method, path),
            Fault::LoseReply { .. } | Fault::FailOperation { .. } => false,
        })?;
        let refusal = match &self.0[index] {
            Fault::Throttle {
                retry_after_seconds,
                ..
            } => {
                let handler = format!("{method}Handler.{method}");
                throttled(
                    &handler,
                    subscription,
                    Duration::from_secs(*retry_after_seconds),
                )
            }
            Fault::Status { status, .. } => {
                let status =
                    StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let code = match status {
                    StatusCode::SERVICE_UNAVAILABLE => "ServerTimeout",
                    StatusCode::GATEWAY_TIMEOUT => "GatewayTimeout",
                    _ => "InternalServerError",
                };
                ArmError::front(status, code, "The server could not process the request.")
            }
            Fault::LoseReply { .. } | Fault::FailOperation { .. } => return None,
        };
        self.spend(index);
        Some(refusal)
    }

    /// Whether the answer to this request gets lost.
    pub(crate) fn loses_reply(&mut self, method: &Method, path: &str) -> bool {
        let found = self.0.iter().position(
            |fault| matches!(fault, Fault::LoseReply { method: m, path: p, .. } if matches(m.as_ref(), p.as_ref(), method, path)),
        );
        if let Some(index) = found {
            self.spend(index);
        }
        found.is_some()
    }

    /// The failure that an operation on `pool` (none for the cluster) is to end in.
    pub(crate) fn operation_failure(&mut self, pool: Option<&str>) -> Option<PlannedFailure> {
        let index = self.0.iter().position(|fault| match fault {
            Fault::FailOperation { pool: wanted, .. } => {
                wanted.as_deref().is_none_or(|w| Some(w) == pool)
            }
            _ => false,
        })?;
        let failure = match &self.0[index] {
            Fault::FailOperation {
                code,
                message,
                after_machines,
                ..
            } => PlannedFailure {
                code: code.clone(),
                message: if message.is_empty() {
                    format!("{code}: injected failure.")
                } else {
                    message.clone()
                },
                after_machines: *after_machines,
            },
            _ => return None,
        };
        self.spend(index);
        Some(failure)
    }

    fn spend(&mut self, index: usize) {
        let left = match &mut self.0[index] {
            Fault::Throttle { times, .. }
            | Fault::Status { times, .. }
            | Fault::LoseReply { times, .. }
            | Fault::FailOperation { times, .. } => {
                *times = times.saturating_sub(1);
                *times
            }
        };
        if left == 0 {
            self.0.remove(index);
        }
    }
}

fn matches(
    wanted_method: Option<&String>,
    wanted_path: Option<&String>,
    method: &Method,
    path: &str,
) -> bool {
    wanted_method.is_none_or(|m| m.eq_ignore_ascii_case(method.as_str()))
        && wanted_path.is_none_or(|p| path.to_ascii_lowercase().contains(&p.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use jiff::Timestamp;

    use super::{Class, Fault, Faults, Limits, Throttle};

    #[test]
    fn the_twenty_first_pool_put_waits_for_the_bucket() {
        let start = Timestamp::UNIX_EPOCH;
        let mut throttle = Throttle::new(Limits::default(), start);
        for _ in 0..20 {
            throttle.admit(Class::PutPool, "s", start).unwrap();
        }
        let refusal = throttle.admit(Class::PutPool, "s", start).unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retry_after),
            ("Throttled", Some(Duration::from_secs(60)))
        );
        throttle
            .admit(Class::PutCluster, "s", start)
            .expect("cluster and pool buckets are counted apart");
        throttle
            .admit(Class::PutPool, "s", start + Duration::from_secs(60))
            .expect("one more a minute");
    }

    #[test]
    fn a_fault_is_spent_after_its_times_and_meets_only_its_path() {
        let mut faults = Faults::default();
        let fault: Fault = serde_json::from_str(
            r#"{"fault":"throttle","times":2,"method":"put","path":"/agentpools/db"}"#,
        )
        .unwrap();
        faults.add(fault);
        assert!(
            faults
                .refusal(&Method::GET, "/x/agentPools/db", "s")
                .is_none()
        );
        assert!(
            faults
                .refusal(&Method::PUT, "/x/agentPools/db", "s")
                .is_some()
        );
        assert!(
            faults
                .refusal(&Method::PUT, "/x/agentPools/db", "s")
                .is_some()
        );
        assert!(
            faults
                .refusal(&Method::PUT, "/x/agentPools/db", "s")
                .is_none()
        );
    }
}
