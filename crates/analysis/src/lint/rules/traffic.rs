//! Selectors of Services.

use crate::lint::kubectl::Kubectl;
use crate::lint::shell::Call;
use crate::lint::{Findings, Runbook, codes};

/// Labels that only one pod has.
const OF_ONE_POD: [&str; 4] = [
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "pod-name",
    "pod",
];

pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    for call in &book.commands.calls {
        let Some(command) = Kubectl::of(call) else {
            continue;
        };
        let (kind, names) = command.objects();
        let selector = selector(&command);
        if kind != "service" || selector.is_empty() {
            continue;
        }
        let name = names.first().copied().unwrap_or_default();
        if let Some((key, value)) = selector
            .iter()
            .find(|(key, _)| OF_ONE_POD.contains(&&**key))
        {
            found.push(
                codes::PINNED,
                call.place(),
                format!("{name} now leads to {value} ({key}), whatever role that pod has; connections to the old one stay open"),
                "select the role, let what decides the role keep the label, and cut the old connections",
            );
            continue;
        }
        let canary = selector
            .iter()
            .any(|(_, value)| value.to_ascii_lowercase().contains("canary"));
        let share = share(call);
        if canary || share.is_some() {
            let promise = share.map_or(String::new(), |share| format!(", not {share} %"));
            found.push(
                codes::ALL_TRAFFIC,
                call.place(),
                format!("a selector moves all of the traffic at once{promise}"),
                "weigh it: HTTPRoute or ingress weights, a mesh, or as many pods of each version as the share asks",
            );
        }
    }
}

fn selector(command: &Kubectl<'_>) -> Vec<(String, String)> {
    if command.verb == "set.selector" {
        let pairs = command
            .args
            .iter()
            .filter_map(|word| word.text.split_once('='));
        return pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    }
    let patch = command.patch();
    let selector = patch
        .as_ref()
        .and_then(|patch| patch.pointer("/spec/selector"));
    let pairs = selector.and_then(|selector| selector.as_object());
    pairs
        .into_iter()
        .flatten()
        .map(|(key, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), value)
        })
        .collect()
}

/// A share below all that the comment promises.
fn share(call: &Call) -> Option<u32> {
    let (before, _) = call.comment.split_once('%')?;
    let digits: String = before
        .trim_end()
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect();
    let number: u32 = digits.chars().rev().collect::<String>().parse().ok()?;
    (number < 100).then_some(number)
}
