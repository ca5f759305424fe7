//! The rules, a file for each family of tools, and what they ask of a runbook together.

mod az;
mod curl_elasticsearch;
mod kafka;
mod kubectl;
mod members;
mod mongo;
mod monitoring;
mod psql_pg_ctl;
mod redis_cli;
mod shell;
mod traffic;

use super::kubectl::Kubectl;
use super::shell::{Call, Word};
use super::text::Script;
use super::{Findings, Runbook};

/// Asks all rules.
pub(super) fn ask(book: &Runbook<'_>, found: &mut Findings) {
    shell::ask(book, found);
    kubectl::ask(book, found);
    members::ask(book, found);
    traffic::ask(book, found);
    az::ask(book, found);
    redis_cli::ask(book, found);
    mongo::ask(book, found);
    psql_pg_ctl::ask(book, found);
    kafka::ask(book, found);
    curl_elasticsearch::ask(book, found);
    monitoring::ask(book, found);
}

/// Commands that rules know, at the start of a line of a block without a language.
const TOOLS: [&str; 12] = [
    "kubectl ",
    "az ",
    "redis-cli ",
    "valkey-cli ",
    "mongosh ",
    "mongo ",
    "psql ",
    "pg_ctl ",
    "curl ",
    "kafka-",
    "kubent ",
    "sudo ",
];

/// Does a block without a language look like commands?
pub(super) fn speaks_of_known(script: &Script) -> bool {
    script
        .text
        .lines()
        .any(|line| TOOLS.iter().any(|tool| line.starts_with(tool)))
}

/// Parts of names of databases, as charts and people name them.
const DATABASES: [&str; 19] = [
    "postgres",
    "pgsql",
    "patroni",
    "redis",
    "valkey",
    "mongo",
    "kafka",
    "elastic",
    "opensearch",
    "es-master",
    "es-data",
    "mysql",
    "mariadb",
    "galera",
    "cassandra",
    "etcd",
    "zookeeper",
    "couch",
    "database",
];

/// Variables that hold a member of a database.
const MEMBERS: [&str; 11] = [
    "replica",
    "master",
    "primary",
    "secondary",
    "slave",
    "standby",
    "leader",
    "follower",
    "broker",
    "member",
    "database",
];

impl Runbook<'_> {
    /// Calls of a script after another, as they run: through the rest of a loop, and from its start
    /// again.
    fn after(&self, index: usize) -> impl Iterator<Item = &Call> {
        let calls = &self.commands.calls;
        let this = calls.get(index);
        let script = this.map(|call| call.script);
        let innermost = this
            .and_then(|call| call.loops.last().copied())
            .filter(|id| {
                self.commands
                    .loops
                    .get(*id)
                    .is_some_and(|l| l.over.is_some())
            });
        let in_loop = move |call: &Call| innermost.is_some_and(|id| call.loops.contains(&id));
        let rest = calls
            .iter()
            .skip(index + 1)
            .take_while(move |call| Some(call.script) == script);
        // What follows in the loop, its start again, and what follows the loop.
        let inside = rest.clone().filter(move |call| in_loop(call));
        let again = calls.iter().take(index).filter(move |call| in_loop(call));
        let outside = rest.filter(move |call| !in_loop(call));
        inside.chain(again).chain(outside)
    }

    /// Calls of a script.
    fn of(&self, script: usize) -> impl Iterator<Item = &Call> {
        self.commands
            .calls
            .iter()
            .filter(move |call| call.script == script)
    }

    /// What a pipeline's next command is.
    fn next_in_pipe(&self, call: &Call) -> Option<&Call> {
        let pipe = call.pipe?;
        self.commands.at(pipe.id, pipe.index + 1)
    }

    /// What a pipeline's command before is.
    fn before_in_pipe(&self, call: &Call) -> Option<&Call> {
        let pipe = call.pipe?;
        self.commands.at(pipe.id, pipe.index.checked_sub(1)?)
    }

    /// The names that a word can be: itself, or the values of the loop's variable.
    fn names<'c>(&'c self, call: &'c Call, text: &'c str) -> Vec<&'c str> {
        let Some(variable) = text.strip_prefix('$') else {
            return vec![text];
        };
        let variable = variable.trim_start_matches('{').trim_end_matches('}');
        for id in &call.loops {
            if let Some((name, words)) = self.commands.loops.get(*id).and_then(|l| l.over.as_ref())
                && name == variable
            {
                return words.iter().map(|word| word.text.as_str()).collect();
            }
        }
        let known = self.commands.values.iter().rev();
        let value = known
            .filter(|(name, _)| name == variable)
            .map(|(_, value)| value.as_str());
        value
            .take(1)
            .next()
            .map_or_else(|| vec![text], |value| vec![value])
    }

    /// Is it a member of a database?
    fn is_member(&self, call: &Call, text: &str) -> bool {
        let small = text.to_ascii_lowercase();
        if let Some(variable) = small.strip_prefix('$')
            && MEMBERS.iter().any(|part| variable.contains(part))
        {
            return true;
        }
        self.names(call, text).iter().any(|name| is_database(name))
    }
}

/// Does a name speak of a database?
fn is_database(name: &str) -> bool {
    let small = name.to_ascii_lowercase();
    DATABASES.iter().any(|part| small.contains(part))
        || small
            .split(['-', '_', '.', '/', '='])
            .any(|part| matches!(part, "db" | "pg" | "es"))
}

/// Does a name end in the number that a StatefulSet gives (`redis-0`)?
fn ordinal(name: &str) -> Option<(&str, u32)> {
    let (base, number) = name.rsplit_once('-')?;
    Some((base, number.parse().ok()?)).filter(|(base, _)| !base.is_empty())
}

/// What a call does to the cluster that cannot be taken back while it runs.
#[derive(Debug, PartialEq, Eq)]
enum Act<'a> {
    /// Pods go, or restart.
    Pods(Vec<&'a str>),
    /// A role moves.
    Role,
    /// Nodes go.
    Nodes,
}

/// What a call disturbs.
fn act(call: &Call) -> Option<Act<'_>> {
    let small = call.small();
    match call.name() {
        "kubectl" => {
            let command = Kubectl::of(call)?;
            let (kind, names) = command.objects();
            match command.verb.as_str() {
                "delete" if kind == "pod" => Some(Act::Pods(names)),
                "delete" if matches!(kind.as_str(), "statefulset" | "node") => Some(Act::Nodes),
                "create" if small.contains("/eviction") => Some(Act::Pods(
                    command
                        .value(&["--raw"])
                        .and_then(|path| path.rsplit('/').nth(1))
                        .into_iter()
                        .collect(),
                )),
                "rollout.restart" => Some(Act::Role),
                "drain" => Some(Act::Nodes),
                _ => None,
            }
        }
        "az" => (small.contains("aks nodepool upgrade")
            || small.contains("aks upgrade")
            || small.contains("aks nodepool delete")
            || small.contains("aks delete"))
        .then_some(Act::Nodes),
        "pg_ctl" => small.contains(" promote").then_some(Act::Role),
        "psql" => small.contains("pg_promote").then_some(Act::Role),
        "redis-cli" | "valkey-cli" => small.contains("cluster failover").then_some(Act::Role),
        "mongo" | "mongosh" => small.contains("stepdown").then_some(Act::Role),
        "kafka-server-stop.sh" | "kafka-server-stop" => Some(Act::Role),
        name if is_script(call) => [
            "failover",
            "upgrade",
            "promote",
            "drain",
            "delete",
            "rollback",
            "switchover",
        ]
        .iter()
        .any(|part| name.to_ascii_lowercase().contains(part))
        .then_some(Act::Role),
        _ => None,
    }
}

/// A script of somebody's own, by its path.
fn is_script(call: &Call) -> bool {
    let word = call.words.first().map_or("", |word| &word.text);
    word.contains('/') && word.ends_with(".sh")
}

/// Words of commands that look at replication, or at a role.
const LOOKS: [&str; 26] = [
    "pg_stat_replication",
    "pg_stat_wal_receiver",
    "pg_last_wal",
    "pg_wal_lsn_diff",
    "pg_is_in_recovery",
    "patronictl list",
    "master_link_status",
    "info replication",
    "redis-cli role",
    "--cluster check",
    "cluster info",
    "rs.status",
    "replsetgetstatus",
    "hello()",
    "db.hello",
    "printsecondaryreplicationinfo",
    "_cluster/health",
    "under-replicated-partitions",
    "under-min-isr-partitions",
    "kafka-metadata-quorum",
    "wsrep_",
    "show replica status",
    "show slave status",
    "insert into",
    "create table",
    "replication_group_members",
];

/// Does a call look at replication, or is it somebody's own check?
fn looks(call: &Call) -> bool {
    let small = call.small();
    if LOOKS.iter().any(|part| small.contains(part)) {
        return true;
    }
    // A function or a script of somebody's own: what it does is not seen here.
    let name = call.name().to_ascii_lowercase();
    let own = is_script(call) || (name.contains('_') && call.words.len() <= 6);
    own && [
        "check", "verify", "validate", "wait", "caught", "sync", "health", "gate",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// Does a script stop at the first failure?
fn stops(book: &Runbook<'_>, script: usize) -> bool {
    let text = book.scripts.get(script);
    let by_shebang =
        text.is_some_and(|script| {
            script.text.lines().next().is_some_and(|line| {
                line.starts_with("#!") && line.contains(" -") && line.contains('e')
            })
        });
    by_shebang
        || book.of(script).any(|call| {
            call.name() == "set"
                && call.args().iter().any(|word| {
                    (word.text.starts_with('-')
                        && !word.text.starts_with("--")
                        && word.text.contains('e'))
                        || word.text == "errexit"
                })
        })
}

/// Is a word's text a number?
fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The pod that a call runs in, or the host that it is told.
fn target<'a>(call: &'a Call, host: &[&str]) -> Option<&'a Word> {
    call.pod.as_ref().or_else(|| {
        let at = call
            .args()
            .iter()
            .position(|word| host.contains(&word.text.as_str()))?;
        call.args().get(at + 1)
    })
}
