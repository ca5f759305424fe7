//! The linter: each rule with a snippet that it finds and one that it does not, whole pages, and
//! input that is no runbook.

mod cases;

use cases::{CASES, ROLLS};
use ferriswheel_analysis::lint::{self, MAX_FILE, Report, codes};
use proptest::prelude::*;

fn report(file: &str, text: &str) -> Report {
    lint::lint(file, text.as_bytes())
}

fn codes_of(file: &str, text: &str) -> Vec<&'static str> {
    let report = report(file, text);
    assert_eq!(report.skipped, [], "{text}");
    report.findings.iter().map(|finding| finding.code).collect()
}

fn lines(file: &str, text: &str) -> Vec<String> {
    let report = report(file, text);
    assert_eq!(report.skipped, []);
    let found = report.findings.iter();
    found.map(|f| format!("{} {}", f.line, f.code)).collect()
}

#[test]
fn a_surge_is_at_most_the_whole_pool() {
    let found = |surge: &str| {
        let text = format!("az aks nodepool update -g a --cluster-name b -n c --max-surge {surge}");
        codes_of("x.sh", &text).contains(&codes::AZ_VALUE.0)
    };
    assert!(found("150%") && found("101%"));
    assert!(!found("100%") && !found("33%") && !found("150") && !found("$SURGE"));
}

#[test]
fn each_rule_finds_its_mistake_and_leaves_the_right_alone() {
    let known: Vec<codes::Rule> = CASES.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(known, codes::ALL);
    for ((code, severity), kind, wrong, right) in CASES {
        let file = format!("x.{kind}");
        let wrong = wrong.replace("ROLLS", ROLLS);
        let found = report(&file, &wrong);
        let this = found.findings.iter().find(|finding| finding.code == *code);
        let this = this.unwrap_or_else(|| panic!("{code} is not found in {wrong}: {found:?}"));
        assert_eq!(this.severity, *severity, "{code}");
        assert!(!this.message.is_empty() && !this.fix.is_empty(), "{code}");
        let right = right.replace("ROLLS", ROLLS);
        let found = codes_of(&file, &right);
        assert!(!found.contains(code), "{code} is found in {right}");
    }
}

#[test]
fn the_pages_with_mistakes_by_line() {
    let strategies = lines(
        "strategies.md",
        include_str!("../fixtures/lint/strategies.md"),
    );
    assert_eq!(
        strategies.join(", "),
        "10 FWL202, 11 FWL202, 12 FWL203, 16 FWL205, 20 FWL108, 27 FWL201, 28 FWL002, 34 FWL109, 41 \
         FWL206, 47 FWL015, 48 FWL014, 50 FWL104, 57 FWL111, 58 FWL110, 65 FWL201, 66 FWL200, 67 \
         FWL203, 68 FWL203, 69 FWL203, 74 FWL204, 75 FWL207, 81 FWL802, 87 FWL801, 89 FWL800, 95 \
         FWL803, 102 FWL202, 103 FWL206, 106 FWL003"
    );
    let stateful = lines("stateful.md", include_str!("../fixtures/lint/stateful.md"));
    assert_eq!(
        stateful.join(", "),
        "5 FWL114, 12 FWL103, 13 FWL500, 14 FWL105, 15 FWL102, 20 FWL503, 21 FWL107, 24 FWL013, 25 \
         FWL501, 29 FWL501, 29 FWL502, 30 FWL505, 30 FWL506, 31 FWL010, 32 FWL500, 33 FWL101, 34 \
         FWL106, 39 FWL507, 40 FWL105, 41 FWL500, 42 FWL002, 48 FWL012, 48 FWL116, 49 FWL208, 50 \
         FWL113, 54 FWL504, 56 FWL103, 63 FWL011, 64 FWL301, 65 FWL302, 66 FWL102, 67 FWL012, 67 \
         FWL103, 70 FWL011, 71 FWL300, 72 FWL010, 73 FWL102, 80 FWL011, 81 FWL400, 81 FWL401, 82 \
         FWL102, 83 FWL400, 83 FWL401, 84 FWL400, 84 FWL402, 88 FWL011, 88 FWL400, 97 FWL700, 100 \
         FWL102, 101 FWL012, 101 FWL103, 102 FWL701, 113 FWL600, 114 FWL601, 115 FWL102, 116 \
         FWL103, 133 FWL508, 140 FWL203, 142 FWL201, 153 FWL012"
    );
}

#[test]
fn the_corrected_pages_have_none() {
    for (name, text) in CORRECTED {
        assert_eq!(lines(name, text), Vec::<String>::new(), "{name}");
    }
}

const CORRECTED: [(&str, &str); 2] = [
    (
        "strategies.md",
        include_str!("../fixtures/lint/strategies-corrected.md"),
    ),
    (
        "stateful.md",
        include_str!("../fixtures/lint/stateful-corrected.md"),
    ),
];

#[test]
fn places_are_those_of_the_file() {
    let page = "1. First\n\n   ```bash\n   echo \"ü\" && kubectl \\\n     drain n --forse --timeout=1s\n   ```\n";
    let report = report("a.md", page);
    let places: Vec<(u32, u32, &str)> = report
        .findings
        .iter()
        .map(|f| (f.line, f.column, f.fix.as_str()))
        .collect();
    assert_eq!(places, [(5, 14, "write --force")]);
    // What another shell is given, and what a pipeline runs.
    let inner = "kubectl exec a -- bash -c '\necho x\necho y > recovery.conf\n'";
    assert_eq!(lines("a.sh", inner), ["3 FWL504"]);
    let step = "jobs:\n  a:\n    steps:\n    - run: |\n        ls\n        az aks nodpool list\n";
    assert_eq!(lines("a.yml", step), ["6 FWL200"]);
    // A step of a pipeline stops by itself; the same lines in a script do not.
    let waits = "kubectl rollout status sts/a\nkubectl drain n --timeout=1s\n";
    assert_eq!(lines("a.sh", waits), ["1 FWL012"]);
    let step = format!("script:\n  - |\n    {}", waits.replace('\n', "\n    "));
    assert_eq!(lines("a.yml", &step), Vec::<String>::new());
}

#[test]
fn a_comment_accepts_a_finding() {
    let accepted = "# ferriswheel: allow FWL116 because the job has a limit\nkubectl drain a || exit 1\nkubectl drain b\n";
    assert_eq!(lines("a.sh", accepted), ["3 FWL116"]);
}

#[test]
fn input_that_is_no_runbook_is_refused_in_words() {
    let reason = |bytes: &[u8]| {
        let report = lint::lint("f.sh", bytes);
        assert_eq!(report.findings, []);
        report.skipped[0].reason.clone()
    };
    assert_eq!(reason(b"a\n\xff"), "not UTF-8: line 2, save it as UTF-8");
    assert_eq!(reason(b"a\0"), "not a text: it has a zero byte");
    assert_eq!(
        reason(&vec![b'a'; MAX_FILE + 1]),
        "larger than 512 KiB: not a runbook"
    );
    for deep in [
        "$(",
        "(",
        "{ ",
        "[[ (",
        "if ",
        "${a:-",
        "$((",
        "case x in a) ",
        "a | ",
        "<(",
        "\"$(",
    ] {
        let text = deep.repeat(20_001);
        let report = report("f.sh", &text);
        let codes: Vec<&str> = report.findings.iter().map(|f| f.code).collect();
        assert_eq!(codes, ["FWL001"], "{deep}");
    }
    // One command after the other.
    let long = "kubectl get pods -n a | grep b # c\n".repeat(3_000);
    assert_eq!(
        reason(long.as_bytes()),
        "more than 5000 commands: those after them were not looked at"
    );
}

/// Text that looks like scripts, so that more than the first error is reached.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "kubectl ",
        "exec ",
        "-- ",
        "az ",
        "aks ",
        "--name",
        "=",
        "-",
        "redis-cli ",
        "cluster failover ",
        "bash -c ",
        "'",
        "\"",
        "$(",
        ")",
        "${",
        "}",
        "$x",
        "| ",
        "&& ",
        "; ",
        "\n",
        "while ",
        "do ",
        "done ",
        "for a in ",
        "if ",
        "then ",
        "fi ",
        "<<EOF\n",
        "EOF\n",
        "```",
        "```bash\n",
        "run: |\n  ",
        "- ",
        "command: [\"sh\", \"-c\", \"",
        "\\",
        "ü",
        "#",
        "{",
        "[",
        "]",
        "patch svc a -p ",
        "{\"spec\":",
        "sleep 1\n",
        "\t",
        "> ",
        "<a b>",
        "case x in ",
        "esac ",
        "((",
        "))",
        "\r\n",
        "select(.",
        "jq ",
        "--as ",
        "curl ",
        "mongo ",
        "psql ",
        "promote ",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nothing_panics(text in pieces(), noise in ".{0,80}", cut in any::<prop::sample::Index>()) {
        for kind in ["sh", "md", "yaml"] {
            let file = format!("x.{kind}");
            let _ = lint::lint(&file, text.as_bytes());
            let _ = lint::lint(&file, noise.as_bytes());
            let (_, page) = CORRECTED[text.len() % 2];
            let chars: Vec<char> = page.chars().skip(cut.index(page.len())).take(400).collect();
            let broken: String = chars.iter().collect::<String>() + &noise + &text;
            let _ = lint::lint(&file, broken.as_bytes());
        }
    }
}
