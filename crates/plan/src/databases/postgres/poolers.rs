//! The poolers in front of the set: can every one of them hold its clients and be re-pointed?

use super::Set;
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::ids::ObjectRef;
use crate::policy::Millis;
use crate::scope::{Scope, join};
use crate::world::{Pooler, PoolerDatabase, Snapshot};

/// Looks at every pooler process.
pub(super) fn gate(world: &Snapshot, scope: &Scope<'_>, database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let spec = database.spec;
    if spec.poolers.is_empty() {
        findings.absorb(direct(database));
        return findings;
    }
    for workload in &spec.poolers {
        let prefix = format!("{}-", workload.name);
        let has_pod = database
            .observed
            .poolers
            .keys()
            .any(|pod| pod.namespace == workload.namespace && pod.name.starts_with(&prefix));
        if !has_pod {
            findings.refuse(
                Diagnostic::new(codes::POOLER_MISSING, workload, "no pod of it was found")
                    .seen(format!("pooler pods: {}", join(database.observed.poolers.keys())))
                    .fix("correct `poolers` in the spec, or start it: a pooler that is not paused sends clients to a stopped server"),
            );
        }
    }
    let primary = match database.primaries()[..] {
        [ordinal] => database.members.get(&ordinal).map(|m| m.name.name.clone()),
        _ => None,
    };
    for (pod, pooler) in &database.observed.poolers {
        if let Some(why) = &pooler.unreachable {
            findings.refuse(
                Diagnostic::new(codes::POOLER_UNREACHABLE, pod, "its console does not answer")
                    .seen(why)
                    .fix("give `poolerAdmin` a Secret of one of its `admin_users`, and let it listen on its pod's address"),
            );
            continue;
        }
        findings.absorb(process(database, pod, pooler));
        if let Some(primary) = &primary {
            findings.absorb(aim(database, pod, pooler, primary));
        }
        findings.absorb(place(world, scope, database, pod));
    }
    findings
}

fn direct(database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let diagnostic = Diagnostic::new(
        codes::NO_POOLER,
        database.name,
        "nobody holds the clients: they see errors while the primary moves",
    )
    .seen("`poolers` is empty")
    .fix("put PgBouncer in front and name it in `poolers`, or allow errors in `limits`");
    if database.scope.spec.limits.errors == Some(0) {
        findings.refuse(diagnostic.seen("`limits.errors` is 0"));
    } else {
        findings.warn(diagnostic);
    }
    findings
}

fn process(database: &Set<'_>, pod: &ObjectRef, pooler: &Pooler) -> Findings {
    let mut findings = Findings::default();
    let window = database.spec.window;
    match pooler.query_wait_timeout_ms {
        // 0 waits for ever.
        Some(timeout) if timeout > 0 && timeout <= window.0 => findings.refuse(
            Diagnostic::new(
                codes::QUERY_WAIT,
                pod,
                "it would drop waiting clients before the window must end",
            )
            .seen(format!(
                "query_wait_timeout is {}, the window may last {window}",
                Millis(timeout)
            ))
            .fix("raise query_wait_timeout (default 120 s), or lower `window`"),
        ),
        _ => {}
    }
    if pooler.config.is_none() {
        findings.refuse(
            Diagnostic::new(
                codes::POOLER_CONFIG,
                pod,
                "it cannot be aimed at the new primary for good",
            )
            .seen("no ConfigMap mounted as a directory holds its configuration file")
            .fix("mount pgbouncer.ini from a ConfigMap as a directory (not by subPath)"),
        );
    }
    findings
}

fn aim(database: &Set<'_>, pod: &ObjectRef, pooler: &Pooler, primary: &str) -> Findings {
    let mut findings = Findings::default();
    let spec = database.spec;
    let names = |host: &str| host.split('.').next().unwrap_or_default().to_owned();
    let member = |entry: &PoolerDatabase| {
        entry.host.as_deref().map(names).filter(|host| {
            database
                .members
                .values()
                .any(|member| member.name.name == *host)
        })
    };
    let mut serves = false;
    for (name, entry) in &pooler.databases {
        let aimed = member(entry);
        let ours = aimed.is_some() || entry.dbname == spec.database;
        if !ours {
            continue;
        }
        let shown = format!(
            "{name} = host={} port={}",
            entry.host.as_deref().unwrap_or("(none)"),
            entry.port
        );
        if aimed.as_deref() == Some(primary) {
            serves |= entry.dbname == spec.database;
        } else {
            findings.refuse(
                Diagnostic::new(
                    codes::POOLER_AIM,
                    pod,
                    format!("an entry does not lead to the primary's pod {primary}"),
                )
                .seen(shown.clone())
                .fix(format!(
                    "aim it at the pod, not at a Service or a replica: host={primary}.{}.{}.svc.cluster.local",
                    database.set.service_name, database.set_name.namespace
                )),
            );
            serves = true;
        }
        if entry.pool_mode == "session" {
            findings.refuse(
                Diagnostic::new(
                    codes::SESSION_POOLING,
                    pod,
                    "PAUSE would wait until every client has disconnected",
                )
                .seen(format!("{name}: pool_mode is session"))
                .fix("use pool_mode = transaction, or take the pooler out of the spec and accept errors"),
            );
        }
        if entry.paused {
            findings.refuse(
                Diagnostic::new(codes::POOLER_PAUSED, pod, "its clients wait already")
                    .seen(format!("{name} is paused"))
                    .fix("find out who paused it, then RESUME on its console"),
            );
        }
    }
    if !serves {
        findings.refuse(
            Diagnostic::new(
                codes::POOLER_AIM,
                pod,
                format!(
                    "no entry leads to database `{}` on {primary}",
                    spec.database
                ),
            )
            .seen(format!("entries: {}", join(pooler.databases.keys())))
            .fix("correct `database` or `poolers` in the spec"),
        );
    }
    findings
}

fn place(world: &Snapshot, scope: &Scope<'_>, database: &Set<'_>, pod: &ObjectRef) -> Findings {
    let mut findings = Findings::default();
    let node = world.pods.get(pod).and_then(|pod| pod.node.as_ref());
    if let Some(node) = node.filter(|node| scope.nodes.contains_key(*node)) {
        let diagnostic = Diagnostic::new(
            codes::POOLER_MOVES,
            pod,
            "its clients are cut when the node is emptied",
        )
        .seen(format!("it runs on {node}, which will be retired"))
        .fix("let poolers run on a pool that is not upgraded");
        if database.scope.spec.limits.errors == Some(0) {
            findings.refuse(diagnostic);
        } else {
            findings.warn(diagnostic);
        }
    }
    findings
}
