//! Specs that people write wrongly: what is said, and where.

#![expect(clippy::unwrap_used, reason = "a test of mistakes wants the mistake")]

mod support;

use ferriswheel_plan::diagnostic::{Diagnostic, Place};
use ferriswheel_plan::policy::{Controls, Millis, Strategy, parse};
use support::SPEC;

fn problem(text: &str) -> Diagnostic {
    let mut problems = parse("upgrade.yaml", text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn at(line: usize, column: usize) -> Option<Place> {
    Some(Place { line, column })
}

#[test]
fn defaults_are_those_of_a_careful_person() {
    let spec = parse("upgrade.yaml", SPEC).unwrap();
    let Strategy::FerrisWheel(wheel) = &spec.spec.strategy else {
        panic!("the spec is a wheel's")
    };
    assert!(wheel.extra_seat);
    assert!(!wheel.approve_hand_over);
    let postgres = spec.spec.databases[0].postgres().unwrap();
    assert_eq!(postgres.window, Millis(5_000));
    assert_eq!(postgres.pause, Millis(2_000));
    assert_eq!(postgres.port, 5432);
    assert_eq!(spec.spec.databases[0].controls, Controls::WhenPossible);
    let without = SPEC.replace("  strategy:\n    ferrisWheel: {}\n", "");
    assert_eq!(parse("upgrade.yaml", &without).unwrap(), spec);
}

#[test]
fn the_example_is_a_good_spec() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/postgres/upgrade.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let spec = parse("upgrade.yaml", &text).unwrap();
    assert_eq!(spec.spec.databases[0].controls, Controls::Required);
}

#[test]
fn a_misspelt_field_is_named_with_its_place_and_the_nearest_name() {
    let said = problem(&SPEC.replace("poolers: [db", "poller: [db"));
    assert_eq!(said.code, "FW0102");
    assert_eq!(said.message, "unknown field `poller`");
    assert_eq!(said.fix, "did you mean `poolers`?");
    assert_eq!(said.subject, "upgrade.yaml");
    assert_eq!(said.place, at(18, 9));
    assert_eq!(said.evidence, ["        poller: [db/pgbouncer]"]);
}

#[test]
fn mistakes_are_explained() {
    let table = [
        (
            "ferrisWheel: {}",
            "ferriswheel: {}",
            "FW0102",
            "did you mean `ferrisWheel`?",
        ),
        (
            "ferrisWheel: {}",
            "ferrisWheel: { extraSet: true }",
            "FW0102",
            "did you mean `extraSeat`?",
        ),
        (
            "writeStall: 1s",
            "colour: red",
            "FW0102",
            "known here: writeStall, ackedLoss, errors",
        ),
        ("writeStall: 1s", "writeStall: 1 hour", "FW0101", ""),
        ("statefulSet: db/pg", "statefulSet: pg", "FW0101", ""),
        (
            "kubernetesVersion: \"1.36.3\"",
            "kubernetesVersion: \"1.36\"",
            "FW0101",
            "",
        ),
        (
            "kubernetesVersion: \"1.36.3\"",
            "pools: []",
            "FW0104",
            "add `kubernetesVersion:` here",
        ),
        (
            "kind: Upgrade",
            "kind: Upgarde",
            "FW0103",
            "write `apiVersion: ferriswheel.dev/v1alpha1` and `kind: Upgrade`",
        ),
        (
            "v1alpha1",
            "v9",
            "FW0103",
            "write `apiVersion: ferriswheel.dev/v1alpha1` and `kind: Upgrade`",
        ),
        (
            "database: app",
            "database: app\n        pause: 5s",
            "FW0104",
            "keep `pause` below `window`",
        ),
        (
            "  target:\n    kubernetesVersion: \"1.36.3\"\n",
            "",
            "FW0104",
            "say where the pools shall be: `target: { kubernetesVersion: \"1.36.3\" }`, or choose `strategy: { handOver: {} }` to move the primary only",
        ),
        (
            "ferrisWheel: {}",
            "handOver: {}",
            "FW0104",
            "remove `target`, or choose `strategy: { ferrisWheel: {} }`",
        ),
        (
            "name: aks-prod-1-36",
            "name: \"\"",
            "FW0104",
            "give the run a name",
        ),
        (
            "ferrisWheel: {}",
            "ferrisWheel: { soakSeconds: 100000 }",
            "FW0104",
            "choose at most 3600",
        ),
        ("ackedLoss: 0", "ackedLoss: none", "FW0101", ""),
    ];
    for (good, bad, code, fix) in table {
        let said = problem(&SPEC.replacen(good, bad, 1));
        assert_eq!(said.code, code, "{bad}: {said:#?}");
        assert!(said.place.is_some(), "{bad}: {said:#?}");
        assert!(
            !said.fix.is_empty() && !said.message.is_empty(),
            "{bad}: {said:#?}"
        );
        if !fix.is_empty() {
            assert_eq!(said.fix, fix, "{bad}");
        }
    }
}

#[test]
fn a_bad_value_is_shown_with_its_line() {
    let said = problem(&SPEC.replace("statefulSet: db/pg", "statefulSet: pg"));
    assert!(
        said.message
            .contains("`pg` is not of the form namespace/name"),
        "{said:#?}"
    );
    assert_eq!(said.place.map(|place| place.line), Some(17));
    assert_eq!(said.evidence, ["        statefulSet: pg"]);
}

#[test]
fn two_databases_of_one_name_or_set_are_refused() {
    let (_, database) = SPEC.split_once("  databases:\n").unwrap();
    let problems = parse("upgrade.yaml", &format!("{SPEC}{database}")).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn text_that_is_no_yaml_is_refused() {
    for text in ["", "{", "a: [", "- 1", "\t", "a: b: c", "apiVersion: *x"] {
        let problems = parse("upgrade.yaml", text).unwrap_err();
        assert!(!problems.is_empty(), "{text}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Any cut, and any text in the place of any part, is read or explained.
    #[test]
    fn no_text_breaks_the_reader(
        from in 0..SPEC.len(),
        length in 0..80_usize,
        text in "[ -~\n\t\u{e9}]{0,40}",
    ) {
        let to = (from + length).min(SPEC.len());
        let spoiled = format!("{}{text}{}", &SPEC[..from], &SPEC[to..]);
        if let Err(problems) = parse("upgrade.yaml", &spoiled) {
            proptest::prop_assert!(!problems.is_empty());
            proptest::prop_assert!(problems.iter().all(|said| !said.fix.is_empty()));
        }
    }
}

#[test]
fn tls_that_verifies_needs_something_to_verify_with() {
    for (tls, missing) in [
        ("{ mode: verify-ca }", "`ca`"),
        ("{ mode: verify-full, ca: db/pg-ca }", "`serverName`"),
    ] {
        let text = SPEC.replace(
            "        database: ",
            &format!("        tls: {tls}\n        database: "),
        );
        assert_ne!(text, SPEC);
        let said = problem(&text);
        assert_eq!(said.code, "FW0104");
        assert!(said.message.contains(missing), "{said:?}");
    }
    let good = SPEC.replace(
        "        database: ",
        "        poolerTls: { mode: require }\n        database: ",
    );
    let spec = parse("upgrade.yaml", &good).unwrap();
    let tls = spec.spec.databases[0]
        .postgres()
        .unwrap()
        .pooler_tls
        .clone()
        .unwrap();
    assert_eq!(tls.mode.to_string(), "require");
}

/// Where nothing is negotiated, a mode that would is a mistake; without the block nothing is written of it.
#[test]
fn tls_of_other_systems_is_on_or_off() {
    let of = |system: &str, tls: &str| {
        format!(
            "apiVersion: ferriswheel.dev/v1alpha1\nkind: Upgrade\nmetadata: {{ name: a }}\nspec:\n  \
             cluster: {{ subscription: s, resourceGroup: g, name: n }}\n  strategy: {{ handOver: {{}} }}\n  \
             databases:\n    - name: d\n      {system}:\n        statefulSet: a/b\n{tls}"
        )
    };
    let users =
        "admin: a/u\n        replication: a/u\n        application: a/u\n        database: d";
    for system in ["redis", "mongodb", "mariadb"] {
        let of = |system: &str, tls: &str| match system {
            "mariadb" => of(system, &format!("        {users}\n{tls}")),
            _ => of(system, tls),
        };
        for (tls, wrong) in [
            ("        tls: { ca: a/ca }\n", "the mode prefer"),
            ("        tls: { mode: verify-ca }\n", "no `ca`"),
        ] {
            let said = problem(&of(system, tls));
            assert_eq!(said.code, "FW0104");
            assert!(said.message.contains(wrong), "{said:?}");
            assert!(said.fix.contains("require") || said.fix.contains("ca.crt"));
        }
        let good = of(system, "        tls: { mode: verify-ca, ca: a/ca }\n");
        parse("upgrade.yaml", &good).unwrap();
        let plain = parse("upgrade.yaml", &of(system, "")).unwrap();
        let written = serde_json::to_string(&plain).unwrap();
        assert!(!written.contains("tls"), "{written}");
    }
}
