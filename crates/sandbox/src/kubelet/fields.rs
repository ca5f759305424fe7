//! What a pod can be told about itself: the downward API and `$(NAME)` references.

use super::quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Facts of the node that a pod's fields refer to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub node_ip: Ipv4Addr,
    pub pod_ip: Option<Ipv4Addr>,
    pub cpu: u32,
    pub memory_bytes: u64,
}

/// The value of a `fieldRef`.
pub(super) fn field(pod: &Pod, place: &Place, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return None,
        };
        return Some(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
        "spec.serviceAccountName" => Some(
            spec.and_then(|s| s.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
        ),
        "status.hostIP" | "status.hostIPs" => Some(place.node_ip.to_string()),
        "status.podIP" | "status.podIPs" => {
            Some(place.pod_ip.map(|ip| ip.to_string()).unwrap_or_default())
        }
        _ => None,
    }
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
    map.into_iter()
        .flatten()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The value of a `resourceFieldRef`; a missing limit is the node's capacity.
pub(super) fn resource(
    container: &Container,
    place: &Place,
    selector: &ResourceFieldSelector,
) -> Option<String> {
    let (kind, name) = selector.resource.split_once('.')?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|r| r.limits.as_ref());
    let requests = resources.and_then(|r| r.requests.as_ref());
    let found = match kind {
        "limits" => limits.and_then(|m| m.get(name)).map(|q| q.0.clone()),
        "requests" => requests
            .and_then(|m| m.get(name))
            .or_else(|| limits.and_then(|m| m.get(name)))
            .map(|q| q.0.clone()),
        _ => return None,
    };
    let value = found.unwrap_or_else(|| match (kind, name) {
        ("limits", "cpu") => place.cpu.to_string(),
        ("limits", "memory") => place.memory_bytes.to_string(),
        _ => "0".to_owned(),
    });
    quantity::divided(
        &value,
        selector.divisor.as_ref().map_or("1", |d| d.0.as_str()),
    )
}

/// Replaces `$(NAME)` by its value; an unknown name stays as it is, `$$` is one `$`.
pub(super) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            out.push_str(&value(name).unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_as_the_kubelet_does() {
        let value = |name: &str| (name == "A").then(|| "one".to_owned());
        assert_eq!(
            expand("x$(A)y $(B) $$(A) $A $", value),
            "xoney $(B) $(A) $A $"
        );
    }
}
