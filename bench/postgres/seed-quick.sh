#!/bin/bash
# The "quick implementation" of a widely read how-to page on stateful upgrades, as a method of the benchmark.
#
# NOT a way to move a primary: it promotes a replica while the old primary still takes writes. It is here to be measured.
# The commands and their order are the page's. Adapted: the names of the set, the Service and the data directory, and
# the label in the Service's selector, which on the page is one that no pod carries (every write would end there).
#   seed-quick.sh            KUBECTL, NAMESPACE, SET, SERVICE, CANDIDATE and PRIMARY override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-db}"
set_name="${SET:-pg}" service="${SERVICE:-pg-primary}"
candidate="${CANDIDATE:-$set_name-3}" primary="${PRIMARY:-$set_name-0}"

# 1. Add new node to cluster
$kubectl scale statefulset "$set_name" --replicas=4

# 2. Wait for new replica to sync
$kubectl wait --for=condition=ready pod "$candidate" --timeout=300s

# 3. Promote new primary and failover
$kubectl exec "$candidate" -- pg_ctl promote -D /var/lib/postgresql/data/pgdata

# 4. Update service endpoint
$kubectl patch service "$service" --patch '{"spec":{"selector":{"app":"'"$set_name"'","role":null,"statefulset.kubernetes.io/pod-name":"'"$candidate"'"}}}'

# 5. Remove old primary node
$kubectl delete pod "$primary"
