use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn one(text: &str) -> Document<'_> {
    let mut all = documents(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

#[test]
fn ordinary_manifests_are_plain() {
    let text = "\
# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # trailing
  namespace: \"shop\"
  annotations:
    note: 'it''s fine'
    url: http://example.test:80/x
spec:
  template:
    spec:
      containers:
      - name: web
        args: [\"--a=b\", -v, '3']
        command:
          - sh
          - -c
          - |
            if true: then
              {{ not a template }}
        env: []
        description: a long text
          that goes on
      - name: side
        image: side:1
      volumes:
        -
          name: late
  empty: {}
status:
";
    let document = one(text);
    // A file may end after any line.
    for (end, _) in text.match_indices('\n').skip(1) {
        let start = text.get(..=end).unwrap_or_default();
        assert!(one(start).plain, "{start}");
    }
    assert!(document.plain);
    assert_eq!(document.head.api, Some("apps/v1"));
    assert_eq!(document.head.kind, Some("Deployment"));
    assert_eq!(document.head.name, Some("web"));
    assert_eq!(document.head.namespace, Some("shop"));
    assert_eq!(document.line, 2);
}

#[test]
fn what_needs_a_parser_is_not_plain() {
    for text in [
        "a: &x 1\nb: *x\n",
        "a: {b: c}\n",
        "a: \"not closed\nb: 1\n",
        "a: 1\n   b: 2\n",
        "a:\n    b: 1\n  c: 2\n",
        "a: b: c\n",
        "a: {{ .Values.x }}\n",
        "{{- if .x }}\na: 1\n",
        "- a\nb: 1\n",
        "a: 1\n- b\n",
        "a:\n  - b\n  c: 1\n",
        "\ta: 1\n",
        "a: !!str 1\n",
        "a: [1, {b: 2}]\n",
        "a: @x\n",
        "just text\n",
        "a: |2\n   x\n",
        "a: \"x\\q\"\n",
        "kind: A\nkind: B\n",
        "a: 1\nna",
    ] {
        assert!(!one(text).plain, "{text}");
    }
}

#[test]
fn documents_are_told_apart_with_their_lines() {
    let text =
        "---\n# only a comment\n---\na: 1\n---\r\nkind: X\r\n...\n---\nb: |\n  ---\n\nc: 2\n";
    let found: Vec<(u32, bool)> = documents(text).iter().map(|d| (d.line, d.plain)).collect();
    assert_eq!(found, [(4, true), (6, true), (9, true)]);
}

#[test]
fn entries_of_items_have_their_lines() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n  x:\n  - 1\n- kind: B\n";
    assert_eq!(one(text).head.items, [4, 7]);
    let text = "apiVersion: v1\nkind: List\nitems:\n  - kind: A\n\n  - kind: B\n";
    assert_eq!(one(text).head.items, [4, 6]);
}

/// Pieces that make valid, odd and broken YAML when they are put together.
fn piece() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a: 1",
        "b:",
        "- x",
        "- y: 2",
        "-",
        "c: |",
        "d: >-",
        "text",
        "'q': 'v'",
        "\"k\": \"v\"",
        "e: [1, 2]",
        "f: {}",
        "# note",
        "",
        "g: \"open",
        "h: x: y",
        "- - z",
        "k: 'a' b",
        "i: a #c",
        "name: n",
        "kind: K",
        "metadata:",
        "apiVersion: v1",
        "? q",
        "l: *x",
        "m: - n",
        "---",
        "o: 'it''s'",
        "p : 1",
        "q:r",
        "- s:t",
        "u: v:",
        "[w]",
        "x: ]",
        "y: a, b",
        "z: 100%",
        "- 'a': 1",
        "-- b",
        "aa: -",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the scan calls plain, the parser reads, and finds the same names in it.
    #[test]
    fn plain_is_never_wrong(lines in prop::collection::vec((0_usize..5, piece()), 1..9)) {
        let text: String = lines
            .iter()
            .map(|(indent, piece)| format!("{}{piece}\n", " ".repeat(*indent)))
            .collect();
        for document in documents(&text) {
            if !document.plain {
                continue;
            }
            let mut options = serde_saphyr::Options::default();
            options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
            let value = serde_saphyr::from_str_with_options::<Value>(document.text, options);
            let value = match value {
                Ok(value) => value,
                Err(e) => return Err(TestCaseError::fail(format!("{:?}: {e}", document.text))),
            };
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            prop_assert_eq!(text("kind"), document.head.kind, "{:?}", document.text);
            prop_assert_eq!(text("apiVersion"), document.head.api, "{:?}", document.text);
            let name = value.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
            prop_assert_eq!(name, document.head.name, "{:?}", document.text);
        }
    }

    /// No input stops the scan.
    #[test]
    fn any_text_is_scanned(text in "\\PC{0,200}") {
        let _ = documents(&text);
    }
}
