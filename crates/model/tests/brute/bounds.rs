//! Batches: what they promise, on random clusters.

use ferriswheel_model::drain::batches;
use ferriswheel_model::drain::world::NodeId;

use crate::clusters::{Dice, cluster, to_world};

#[test]
fn a_lower_bound_is_below_and_batches_hold_every_node_once() {
    let mut several = 0;
    for seed in 0..2_000 {
        let (naive, plan) = cluster(&mut Dice::new(seed));
        let (world, options) = to_world(&naive, &plan);
        let found = batches(&world, &options.order, options.hands);
        let count = found.batches.len() as u32;
        assert!(found.lower_bound <= count, "seed {seed}: {found:?}");
        assert!(found.fewest, "seed {seed}: a small pool has the fewest");
        let mut all: Vec<NodeId> = found.batches.iter().flatten().copied().collect();
        all.extend(&found.never);
        all.sort_unstable();
        let mut order = options.order.clone();
        order.sort_unstable();
        assert_eq!(all, order, "seed {seed}");
        several += u32::from(count > 1);
        // Ready pods of a batch of several nodes never ask more of a budget than it allows.
        let play = crate::naive::Play::new(naive.clone(), plan, false);
        for batch in found.batches.iter().filter(|batch| batch.len() > 1) {
            for budget in 0..naive.budgets.len() {
                let asked = play.ready_under(budget, |node| batch.contains(&NodeId(node as u32)));
                let allowed = play.status(budget).3;
                assert!(asked <= allowed, "seed {seed}: budget {budget}, {batch:?}");
            }
        }
    }
    assert!(several > 200, "{several}");
}
