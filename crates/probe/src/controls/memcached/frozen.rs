//! Harm: a server stands still (SIGSTOP) until clients have taken it off their ring, keys change meanwhile, and it comes
//! back with what it had. The judge must report old values.

use std::path::Path;
use std::time::Duration;

use super::server::Server;
use super::version;
use crate::certificate::{Control, Verdict};
use crate::config::RunConfig;
use crate::controls::{ControlError, Outcome, acked_more};
use crate::run::{FinishRequest, Probe};

/// What is done.
pub const NAME: &str = "a server that stood still comes back with old values";

/// What the judge must report.
pub const EXPECTED: &str = "fail, values that are not their keys' current ones";

/// Requests while the server stands still: of every eighth the key changes, and of a third of those it is the server's.
const MEANWHILE: u64 = 1_000;

/// Requests after it came back: each key once at least.
const AFTERWARDS: u64 = 5_000;

/// A request of this control is given up after so long: less than a second, so that the control is short.
const PATIENCE: Duration = Duration::from_millis(200);

/// Carries the control out. Its `harm` is the number of requests while the server stood still.
///
/// # Errors
/// The servers could not be brought where the control needs them.
pub async fn run(binary: &Path) -> Result<Outcome, ControlError> {
    let frozen = Server::start(binary).await?;
    let second = Server::start(binary).await?;
    let third = Server::start(binary).await?;
    let mut config = RunConfig::memcached(Server::address(&[&frozen, &second, &third]));
    "negative control: a frozen server".clone_into(&mut config.subject);
    config.statement_deadline_ms = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    config.think_ms = 1;
    let probe = Probe::start(config, None).await?;
    acked_more(&probe, 100).await?;
    frozen.freeze().await?;
    acked_more(&probe, MEANWHILE).await?;
    frozen.thaw()?;
    acked_more(&probe, AFTERWARDS).await?;

    let certificate = probe
        .finish(&FinishRequest::of(Vec::new()))
        .await
        .certificate;
    let wrong = certificate
        .cache
        .as_ref()
        .map_or(0, |cache| cache.wrong_values);
    let control = Control {
        name: NAME.to_owned(),
        expected: format!(
            "{MEANWHILE} requests while it stood still: fail, some values that are not their keys' current ones"
        ),
        observed: format!("{:?}, {wrong} wrong values", certificate.verdict).to_lowercase(),
        detected: certificate.verdict == Verdict::Fail && wrong > 0,
        not_run: None,
        server: Some(version(binary)),
        at: Some(certificate.started),
    };
    Ok(Outcome {
        control,
        certificate,
        harm: MEANWHILE,
    })
}
