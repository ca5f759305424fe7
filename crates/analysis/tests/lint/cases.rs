//! Each rule with a snippet that it finds and one that it does not.

use ferriswheel_analysis::lint::codes;

/// A code, the kind of file, what it finds, and what is right.
pub type Case = (codes::Rule, &'static str, &'static str, &'static str);

/// Stands where a case says `ROLLS`.
pub const ROLLS: &str = "for node in es-0 es-1; do\n kubectl create --raw \"/api/v1/namespaces/x/pods/$node/eviction\" -f e.json\n";

/// In the order of the codes.
pub const CASES: &[Case] = &[
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
