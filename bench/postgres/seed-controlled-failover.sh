#!/bin/bash
# The "controlled failover" of a widely read how-to page on stateful upgrades, as a method of the benchmark.
#
# NOT a way to move a primary: its lag check measures the wrong server, its pause changes a ConfigMap that no pooler is
# told to read, and it promotes while the old primary still takes writes. It is here to be measured. The commands and
# their order are the page's, the 10 s of sleep too. Adapted: names of set, Service, ConfigMap, database and directory.
# The pooler's ConfigMap is left as the page leaves it; whoever runs this puts it back.
#   seed-controlled-failover.sh    KUBECTL, NAMESPACE, SET, SERVICE, CANDIDATE and PRIMARY override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-db}"
set_name="${SET:-pg}" service="${SERVICE:-pg-primary}"
candidate="${CANDIDATE:-$set_name-3}" primary="${PRIMARY:-$set_name-0}"

echo "=== Starting Controlled Failover ==="

# Ensure minimal replication lag (< 100ms)
LAG=$($kubectl exec "$primary" -- psql -t -c "SELECT EXTRACT(EPOCH FROM now() - pg_last_xact_replay_timestamp());")
if (( $(echo "$LAG > 0.1" | bc -l) )); then
    echo "ERROR: Replication lag too high ($LAG seconds)"
    exit 1
fi

# Pause application writes (use connection pool drain)
$kubectl patch configmap pgbouncer-config --patch '{"data":{"pgbouncer.ini":"[databases]\napp = host='"$service"' port=5432 dbname=app pool_mode=statement max_db_connections=0"}}'

# Wait for active transactions to complete
sleep 10

# Promote new primary (this is the 30-second downtime window)
$kubectl exec "$candidate" -- pg_ctl promote -D /var/lib/postgresql/data/pgdata

# Update service selector to new primary
$kubectl patch service "$service" --patch '{"spec":{"selector":{"role":null,"statefulset.kubernetes.io/pod-name":"'"$candidate"'"}}}'

# Resume application writes
$kubectl patch configmap pgbouncer-config --patch '{"data":{"pgbouncer.ini":"[databases]\napp = host='"$service"' port=5432 dbname=app pool_mode=statement"}}'

echo "Failover completed"

# Remove old primary node
$kubectl delete pod "$primary" --force
