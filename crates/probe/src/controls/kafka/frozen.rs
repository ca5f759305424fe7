//! Harm: the leader of one of two partitions is frozen (SIGSTOP) for a while. The judge must report the
//! long gap of that partition, not of the other one, and nothing lost.

use std::path::Path;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::server::{Session, Set};
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "the leader of a partition is frozen";

/// What the judge must report.
pub const EXPECTED: &str =
    "fail, a gap of that length of that partition alone, 0 acknowledged writes lost";

/// How long the broker stands still.
///
/// 1 s: well above the limit of this run, well below the 9 s after which it is out.
const FROZEN: Duration = Duration::from_secs(1);

/// The limit of this run. 500 ms: a machine that is busy with other servers holds up nobody for so long.
const LIMIT_MS: u64 = 500;

/// Carries the control out. Its `harm` is the time, in milliseconds, in which the broker could not run.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(kafka: &Path) -> Result<Outcome, ControlError> {
    let set = Set::start(kafka, Session::Default).await?;
    let run = Uuid::now_v7();
    // A partition of the other broker must not wait for the frozen one: no second copies.
    set.create_topic(run, &[&[0], &[1]], &[("min.insync.replicas", "1")])
        .await?;
    let mut config = RunConfig::kafka(set.address());
    "negative control: a frozen broker".clone_into(&mut config.subject);
    config.run = Some(run);
    config.limits.write_stall_ms = LIMIT_MS;
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, 100).await?;

    set.freeze(0).await?;
    let since = Instant::now();
    tokio::time::sleep(FROZEN).await;
    let stood_still = since.elapsed();
    set.thaw(0)?;
    acked_more(&probe, 100).await?;

    let request = FinishRequest::of(set.members(&[0, 1]));
    let certificate = probe.finish(&request).await.certificate;
    let harm = u64::try_from(stood_still.as_millis()).unwrap_or(u64::MAX);
    // An acknowledgement sent just before may be read, and stamped, just after: a tenth of slack.
    let expected = harm - harm / 10;
    let gap = |shard: usize| {
        let shard = certificate.shards.get(shard);
        shard.and_then(|s| s.longest_ack_gap_ms).unwrap_or(0.0)
    };
    let (frozen, other) = (gap(0), gap(1));
    let control = Control {
        name: NAME.to_owned(),
        expected: format!(
            "frozen for {harm} ms: fail, a gap of that partition of at least {expected} ms and a shorter one of the other, 0 acknowledged writes lost"
        ),
        observed: format!(
            "{:?}, a gap of {frozen:.0} ms and one of {other:.0} ms, {} acknowledged writes lost",
            certificate.verdict,
            certificate
                .acked_lost
                .map_or_else(|| "unknown".to_owned(), |lost| lost.to_string())
        )
        .to_lowercase(),
        detected: certificate.verdict == Verdict::Fail
            && frozen >= expected as f64
            && other < frozen
            && certificate.acked_lost == Some(0),
        not_run: None,
        server: Some(version(kafka)),
        at: Some(certificate.started),
    };
    Ok(Outcome {
        control,
        certificate,
        harm,
    })
}
