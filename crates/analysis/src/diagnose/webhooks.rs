//! Webhooks in the way of a drain: one that refuses evictions, or one that must answer and does not.

use std::collections::BTreeSet;

use serde_json::Value;

use super::case::Case;
use super::ward::Ward;
use super::{Symptom, codes};
use crate::resilience::values::{list, text};

/// A webhook that refuses, or does not answer.
pub(crate) fn check(ward: &Ward<'_>, cases: &mut Vec<Case>) {
    let mut seen = BTreeSet::new();
    for event in &ward.events {
        let Some(name) = webhook(event.message) else {
            continue;
        };
        if !seen.insert(name) {
            continue;
        }
        let failed = event.message.contains("failed calling webhook");
        let found = [
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
        ]
        .iter()
        .flat_map(|kind| ward.scene.kind(kind))
        .find(|(_, body)| has_webhook(body, name));
        let (object, kind) = found.map_or((event.object, "webhook"), |(object, _)| {
            (*object, &*object.kind)
        });
        let mut case = Case::certain(
            codes::WEBHOOK,
            Symptom::StuckDrain,
            object,
            if failed {
                format!("webhook {name} does not answer, and what it must admit is refused")
            } else {
                format!("webhook {name} refuses what the drain asks for")
            },
        )
        .saw("event", event.words());
        if let Some((_, body)) = found
            && let Some((service, ready)) = backend(ward, body, name)
        {
            case = case
                .saw("service", format!("{service}: {ready} pods ready"))
                .next(format!(
                    "kubectl get pods -n {} -o wide   # the webhook's own pods: are they on the drained node?",
                    service.split('/').next().unwrap_or_default()
                ));
        }
        cases.push(
            case.next(format!("kubectl get {} {} -o yaml", kind.to_ascii_lowercase(), object.name))
                .avoid(
                    "do not delete the webhook's configuration: it guards something (Strimzi's moves the pod itself, and denies until it has); \
                     bring its pods back, or let its operator finish",
                ),
        );
    }
}

/// Name of the webhook in the API server's message.
fn webhook(message: &str) -> Option<&str> {
    let rest = message
        .split_once("admission webhook \"")
        .or_else(|| message.split_once("failed calling webhook \""))?
        .1;
    rest.split_once('"').map(|(name, _)| name)
}

fn has_webhook(body: &Value, name: &str) -> bool {
    list(body, "/webhooks")
        .iter()
        .any(|webhook| text(webhook, "/name") == Some(name))
}

/// The Service behind a webhook, and how many ready pods it has, where the input shows both.
fn backend(ward: &Ward<'_>, body: &Value, name: &str) -> Option<(String, usize)> {
    let webhook = list(body, "/webhooks")
        .iter()
        .find(|webhook| text(webhook, "/name") == Some(name))?;
    let within = text(webhook, "/clientConfig/service/namespace")?;
    let service = text(webhook, "/clientConfig/service/name")?;
    let (_, found) = ward.scene.get("Service", within, service)?;
    let pods = super::errors::behind(ward, within, found)?;
    let ready = pods.iter().filter(|pod| pod.is_ready()).count();
    Some((format!("{within}/{service}"), ready))
}
