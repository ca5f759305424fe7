//! Who still calls an old version: what a server says of it.
//!
//! Three sources: the API server's metric `apiserver_requested_deprecated_apis` (that somebody did since
//! the server started, not who), its audit log (who, with which client, when), and the error with which
//! AKS refuses an upgrade (`UpgradeBlockedOnDeprecatedAPIUsage`: when last seen).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{ROWS, Row, Standing, Target};
use crate::codes;
use crate::findings::{Evidence, Finding, ObjectRef, Place, Severity};

const METRIC: &str = "apiserver_requested_deprecated_apis{";
const REQUESTS: &str = "apiserver_request_total{";
const REFUSAL: &str = "usage has been detected on API ";

/// AKS counts what was used in the last twelve hours, recorded once an hour.
const HOURS: u32 = 12;

/// A call of an old version that a server saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Resource, such as `cronjobs`.
    pub resource: String,
    /// First minor that does not serve it, as the server says.
    pub removed: Option<u32>,
    /// Who saw it.
    pub seen_by: Witness,
    /// Who called, where that is known.
    pub caller: Option<String>,
    /// More, in words.
    pub detail: String,
    /// Name of the object, where known.
    pub name: String,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Where it was read.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
}

/// Who saw a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The API server's metric.
    Metric,
    /// Its audit log.
    Audit,
    /// The error of AKS.
    Refusal,
}

/// Does a text hold metrics or a refusal?
pub(crate) fn holds(text: &str) -> bool {
    let bytes = text.as_bytes();
    [METRIC, REFUSAL]
        .iter()
        .any(|word| memchr::memmem::find(bytes, word.as_bytes()).is_some())
}

/// Reads metrics in text format, and refusals of AKS wherever they stand.
pub(crate) fn read(file: &Arc<str>, text: &str) -> Vec<Usage> {
    let mut found = Vec::new();
    let mut calls: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let at = u32::try_from(number + 1).unwrap_or(u32::MAX);
        let line = line.trim();
        if let Some(rest) = line.strip_prefix(METRIC) {
            found.extend(metric(rest, file, at));
        } else if let Some(rest) = line.strip_prefix(REQUESTS) {
            count(rest, &mut calls);
        } else {
            refusals(line, file, at, &mut found);
        }
    }
    for usage in &mut found {
        let key = (
            usage.group.clone(),
            usage.version.clone(),
            usage.resource.clone(),
        );
        if let (Witness::Metric, Some(calls)) = (usage.seen_by, calls.get(&key)) {
            usage.detail = format!("{}; {calls} requests since then", usage.detail);
        }
    }
    found
}

/// Labels of a metric, after the brace; and its value.
fn labels(rest: &str) -> Option<(BTreeMap<&str, &str>, &str)> {
    let (inside, after) = rest.rsplit_once('}')?;
    let mut labels = BTreeMap::new();
    // No label of these metrics has a comma or a quote in its value.
    for pair in inside.split(',') {
        let (name, value) = pair.split_once('=')?;
        labels.insert(name.trim(), value.trim().trim_matches('"'));
    }
    Some((labels, after.trim()))
}

fn metric(rest: &str, file: &Arc<str>, line: u32) -> Option<Usage> {
    let (labels, value) = labels(rest)?;
    if !value.starts_with('1') {
        return None;
    }
    let get = |name: &str| (*labels.get(name).unwrap_or(&"")).to_owned();
    let released = get("removed_release");
    Some(Usage {
        group: get("group"),
        version: get("version"),
        resource: get("resource"),
        removed: minor(&released),
        seen_by: Witness::Metric,
        caller: None,
        detail: "the API server has answered a request in this version since it started".to_owned(),
        name: String::new(),
        namespace: None,
        file: Arc::clone(file),
        line,
    })
}

/// Sums requests by group, version and resource.
fn count(rest: &str, calls: &mut BTreeMap<(String, String, String), u64>) {
    let Some((labels, value)) = labels(rest) else {
        return;
    };
    let get = |name: &str| (*labels.get(name).unwrap_or(&"")).to_owned();
    let number = value
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok());
    let Some(number) = number.filter(|number| number.is_finite() && *number >= 0.0) else {
        return;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, checked above"
    )]
    let number = number as u64;
    let entry = calls
        .entry((get("group"), get("version"), get("resource")))
        .or_default();
    *entry = entry.saturating_add(number);
}

/// `usage has been detected on API GROUP.RESOURCE.VERSION, and was recently seen at: TIME, which will be
/// removed in 1.26`.
fn refusals(line: &str, file: &Arc<str>, number: u32, found: &mut Vec<Usage>) {
    for part in line.split(REFUSAL).skip(1) {
        let name = part
            .split([',', ' ', '"', '\\'])
            .next()
            .unwrap_or_default()
            .trim_end_matches('.');
        let verbs = [
            ".get", ".list", ".watch", ".create", ".update", ".patch", ".delete",
        ];
        let verb = verbs.iter().find(|verb| name.ends_with(*verb));
        let name = verb
            .and_then(|verb| name.strip_suffix(verb))
            .unwrap_or(name);
        let Some((rest, version)) = name.rsplit_once('.') else {
            continue;
        };
        let (group, resource) = rest.rsplit_once('.').unwrap_or(("", rest));
        let after = |word: &str| part.split_once(word).map(|(_, after)| after.trim());
        let seen = after("recently seen at:").and_then(|after| after.split(',').next());
        let removed = after("will be removed in").and_then(|after| {
            let end = after
                .find(|c: char| !(c.is_ascii_digit() || c == '.'))
                .unwrap_or(after.len());
            minor(after.get(..end).unwrap_or_default().trim_end_matches('.'))
        });
        found.push(Usage {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            removed,
            seen_by: Witness::Refusal,
            caller: None,
            detail: format!(
                "AKS saw it last at {}",
                seen.unwrap_or("a time that it does not say")
            ),
            name: String::new(),
            namespace: None,
            file: Arc::clone(file),
            line: number,
        });
    }
}

/// An event of an audit log, if it tells of an old version.
pub(crate) fn audited(value: &Value, file: &Arc<str>, line: u32) -> Option<Usage> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    if text("/annotations/k8s.io~1deprecated") != Some("true") {
        return None;
    }
    let caller = match (text("/user/username"), text("/userAgent")) {
        (Some(user), Some(agent)) => Some(format!("{user} ({agent})")),
        (Some(who), None) | (None, Some(who)) => Some(who.to_owned()),
        (None, None) => None,
    };
    Some(Usage {
        group: text("/objectRef/apiGroup").unwrap_or_default().to_owned(),
        version: text("/objectRef/apiVersion").unwrap_or_default().to_owned(),
        resource: text("/objectRef/resource").unwrap_or_default().to_owned(),
        removed: text("/annotations/k8s.io~1removed-release").and_then(minor),
        seen_by: Witness::Audit,
        caller,
        detail: format!(
            "{} at {}",
            text("/verb").unwrap_or("request"),
            text("/requestReceivedTimestamp").unwrap_or("an unknown time")
        ),
        name: text("/objectRef/name").unwrap_or_default().to_owned(),
        namespace: text("/objectRef/namespace").map(str::to_owned),
        file: Arc::clone(file),
        line,
    })
}

fn minor(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once('.')?;
    (major == "1").then_some(())?;
    minor.split('.').next()?.parse().ok()
}

/// Group, version, resource, who saw it, who called.
type Call<'a> = (&'a str, &'a str, &'a str, Witness, Option<&'a str>);

/// The findings: one for each caller of each version.
pub(crate) fn findings(usages: &[Usage], target: &Target) -> Vec<Finding> {
    let mut grouped: BTreeMap<Call<'_>, Vec<&Usage>> = BTreeMap::new();
    for usage in usages {
        let key = (
            usage.group.as_str(),
            usage.version.as_str(),
            usage.resource.as_str(),
            usage.seen_by,
            usage.caller.as_deref(),
        );
        grouped.entry(key).or_default().push(usage);
    }
    grouped
        .into_values()
        .filter_map(|mut group| {
            group.sort();
            finding(&group, target)
        })
        .collect()
}

fn finding(group: &[&Usage], target: &Target) -> Option<Finding> {
    let usage = group.first()?;
    let row = row(usage);
    // What was measured goes before what a server once promised.
    let removed = row.and_then(|row| row.removed).or(usage.removed);
    let gone = match (row.map(|row| row.standing(target.minor)), usage.removed) {
        (Some(Standing::Gone(_)), _) => true,
        (Some(_), _) => false,
        (None, Some(removed)) => removed <= target.minor,
        (None, None) => false,
    };
    let api = if usage.group.is_empty() {
        usage.version.clone()
    } else {
        format!("{}/{}", usage.group, usage.version)
    };
    let kind = row.map_or(usage.resource.clone(), |row| row.kind.to_owned());
    let release = removed.map(|minor| format!("1.{minor}"));
    let when = release.as_deref().unwrap_or("a later release");
    let (code, severity, message) = match (usage.seen_by, gone) {
        (Witness::Refusal, true) => (
            codes::REFUSED_BY_AKS,
            Severity::Blocks,
            format!(
                "AKS refuses the upgrade: {api} {} was used, and goes in {when}",
                usage.resource
            ),
        ),
        (_, true) => (
            codes::STILL_CALLED,
            Severity::Breaks,
            format!(
                "a client calls {api} {}, which is not served since {when}",
                usage.resource
            ),
        ),
        (_, false) => (
            codes::STILL_CALLED,
            Severity::Later,
            format!(
                "a client calls {api} {}, which goes in {when}",
                usage.resource
            ),
        ),
    };
    let replacement = row
        .and_then(|row| row.replacement_at(target.minor))
        .map(|(to, _)| to);
    let class = match usage.seen_by {
        Witness::Metric => "metric",
        Witness::Audit => "audit",
        Witness::Refusal => "aks-error",
    };
    let mut evidence: Vec<Evidence> = group
        .iter()
        .take(3)
        .map(|usage| Evidence {
            class,
            detail: usage.detail.clone(),
        })
        .collect();
    if group.len() > evidence.len() {
        evidence.push(Evidence {
            class,
            detail: format!("and {} more", group.len() - evidence.len()),
        });
    }
    let to = replacement
        .as_deref()
        .map_or(String::new(), |to| format!(" to {to}"));
    let fix = match usage.seen_by {
        Witness::Refusal => format!(
            "find the caller (audit log of the control plane: requests with the annotation k8s.io/deprecated), move it{to}, then wait \
             {HOURS} hours after its last use: AKS looks at that long, and records once an hour; never answer with \
             forceUpgrade before the caller is known, since it skips disruption budgets too"
        ),
        Witness::Metric => format!(
            "find the caller (audit log: requests with the annotation k8s.io/deprecated) and move it{to}; the metric is kept until \
             the API server restarts"
        ),
        Witness::Audit => format!("move the client{to}"),
    };
    Some(Finding {
        code,
        severity,
        object: ObjectRef {
            api_version: api,
            kind,
            namespace: usage.namespace.clone(),
            name: usage.name.clone(),
        },
        source: Place {
            file: usage.file.to_string(),
            line: usage.line.max(1),
        },
        deprecated_in: row
            .and_then(|row| row.deprecated)
            .map(|minor| format!("1.{minor}")),
        removed_in: release,
        replacement,
        evidence,
        owner: match &usage.caller {
            Some(caller) => format!("client {caller}"),
            None => "a client that is not named".to_owned(),
        },
        message,
        fix,
        patches: Vec::new(),
    })
}

fn row(usage: &Usage) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        row.group == usage.group
            && row.version == usage.version
            && plural(row.kind) == usage.resource
    })
}

/// How the API names the resource of a kind.
fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match kind.as_bytes() {
        [.., b's' | b'x'] => format!("{kind}es"),
        [.., b'c', b'y'] | [.., b'r', b'y'] | [.., b't', b'y'] => {
            format!("{}ies", kind.get(..kind.len() - 1).unwrap_or_default())
        }
        _ => format!("{kind}s"),
    }
}
