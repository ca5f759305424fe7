//! A set under Patroni: what must be true of Patroni's own view before it is asked to hand over, and whom it would let
//! take over.
//!
//! # Source
//! `is_failover_possible` and `cluster_as_json` of Patroni 3.0.2 and 4.1.5; `docs/patterns/postgres.md`.

use std::collections::BTreeSet;

use super::{Set, WHOLE_LAG};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::estimates::PATRONI_STALL_MS;
use crate::policy::Millis;
use crate::scope::{Member, join};
use crate::step::PatroniTerms;
use crate::world::{Patroni, PatroniFacts, PatroniPeer, PatroniSettings, PatroniView};

/// Oldest version whose answers are known here.
const OLDEST: (u32, u32) = (3, 0);

/// Asks everything of Patroni that the hand-over rests on.
pub(super) fn gate(database: &Set<'_>, patroni: &Patroni) -> Findings {
    let mut findings = Findings::default();
    let answers: Vec<(&Member<'_>, &PatroniFacts)> = database
        .members
        .values()
        .filter_map(|member| Some((member, facts(patroni, member)?)))
        .collect();
    findings.absorb(answered(database, patroni));
    for (member, facts) in &answers {
        findings.absorb(version(member, facts));
        findings.absorb(view(database, member, facts));
    }
    let scopes: BTreeSet<&str> = answers.iter().map(|(_, f)| f.scope.as_str()).collect();
    if scopes.len() > 1 {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_VIEW,
                database.set_name,
                "its members belong to different clusters",
            )
            .seen(format!("scope: {}", join(scopes)))
            .fix("give all members one `scope`"),
        );
    }
    if let Some(view) = view_of_leader(database, patroni) {
        findings.absorb(at_rest(database, view));
        for peer in &view.members {
            findings.absorb(whole(database, view, peer));
        }
        findings.absorb(candidates(database, patroni, view));
    }
    if let Some(settings) = &patroni.settings {
        findings.absorb(durable(database, settings));
    }
    findings.absorb(time(database));
    findings
}

/// What the step carries.
pub(super) fn terms(database: &Set<'_>) -> Option<PatroniTerms> {
    let patroni = database.observed.patroni.as_ref()?;
    let asked = database.spec.patroni.clone().unwrap_or_default();
    let seconds = patroni
        .settings
        .as_ref()
        .map_or(0, |settings| settings.ttl + 2 * settings.loop_wait);
    Some(PatroniTerms {
        port: asked.port,
        login: asked.login,
        // A switchover that was asked for is carried out or dropped by the leader's next look; a leader that is silent
        // loses its key after `ttl`, and the others look once more.
        afterwards_ms: seconds.saturating_mul(1_000),
    })
}

/// Patroni would let this member take over; everybody, where Patroni is not in charge.
pub(super) fn may_lead(database: &Set<'_>, member: &Member<'_>) -> bool {
    let Some(patroni) = &database.observed.patroni else {
        return true;
    };
    view_of_leader(database, patroni)
        .and_then(|view| view.peer(&member.name.name))
        .is_some_and(|peer| barred(patroni, peer).is_none())
}

/// Why a member may not take over.
fn barred(patroni: &Patroni, peer: &PatroniPeer) -> Option<String> {
    let synchronous = patroni
        .settings
        .as_ref()
        .is_some_and(|settings| settings.synchronous);
    if !peer.barred_by.is_empty() {
        return Some(format!(
            "{} has the tag {}",
            peer.name,
            join(&peer.barred_by)
        ));
    }
    (synchronous && !peer.is_synchronous()).then(|| {
        format!(
            "{} is {}, and with synchronous_mode only a synchronous standby takes over",
            peer.name, peer.role
        )
    })
}

fn facts<'a>(patroni: &'a Patroni, member: &Member<'_>) -> Option<&'a PatroniFacts> {
    patroni.members.get(&member.name.name)?.facts.as_ref()
}

/// The view of the member that leads; it is the one that is asked.
fn view_of_leader<'a>(database: &Set<'_>, patroni: &'a Patroni) -> Option<&'a PatroniView> {
    let [primary] = database.primaries()[..] else {
        return None;
    };
    let member = database.members.get(&primary)?;
    Some(&facts(patroni, member)?.view)
}

fn answered(database: &Set<'_>, patroni: &Patroni) -> Findings {
    let mut findings = Findings::default();
    let port = database.spec.patroni.clone().unwrap_or_default().port;
    for member in database.members.values() {
        if facts(patroni, member).is_some() {
            continue;
        }
        let why = patroni
            .members
            .get(&member.name.name)
            .and_then(|seen| seen.unreachable.clone())
            .unwrap_or_else(|| "it was not asked".to_owned());
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_SILENT,
                &member.name,
                "it runs under Patroni, which has to be asked",
            )
            .seen(format!("port {port}: {why}"))
            .fix("let restapi.listen be 0.0.0.0, say its port in `patroni.port` and its login in `patroni.login`; a REST API with TLS is not spoken to yet"),
        );
    }
    if patroni.settings.is_none() {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_SILENT,
                database.set_name,
                "nobody tells the settings of the cluster",
            )
            .seen("GET /config gave none")
            .fix("look at `patronictl show-config`"),
        );
    }
    findings
}

fn version(member: &Member<'_>, facts: &PatroniFacts) -> Findings {
    let mut findings = Findings::default();
    let mut parts = facts
        .version
        .split('.')
        .map(|part| part.parse::<u32>().ok());
    let found = (parts.next().flatten(), parts.next().flatten());
    let known = matches!(found, (Some(major), Some(minor)) if (major, minor) >= OLDEST);
    if !known {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_OLD,
                &member.name,
                "its answers are not known here",
            )
            .seen(format!("Patroni {}", facts.version))
            .fix(format!(
                "upgrade Patroni to {}.{} or newer",
                OLDEST.0, OLDEST.1
            )),
        );
    }
    findings
}

/// Every member's view has the members and the leader that there are.
fn view(database: &Set<'_>, member: &Member<'_>, facts: &PatroniFacts) -> Findings {
    let mut findings = Findings::default();
    let pods: BTreeSet<&str> = database
        .members
        .values()
        .map(|m| m.name.name.as_str())
        .collect();
    let peers: BTreeSet<&str> = facts.view.members.iter().map(|p| p.name.as_str()).collect();
    let refuse = |what: &str, seen: String, fix: &str| {
        Diagnostic::new(codes::PATRONI_VIEW, &member.name, what)
            .seen(seen)
            .fix(fix)
    };
    if pods != peers {
        findings.refuse(refuse(
            "its Patroni knows other members",
            format!("members: {}; pods: {}", join(peers), join(pods)),
            "name each member as its pod (PATRONI_NAME from metadata.name), and let those that are gone drop out of `patronictl list`",
        ));
        return findings;
    }
    let leader = facts.view.leader().map(|peer| peer.name.as_str());
    let [primary] = database.primaries()[..] else {
        // Said by the gate of the servers.
        return findings;
    };
    let primary = database.members.get(&primary).map(|m| m.name.name.as_str());
    if leader != primary {
        findings.refuse(refuse(
            "its Patroni sees another leader than the servers show",
            format!("leader {}, primary {}", join(leader), join(primary)),
            "let Patroni settle; a standby cluster (standby_leader) has no primary of its own to hand over",
        ));
    }
    findings
}

/// Nothing that Patroni would do, or not do, by itself meanwhile.
fn at_rest(database: &Set<'_>, view: &PatroniView) -> Findings {
    let mut findings = Findings::default();
    if view.paused {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_PAUSED,
                database.set_name,
                "in maintenance mode nobody takes over if a member is lost",
            )
            .seen("GET /cluster has pause: true")
            .fix("patronictl resume"),
        );
    }
    if let Some(at) = &view.scheduled {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_SCHEDULED,
                database.set_name,
                "the primary would move a second time",
            )
            .seen(format!("GET /cluster has scheduled_switchover: {at}"))
            .fix("patronictl flush CLUSTER switchover"),
        );
    }
    for peer in &view.members {
        if let Some(at) = &peer.scheduled_restart {
            findings.refuse(
                Diagnostic::new(
                    codes::PATRONI_SCHEDULED,
                    database.set_name.sibling(&peer.name),
                    "it would restart in the middle of the run",
                )
                .seen(format!("GET /cluster has scheduled_restart: {at}"))
                .fix("patronictl flush CLUSTER restart"),
            );
        }
    }
    findings
}

fn whole(database: &Set<'_>, view: &PatroniView, peer: &PatroniPeer) -> Findings {
    let mut findings = Findings::default();
    let mut lacks = Vec::new();
    if !peer.is_whole() {
        lacks.push(format!("state {}", peer.state));
    }
    if !peer.leads() {
        match peer.lag {
            Some(lag) if WHOLE_LAG.holds_bytes(lag) => {}
            Some(lag) => lacks.push(format!("{lag} bytes behind, {WHOLE_LAG} allowed")),
            None => lacks.push("its lag is not known".to_owned()),
        }
        let leaders = view.leader().and_then(|leader| leader.timeline);
        if let (Some(theirs), Some(leaders)) = (peer.timeline, leaders)
            && theirs != leaders
        {
            lacks.push(format!("timeline {theirs}, the leader has {leaders}"));
        }
    }
    if !lacks.is_empty() {
        let mut diagnostic = Diagnostic::new(
            codes::PATRONI_MEMBER,
            database.set_name.sibling(&peer.name),
            "Patroni would not count on it",
        )
        .fix("look at `patronictl list` and the member's log; `patronictl reinit` clones it anew");
        diagnostic.evidence = lacks;
        findings.refuse(diagnostic);
    }
    findings
}

/// Somebody may take over.
fn candidates(database: &Set<'_>, patroni: &Patroni, view: &PatroniView) -> Findings {
    let mut findings = Findings::default();
    let why: Vec<Option<String>> = view
        .members
        .iter()
        .filter(|peer| !peer.leads())
        .map(|peer| barred(patroni, peer))
        .collect();
    if !why.is_empty() && why.iter().all(Option::is_some) {
        let mut diagnostic = Diagnostic::new(
            codes::PATRONI_CANDIDATE,
            database.set_name,
            "Patroni would refuse every candidate",
        )
        .fix("take the tag off one member (nofailover, noloadbalance, failover_priority: 0), or let a standby become synchronous");
        diagnostic.evidence = why.into_iter().flatten().collect();
        findings.refuse(diagnostic);
    }
    findings
}

fn durable(database: &Set<'_>, settings: &PatroniSettings) -> Findings {
    let mut findings = Findings::default();
    let fix = "patronictl edit-config --set synchronous_mode=true, and leave `makeSynchronous` out; or take `crashSafe` out";
    if settings.standby_cluster {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_VIEW,
                database.set_name,
                "it is the standby of another cluster: it has no primary to hand over",
            )
            .seen("GET /config has standby_cluster")
            .fix("hand over where the primary is"),
        );
    }
    if database.spec.make_synchronous {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_SYNCHRONOUS,
                database.set_name,
                "synchronous_standby_names is written by Patroni alone",
            )
            .seen("`makeSynchronous: true`")
            .fix(fix),
        );
    } else if database.spec.crash_safe && !settings.synchronous {
        findings.refuse(
            Diagnostic::new(
                codes::PATRONI_SYNCHRONOUS,
                database.set_name,
                "a crash inside the window could lose acknowledged writes",
            )
            .seen("`crashSafe: true`, and GET /config has no synchronous_mode")
            .fix(fix),
        );
    }
    findings
}

/// A promise that Patroni cannot keep is not made.
fn time(database: &Set<'_>) -> Findings {
    let mut findings = Findings::default();
    let needed = Millis(PATRONI_STALL_MS);
    let allowed = [
        ("limits.writeStall", database.scope.spec.limits.write_stall),
        ("window", database.spec.window),
    ];
    for (field, allowed) in allowed {
        if allowed < needed {
            findings.refuse(
                Diagnostic::new(
                    codes::PATRONI_SLOW,
                    database.name,
                    "Patroni looks once a second whether the old primary has stopped, and waits a second more",
                )
                .seen(format!("`{field}` is {allowed}, its switchovers took up to {needed}"))
                .fix(format!("allow more in `{field}` (5s), or carry the set without Patroni")),
            );
        }
    }
    findings
}
