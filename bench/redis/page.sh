#!/bin/bash
# The Redis script of a widely read how-to page on stateful upgrades, as a method of the benchmark.
#
# NOT a way to roll a cluster: it is here to be measured. The commands and their order are the page's. Adapted: the names
# of the members (the page takes roles from ordinals; here they are the primaries and replicas of now, so that it begins
# in its favour), the namespace, and the password, which the page's servers do not have. Left as they are: CLUSTER NODES is
# searched for a pod's name (found here, because the example announces host names; without them CLUSTER FORGET gets no
# node); CLUSTER FAILOVER is sent to the primary, which refuses it, and redis-cli reports success; nothing is looked at
# afterwards; `kubectl wait` ends at once when the new pod is not there yet.
#   page.sh            KUBECTL, NAMESPACE, LEADERS and FOLLOWERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-cache}"
leaders="${LEADERS:-redis-0 redis-2 redis-4}" followers="${FOLLOWERS:-redis-1 redis-3 redis-5}"
first="${leaders%% *}"

# redis_cli POD COMMAND...
redis_cli() {
  local pod=$1
  shift
  # shellcheck disable=SC2016 # the container's shell reads the password
  $kubectl exec "$pod" -- sh -c 'REDISCLI_AUTH="$(cat /etc/redis-secrets/password)" exec redis-cli "$@"' sh "$@"
}

echo "=== Redis Cluster Rolling Upgrade ==="

# Get cluster topology
redis_cli "$first" cluster nodes

# Upgrade replica nodes first (no impact to writes)
for replica in $followers; do
  echo "Upgrading replica: $replica"

  # Remove replica from cluster temporarily
  REPLICA_ID=$(redis_cli "$first" cluster nodes | grep "$replica" | cut -d' ' -f1)
  # shellcheck disable=SC2086 # as on the page
  redis_cli "$first" cluster forget $REPLICA_ID

  # Drain and upgrade node
  $kubectl delete pod "$replica"
  $kubectl wait --for=condition=ready pod "$replica" --timeout=120s

  # Rejoin cluster
  # shellcheck disable=SC2046 # as on the page
  redis_cli "$first" cluster meet $($kubectl get pod "$replica" -o jsonpath='{.status.podIP}') 6379

  echo "Replica $replica upgraded and rejoined"
done

# Upgrade master nodes with failover
for master in $leaders; do
  echo "Upgrading master: $master"

  # Trigger failover to replica
  redis_cli "$master" cluster failover

  # Wait for failover completion
  sleep 10

  # Upgrade the demoted master (now replica)
  $kubectl delete pod "$master"
  $kubectl wait --for=condition=ready pod "$master" --timeout=120s

  echo "Master $master upgraded"
done

echo "Redis cluster upgrade completed"
