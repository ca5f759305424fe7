//! Connections: will the clients of a database find it again after its primary has moved.
//!
//! Settings of the common frameworks are read where they stand in the open (ConfigMaps and plain
//! variables; never Secrets), and the circuit breakers of the mesh. What is not set there may be set in
//! code: such findings are for the code's owner to judge.

use std::ops::Range;

use serde_json::{Value, json};

use super::draft::{Draft, Edit};
use super::scene::{Makes, Scene};
use super::select::Selector;
use super::settings::{Setting, Source, sources};
use super::values::{has, int, text};
use crate::codes;
use crate::findings::{Finding, Severity};

/// Words of which a text must have one to hold a setting that is looked at.
const WORDS: &[&str] = &[
    "jdbc:",
    "postgres://",
    "postgresql",
    "mongodb",
    "ifetime",
    "LIFETIME",
    "_MAX_AGE",
    "POOL_RECYCLE",
    "pool_recycle",
    "networkaddress",
    "inetaddr",
    "retryWrites",
    "acks",
    "ACKS",
    "idempotence",
    "IDEMPOTENCE",
    "connection-timeout",
    "connectionTimeout",
    "CONNECTION_TIMEOUT",
    // Not of a connection: the mode of kube-proxy, see `behaviour`.
    "ipvs",
    // How writes are acknowledged, see `practices`.
    "synchronous_standby_names",
    "min.insync.replicas",
];

/// Half an hour: long enough not to be felt, short enough that a pool is young again soon after a
/// hand-over.
const LIFETIME_SECONDS: i64 = 1800;

/// A pool that waits less gives errors in a stall that others do not notice.
const PATIENCE_MS: i64 = 5000;

/// May a text hold a setting that is looked at?
pub(crate) fn mentions(content: &str) -> bool {
    let bytes = content.as_bytes();
    WORDS
        .iter()
        .any(|word| memchr::memmem::find(bytes, word.as_bytes()).is_some())
        || ordinals(content)
}

/// A name such as `pg-0.pg` anywhere?
fn ordinals(content: &str) -> bool {
    let bytes = content.as_bytes();
    memchr::memchr_iter(b'.', bytes).any(|dot| {
        let before = bytes.get(..dot).unwrap_or_default();
        let digits = before
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let after = bytes.get(dot + 1).is_some_and(u8::is_ascii_lowercase);
        digits > 0
            && after
            && before
                .len()
                .checked_sub(digits + 1)
                .and_then(|at| before.get(at))
                == Some(&b'-')
    })
}

/// What a rule says of one setting.
struct Remark {
    code: &'static str,
    severity: Severity,
    message: String,
    fix: String,
    /// What to put where, in the source's text.
    edit: Option<(Range<usize>, String)>,
}

pub(crate) fn check(scene: &Scene<'_>, findings: &mut Vec<Finding>) {
    for source in sources(scene) {
        if !mentions(source.text) && !mentions(&source.name) {
            continue;
        }
        let settings = source.settings();
        let mut remarks: Vec<(&Setting<'_>, Remark)> = Vec::new();
        for setting in &settings {
            for remark in rules(scene, &source, setting) {
                remarks.push((setting, remark));
            }
        }
        tell(&source, &remarks, findings);
    }
    for (object, body) in scene.kind("DestinationRule") {
        findings.extend(breaker(object, body));
    }
}

/// One finding a remark; each carries the text with everything corrected, so that they can be applied
/// in any order.
fn tell(source: &Source<'_>, remarks: &[(&Setting<'_>, Remark)], findings: &mut Vec<Finding>) {
    let mut edits: Vec<&(Range<usize>, String)> = remarks
        .iter()
        .filter_map(|(_, remark)| remark.edit.as_ref())
        .collect();
    edits.sort_by_key(|(at, _)| (at.start, at.end));
    let mut corrected = String::new();
    let mut done = 0;
    for (at, with) in &edits {
        if at.start < done {
            continue;
        }
        corrected.push_str(source.text.get(done..at.start).unwrap_or_default());
        corrected.push_str(with);
        done = at.end;
    }
    corrected.push_str(source.text.get(done..).unwrap_or_default());
    for (setting, remark) in remarks {
        let mut draft = Draft::new(
            remark.code,
            remark.severity,
            source.object,
            remark.message.clone(),
        )
        .saw("setting", format!("{} in {}", setting.key, source.name))
        .fix(remark.fix.clone());
        if remark.edit.is_some() {
            draft = draft.change(
                source.object,
                Edit::of(source.body).set(&source.path, corrected.as_str()),
            );
        }
        findings.push(draft.done());
    }
}

fn rules(scene: &Scene<'_>, source: &Source<'_>, setting: &Setting<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if let Some(url) = Url::of(setting) {
        remarks.extend(url_rules(&url));
        remarks.extend(member(scene, source, setting, url.hosts));
    } else if setting.plain.ends_with("host")
        || setting.plain.ends_with("servers")
        || setting.plain.ends_with("endpoint")
    {
        remarks.extend(member(scene, source, setting, setting.value));
    }
    remarks.extend(lifetime(setting));
    remarks.extend(durability(setting));
    remarks.extend(names_for_ever(setting));
    remarks.extend(patience(setting));
    remarks
}

/// The URL in a setting.
struct Url<'a> {
    scheme: &'a str,
    hosts: &'a str,
    query: &'a str,
    /// Where parameters are added, in the source's text.
    end: usize,
}

impl<'a> Url<'a> {
    fn of(setting: &Setting<'a>) -> Option<Self> {
        let value = setting.value;
        // Most values are none, and this is cheaper than to look for each of them.
        memchr::memchr(b':', value.as_bytes())?;
        let start = [
            "jdbc:",
            "postgres://",
            "postgresql://",
            "postgresql+",
            "mongodb://",
        ]
        .iter()
        .filter_map(|scheme| value.find(scheme))
        .min()?;
        let rest = value.get(start..)?;
        let length = rest.find([' ', '"', '\'', '\n']).unwrap_or(rest.len());
        let url = rest.get(..length)?;
        let (scheme, rest) = url.split_once("://")?;
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = rest.get(..authority_end)?;
        let hosts = authority.rsplit('@').next()?;
        let query = url.split_once('?').map_or("", |(_, query)| query);
        Some(Self {
            scheme,
            hosts,
            query,
            end: setting.at.start + start + length,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.query.split(['&', ';']).find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Adds parameters at the end.
    fn with(&self, parameters: &str) -> (Range<usize>, String) {
        let sign = if self.query.is_empty() { '?' } else { '&' };
        (self.end..self.end, format!("{sign}{parameters}"))
    }

    /// Replaces a parameter.
    fn replaced(&self, name: &str, value: &str) -> Option<(Range<usize>, String)> {
        let at = self.end - self.query.len();
        let mut offset = 0;
        for pair in self.query.split('&') {
            if pair
                .split('=')
                .next()
                .is_some_and(|key| key.eq_ignore_ascii_case(name))
            {
                let from = at + offset;
                return Some((from..from + pair.len(), format!("{name}={value}")));
            }
            offset += pair.len() + 1;
        }
        None
    }
}

fn url_rules(url: &Url<'_>) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let several = url.hosts.contains(',');
    let jdbc_postgres = url.scheme == "jdbc:postgresql";
    let jdbc_mysql = matches!(url.scheme, "jdbc:mysql" | "jdbc:mariadb");
    let libpq = url.scheme.starts_with("postgres");
    let mut missing: Vec<&str> = Vec::new();
    if jdbc_postgres && !url.has("socketTimeout") {
        missing.push("socketTimeout=30&tcpKeepAlive=true");
    }
    if jdbc_mysql && !url.has("socketTimeout") {
        missing.push("socketTimeout=30000&tcpKeepAlive=true");
    }
    if libpq && !url.has("connect_timeout") {
        missing.push("connect_timeout=5");
    }
    let mut wrong_role = None;
    if several && jdbc_postgres && !url.has("targetServerType") {
        wrong_role = Some("targetServerType=primary");
    } else if several && libpq && !url.has("target_session_attrs") {
        wrong_role = Some("target_session_attrs=read-write");
    }
    // Both belong to the end of the URL, so they come as one edit.
    let all: Vec<&str> = missing.iter().copied().chain(wrong_role).collect();
    let edit = (!all.is_empty()).then(|| url.with(&all.join("&")));
    if let Some(first) = missing.first() {
        remarks.push(Remark {
            code: codes::NO_TIMEOUT,
            severity: Severity::Warning,
            message: format!(
                "no {}: a connection to a server whose node went away hangs until the kernel gives it up, which may take 15 minutes",
                first.split('=').next().unwrap_or_default()
            ),
            fix: format!("add {first}"),
            edit: edit.clone(),
        });
    }
    if let Some(parameter) = wrong_role {
        remarks.push(Remark {
            code: codes::ANY_ROLE,
            severity: Severity::Warning,
            message: "several hosts and no word on which role is wanted: after a hand-over the first host is a replica, and writes fail"
                .to_owned(),
            fix: format!("add {parameter}"),
            edit,
        });
    }
    if url.scheme == "mongodb" {
        if url.get("retryWrites") == Some("false") {
            remarks.push(Remark {
                code: codes::NO_RETRY,
                severity: Severity::Warning,
                message: "retryWrites is off: every write in flight at an election is an error for the application".to_owned(),
                fix: "leave retryWrites on".to_owned(),
                edit: url.replaced("retryWrites", "true"),
            });
        }
        if matches!(url.get("w"), Some("0" | "1")) {
            remarks.push(Remark {
                code: codes::LOOSE_WRITES,
                severity: Severity::Warning,
                message: "writes are acknowledged by one member: an election may roll them back"
                    .to_owned(),
                fix: "write with w=majority".to_owned(),
                edit: url.replaced("w", "majority"),
            });
        }
        if url.get("directConnection") == Some("true") {
            remarks.push(Remark {
                code: codes::ONE_MEMBER,
                severity: Severity::Warning,
                message: "directConnection: the driver knows one member and does not look for the primary".to_owned(),
                fix: "let the driver find the members (replicaSet=NAME, directConnection=false)".to_owned(),
                edit: url.replaced("directConnection", "false"),
            });
        }
    }
    remarks
}

/// A client that names one pod of a set: after the hand-over that pod has another role.
fn member(
    scene: &Scene<'_>,
    source: &Source<'_>,
    setting: &Setting<'_>,
    hosts: &str,
) -> Option<Remark> {
    if hosts.contains(',') || hosts.is_empty() {
        return None;
    }
    let host = hosts.split([':', '/']).next()?;
    let pod = host.split('.').next()?;
    let (set, ordinal) = pod.rsplit_once('-')?;
    if ordinal.is_empty() || !ordinal.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut labels = host.split('.').skip(2);
    let within = labels
        .next()
        .filter(|part| *part != "svc")
        .unwrap_or(super::scene::namespace(source.object));
    let found = scene.workloads.iter().find(|workload| {
        workload.makes == Makes::StatefulSet
            && &*workload.object.name == set
            && (workload.namespace() == within || within.is_empty())
    })?;
    if found.object.name == source.object.name && found.object.kind == source.object.kind {
        // Members name each other; that is how they find the set.
        return None;
    }
    let role = scene.kind("Service").iter().find(|(object, body)| {
        super::scene::namespace(object) == found.namespace()
            && text(body, "/spec/clusterIP") != Some("None")
            && Selector::plain(body.pointer("/spec/selector"))
                .handle()
                .is_some_and(|_| {
                    // A role's label is on pods, not on the template: all other labels must be the set's.
                    let selector = body.pointer("/spec/selector").and_then(Value::as_object);
                    let own = found.labels();
                    selector
                        .into_iter()
                        .flatten()
                        .any(|(key, value)| own.and_then(|all| all.get(key)) == Some(value))
                })
    });
    let name = role.map_or_else(
        || {
            text(found.body, "/spec/serviceName")
                .unwrap_or(set)
                .to_owned()
        },
        |(object, _)| object.name.to_string(),
    );
    let host_at = setting.value.find(host)? + setting.at.start;
    let service = host.split('.').skip(2).collect::<Vec<_>>();
    let mut replacement = name.clone();
    for part in service {
        replacement.push('.');
        replacement.push_str(part);
    }
    Some(Remark {
        code: codes::ONE_MEMBER,
        severity: Severity::Warning,
        message: format!(
            "{host} is one pod of StatefulSet {set}: which role it has changes with the first hand-over, and while its node drains it \
             is away"
        ),
        fix: format!("name the Service that follows the role ({name}), or all members"),
        edit: Some((host_at..host_at + host.len(), replacement)),
    })
}

/// Connections that live for ever stay where they are after a hand-over.
fn lifetime(setting: &Setting<'_>) -> Option<Remark> {
    let key = &setting.plain;
    let value = setting.value.trim();
    let zero = matches!(value, "0" | "0s" | "0ms" | "-1");
    let lives = (key.ends_with("maxlifetime") || key.ends_with("serverlifetime")) && zero
        || key.ends_with("poolrecycle") && matches!(value, "-1" | "0")
        || key.ends_with("connmaxage") && matches!(value, "None" | "none" | "null");
    if !lives {
        return None;
    }
    let with = if key.contains("hikari") || value.ends_with("ms") {
        (LIFETIME_SECONDS * 1000).to_string()
    } else if value.ends_with('s') || (key.contains("conn") && key.ends_with("maxlifetime")) {
        "30m".to_owned()
    } else {
        LIFETIME_SECONDS.to_string()
    };
    let with = if value.ends_with("ms") {
        format!("{with}ms")
    } else {
        with
    };
    Some(Remark {
        code: codes::ETERNAL,
        severity: Severity::Warning,
        message: format!(
            "{} {value}: pooled connections live for ever, so after a hand-over some of them stay with the old primary",
            setting.key
        ),
        fix: format!("set {} to {with}", setting.key),
        edit: Some((setting.at.clone(), with)),
    })
}

/// What a broker or a server may lose.
fn durability(setting: &Setting<'_>) -> Option<Remark> {
    let key = &setting.plain;
    let value = setting.value.trim();
    let last = key.rsplit('.').next().unwrap_or(key);
    let remark = |code, message: String, with: &str| {
        Some(Remark {
            code,
            severity: Severity::Warning,
            message,
            fix: format!("set {} to {with}", setting.key),
            edit: Some((setting.at.clone(), with.to_owned())),
        })
    };
    if (last == "acks" || key.ends_with("kafkaacks") || key.ends_with("produceracks"))
        && matches!(value, "0" | "1")
    {
        return remark(
            codes::LOOSE_WRITES,
            format!(
                "{} {value}: a message is acknowledged before another broker has it, and lost when its leader moves too early",
                setting.key
            ),
            "all",
        );
    }
    if (key.ends_with("enable.idempotence") || key.ends_with("enableidempotence"))
        && value == "false"
    {
        return remark(
            codes::NO_RETRY,
            format!(
                "{} false: a retry after a leader moved writes a message twice, or out of order",
                setting.key
            ),
            "true",
        );
    }
    None
}

/// A JVM that never asks for a name again.
fn names_for_ever(setting: &Setting<'_>) -> Option<Remark> {
    let plain = setting.plain.ends_with("networkaddress.cache.ttl") && setting.value.trim() == "-1";
    let option = ["networkaddress.cache.ttl=-1", "sun.net.inetaddr.ttl=-1"]
        .iter()
        .filter(|_| memchr::memchr(b'=', setting.value.as_bytes()).is_some())
        .find_map(|option| setting.value.find(option).map(|at| at + option.len() - 2));
    let at = match (plain, option) {
        (true, _) => setting.at.clone(),
        (false, Some(at)) => setting.at.start + at..setting.at.start + at + 2,
        (false, None) => return None,
    };
    Some(Remark {
        code: codes::NAMES_FOR_EVER,
        severity: Severity::Warning,
        message: "names are resolved once and kept for ever: a server with a new address is not found until the process restarts"
            .to_owned(),
        fix: "keep names for a few seconds".to_owned(),
        edit: Some((at, "5".to_owned())),
    })
}

/// A pool that gives up sooner than a hand-over takes.
fn patience(setting: &Setting<'_>) -> Option<Remark> {
    if !(setting.plain.contains("hikari") && setting.plain.ends_with("connectiontimeout")) {
        return None;
    }
    let waits: i64 = setting.value.trim().parse().ok()?;
    (waits > 0 && waits < PATIENCE_MS).then(|| Remark {
        code: codes::IMPATIENT,
        severity: Severity::Info,
        message: format!("the pool waits {waits} ms for a connection: a hand-over that takes longer is an error for the application"),
        fix: format!("wait {PATIENCE_MS} ms at least"),
        edit: Some((setting.at.clone(), (PATIENCE_MS * 2).to_string())),
    })
}

/// A mesh's rule without a circuit breaker, or with one that may break everything.
fn breaker(object: &crate::manifest::Object, body: &Value) -> Option<Finding> {
    if !object.api.starts_with("networking.istio.io/") {
        return None;
    }
    let host = text(body, "/spec/host").unwrap_or("?");
    let policy = "/spec/trafficPolicy/outlierDetection";
    let disabled = text(body, "/spec/trafficPolicy/tls/mode").is_some()
        && !has(body, "/spec/subsets/0")
        && !has(body, policy);
    if has(body, policy) {
        let most = int(body, &format!("{policy}/maxEjectionPercent"))?;
        return (most >= 100).then(|| {
            Draft::new(
                codes::NO_BREAKER,
                Severity::Warning,
                object,
                format!("the circuit breaker of {host} may put out every endpoint at once (maxEjectionPercent {most})"),
            )
            .saw("mesh", format!("outlierDetection.maxEjectionPercent {most}"))
            .fix("keep half of them in")
            .change(object, Edit::of(body).set(&format!("{policy}/maxEjectionPercent"), 50))
            .done()
        });
    }
    // A rule that only speaks of encryption is not meant to balance.
    if disabled {
        return None;
    }
    Some(
        Draft::new(
            codes::NO_BREAKER,
            Severity::Info,
            object,
            format!("no circuit breaker for {host}: requests go on to a pod that has just gone until its endpoint does"),
        )
        .saw("mesh", "trafficPolicy.outlierDetection is not set")
        .fix("put an endpoint out for a while after consecutive errors")
        .change(
            object,
            Edit::of(body).set(
                policy,
                json!({
                    "consecutive5xxErrors": 5,
                    "consecutiveGatewayErrors": 5,
                    "interval": "10s",
                    "baseEjectionTime": "30s",
                    "maxEjectionPercent": 50,
                }),
            ),
        )
        .done(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        assert!(mentions("url: jdbc:postgresql://a"));
        assert!(mentions("host = pg-0.pg"));
        assert!(!mentions("version 1-0.5 of 10.0.0.1, web-1 and a.b"));
    }
}
