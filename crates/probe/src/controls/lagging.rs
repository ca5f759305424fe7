//! Harm: an asynchronous standby that is behind is promoted by force. The judge must report loss.

use std::path::Path;

use super::server::Server;
use super::{ControlError, Outcome, acked_more, until, version};
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a lagging standby is promoted by force";

/// What the judge must report.
pub const EXPECTED: &str = "fail, every acknowledged write that it lacks lost";

/// Writes acknowledged after the standby was cut off, at least.
///
/// 50: some dozens of milliseconds of writing, and far from a count that chance could give.
const CUT_OFF: u64 = 50;

/// Carries the control out. Its `harm` is the number of writes acknowledged while the standby was
/// cut off, counted before anything was promoted.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binaries: &Path) -> Result<Outcome, ControlError> {
    let mut primary = Server::create(binaries).await?;
    let standby = Server::standby_of(&primary).await?;
    let mut config = RunConfig::new(Server::dsn(&[&primary, &standby]));
    "negative control: a lagging standby promoted by force".clone_into(&mut config.subject);
    config.limits.errors = None;
    // The time without any server is part of the harm done and not what is looked for.
    config.limits.write_stall_ms = u64::from(u32::MAX);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, CUT_OFF).await?;

    standby
        .sql("ALTER SYSTEM SET primary_conninfo = 'host=/nonexistent'")
        .await?;
    standby.sql("SELECT pg_reload_conf()").await?;
    until("the standby is cut off", async || {
        matches!(
            primary.sql("SELECT count(*) FROM pg_stat_replication").await,
            Ok(Some(count)) if count == "0"
        )
    })
    .await?;
    let before = probe.status().acked;
    acked_more(&probe, CUT_OFF).await?;
    let harm = probe.status().acked - before;
    primary.crash();
    standby.sql("SELECT pg_promote()").await?;
    acked_more(&probe, CUT_OFF).await?;

    let finished = probe
        .finish(&FinishRequest::of(vec![standby.member("promoted")]))
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
            None => "the promoted standby could not be read".to_owned(),
        },
        detected: certificate.verdict == Verdict::Fail && lost.is_some_and(|lost| lost >= harm),
        not_run: None,
        server: Some(version(binaries)),
        at: Some(certificate.started),
    };
    Ok(Outcome {
        control,
        certificate,
        harm,
    })
}
