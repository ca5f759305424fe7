//! Harm: two of three servers are killed at the same time. The judge must report a hit-rate below what one missing server
//! costs.

use std::path::Path;

use super::server::Server;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "two of three servers are killed at the same time";

/// What the judge must report.
pub const EXPECTED: &str = "fail, a hit-rate below that of one missing server";

/// Requests before and after the harm: more than a second of them, or one second has too few to tell a rate.
const REQUESTS: u64 = 1_500;

/// Carries the control out. Its `harm` is the share of the keys that went, in hundredths of a percent.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let mut first = Server::start(binary).await?;
    let mut second = Server::start(binary).await?;
    let third = Server::start(binary).await?;
    let mut config = RunConfig::memcached(Server::address(&[&first, &second, &third]));
    "negative control: killed servers".clone_into(&mut config.subject);
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, REQUESTS).await?;
    first.crash();
    second.crash();
    acked_more(&probe, REQUESTS).await?;

    let certificate = probe
        .finish(&FinishRequest::of(Vec::new()))
        .await
        .certificate;
    let cache = certificate.cache.as_ref();
    let lowest = cache.and_then(|cache| Some(cache.lowest.as_ref()?.hit_rate));
    let bound = cache.map_or(0.0, |cache| cache.bound);
    let gone: f64 = cache
        .into_iter()
        .flat_map(|cache| cache.servers.iter().take(2))
        .map(|server| server.share)
        .sum();
    let control = Control {
        name: NAME.to_owned(),
        expected: format!("{gone:.0} % of the keys went at once: fail, a hit-rate below {bound} %"),
        observed: format!(
            "{:?}, a hit-rate of {} %",
            certificate.verdict,
            lowest.map_or_else(|| "unknown".to_owned(), |rate| rate.to_string())
        )
        .to_lowercase(),
        detected: certificate.verdict == Verdict::Fail && lowest.is_some_and(|rate| rate < bound),
        not_run: None,
        server: Some(version(binary)),
        at: Some(certificate.started),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage"
    )]
    let harm = (gone * 100.0) as u64;
    Ok(Outcome {
        control,
        certificate,
        harm,
    })
}
