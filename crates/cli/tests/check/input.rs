//! Input that is odd, broken, missing, or not meant for terminals.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{OLD, check, code, codes, json, text};

/// Names come from files that anybody wrote.
#[test]
fn names_act_on_no_terminal_and_no_shell() {
    let root = tempfile::tempdir().expect("a directory");
    let input = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: \"a; reboot \\e[2J\"\n  namespace: \"$(id)'\"\nspec:\n  replicas: 1\n";
    let output = check(
        root.path(),
        &[
            "--from", "-", "--target", "1.36", "--write", "a.md", "--write", "a.html", "--write",
            "a.xml",
        ],
        input,
    );
    let seen = text(&output.stdout);
    let command = "kubectl patch -n '$(id)'\\''' deployment 'a; reboot \u{fffd}[2J' --type=json";
    assert!(seen.contains(command), "{seen}");
    for name in ["a.md", "a.html", "a.xml"] {
        let written = std::fs::read_to_string(root.path().join(name)).expect(name);
        assert!(written.contains("reboot \u{fffd}[2J"), "{written}");
        assert!(!written.contains('\u{1b}'), "{written}");
    }
    assert!(!seen.contains('\u{1b}') && !text(&output.stderr).contains('\u{1b}'));
}

#[test]
fn a_link_that_goes_round_is_not_followed() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(root.path().join("m/sub")).expect("directories");
    std::fs::write(root.path().join("m/a.yaml"), OLD).expect("a file");
    std::os::unix::fs::symlink("..", root.path().join("m/sub/up")).expect("a link");
    let output = check(
        root.path(),
        &[
            "--from", "m", "--target", "1.36", "--only", "apis", "--output", "json",
        ],
        "",
    );
    let report = json(&output);
    assert_eq!(codes(&report), ["FWD001"]);
    assert_eq!(report["skipped"][0]["file"], "m/sub/up");
}

#[test]
fn nothing_read_is_not_nothing_found() {
    let root = tempfile::tempdir().expect("a directory");
    let said =
        |input: &str| text(&check(root.path(), &["--from", "-", "--target", "1.36"], input).stdout);
    assert_eq!(
        said("a: [1\n"),
        "Nothing was read: there is no object in the input.\n"
    );
    assert!(
        said("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n")
            .starts_with("Nothing found that 1.36")
    );
}

#[test]
fn a_reader_that_has_gone_is_no_defect() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_ferriswheel"))
        .args(["check", "--explain", "FWD001"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the binary starts");
    assert_eq!(code(&output), 141);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn bad_input_is_named_in_bounded_memory() {
    let root = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &[u8]| {
        std::fs::write(root.path().join(name), text).expect("a file");
    };
    write(
        "cut.yaml",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  na",
    );
    write("bytes.yaml", b"kind: A\nb: \"\xff\"\n");
    let deep = "[".repeat(100_000);
    write("deep.yaml", format!("a: {deep}").as_bytes());
    let closed = "]".repeat(100_000);
    write("deep.json", format!("{{\"a\":{deep}{closed}}}").as_bytes());
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let again = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{again}]\n"));
    }
    write("bomb.yaml", bomb.as_bytes());
    write(
        "record.yaml",
        b"apiVersion: v1\nkind: Secret\nmetadata: {name: sh.helm.release.v1.a.v1}\ntype: helm.sh/release.v1\ndata: {release: AAAA}\n",
    );
    // Sparse: the disk has no 129 MiB of it.
    let large = std::fs::File::create(root.path().join("large.yaml")).expect("a file");
    large.set_len(129 << 20).expect("a length");
    // 100 MB are taken: one document of that size is not parsed as one, a list of objects is.
    let mut whole = String::with_capacity(101 << 20);
    whole.push_str("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n");
    while whole.len() < 100 << 20 {
        whole.push_str(
            "  abcdefgh: 'jdbc:postgresql://h/d and more of the same text that nobody needs'\n",
        );
    }
    write("whole.yaml", whole.as_bytes());
    let program = env!("CARGO_BIN_EXE_ferriswheel");
    let output = Command::new("prlimit")
        // What is mapped counts, not what is touched: stacks of threads too.
        .args(["--as=1500000000", "--", program])
        .args([
            "check", "--from", ".", "--target", "1.36", "--output", "json", "--quiet",
        ])
        .current_dir(root.path())
        .output()
        .expect("prlimit is there");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let report = json(&output);
    assert_eq!(report["findings"], Value::Array(Vec::new()));
    let reasons: Vec<(&str, &str)> = report["skipped"]
        .as_array()
        .expect("skipped")
        .iter()
        .filter_map(|skipped| Some((skipped["file"].as_str()?, skipped["reason"].as_str()?)))
        .collect();
    for (file, reason) in [
        ("./cut.yaml", "cut off"),
        ("./bytes.yaml", "line 2: not UTF-8"),
        ("./deep.yaml", "not readable YAML"),
        ("./deep.json", "nested too deeply"),
        ("./bomb.yaml", "not readable YAML"),
        ("./record.yaml", "does not decode"),
        ("./large.yaml", "larger than 128 MiB, split it"),
        ("./whole.yaml", "a YAML document of 100 MiB"),
    ] {
        assert!(
            reasons
                .iter()
                .any(|(f, r)| *f == file && r.contains(reason)),
            "{file}: {reason}: {reasons:#?}"
        );
    }
}
