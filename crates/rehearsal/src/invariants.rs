//! What must hold at every moment of a rehearsal, checked by code of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::Inner;

/// Promises, and what broke them.
#[derive(Debug, Default)]
pub struct Watch {
    /// Members that must serve at any time.
    pub members: usize,
    /// A pooler never holds its clients longer.
    pub longest_hold: Option<Duration>,
    /// A server was killed on purpose: clients may see errors and a member may be missing.
    pub server_killed: bool,
    /// Fewest members seen.
    pub fewest: Option<usize>,
    /// Longest time that a pooler held its clients.
    pub held: Duration,
    /// What broke, once each.
    pub broken: BTreeSet<String>,
}

/// Looks at one moment.
pub fn check(world: &mut Inner) {
    let now = world.now();
    let mut broken = Vec::new();
    broken.extend(world.cluster.violations().iter().cloned());

    let primaries = world.postgres.primaries();
    if primaries.len() > 1 {
        broken.push(format!("two primaries: {}", primaries.join(", ")));
    }
    for primary in &primaries {
        if !world.postgres.holds_every_acknowledged_write(primary) {
            broken.push(format!(
                "{primary} is the primary and lacks an acknowledged write"
            ));
        }
    }

    let serving = world
        .postgres
        .processes
        .values()
        .filter(|process| process.runs())
        .count();
    let watch = &mut world.watch;
    watch.fewest = Some(watch.fewest.map_or(serving, |fewest| fewest.min(serving)));
    if serving < watch.members && !watch.server_killed {
        broken.push(format!(
            "{serving} members serve, {} are promised",
            watch.members
        ));
    }
    for (name, pooler) in &world.postgres.clients.poolers {
        if let Some(since) = pooler.held_since {
            let held = now.saturating_sub(since);
            watch.held = watch.held.max(held);
            if watch.longest_hold.is_some_and(|longest| held > longest) {
                broken.push(format!(
                    "{name} held its clients beyond the window's budget"
                ));
            }
        }
    }
    watch.broken.extend(broken);
}
