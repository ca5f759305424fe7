//! Harm: the primary is frozen (SIGSTOP) for a while. The judge must report the long gap, and nothing
//! lost.

use std::path::Path;
use std::time::{Duration, Instant};

use super::server::Set;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "the primary is frozen";

/// What the judge must report.
pub const EXPECTED: &str = "fail, a gap of that length, 0 acknowledged writes lost";

/// How long the server stands still.
///
/// 1 s: twice the limit of this run. Nobody takes over by itself.
const FROZEN: Duration = Duration::from_millis(1_000);

/// The limit of this run.
const LIMIT_MS: u64 = 500;

/// Carries the control out. Its `harm` is the time, in milliseconds, in which the server could not
/// run.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let set = Set::start(binary).await?;
    let mut config = RunConfig::mariadb(set.dsn());
    "negative control: a frozen primary".clone_into(&mut config.subject);
    config.limits.write_stall_ms = LIMIT_MS;
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, 50).await?;

    set.freeze(0).await?;
    let since = Instant::now();
    tokio::time::sleep(FROZEN).await;
    let stood_still = since.elapsed();
    set.thaw(0)?;
    acked_more(&probe, 50).await?;

    let request = FinishRequest::of(set.members(&[0, 1]));
    let certificate = probe.finish(&request).await.certificate;
    let harm = u64::try_from(stood_still.as_millis()).unwrap_or(u64::MAX);
    // An acknowledgement sent just before may be read, and stamped, just after: a tenth of slack.
    let expected = harm - harm / 10;
    let gap = certificate.longest_ack_gap_ms.unwrap_or(0.0);
    let control = Control {
        name: NAME.to_owned(),
        expected: format!(
            "frozen for {harm} ms: fail, a gap of at least {expected} ms, 0 acknowledged writes lost"
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
