//! The linter: each rule with a snippet that it finds and one that it does not, whole pages, and
//! input that is no runbook.

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

/// A code, the kind of file, what it finds, and what is right.
type Case = (codes::Rule, &'static str, &'static str, &'static str);

const ROLLS: &str = "for node in es-0 es-1; do\n kubectl create --raw \"/api/v1/namespaces/x/pods/$node/eviction\" -f e.json\n";

const CASES: &[Case] = &[
    (codes::UNREADABLE, "sh", "echo \"a", "echo 'a \" b'"),
    (
        codes::OUTSIDE,
        "md",
        "# A\n\naz aks list\n```\n\n## B\n\n```bash\nls\n```\n",
        "# A\n\n```\naz aks list\n```\n\n## B\n\n```bash\nls\n```\n",
    ),
    (
        codes::WRONG_LINK,
        "md",
        "[cluster snapshots](node-pool-snapshot.md)",
        "[node pool snapshots](node-pool-snapshot.md) and [cluster snapshots](cluster-snapshot.md)",
    ),
    (
        codes::SLEEP,
        "sh",
        "sleep 10\nkubectl drain n --timeout=9s",
        "until [ \"$(x)\" = y ]; do sleep 10; done\nkubectl drain n --timeout=9s; sleep 5",
    ),
    (
        codes::ORDINAL,
        "sh",
        "for master in redis-0 redis-2; do echo \"$master\"; done",
        "for master in $(masters); do :; done; for node in redis-0 redis-1; do :; done",
    ),
    (
        codes::GOES_ON,
        "sh",
        "kubectl wait --for=condition=Available deployment/web\nkubectl drain n --timeout=9s",
        "kubectl wait --for=condition=Available deployment/web || exit 1\nkubectl drain n --timeout=9s",
    ),
    (
        codes::NEVER_RETURNS,
        "sh",
        "kubectl get pods -w\necho done",
        "timeout 9 kubectl get pods -w\nkubectl port-forward svc/a 1 &\nkubectl get pods -w | grep -m1 x\nkubectl get pods -w",
    ),
    (
        codes::EMPTY_FILTER,
        "sh",
        "kubent -o json | jq '.[] | select(.deprecated == true)'",
        "kubent -o json | jq '.[] | select(.Namespace == \"a\")'\npluto -o json | jq '.items[] | select(.deprecated)'",
    ),
    (
        codes::TERMINAL,
        "sh",
        "x=$(kubectl exec -it web -- date)",
        "kubectl exec -it web -- bash\nx=$(kubectl exec web -- date)\nkubectl exec -i web -- tar x < a.tar",
    ),
    (
        codes::KUBECTL_OPTION,
        "sh",
        "kubectl drain n --delete-local-data --timeout=9s",
        "kubectl drain n --delete-emptydir-data --timeout 9s\nkubectl frob --xyz\nkubectl get po -owide -n db",
    ),
    (
        codes::FORCED,
        "sh",
        "kubectl delete pod redis-0 --grace-period=0 --force",
        "kubectl delete pod web-7d9-x --force\nkubectl delete job redis-0 --force",
    ),
    (
        codes::DELETED,
        "sh",
        "kubectl delete pod redis-0",
        "kubectl delete pod web-7d9-x\nkubectl create --raw /api/v1/namespaces/a/pods/redis-0/eviction -f e",
    ),
    (
        codes::READY,
        "sh",
        "kubectl wait --for=condition=Ready pod/redis-1\nkubectl exec redis-2 -- redis-cli cluster failover",
        "set -e\nkubectl wait --for=condition=Ready pod/redis-1\nkubectl exec redis-1 -- redis-cli info replication | grep -q \
         master_link_status:up\nkubectl exec redis-2 -- redis-cli cluster failover\nkubectl wait --for=condition=ready pod web",
    ),
    (
        codes::ALL_TRAFFIC,
        "sh",
        "# 30 % of the requests\nkubectl patch svc a -p '{\"spec\":{\"selector\":{\"v\":\"2\"}}}'",
        "# 100 % of the requests\nkubectl patch svc a -p '{\"spec\":{\"selector\":{\"v\":\"2\"}}}'",
    ),
    (
        codes::PINNED,
        "sh",
        "kubectl patch service pg -p 'spec: {selector: {statefulset.kubernetes.io/pod-name: pg-1}}'",
        "kubectl patch service pg -p '{\"spec\":{\"selector\":{\"role\":\"primary\"}}}'",
    ),
    (
        codes::REMOVES_PRIMARY,
        "sh",
        "pg_ctl stop\nkubectl exec pg-3 -- pg_ctl promote\nkubectl scale sts/pg --replicas=3",
        "pg_ctl stop\nkubectl exec pg-1 -- pg_ctl promote\nkubectl scale sts/pg --replicas=3\nkubectl scale sts/other --replicas=0",
    ),
    (
        codes::RESTARTS_ALL,
        "sh",
        "kubectl patch sts postgres -p '{\"spec\":{\"template\":{\"spec\":{}}}}'",
        "kubectl patch sts postgres -p '{\"spec\":{\"updateStrategy\":{\"type\":\"OnDelete\"},\"template\":{}}}'\n\
         kubectl patch sts web -p '{\"spec\":{\"template\":{}}}'",
    ),
    (
        codes::TEN_LINES,
        "sh",
        "kubectl logs -lapp=a --since=1h | grep ERROR",
        "kubectl logs -lapp=a --since=1h --tail=-1\nkubectl logs a\nkubectl logs -f -l app=a",
    ),
    (
        codes::OLDEST,
        "sh",
        "kubectl get events --sort-by=.metadata.creationTimestamp | head",
        "kubectl get events --sort-by .lastTimestamp | tail -5\nkubectl get events | head",
    ),
    (
        codes::NO_RELEASE,
        "sh",
        "kubectl api-versions | grep -q 'v1\\.30'",
        "kubectl api-versions | grep -q apps/v1\nkubectl version | grep v1.30",
    ),
    (
        codes::NO_ACCOUNT,
        "sh",
        "kubectl auth can-i get pods --as serviceaccount:a:b",
        "kubectl auth can-i get pods --as=system:serviceaccount:a:b --as-group=x\nkubectl get po --as=jane",
    ),
    (
        codes::ALL_TERMS,
        "sh",
        "kubectl get events --field-selector reason=Drain,reason=Surge",
        "kubectl get events --field-selector reason=Drain,type!=Normal,type!=Other",
    ),
    (
        codes::NOT_BEGUN,
        "sh",
        "while kubectl get node n -o jsonpath='{..[?(@.type==\"Ready\")].status}' | grep -q False; do sleep 1; done",
        "until kubectl get node n -o jsonpath='{..[?(@.type==\"Ready\")].status}' | grep -q False; do sleep 1; done",
    ),
    (
        codes::NO_BACKUP,
        "sh",
        "kubectl get job pg-backup -o jsonpath={.status.completionTime}",
        "kubectl wait --for=condition=complete job/pg-backup\npgbackrest verify\nkubectl get job seed -o jsonpath={.status.succeeded}",
    ),
    (
        codes::FORCED_DRAIN,
        "sh",
        "kubectl drain n --disable-eviction --timeout=9s",
        "kubectl drain n --disable-eviction=false --timeout=9s",
    ),
    (
        codes::ENDLESS_DRAIN,
        "sh",
        "kubectl drain n --ignore-daemonsets",
        "kubectl drain n --timeout=600s\ntimeout 600 kubectl drain n",
    ),
    (
        codes::AZ_COMMAND,
        "sh",
        "az aks nodepool uprade -g a --cluster-name b -n c",
        "az aks nodepool list -g a --cluster-name b\naz vm frob\naz aks $verb",
    ),
    (
        codes::AZ_OPTION,
        "sh",
        "az aks update -g a -n b --maintenance-window c",
        "az aks update -g a -n b --node-os-upgrade-channel NodeImage --output none\naz aks update --resource-g a -nb",
    ),
    (
        codes::AZ_MISSING,
        "sh",
        "az aks nodepool upgrade --cluster-name a -n b",
        "az configure --defaults group=a\naz aks nodepool upgrade --cluster-name a -n b\naz aks show --ids x",
    ),
    (
        codes::AZ_VALUE,
        "sh",
        "az aks maintenanceconfiguration delete -g a --cluster-name b --name autoUpgradeSchedule",
        "az aks maintenanceconfiguration delete -g a --cluster-name b --name default\n\
         az aks nodepool update -g a --cluster-name b -n c --drain-timeout 5 --max-surge 0 --max-unavailable 1",
    ),
    (
        codes::AZ_EXCLUSIVE,
        "sh",
        "az aks nodepool upgrade -g a --cluster-name b -n c --node-image-only --max-surge 1",
        "az aks nodepool upgrade -g a --cluster-name b -n c -k 1.36 --max-surge 1",
    ),
    (
        codes::TTL,
        "sh",
        "az network dns record-set cname set-record -g a -z b -n c -c d",
        "az network dns record-set cname set-record -g a -z b -n c -c d --ttl 30",
    ),
    (
        codes::WRONG_RESOURCE,
        "sh",
        "az fleet member create -g a -f b -n c --member-cluster-id /subscriptions/x/clusters/y",
        "az fleet member create -g a -f b -n c --member-cluster-id /s/x/providers/p/managedClusters/y\n\
         az fleet member create -g a -f b -n c --member-cluster-id \"$ID\"",
    ),
    (
        codes::NO_PROGRESS,
        "sh",
        "watch -n 5 az aks nodepool show -g a --cluster-name b -n c --query upgradeSettings",
        "az aks nodepool show -g a --cluster-name b -n c --query upgradeSettings",
    ),
    (
        codes::WHOLE_POOL,
        "sh",
        "kubectl drain n --timeout=9s || exit 1\naz aks nodepool upgrade -g a --cluster-name b -n c",
        "az aks nodepool upgrade -g a --cluster-name b -n c",
    ),
    (
        codes::FORCED_UPGRADE,
        "sh",
        "az aks update -g a -n b --enable-force-upgrade --upgrade-override-until 2026-01-01T00:00:00Z",
        "az aks update -g a -n b --disable-force-upgrade",
    ),
    (
        codes::FAILOVER_AT_MASTER,
        "sh",
        "redis-cli -h \"$master\" cluster failover",
        "redis-cli -h \"$replica\" cluster failover\nredis-cli -h master cluster info",
    ),
    (
        codes::NAME_NOT_SHOWN,
        "sh",
        "redis-cli cluster nodes | grep redis-1",
        "redis-cli cluster nodes | grep master\nredis-cli cluster nodes | grep -c -- -0",
    ),
    (
        codes::FORGET,
        "sh",
        "valkey-cli CLUSTER FORGET 07c3",
        "valkey-cli CLUSTER MYID",
    ),
    (
        codes::FORCED_FAILOVER,
        "sh",
        "redis-cli -h r1 cluster failover takeover",
        "redis-cli -h r1 cluster failover",
    ),
    (
        codes::OLD_MONGO,
        "sh",
        "mongo --eval 'rs.status()'",
        "mongosh --eval 'rs.status()'",
    ),
    (
        codes::MEMBER_REMOVED,
        "sh",
        "mongosh --eval 'rs.remove(\"a\")'\n./x; kubectl create --raw /api/v1/namespaces/a/pods/m/eviction -f e",
        "mongosh --eval 'rs.add(\"a\")'\nkubectl create --raw /api/v1/namespaces/a/pods/m/eviction -f e",
    ),
    (
        codes::MATCHES_BANNER,
        "sh",
        "mongosh --eval 'rs.status().myState' | grep -q 2",
        "mongosh --quiet --eval 'rs.status().myState' | grep -qx 2",
    ),
    (
        codes::FORCED_STEP_DOWN,
        "sh",
        "mongosh --eval 'db.adminCommand({replSetStepDown: 60, force: true})'",
        "mongosh --eval 'db.adminCommand({replSetStepDown: 60})'",
    ),
    (
        codes::NOT_FENCED,
        "sh",
        "psql -h b -c 'select pg_promote()'",
        "kubectl exec a -- pg_ctl stop -m fast\npsql -h b -c 'select pg_promote()'",
    ),
    (
        codes::WRONG_MEMBER,
        "sh",
        "kubectl exec pg-1 -- psql -c 'table pg_stat_replication'\npg_ctl stop\nkubectl exec pg-1 -- pg_ctl promote",
        "pg_ctl stop\nkubectl exec pg-1 -- pg_ctl promote\nkubectl exec pg-1 -- psql -c 'table pg_stat_replication'",
    ),
    (
        codes::LAG_BY_CLOCK,
        "sh",
        "psql -c 'select now() - pg_last_xact_replay_timestamp()'",
        "psql -c 'select pg_wal_lsn_diff(sent_lsn, replay_lsn) from pg_stat_replication'",
    ),
    (
        codes::QUORUM_NOT_COUNTED,
        "sh",
        "psql -c \"select 1 from pg_stat_replication where sync_state = 'sync'\"",
        "psql -c \"select 1 from pg_stat_replication where sync_state = 'sync' or sync_state = 'quorum'\"",
    ),
    (
        codes::RECOVERY_CONF,
        "sh",
        "echo standby_mode=on >> /data/recovery.conf",
        "touch /data/standby.signal; cat /data/recovery.conf",
    ),
    (
        codes::NOT_RELOADED,
        "sh",
        "kubectl patch cm pooler -p '{\"data\":{\"pgbouncer.ini\":\"[databases]\"}}'",
        "kubectl patch cm pooler -p '{\"data\":{\"pgbouncer.ini\":\"[databases]\"}}'\npsql pgbouncer -c RELOAD",
    ),
    (
        codes::NO_PAUSE,
        "sh",
        "kubectl patch cm pooler -p '{\"data\":{\"pgbouncer.ini\":\"[databases]\\na = max_db_connections=0\"}}'\npsql -c RELOAD",
        "kubectl patch cm pooler -p '{\"data\":{\"pgbouncer.ini\":\"[databases]\\na = max_db_connections=9\"}}'\npsql -c RELOAD",
    ),
    (
        codes::RELOADS_NOTHING,
        "sh",
        "psql -c 'select pg_reload_conf()'",
        "psql -c 'alter system set a = b' -c 'select pg_reload_conf()'",
    ),
    (
        codes::RESTORE_GOES_ON,
        "sh",
        "pg_restore -h a -d live x.dump",
        "pg_restore -h a -e -d new x.dump\npg_restore -l x.dump",
    ),
    (
        codes::STOPPED_INSIDE,
        "sh",
        "kubectl exec kafka-0 -- /opt/kafka/bin/kafka-server-stop.sh",
        "/opt/kafka/bin/kafka-server-stop.sh",
    ),
    (
        codes::REPORT_IS_NO_WAIT,
        "sh",
        "kafka-reassign-partitions.sh --bootstrap-server a --verify",
        "until kafka-reassign-partitions.sh --bootstrap-server a --verify; do sleep 1; done",
    ),
    (
        codes::ZOOKEEPER,
        "sh",
        "kafka-topics.sh --zookeeper z:2181 --list",
        "kafka-topics.sh --bootstrap-server a --list",
    ),
    (
        codes::ALLOCATION_OFF,
        "sh",
        "curl -XPUT e/_cluster/settings -d '{\"persistent\":{\"cluster.routing.allocation.enable\":\"none\"}}'\nROLLSdone",
        "ROLLScurl -XPUT e/_cluster/settings -d '{\"persistent\":{\"cluster.routing.allocation.enable\":\"none\"}}'\n\
         curl -XPUT e/_cluster/settings -d '{\"persistent\":{\"cluster.routing.allocation.enable\":null}}'\ndone",
    ),
    (
        codes::BACK_IS_NOT_GREEN,
        "sh",
        "ROLLSuntil curl -s e/_cat/nodes | grep -q \"$node\"; do sleep 1; done\ndone",
        "ROLLSuntil curl -s e/_cat/nodes | grep -q \"$node\"; do sleep 1; done\ncurl 'e/_cluster/health?wait_for_status=green'\ndone",
    ),
    (
        codes::OTHER_ALERT,
        "yaml",
        "groups:\n- rules:\n  - alert: EvictionsFail\n    expr: increase(kube_pod_container_status_restarts_total[5m]) > 5\n",
        "groups:\n- rules:\n  - alert: Restarts\n    expr: increase(kube_pod_container_status_restarts_total[5m]) > 5\n",
    ),
    (
        codes::NO_RATIO,
        "yaml",
        "groups:\n- rules:\n  - alert: HighErrorRate\n    expr: rate(http_requests_total{status=~\"5..\"}[5m]) > 0.05\n",
        "groups:\n- rules:\n  - alert: HighErrorRate\n    expr: rate(a{status=~\"5..\"}[5m]) / rate(a[5m]) > 0.05\n",
    ),
    (
        codes::NOT_READ,
        "md",
        "```bash\naz aks list\n```\n```yaml\napiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\n```\n",
        "```bash\naz aks list\n```\nWith the prometheus-operator:\n```yaml\napiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\n```\n",
    ),
    (
        codes::NO_DASHBOARD,
        "md",
        "```json\n{\"panels\": [{\"targets\": [\"up\"]}]}\n```\n",
        "```json\n{\"panels\": [{\"targets\": [{\"expr\": \"up\"}]}]}\n```\n",
    ),
];

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
    let strategies = lines("strategies.md", include_str!("fixtures/lint/strategies.md"));
    assert_eq!(
        strategies.join(", "),
        "10 FWL202, 11 FWL202, 12 FWL203, 16 FWL205, 20 FWL108, 27 FWL201, 28 FWL002, 34 FWL109, 41 \
         FWL206, 47 FWL015, 48 FWL014, 50 FWL104, 57 FWL111, 58 FWL110, 65 FWL201, 66 FWL200, 67 \
         FWL203, 68 FWL203, 69 FWL203, 74 FWL204, 75 FWL207, 81 FWL802, 87 FWL801, 89 FWL800, 95 \
         FWL803, 102 FWL202, 103 FWL206, 106 FWL003"
    );
    let stateful = lines("stateful.md", include_str!("fixtures/lint/stateful.md"));
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
        include_str!("fixtures/lint/strategies-corrected.md"),
    ),
    (
        "stateful.md",
        include_str!("fixtures/lint/stateful-corrected.md"),
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
