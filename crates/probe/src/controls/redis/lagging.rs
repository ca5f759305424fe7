//! Harm: a replica that is behind takes over by force. The judge must report loss.

use std::path::Path;

use super::server::Server;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more, until};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a replica that is behind takes over by TAKEOVER";

/// What the judge must report.
pub const EXPECTED: &str = "fail, every acknowledged write that it lacks lost";

/// Writes acknowledged after the replica was cut off, at least.
///
/// 50: some dozens of milliseconds of writing, and far from a count that chance could give.
const CUT_OFF: u64 = 50;

/// Carries the control out. Its `harm` is the number of writes acknowledged while the replica was
/// cut off, counted before anything was promoted.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let mut primary = Server::start(binary).await?;
    let replica = Server::start(binary).await?;
    Server::join(&[&primary]).await?;
    replica.follow(&primary).await?;
    let mut config = RunConfig::redis(Server::seeds(&[&primary, &replica]));
    "negative control: a replica that is behind takes over".clone_into(&mut config.subject);
    config.limits.errors = None;
    // The time without any server is part of the harm done and not what is looked for.
    config.limits.write_stall_ms = u64::from(u32::MAX);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, CUT_OFF).await?;

    // A user that the primary does not have: the replica cannot come back to it.
    replica
        .run(&["CONFIG", "SET", "masteruser", "nobody"])
        .await?;
    replica
        .run(&["CONFIG", "SET", "masterauth", "nothing"])
        .await?;
    primary.run(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
    until("the replica is cut off", async || {
        let info = primary.run(&["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("connected_slaves:0"))
    })
    .await?;
    let before = probe.status().acked;
    acked_more(&probe, CUT_OFF).await?;
    let harm = probe.status().acked - before;
    primary.crash();
    replica.run(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await?;
    acked_more(&probe, CUT_OFF).await?;

    let finished = probe
        .finish(&FinishRequest::of(vec![replica.member("promoted")]))
        .await;
    let certificate = finished.certificate;
    let lost = certificate.acked_lost;
    let control = Control {
        name: NAME.to_owned(),
        expected: format!("fail, at least {harm} acknowledged writes lost"),
        observed: match lost {
            Some(lost) => {
                format!("{:?}, {lost} acknowledged writes lost", certificate.verdict).to_lowercase()
            }
            None => "the promoted replica could not be read".to_owned(),
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
