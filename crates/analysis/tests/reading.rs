//! What is read, and what is refused in which words.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ferriswheel_analysis::manifest::{Object, Origin, Reading, Want, manifests_alone, read};

#[path = "support/helm.rs"]
mod helm;

fn text(name: &str, text: &str) -> Reading {
    read(name, text.as_bytes(), Want::Names)
}

fn names(objects: &[Object]) -> Vec<String> {
    objects
        .iter()
        .map(|o| format!("{} {} {}:{}", o.api, o.kind, o.name, o.line))
        .collect()
}

/// The only reason, of an input that gives no object.
fn refused(bytes: &[u8]) -> String {
    let reading = read("f", bytes, Want::Names);
    assert_eq!(names(&reading.objects), Vec::<String>::new());
    assert_eq!(reading.skipped.len(), 1, "{:?}", reading.skipped);
    reading.skipped[0].reason.clone()
}

#[test]
fn lists_streams_and_dumps() {
    let list = r#"{
 "apiVersion": "v1", "kind": "List",
 "items": [
  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "1"}},

  {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}}
 ]
}
{"kind": "CronJobList", "apiVersion": "batch/v1beta1", "items": [{"metadata": {"name": "c"}}]}
==== START logs for container x of pod y ====
{"not": "an object
==== END logs for container x of pod y ====
{"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}}"#;
    let reading = text("dump.json", list);
    assert_eq!(
        names(&reading.objects),
        [
            "v1 Pod a:4",
            "v1 Pod b:6",
            "batch/v1beta1 CronJob c:9",
            "v1 Node n:13"
        ]
    );
    assert_eq!(reading.objects[0].origin, Origin::Live);
    assert_eq!(reading.objects[1].origin, Origin::Manifest);
    assert_eq!(reading.skipped, []);
}

#[test]
fn what_is_left_of_an_object_is_named() {
    let (cut, odd) = (
        "without a name: the file may be cut off",
        "is no text: put it in quotes",
    );
    for (text, reason) in [
        ("apiVersion: apps/v1\nkind: Deployment\n", cut),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: [a]\n",
            odd,
        ),
        // Which YAML reads as true.
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: y\n",
            odd,
        ),
        ("apiVersion: v1\nkind: Service\nmetadata:\n", cut),
        (
            r#"{"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}"#,
            cut,
        ),
    ] {
        for want in [Want::Names, Want::Checks] {
            let reading = read("f", text.as_bytes(), want);
            // Its version counts, and nothing else of it.
            assert_eq!(reading.objects.len(), 1, "{text}");
            assert!(reading.objects[0].body.is_none(), "{text}");
            let said = &reading.skipped[0].reason;
            assert!(said.ends_with(reason), "{said}");
        }
    }
    // Files of other programs have a kind and no name.
    let text = "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n";
    let reading = read("f", text.as_bytes(), Want::Checks);
    assert_eq!((reading.objects.len(), reading.skipped.len()), (2, 0));
}

#[test]
fn yaml_lists_and_flow_style() {
    let reading = text(
        "l.yaml",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: c}}\n",
    );
    assert_eq!(
        names(&reading.objects),
        ["v1 Pod a:4", "v1 Pod b:7", "v1 Pod c:11"]
    );
    // Flow style that is not JSON, from the first byte on.
    let reading = text(
        "f.yaml",
        "{apiVersion: v1, kind: Pod, metadata: {name: c}}\n",
    );
    assert_eq!(names(&reading.objects), ["v1 Pod c:1"]);
}

#[test]
fn both_ways_of_reading_see_the_same() {
    let plain = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: b\n";
    let parsed = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\n";
    let [a, b] = [plain, parsed].map(|t| text("x.yaml", t).objects.remove(0));
    assert_eq!(a.reference(), b.reference());
    assert_eq!(a.place(), b.place());
}

#[test]
fn a_broken_document_does_not_hide_its_neighbours() {
    let reading = text(
        "m.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\na: [\n---\nkind: Pod\napiVersion: v1\nmetadata: {name: b}\n",
    );
    assert_eq!(names(&reading.objects), ["v1 Pod a:1", "v1 Pod b:7"]);
    assert_eq!(reading.skipped.len(), 1);
    assert!(
        reading.skipped[0].reason.starts_with("line "),
        "{:?}",
        reading.skipped
    );
}

#[test]
fn broken_input_is_named() {
    assert!(refused(b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  na").contains("cut off"));
    assert!(refused(b"apiVersion: v1\nkind: A\nspec:\n  a: 1\n  b").contains("not readable YAML"));
    assert!(refused(b"a: \"x").contains("not readable YAML"));
    assert_eq!(refused(b"kind: A\nb: \"\xff\"\n"), "line 2: not UTF-8");
    assert_eq!(
        refused(b"a: 1\n\0\n"),
        "line 2: a control character, not text"
    );
    assert_eq!(refused(b"\xff\xfea\0"), "UTF-16: save it as UTF-8");
    assert!(refused(b"{\"kind\": \"A\", \"x\": [1, 2").contains("cut off"));
    assert!(refused(b"a: 1\n").contains("not a Kubernetes object"));
    assert!(refused(b"hello\n").contains("not a Kubernetes object"));
    let template = refused(b"{{- if .Values.x }}\nkind: A\napiVersion: v1\n{{- end }}\n");
    assert!(template.contains("a template, not YAML"), "{template}");
    assert!(
        refused(b"apiVersion: v1\nkind: A\nmetadata:\n  name: {{ .x }}\n").contains("a template")
    );
    assert!(refused(b"\x1f\x8b\x08\0garbage").contains("gzip"));
}

#[test]
fn what_would_explode_is_refused() {
    let deep_json = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refused(deep_json.as_bytes()).contains("nested too deeply"));
    let deep_flow = format!("a: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refused(deep_flow.as_bytes()).contains("not readable YAML"));
    let deep_block: String = (0..3_000)
        .map(|i| format!("{}a:\n", " ".repeat(i)))
        .collect();
    assert!(refused(deep_block.as_bytes()).contains("not readable YAML"));
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let again = vec![format!("*a{}", i - 1); 10].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{again}]\n"));
    }
    assert!(refused(bomb.as_bytes()).contains("not readable YAML"));
}

#[test]
fn records_of_helm_that_do_not_decode_are_named() {
    let good = helm::secret(
        "shop",
        1,
        "deployed",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n",
    );
    let reading = text("s.yaml", &good);
    assert_eq!(names(&reading.releases[0].objects), ["v1 Pod a:1"]);
    assert_eq!(reading.objects.len(), 0);
    let shown = format!("{reading:?}");
    assert!(!shown.contains("hush"), "values are not kept");
    let start = good.find("release: ").expect("the data") + 9;
    let damaged = format!("{}AAAA{}", &good[..start], &good[start + 4..]);
    assert!(refused(damaged.as_bytes()).contains("sh.helm.release.v1.shop.v1 does not decode"));
    let empty = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ntype: helm.sh/release.v1\n";
    assert!(refused(empty.as_bytes()).contains("has no release"));
}

#[test]
fn a_record_can_be_kept_without_what_is_secret_in_it() {
    let manifest = "---\n# Source: c/templates/a.yaml\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\n\
                    metadata:\n  name: a\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: b\n\
                    stringData:\n  word: mellon\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - apiVersion: v1\n  kind: Secret\n  metadata: {name: c}\n  data: {word: bWVsbG9u}\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: d}}\n---\n: mellon [\n";
    let secret = helm::secret("shop", 3, "deployed", manifest);
    let object: serde_json::Value = serde_saphyr::from_str(&secret).expect("a Secret is YAML");
    let kept = manifests_alone(&object)
        .expect("a record")
        .expect("one that decodes");
    let release = kept["data"]["release"].as_str().expect("text");
    let plain = BASE64_STANDARD.decode(release).expect("base64");
    let plain = String::from_utf8(plain).expect("text");
    for word in ["hush", "mellon", "bWVsbG9u"] {
        assert!(!plain.contains(word), "{plain}");
    }
    let reading = text("s.json", &kept.to_string());
    let [release] = reading.releases.as_slice() else {
        panic!("{reading:?}")
    };
    assert_eq!((release.revision, release.status.as_str()), (3, "deployed"));
    assert_eq!(
        names(&release.objects),
        [
            "policy/v1beta1 PodDisruptionBudget a:1",
            "v1 Secret b:1",
            "v1 Secret c:1",
            "v1 Pod d:1"
        ]
    );
    // Another Secret is no record, and a damaged record is not kept.
    assert_eq!(
        manifests_alone(&serde_json::json!({"kind": "Secret", "type": "Opaque"})),
        None
    );
    let damaged = serde_json::json!({"kind": "Secret", "type": "helm.sh/release.v1", "data": {"release": "?"}});
    assert!(manifests_alone(&damaged).is_some_and(|kept| kept.is_err()));
}

#[test]
fn packaged_charts_are_read() {
    let mut tar = Vec::new();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n";
    for (name, body) in [
        ("c/Chart.yaml", "apiVersion: v2\nname: c\n"),
        ("c/values.yaml", "a: 1\n"),
        ("c/templates/pod.yaml", pod),
        ("c/templates/_helpers.tpl", "{{ define \"x\" }}"),
        ("c/templates/t.yaml", "{{ if x }}\na: b\n{{ end }}\n"),
        ("c/charts/sub/templates/pod.yaml", pod),
    ] {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        header[156] = b'0';
        header[257..262].copy_from_slice(b"ustar");
        tar.extend_from_slice(&header);
        tar.extend_from_slice(body.as_bytes());
        tar.resize(tar.len().div_ceil(512) * 512, 0);
    }
    let whole = tar.clone();
    tar.resize(tar.len() + 1024, 0);
    let reading = read("c.tgz", &helm::gzip(&tar), Want::Names);
    let files: Vec<&str> = reading.objects.iter().map(|o| &*o.file).collect();
    assert_eq!(
        files,
        [
            "c.tgz!c/templates/pod.yaml",
            "c.tgz!c/charts/sub/templates/pod.yaml"
        ]
    );
    assert_eq!(reading.skipped.len(), 1);
    assert_eq!(reading.skipped[0].file, "c.tgz!c/templates/t.yaml");
    let cut = read(
        "c.tgz",
        &helm::gzip(&whole[..whole.len() - 600]),
        Want::Names,
    );
    assert!(
        cut.skipped.iter().any(|s| s.reason.contains("cut off")),
        "{:?}",
        cut.skipped
    );
}
