//! Harm: a replica that is behind is promoted, and nobody closed the old primary first. The judge must
//! report loss.

use std::path::Path;

use super::server::Set;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a replica is promoted and the old primary was not closed";

/// What the judge must report.
pub const EXPECTED: &str = "fail, every acknowledged write that the replica has not lost";

/// Writes acknowledged that the replica has not, at least.
///
/// 50: some dozens of milliseconds of writing, and far from a count that chance could give.
const CUT_OFF: u64 = 50;

/// Carries the control out. Its `harm` is the number of writes acknowledged while the replica copied
/// nothing, counted before it was promoted.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let mut set = Set::start(binary).await?;
    let mut config = RunConfig::mariadb(set.dsn());
    "negative control: a promotion without a fence".clone_into(&mut config.subject);
    config.limits.errors = None;
    // The time until clients have moved is part of the harm done and not what is looked for.
    config.limits.write_stall_ms = u64::from(u32::MAX);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, CUT_OFF).await?;

    set.run(1, "STOP SLAVE").await?;
    let before = probe.status().acked;
    acked_more(&probe, CUT_OFF).await?;
    let harm = probe.status().acked - before;
    // As scripts do it: the new one is opened, and the old one goes with its pod.
    set.run(1, "RESET SLAVE ALL").await?;
    set.run(1, "SET GLOBAL read_only = 0").await?;
    set.crash(0);
    acked_more(&probe, CUT_OFF).await?;

    let finished = probe.finish(&FinishRequest::of(set.members(&[1]))).await;
    let certificate = finished.certificate;
    let lost = certificate.acked_lost;
    let control = Control {
        name: NAME.to_owned(),
        expected: format!("fail, at least {harm} acknowledged writes lost"),
        observed: match lost {
            Some(lost) => {
                format!("{:?}, {lost} acknowledged writes lost", certificate.verdict).to_lowercase()
            }
            None => "the new primary could not be read".to_owned(),
        },
        detected: certificate.verdict == Verdict::Fail && lost.is_some_and(|lost| lost >= harm),
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
