//! What every pattern asks of the members of its set, whatever system they are of.

use std::collections::BTreeMap;

use super::{Act, Order, operators};
use crate::codes;
use crate::diagnostic::{Diagnostic, Findings};
use crate::scope::{DatabaseScope, Member};
use crate::world::Asked;

/// What a member's server said.
pub(super) fn facts<'a, F>(
    asked: &'a BTreeMap<String, Asked<F>>,
    member: &Member<'_>,
) -> Option<&'a F> {
    asked.get(&member.name.name)?.facts.as_ref()
}

/// Members that answered, with their answers.
pub(super) fn answers<'a, F>(
    scope: &'a DatabaseScope<'a>,
    asked: &'a BTreeMap<String, Asked<F>>,
) -> impl Iterator<Item = (&'a Member<'a>, &'a F)> {
    scope
        .members
        .values()
        .filter_map(|member| Some((member, facts(asked, member)?)))
}

/// The one that there is.
pub(super) fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Every member answered; `check` is where to look if one did not.
pub(super) fn answered<F>(
    scope: &DatabaseScope<'_>,
    asked: &BTreeMap<String, Asked<F>>,
    check: &str,
) -> Findings {
    let mut findings = Findings::default();
    for member in scope.members.values() {
        if facts(asked, member).is_some() {
            continue;
        }
        let why = asked
            .get(&member.name.name)
            .and_then(|seen| seen.unreachable.clone())
            .unwrap_or_else(|| "it was not asked".to_owned());
        findings.refuse(
            Diagnostic::new(codes::UNREACHABLE, &member.name, "nobody knows what it is")
                .seen(why)
                .fix(check),
        );
    }
    findings
}

/// As many members are there as the set shall have.
pub(super) fn complete(scope: &DatabaseScope<'_>) -> Findings {
    let mut findings = Findings::default();
    let there = scope.members.len();
    let wanted = usize::try_from(scope.set.replicas).unwrap_or(usize::MAX);
    if there < wanted {
        findings.refuse(
            Diagnostic::new(
                codes::TOO_FEW_MEMBERS,
                scope.set_name,
                "members are missing",
            )
            .seen(format!("replicas {wanted}, pods {there}"))
            .fix("let the set become whole first"),
        );
    }
    findings
}

/// Nobody else owns the set, who would move its primaries; `fix` is for an owner whose ways are not known.
pub(super) fn unowned(scope: &DatabaseScope<'_>, fix: &str) -> Findings {
    let mut findings = Findings::default();
    if let Some(seen) = operators::of(scope) {
        findings.refuse(operators::refusal(scope.set_name, seen, fix));
    }
    findings
}

/// Moves of members by the zone of their disks, then by ordinal.
pub(super) fn moves<'a>(members: impl Iterator<Item = &'a Member<'a>>) -> Vec<Act> {
    let mut members: Vec<_> = members.collect();
    members.sort_by(|a, b| (&a.disk_zone, a.ordinal).cmp(&(&b.disk_zone, b.ordinal)));
    members
        .iter()
        .map(|member| Act::Move(member.ordinal))
        .collect()
}

/// Of a set with one primary: the replicas, then the primary, if it must leave its node, once it has handed over.
pub(super) fn replicas_first(
    scope: &DatabaseScope<'_>,
    primary: u32,
    successor: impl FnOnce() -> Option<u32>,
) -> Option<Order> {
    let replicas = scope.moving().filter(|member| member.ordinal != primary);
    let mut acts = moves(replicas);
    if scope.members.get(&primary)?.old_node.is_some() {
        acts.push(Act::HandOver {
            from: primary,
            to: successor()?,
        });
        acts.push(Act::Move(primary));
    }
    Some(Order {
        beside: primary,
        acts,
    })
}
