//! What a server says of itself, for the snapshot and between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use ferriswheel_plan::world::{MemcachedCounts, MemcachedFacts};
use tokio::time::{Instant, sleep};

use super::session::{ServerError, Session};

/// Deadline of a question. A healthy server answers in a millisecond.
const ASK: Duration = Duration::from_secs(5);

/// Between two looks at a server, for what happens at this moment. 1 s: rates are of a second.
const WINDOW: Duration = Duration::from_secs(1);

/// What a server counted until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was asked.
    pub at: Instant,
    /// What it counted since its start.
    pub ever: MemcachedCounts,
    /// Keys that it has.
    pub items: u64,
}

/// One look.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn sample(session: &Session, deadline: Duration) -> Result<Sample, ServerError> {
    session.open(deadline).await?;
    let stats = session.stats("", deadline).await?;
    Ok(Sample {
        at: Instant::now(),
        ever: counts(&stats),
        items: number(&stats, "curr_items"),
    })
}

/// Facts of one server: two looks, a second apart.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn collect(session: &Session) -> Result<MemcachedFacts, ServerError> {
    session.open(ASK).await?;
    let earlier = session.stats("", ASK).await?;
    let began = Instant::now();
    let settings = session.stats("settings", ASK).await?;
    sleep(WINDOW.saturating_sub(began.elapsed())).await;
    let stats = session.stats("", ASK).await?;
    let window = began.elapsed();
    let off = |name: &str| settings.get(name).is_some_and(|value| value == "no");
    Ok(MemcachedFacts {
        version: stats.get("version").cloned().unwrap_or_default(),
        uptime_seconds: number(&stats, "uptime"),
        items: number(&stats, "curr_items"),
        bytes: number(&stats, "bytes"),
        max_bytes: number(&stats, "limit_maxbytes"),
        ever: counts(&stats),
        lately: counts(&stats).since(counts(&earlier)),
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        dump_enabled: !off("dump_enabled") && !off("lru_crawler"),
    })
}

fn counts(stats: &BTreeMap<String, String>) -> MemcachedCounts {
    MemcachedCounts {
        gets: number(stats, "cmd_get"),
        hits: number(stats, "get_hits"),
        evictions: number(stats, "evictions"),
    }
}

fn number(stats: &BTreeMap<String, String>, name: &str) -> u64 {
    stats
        .get(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
