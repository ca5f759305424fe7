//! Commands in a container, for the few things that no protocol offers.

use std::time::Duration;

use ferriswheel_plan::ids::ObjectRef;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;

/// A command could not be run or failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The API server or the node agent refused.
    #[error("a command could not be started in {pod}")]
    Start {
        /// Pod.
        pod: ObjectRef,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// Its output broke.
    #[error("the output of a command in {pod} broke")]
    Output {
        /// Pod.
        pod: ObjectRef,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// Too slow.
    #[error("a command in {pod} did not end within {} s", .after.as_secs())]
    Timeout {
        /// Pod.
        pod: ObjectRef,
        /// Deadline.
        after: Duration,
    },
}

/// Standard output of a command.
pub async fn output(
    client: &kube::Client,
    pod: &ObjectRef,
    container: &str,
    command: &[&str],
    deadline: Duration,
) -> Result<Vec<u8>, ExecError> {
    let run = async {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
        let params = AttachParams::default()
            .container(container)
            .stdout(true)
            .stderr(false);
        let mut process = pods
            .exec(&pod.name, command.iter().copied(), &params)
            .await
            .map_err(|source| ExecError::Start {
                pod: pod.clone(),
                source: Box::new(source),
            })?;
        let mut bytes = Vec::new();
        if let Some(mut stdout) = process.stdout() {
            stdout
                .read_to_end(&mut bytes)
                .await
                .map_err(|source| ExecError::Output {
                    pod: pod.clone(),
                    source,
                })?;
        }
        Ok(bytes)
    };
    tokio::time::timeout(deadline, run)
        .await
        .map_err(|_| ExecError::Timeout {
            pod: pod.clone(),
            after: deadline,
        })?
}
