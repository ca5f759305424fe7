//! Harm: the leader of one of two shards is frozen (SIGSTOP) for a while. The judge must report the
//! long gap of that shard, and nothing lost.

use std::path::Path;
use std::time::{Duration, Instant};

use super::server::Server;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "the leader of a shard is frozen";

/// What the judge must report.
pub const EXPECTED: &str = "fail, a gap of that length of that shard, 0 acknowledged writes lost";

/// How long the server stands still.
///
/// 700 ms: well above the limit of this run, well below every deadline of a command.
const FROZEN: Duration = Duration::from_millis(700);

/// The limit of this run.
const LIMIT_MS: u64 = 500;

/// Carries the control out. Its `harm` is the time, in milliseconds, in which the server could not
/// run.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let frozen = Server::start(binary).await?;
    let other = Server::start(binary).await?;
    Server::join(&[&frozen, &other]).await?;
    let mut config = RunConfig::redis(Server::seeds(&[&other, &frozen]));
    "negative control: a frozen server".clone_into(&mut config.subject);
    config.limits.write_stall_ms = LIMIT_MS;
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, 100).await?;

    frozen.freeze().await?;
    let since = Instant::now();
    tokio::time::sleep(FROZEN).await;
    let stood_still = since.elapsed();
    frozen.thaw()?;
    acked_more(&probe, 100).await?;

    let members = vec![frozen.member("frozen"), other.member("other")];
    let certificate = probe.finish(&FinishRequest::of(members)).await.certificate;
    let harm = u64::try_from(stood_still.as_millis()).unwrap_or(u64::MAX);
    // An acknowledgement sent just before may be read, and stamped, just after: a tenth of slack.
    let expected = harm - harm / 10;
    // The frozen one has the first half of the slots.
    let gap = certificate
        .shards
        .first()
        .and_then(|shard| shard.longest_ack_gap_ms)
        .unwrap_or(0.0);
    let control = Control {
        name: NAME.to_owned(),
        expected: format!(
            "frozen for {harm} ms: fail, a gap of that shard of at least {expected} ms, 0 acknowledged writes lost"
        ),
        observed: format!(
            "{:?}, a gap of {gap:.0} ms, {} acknowledged writes lost",
            certificate.verdict,
            certificate
                .acked_lost
                .map_or_else(|| "unknown".to_owned(), |lost| lost.to_string())
        )
        .to_lowercase(),
        detected: certificate.verdict == Verdict::Fail
            && gap >= expected as f64
            && certificate.acked_lost == Some(0),
        not_run: None,
        server: Some(version(binary)),
        at: Some(certificate.started),
    };
    Ok(Outcome {
        control,
        certificate,
        harm,
    })
}
