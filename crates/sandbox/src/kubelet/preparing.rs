//! What a pod needs around its containers: volumes, namespaces, names; and its removal.

use super::launch;
use super::registry::Network;
use super::volumes::{Context, Notice};
use super::worker::{RETRY, Worker};
use crate::runtime::Pod as Sandbox;
use crate::runtime::spec::{PodNetwork, PodSpec};
use std::sync::Arc;
use std::time::Duration;

/// 500 ms doubling to about 2 min: waits between attempts to mount volumes (`exponentialbackoff`).
const MOUNT_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));
impl Worker {
    pub(super) async fn sync_volumes(&mut self) -> bool {
        if !self.volumes_due {
            return true;
        }
        let place = self.place();
        let shared = Arc::clone(&self.shared);
        let pod = Arc::clone(&self.pod);
        let context = Context {
            pod: &pod,
            place: &place,
            config: &shared.config,
            objects: &shared.objects,
            attachments: &shared.attachments,
        };
        let notice = |notice| match notice {
            Notice::Elsewhere { volume } => {
                let message = format!(
                    "Multi-Attach error for volume {volume:?} Volume is already exclusively attached to one node and can't be attached to another"
                );
                shared
                    .events
                    .pod(&pod, None, true, "FailedAttachVolume", message);
            }
            Notice::Attached { volume } => {
                let message = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
                shared
                    .events
                    .pod(&pod, None, false, "SuccessfulAttachVolume", message);
            }
        };
        match self.volumes.sync(&context, notice).await {
            Ok(()) => {
                self.volumes_due = false;
                self.mount_failures = 0;
                true
            }
            Err(error) => {
                shared
                    .events
                    .pod(&pod, None, true, error.reason(), error.to_string());
                let wait = (MOUNT_RETRY.0 * 2_u32.saturating_pow(self.mount_failures.min(8)))
                    .min(MOUNT_RETRY.1);
                self.mount_failures += 1;
                self.wake_in(wait);
                // Running containers keep the files that they have.
                self.sandbox.is_some()
            }
        }
    }

    pub(super) async fn open_sandbox(&mut self) -> bool {
        let config = Arc::clone(&self.shared.config);
        let host_network = self.pod.spec.as_ref().and_then(|s| s.host_network) == Some(true);
        let address = if host_network {
            Some(config.node_ip)
        } else {
            self.shared.addresses.take()
        };
        let Some(address) = address else {
            let message = "Failed to create pod sandbox: no free address in the node's pod range";
            self.events()
                .pod(&self.pod, None, true, "FailedCreatePodSandBox", message);
            self.wake_in(RETRY);
            return false;
        };
        let hostname = launch::hostname(&self.pod, &config);
        let network = (!host_network).then(|| PodNetwork {
            address,
            gateway: self.shared.addresses.gateway(),
        });
        let spec = PodSpec {
            id: self.pod.metadata.uid.clone().unwrap_or_default(),
            hostname: hostname.clone(),
            network,
        };
        let written =
            launch::write_names(&self.directory(), &self.pod, &config, &hostname, address)
                .map_err(|e| e.to_string());
        let opened = match written {
            Ok(()) => Sandbox::start(&self.shared.runtime, spec)
                .await
                .map_err(|e| e.to_string()),
            Err(error) => Err(error),
        };
        match opened {
            Ok(sandbox) => {
                self.entry.set_network(Some(Network {
                    pause: sandbox.pid(),
                }));
                self.sandbox = Some(sandbox);
                self.pod_ip = Some(address);
                true
            }
            Err(error) => {
                if !host_network {
                    self.shared.addresses.give_back(address);
                }
                let message = format!("Failed to create pod sandbox: {error}");
                self.events()
                    .pod(&self.pod, None, true, "FailedCreatePodSandBox", message);
                self.wake_in(RETRY);
                false
            }
        }
    }

    pub(super) async fn close_sandbox(&mut self) {
        self.entry.set_network(None);
        if let Some(sandbox) = self.sandbox.take() {
            let own = sandbox.spec.network;
            sandbox.stop(&self.shared.runtime).await;
            if let Some(network) = own {
                self.shared.addresses.give_back(network.address);
            }
        }
    }

    pub(super) async fn clean_up(&mut self) {
        let mut wait = MOUNT_RETRY.0;
        while let Err(error) = self.volumes.release(&self.shared.attachments).await {
            tracing::warn!(%error, "volumes not released yet");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY);
        }
        for slot in &self.slots {
            if let Some(current) = &slot.current {
                current.remove().await;
            }
        }
        let _ = tokio::fs::remove_dir_all(self.directory()).await;
    }
}
