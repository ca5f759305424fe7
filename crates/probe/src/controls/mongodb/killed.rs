//! Harm: a primary whose clients do not wait for a majority is killed while its secondaries are
//! behind. The judge must report loss.

use std::path::Path;

use super::server::Set;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more, until};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a primary is killed whose clients write with w:1";

/// What the judge must report.
pub const EXPECTED: &str = "fail, every acknowledged write that no secondary has lost";

/// Writes acknowledged while nobody copied, at least.
///
/// 50: some dozens of milliseconds of writing, and far from a count that chance could give.
const CUT_OFF: u64 = 50;

/// Writes after which nothing is under way to a secondary any more: a batch is a few.
const UNDER_WAY: u64 = 20;

/// Carries the control out. Its `harm` is the number of writes acknowledged while the secondaries
/// copied nothing, counted before the primary was killed.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let mut set = Set::start(binary).await?;
    let mut config = RunConfig::mongodb(set.dsn("&w=1"));
    "negative control: a primary is killed, w:1".clone_into(&mut config.subject);
    config.limits.errors = None;
    // The time without any primary is part of the harm done and not what is looked for.
    config.limits.write_stall_ms = u64::from(u32::MAX);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, CUT_OFF).await?;

    set.copies(1, false).await?;
    set.copies(2, false).await?;
    // What was under way to them when they stopped may have come: the harm counts from a little later.
    acked_more(&probe, UNDER_WAY).await?;
    let before = probe.status().acked;
    acked_more(&probe, CUT_OFF).await?;
    let harm = probe.status().acked - before;
    set.crash(0);
    set.copies(1, true).await?;
    set.copies(2, true).await?;
    until("another member leads", async || {
        set.is(1, "isWritablePrimary").await || set.is(2, "isWritablePrimary").await
    })
    .await?;
    acked_more(&probe, CUT_OFF).await?;

    let finished = probe.finish(&FinishRequest::of(set.members(&[1, 2]))).await;
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
