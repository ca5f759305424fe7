//! The candidate's name must lead to the candidate before anybody is sent there by name.
//!
//! A pooler looks its server's name up when it reloads, inside the window, and the other members
//! look it up when they are re-pointed. Name servers keep an answer for up to half a minute, so the
//! name of a member that was made anew may still lead to its old address. The agent runs beside the
//! poolers and asks the same name servers, so what it is told they are told too.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout};

use super::order::Order;
use super::record::{Log, Moment, Reason};
use super::window::{Cast, STATEMENT};

/// Looks in a row that must agree.
///
/// A cluster has two name servers or more, each with a cache of its own, and every question goes to
/// any of them. With two, eight right answers in a row leave a stale one unseen once in 256 times.
const LOOKS: u32 = 8;

/// Longest wait for a name.
///
/// 60 s: name servers keep an answer for 30 s by default, a pooler adds its own 15 s
/// (`dns_max_ttl`), and the endpoints behind a name follow a pod within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two rounds of looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Deadline of one lookup: a resolver asks again after 5 s.
const LOOKUP: Duration = Duration::from_secs(12);

/// Where names lead, as the poolers and members see it.
#[async_trait]
pub trait Names: Send + Sync {
    /// The addresses of a host name; the text says why there are none.
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String>;
}

#[async_trait]
impl<T: Names + ?Sized> Names for std::sync::Arc<T> {
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        T::addresses(self, host).await
    }
}

/// The resolver of this machine; in a pod, the cluster's name servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

#[async_trait]
impl Names for System {
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        match timeout(LOOKUP, tokio::net::lookup_host((host, 0))).await {
            Err(_) => Err(format!("no answer within {} s", LOOKUP.as_secs())),
            Ok(Err(e)) => Err(e.to_string()),
            Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
        }
    }
}

/// Waits until the candidate's name leads to the candidate, for the agent and for every pooler.
///
/// # Errors
/// [`Reason::NameStale`] after [`PATIENCE`]; nothing was touched.
pub(super) async fn wait_for_candidate(
    order: &Order,
    cast: &Cast,
    log: &dyn Log,
) -> Result<(), Reason> {
    let host = order.candidate.host.as_str();
    let Ok(wanted) = order.candidate.ip.parse::<IpAddr>() else {
        return Err(Reason::NotReady(format!(
            "`{}` is not the address of {}",
            order.candidate.ip, order.candidate.name
        )));
    };
    let end = Instant::now() + PATIENCE;
    let mut said = None;
    loop {
        let Err(found) = look(host, wanted, cast).await else {
            return Ok(());
        };
        if said.as_ref() != Some(&found) {
            log.note(Moment::NameAwaited {
                host: host.to_owned(),
                wanted: wanted.to_string(),
                found: found.clone(),
            });
            said = Some(found.clone());
        }
        if Instant::now() >= end {
            return Err(Reason::NameStale {
                host: host.to_owned(),
                wanted: wanted.to_string(),
                found,
            });
        }
        sleep(PAUSE).await;
    }
}

/// One round of looks; the error says who was told what.
async fn look(host: &str, wanted: IpAddr, cast: &Cast) -> Result<(), String> {
    for _ in 0..LOOKS {
        let found = cast.names.addresses(host).await?;
        // A pod may have an address of the other family too.
        let others: Vec<_> = found
            .iter()
            .filter(|address| address.is_ipv4() == wanted.is_ipv4() && **address != wanted)
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            return Err(others.join(", "));
        }
        if !found.contains(&wanted) {
            return Err("no address".to_owned());
        }
    }
    for pooler in &cast.poolers {
        let kept = pooler
            .kept_addresses(host, STATEMENT)
            .await
            .map_err(|e| e.to_string())?;
        if !kept.is_empty() && !kept.iter().any(|address| *address == wanted.to_string()) {
            return Err(format!("{} in {}", kept.join(", "), pooler.name()));
        }
    }
    Ok(())
}
