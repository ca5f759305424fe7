//! What is asked of every system's plans alike.
//!
//! A test file describes its [`Subject`] once: the practice world, the specs, and a table of what stops a run. What
//! only its system knows it asserts itself.

use ferriswheel_plan::check::{self, Proof};
use ferriswheel_plan::diagnostic::{Diagnostic, Findings};
use ferriswheel_plan::plan::Plan;
use ferriswheel_plan::policy::Upgrade;
use ferriswheel_plan::step::StepKind;
use ferriswheel_plan::world::Snapshot;
use ferriswheel_plan::{codes, display, planner};

/// One thing wrong with a world.
pub type Change = fn(&mut Snapshot);

/// A system as its tests see it.
pub struct Subject {
    /// The practice world, which nothing speaks against.
    pub world: fn() -> Snapshot,
    /// Its way through the wheel.
    pub spec: fn() -> Upgrade,
    /// A hand-over alone, to this member if to any.
    pub hand_over: fn(Option<&str>) -> Upgrade,
    /// What the system's own codes begin with.
    pub codes: &'static str,
    /// Each change stops a run, and is said with this code.
    pub refusals: &'static [(&'static str, Change)],
    /// Own codes that are no row of `refusals`: a test of their own tries them.
    pub tried_apart: &'static [&'static str],
}

impl Subject {
    /// The wheel's plan of the practice world. Everybody moves, one away at a time.
    pub fn rides_the_wheel(&self, members: u32, hand_overs: u32) -> Plan {
        let world = (self.world)();
        let plan = made(&world, &(self.spec)());
        let proof = Proof {
            extra_nodes: 1,
            extra_replicas: 0,
            fewest_members: Some(members - 1),
            hand_overs,
            retired: members,
        };
        assert_eq!(check::check(&world, &plan), Ok(proof));
        screen(&plan);
        plan
    }

    /// A hand-over alone goes from this leader to whom it is told, and nowhere when it is told one that leads.
    pub fn goes_where_it_is_told(&self, leader: &str, to: &str) {
        let world = (self.world)();
        let told = made(&world, &(self.hand_over)(Some(to)));
        assert_eq!(acts(&told), [format!("{leader} -> {to}")]);
        let stays = made(&world, &(self.hand_over)(Some(leader)));
        assert_eq!(stays.body.steps, [], "it leads already");
    }

    /// What a hand-over alone does in the changed world, told nobody.
    pub fn handed_over(&self, change: impl FnOnce(&mut Snapshot)) -> Vec<String> {
        let mut world = (self.world)();
        change(&mut world);
        acts(&made(&world, &(self.hand_over)(None)))
    }

    /// What only a member that moves needs is not asked for where none does.
    pub fn a_hand_over_alone_needs_less(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut world = (self.world)();
        change(&mut world);
        assert_eq!(findings(&world, &(self.hand_over)(None)).refusals, []);
    }

    /// What is found in the changed world.
    pub fn findings(&self, change: impl FnOnce(&mut Snapshot)) -> Findings {
        let mut world = (self.world)();
        change(&mut world);
        findings(&world, &(self.spec)())
    }

    /// Each of these is warned of in the changed world, and nothing stops the run.
    pub fn warns(&self, expected: &[&str], change: impl FnOnce(&mut Snapshot)) {
        let found = self.findings(change);
        assert_eq!(found.refusals, []);
        for code in expected {
            assert_said(&found.warnings, code);
        }
    }

    /// Each row of the table, and nothing against the practice world.
    pub fn each_refusal_is_said(&self) {
        assert_eq!(self.findings(|_| {}), Findings::default());
        each_row_is_said(self.refusals, |change| self.findings(change).refusals);
    }

    /// No code of the system is left out.
    pub fn every_code_is_tried(&self) {
        let rows = self.refusals.iter().map(|(code, _)| code);
        let tried: Vec<_> = rows.chain(self.tried_apart).collect();
        let untried: Vec<_> = codes::ALL
            .iter()
            .filter(|(code, _)| code.starts_with(self.codes) && !tried.contains(&code))
            .collect();
        assert!(untried.is_empty(), "{untried:?}");
    }

    /// Written and read again it is the same plan.
    pub fn is_read_back_as_it_was_written(&self) {
        let plan = made(&(self.world)(), &(self.spec)());
        let text = serde_json::to_string(&plan).expect("a plan is written");
        let back: Plan = serde_json::from_str(&text).expect("what was written is read");
        assert_eq!(back, plan);
        assert!(back.is_intact().expect("it has a digest"));
    }

    /// What the checker says of the changed plan, a line each.
    pub fn violations(&self, change: impl FnOnce(&mut Plan)) -> String {
        let world = (self.world)();
        let mut plan = made(&world, &(self.spec)());
        change(&mut plan);
        let violations = check::check(&world, &plan).expect_err("the plan is broken");
        violations.iter().map(|v| format!("{v}\n")).collect()
    }

    /// A primary that moves without having handed over is seen by the checker.
    pub fn a_missing_hand_over_is_seen(&self, leader: &str) {
        let text = self.violations(|plan| {
            plan.body.steps.remove(first_hand_over(plan));
        });
        let seen = format!("db/{leader} is the primary at that time");
        assert!(text.contains(&seen), "{text}");
    }
}

/// The plan that has to be.
pub fn made(world: &Snapshot, spec: &Upgrade) -> Plan {
    planner::plan(world, spec).unwrap_or_else(|e| panic!("{:#?}", e.diagnostics))
}

/// The plan as a person sees it, on a terminal's width.
pub fn screen(plan: &Plan) -> String {
    let text = display::text(plan);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    text
}

/// Who moves and who hands over, in order.
pub fn acts(plan: &Plan) -> Vec<String> {
    plan.body
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::MoveReplica { pod, .. } => Some(format!("move {}", pod.name)),
            StepKind::HandOver { from, to, .. } => Some(format!("{} -> {}", from.name, to.name)),
            _ => None,
        })
        .collect()
}

/// Where the plan's first hand-over is.
pub fn first_hand_over(plan: &Plan) -> usize {
    plan.body
        .steps
        .iter()
        .position(|step| matches!(step.kind, StepKind::HandOver { .. }))
        .expect("the plan hands over")
}

/// What is found: a plan is refused with the same, and made where there is nothing.
pub fn findings(world: &Snapshot, spec: &Upgrade) -> Findings {
    let found = planner::findings(world, spec);
    match planner::plan(world, spec) {
        Ok(_) => assert_eq!(found.refusals, []),
        Err(refusal) => assert_eq!(refusal.diagnostics, found.refusals),
    }
    found
}

/// Each row's change is found, by the row's code.
pub fn each_row_is_said<C: Copy>(rows: &[(&str, C)], found: impl Fn(C) -> Vec<Diagnostic>) {
    for (row, (code, change)) in rows.iter().enumerate() {
        let found = found(*change);
        let said = found.iter().any(|diagnostic| diagnostic.code == *code);
        assert!(said, "{code} (row {row}): {found:#?}");
        assert_said(&found, code);
    }
}

/// The code is among them, of something, with evidence and with what to do.
pub fn assert_said(found: &[Diagnostic], code: &str) {
    let said = found
        .iter()
        .find(|diagnostic| diagnostic.code == code)
        .unwrap_or_else(|| panic!("{code}: {found:#?}"));
    assert!(
        said.evidence.first().is_some_and(|seen| !seen.is_empty()),
        "{said:#?}"
    );
    assert!(
        !said.fix.is_empty() && !said.subject.is_empty(),
        "{said:#?}"
    );
}
