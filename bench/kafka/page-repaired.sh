#!/bin/bash
# The script of page.sh, repaired so that it does what its text says, as a method of the benchmark.
#
# Repaired: the broker is shut down gracefully by the deletion of its pod, which asks it once and lets nobody start it again
# meanwhile; a pod is waited for until it is there and ready; and in place of `--verify`, which waits for nothing, the next
# broker waits until every copy of every partition is in sync. As on the page: leaders go and come all at once with their
# broker, the active controller goes when its number comes, and nobody waits until clients find a broker that came back.
#   page-repaired.sh   KUBECTL, NAMESPACE and MEMBERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-events}"
bin=/opt/kafka/bin

# in_sync POD: as this broker sees it.
in_sync() {
  local behind
  behind=$($kubectl exec "$1" -- env KAFKA_HEAP_OPTS=-Xmx128m nice -n 19 $bin/kafka-topics.sh \
    --bootstrap-server localhost:9092 --describe --under-replicated-partitions) && [ -z "$behind" ]
}

echo "=== Kafka Cluster Upgrade ==="

# Upgrade brokers one by one
for broker in ${MEMBERS:-kafka-0 kafka-1 kafka-2}; do
  echo "Upgrading broker: $broker"

  # Gracefully shutdown broker, and upgrade pod
  before=$($kubectl get pod "$broker" -o jsonpath='{.metadata.uid}')
  $kubectl delete pod "$broker"
  until uid=$($kubectl get pod "$broker" -o jsonpath='{.metadata.uid}' 2>/dev/null) && [ "$uid" != "$before" ]; do
    sleep 0.1
  done
  $kubectl wait --for=condition=ready pod "$broker" --timeout=180s

  # Wait for partition reassignment
  until in_sync "$broker"; do
    sleep 1
  done

  echo "Broker $broker upgraded"
done
