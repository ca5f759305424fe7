use super::*;
use crate::manifest::scan::documents;
use crate::manifest::yaml::options;
use proptest::prelude::*;

/// As the parser reads it.
fn parsed(text: &str) -> Value {
    serde_saphyr::from_str_with_options(text, options()).unwrap()
}

#[test]
fn ordinary_manifests_are_read_as_the_parser_does() {
    let text = "\
# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # trailing
  namespace: \"shop\"
  annotations:
    note: 'it''s fine'
    'quoted key': x
    url: http://example.test:80/x
    empty:
spec:
  replicas: 3
  paused: false
  template:
    spec:
      nodeSelector: {}
      containers:
      - name: web
        args: [\"--a=b\", -v, '3', 4, true]
        command:
          - sh
          - -c
          - |
            if true: then

              {{ not a template }}

        env: []
        resources:
          requests: # what it asks for
            cpu: 250m
            memory: 256Mi
      - name: side
        image: side:1
        script: |-
          a
           b
      volumes:
        -
          name: late
        - - nested
          - 10.0.0.1
status:
";
    let read = tree(text, 1_000).unwrap();
    assert_eq!(read, parsed(text));
    assert_eq!(
        read["spec"]["template"]["spec"]["containers"][0]["command"][2],
        "if true: then\n\n  {{ not a template }}\n"
    );
    let windows = text.replace('\n', "\r\n");
    assert_eq!(tree(&windows, 1_000), Some(read));
    // With fewer nodes than it has it is the parser's.
    assert_eq!(tree(text, 20), None);
}

/// Examples that people start from: none of their plain documents needs the parser.
#[test]
fn the_examples_are_read_as_the_parser_does() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let (mut open, mut read) = (vec![root], 0);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            for document in documents(&text).iter().filter(|document| document.plain) {
                if let Some(value) = tree(document.text, 10_000) {
                    assert_eq!(value, parsed(document.text), "{}", path.display());
                    read += 1;
                }
            }
        }
    }
    assert!(read > 10, "{read} documents");
}

#[test]
fn what_takes_more_than_a_look_is_the_parsers() {
    for text in [
        "a: >\n  x\n",
        "a: |+\n  x\n",
        "a: |\n  x",
        "a: |\n\n",
        "a: 1\tb\n",
        "a: b\n  c\n",
        "- b\n  c\n",
        "a: 0123\n",
        "a: 1.5\n",
        "a: 0x1f\n",
        "a: 1_000\n",
        "a: 12345678901234567890\n",
        "a: .inf\n",
        "a: yes\n",
        "a: ~\n",
        "a: \u{e4}\n",
        "1: a\n",
        "on: a\n",
        "<<: a\n",
        "'a''b': c\n",
        "a: b\rc: d\n",
        "a: b\u{2028}c\n",
    ] {
        assert_eq!(tree(text, 100), None, "{text:?}");
    }
    let deep: String = (0..50).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert_eq!(tree(&deep, 1_000), None);
}

/// Pieces that make valid, odd and broken YAML when they are put together.
fn piece() -> impl Strategy<Value = String> {
    let scalars = vec![
        "1",
        "-1",
        "+1",
        "0",
        "007",
        "0x1F",
        "0o17",
        "0b1",
        "1_000",
        "1e3",
        "1E3",
        "1e999",
        "1.5",
        "1.",
        ".5",
        "1.2.3",
        "10.0.0.1",
        "1m",
        "250m",
        "1Gi",
        "2026-11-21",
        "2026-11-21T10:00:00Z",
        "12:30",
        "1e",
        "1e3Gi",
        "18446744073709551616",
        "999999999999999999",
        "true",
        "True",
        "yes",
        "No",
        "on",
        "y",
        "null",
        "Null",
        "~",
        "~x",
        "inf",
        "nan",
        "NaN",
        ".inf",
        "-.inf",
        ".nan",
        ".x",
        "./x",
        "'a'#c",
        "\"b\"#c",
        "-inf",
        "-x",
        "--x=1",
        "- x",
        "/a/b",
        "_a",
        "$(A)",
        "$A",
        "(x)",
        "<<",
        "<a>",
        "=",
        "a=b",
        "a:b",
        "a: b",
        "a #c",
        "a#c",
        "#c",
        "a b",
        "x,y",
        "'it''s'",
        "'a' #c",
        "\"b\"",
        "\"b\" c",
        "\"b\\n\"",
        "''",
        "\"\"",
        "[]",
        "{}",
        "[a, 'b', \"c\", 4, true]",
        "[a,b] # c",
        "[ ]",
        "[a: b]",
        "{a: b}",
        "|",
        "|-",
        "|+",
        ">",
        ">-",
        "| # c",
        "|2",
        "*x",
        "&x a",
        "!!str 1",
        "\u{e4}",
        "a\u{e4}",
        "a\u{a0}b",
        "%x",
        "@x",
        "`x`",
        "a\\b",
        "\\a",
        ";a",
        "^a",
        "{{ .X }}",
        "x{{ .X }}",
        "a}",
        "a]",
        "",
        "  ",
        "a ",
        "a\tb",
        "a\t#c",
        "? a",
        "?a",
        ":a",
        "-",
        "--",
        "---x",
    ];
    let whole = vec![
        "# note",
        "",
        " ",
        "text",
        "- - z",
        "- - a: b",
        "-",
        "'q' : v",
        "\"k\": v",
        "'k''s': v",
        "p : 1",
        "on: 1",
        "1: 2",
        ".5: 1",
        "<<: a",
    ];
    prop_oneof![
        4 => (prop::sample::select(vec!["a", "b", "c.d/e", "f"]), prop::sample::select(scalars.clone()))
            .prop_map(|(key, value)| format!("{key}: {value}")),
        2 => prop::sample::select(vec!["a:", "b:", "c: # note"]).prop_map(str::to_owned),
        2 => prop::sample::select(scalars.clone()).prop_map(|value| format!("- {value}")),
        2 => (prop::sample::select(vec!["a", "b"]), prop::sample::select(scalars))
            .prop_map(|(key, value)| format!("- {key}: {value}")),
        1 => prop::sample::select(whole).prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is read here, the parser reads the same.
    #[test]
    fn never_another_tree(
        lines in prop::collection::vec((0_usize..4, piece()), 1..9),
        end in prop::sample::select(vec!["", "\n", "\r\n", "\n\n"]),
    ) {
        let lines: Vec<String> = lines
            .iter()
            .map(|(indent, piece)| format!("{}{piece}", " ".repeat(*indent)))
            .collect();
        let text = lines.join("\n") + end;
        for document in documents(&text).iter().filter(|document| document.plain) {
            let Some(value) = tree(document.text, 1_000) else {
                continue;
            };
            let parsed = serde_saphyr::from_str_with_options::<Value>(document.text, options());
            match parsed {
                Ok(parsed) => prop_assert_eq!(value, parsed, "{:?}", document.text),
                Err(e) => return Err(TestCaseError::fail(format!("{:?}: {e}", document.text))),
            }
        }
    }
}
