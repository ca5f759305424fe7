//! Harm: a leader whose other copy is out of sync is killed, and that copy is elected all the same. The
//! judge must report loss.

use std::path::Path;

use uuid::Uuid;

use super::server::{Session, Set};
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more, until};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a copy that is out of sync is elected";

/// What the judge must report.
pub const EXPECTED: &str = "fail, every acknowledged write that it lacks lost";

/// Writes acknowledged while the other copy was away, at least.
///
/// 50: some dozens of milliseconds of writing, and far from a count that chance could give.
const CUT_OFF: u64 = 50;

/// Writes after which nothing is left that the other copy had taken in and not yet reported when it was
/// killed: one of each writer.
const UNDER_WAY: u64 = 20;

/// Carries the control out. Its `harm` is the number of writes acknowledged while the copy that is
/// elected was away, counted before anything was killed for it.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(kafka: &Path) -> Result<Outcome, ControlError> {
    let mut set = Set::start(kafka, Session::Short).await?;
    let run = Uuid::now_v7();
    let settings = [
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
    ];
    set.create_topic(run, &[&[0, 1]], &settings).await?;
    let mut config = RunConfig::kafka(set.address());
    "negative control: a copy that is out of sync is elected".clone_into(&mut config.subject);
    config.run = Some(run);
    config.writers = 2;
    config.limits.errors = None;
    // The time without any leader is part of the harm done and not what is looked for.
    config.limits.write_stall_ms = u64::from(u32::MAX);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, CUT_OFF).await?;

    set.crash(1);
    until("the leader goes on alone", async || {
        let partition = set.partition(0, run, 0).await;
        partition.is_some_and(|p| p.leader_id.0 == 0 && p.isr_nodes.len() == 1)
    })
    .await?;
    // Such a write is acknowledged as soon as the leader is alone, and is no loss.
    acked_more(&probe, UNDER_WAY).await?;
    let before = probe.status().acked;
    acked_more(&probe, CUT_OFF).await?;
    let harm = probe.status().acked - before;
    set.crash(0);
    set.start_again(1)?;
    until("the other copy leads", async || {
        let partition = set.partition(1, run, 0).await;
        partition.is_some_and(|p| p.leader_id.0 == 1)
    })
    .await?;
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
            None => "the elected copy could not be read".to_owned(),
        },
        detected: certificate.verdict == Verdict::Fail && lost.is_some_and(|lost| lost >= harm),
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
