#!/bin/bash
# The script of page.sh, repaired so that it does what its text says, as a method of the benchmark.
#
# Repaired: CLUSTER FAILOVER is sent to the primary's replica, and a pod is waited for until it is there and ready. As on
# the page: CLUSTER FORGET and MEET by one node, `sleep 10` in place of a look, no look at links, offsets or votes.
#   page-repaired.sh   KUBECTL, NAMESPACE, LEADERS and FOLLOWERS (the replica of each, in their order) override the names
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

# restart POD: deletes it and waits until its successor is ready.
restart() {
  local before uid
  before=$($kubectl get pod "$1" -o jsonpath='{.metadata.uid}')
  $kubectl delete pod "$1"
  until uid=$($kubectl get pod "$1" -o jsonpath='{.metadata.uid}' 2>/dev/null) && [ "$uid" != "$before" ]; do
    sleep 0.1
  done
  $kubectl wait --for=condition=ready pod "$1" --timeout=120s
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
  restart "$replica"

  # Rejoin cluster
  # shellcheck disable=SC2046 # as on the page
  redis_cli "$first" cluster meet $($kubectl get pod "$replica" -o jsonpath='{.status.podIP}') 6379

  echo "Replica $replica upgraded and rejoined"
done

# Upgrade master nodes with failover
# shellcheck disable=SC2086 # one word a member
set -- $followers
for master in $leaders; do
  echo "Upgrading master: $master"

  # Trigger failover to replica
  redis_cli "$1" cluster failover
  shift

  # Wait for failover completion
  sleep 10

  # Upgrade the demoted master (now replica)
  restart "$master"

  echo "Master $master upgraded"
done

echo "Redis cluster upgrade completed"
