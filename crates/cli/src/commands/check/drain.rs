//! The drain simulation: how it is asked for, and how it is shown.

use std::fmt::Write;

use clap::Args;
use ferriswheel_analysis::drain::{
    Node, NodeOutcome, Order, Pool, Settings, Share, Simulation, Way,
};

/// Nodes that drain are listed up to this many a pool; the JSON lists all, and blocked ones are always
/// shown.
const MAX_NODES: usize = 20;
/// Pods of a blocked node that are shown.
const MAX_PODS: usize = 5;

/// How the drain simulation is asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drain simulation")]
pub struct DrainArgs {
    /// Leave the drain simulation out
    #[arg(long)]
    no_drain: bool,
    /// Drain this pool alone; may be said several times
    #[arg(long, value_name = "POOL")]
    drain_pool: Vec<String>,
    /// In the order of their names, in batches that do not wait for each other, or these nodes first
    /// (names, batches, NODE,NODE,...)
    #[arg(long, value_name = "ORDER", value_parser = order, default_value = "names")]
    drain_order: Order,
    /// Surge nodes, and as many drained at a time: the pool's maxSurge (1, 33%)
    #[arg(long, value_name = "NODES", value_parser = share, default_value = "10%")]
    drain_surge: Share,
    /// No surge nodes: the pool's maxUnavailable drained at a time (1, 10%)
    #[arg(long, value_name = "NODES", value_parser = share, conflicts_with = "drain_surge")]
    drain_unavailable: Option<Share>,
    /// A new pool of the same size stands beside, and the old nodes are drained one by one
    #[arg(long, conflicts_with_all = ["drain_surge", "drain_unavailable"])]
    drain_into_new_pool: bool,
    /// How long a drained node is left alone before it is reimaged (AKS: the pool's node soak duration)
    #[arg(long, value_name = "MINUTES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=30))]
    drain_soak: u32,
}

impl DrainArgs {
    /// Nothing when it is left out.
    pub fn settings(&self, timeout_minutes: u32) -> Option<Settings> {
        let way = match self.drain_unavailable {
            _ if self.drain_into_new_pool => Way::NewPool,
            Some(share) => Way::Unavailable(share),
            None => Way::Surge(self.drain_surge),
        };
        (!self.no_drain).then(|| Settings {
            pools: self.drain_pool.clone(),
            order: self.drain_order.clone(),
            way,
            timeout: u64::from(timeout_minutes) * 60,
            soak: u64::from(self.drain_soak) * 60,
        })
    }
}

fn share(text: &str) -> Result<Share, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .map(Share::Percent),
        None => text
            .parse()
            .ok()
            .filter(|nodes| *nodes > 0)
            .map(Share::Nodes),
    };
    share.ok_or_else(|| "say a number of nodes, or a percentage from 1% to 100%".to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a parser of an option returns a result"
)]
fn order(text: &str) -> Result<Order, String> {
    Ok(match text {
        "names" => Order::Names,
        "batches" => Order::Batches,
        names => Order::Given(names.split(',').map(str::to_owned).collect()),
    })
}

/// A table a pool.
pub fn tables(simulation: &Simulation) -> String {
    let mut text = String::new();
    for pool in &simulation.pools {
        let nodes: Vec<&Node> = simulation
            .nodes
            .iter()
            .filter(|node| node.pool == pool.name)
            .collect();
        table(&mut text, pool, &nodes);
        text.push('\n');
    }
    text
}

fn table(text: &mut String, pool: &Pool, nodes: &[&Node]) {
    let _ = writeln!(
        text,
        "Drain of pool {} ({} nodes, {}): {} drain, {} blocked, {}",
        pool.name,
        pool.nodes,
        pool.way,
        pool.drained,
        pool.nodes - pool.drained,
        duration(pool.seconds)
    );
    let width = nodes
        .iter()
        .map(|node| node.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let _ = writeln!(
        text,
        "  {:<width$}  {:>8}  {:>8}  {:>9}  result",
        "node", "from", "takes", "evictions"
    );
    let mut left_out = 0;
    let mut shown = 0;
    for node in nodes {
        let blocked = node.outcome == NodeOutcome::Blocked;
        if !blocked {
            if shown == MAX_NODES {
                left_out += 1;
                continue;
            }
            shown += 1;
        }
        let _ = writeln!(
            text,
            "  {:<width$}  {:>8}  {:>8}  {:>9}  {}",
            node.name,
            duration(node.started),
            duration(node.seconds),
            node.evictions,
            if blocked { "BLOCKED" } else { "drains" }
        );
        for by in node.blocked_by.iter().take(MAX_PODS) {
            let budget = by
                .budget
                .as_ref()
                .map_or(String::new(), |budget| format!(" by budget {budget}"));
            let _ = writeln!(text, "      {}{budget}: {}", by.pod, by.reason);
            let _ = writeln!(text, "        fix: {}", by.fix);
        }
        if node.blocked_by.len() > MAX_PODS {
            let more = node.blocked_by.len() - MAX_PODS;
            let _ = writeln!(text, "      and {more} more pods");
        }
    }
    if left_out > 0 {
        let _ = writeln!(
            text,
            "  and {left_out} more nodes that drain (--output json lists them)"
        );
    }
    let rate = ferriswheel_analysis::drain::Ratio {
        of: u64::from(pool.evictions),
        per: u64::from(pool.pods),
    }
    .hundredths();
    let _ = writeln!(
        text,
        "  {} evictions for {} pods, {}.{:02} each; {} move more than once; {} with a PreferNoSchedule taint on old nodes",
        pool.evictions,
        pool.pods,
        rate / 100,
        rate % 100,
        pool.moved_again,
        pool.evictions_when_tainted
    );
    let _ = writeln!(
        text,
        "  {} batches of nodes whose evictions do not wait for each other, at least {} needed",
        pool.batches.len(),
        pool.lower_bound
    );
    if !pool.without_node.is_empty() {
        let first = pool.without_node.first();
        let _ = writeln!(
            text,
            "  {} pods without a node at the end{}",
            pool.without_node.len(),
            first.map_or(String::new(), |first| format!(
                ", such as {}: {}",
                first.pod, first.reason
            ))
        );
    }
}

fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_orders() {
        assert_eq!(share("33%"), Ok(Share::Percent(33)));
        assert_eq!(share("2"), Ok(Share::Nodes(2)));
        for wrong in ["0", "0%", "101%", "many", "-1"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(order("batches"), Ok(Order::Batches));
        assert_eq!(
            order("b,a"),
            Ok(Order::Given(vec!["b".to_owned(), "a".to_owned()]))
        );
    }

    #[test]
    fn durations() {
        assert_eq!(
            [7, 65, 3_700].map(duration),
            ["7 s", "1m05s", "1h01m"].map(str::to_owned)
        );
    }
}
