#!/bin/bash
# A killed broker, as a method of the benchmark: every process of its machine is killed at once, and the machine boots
# again without delay. The next one is killed when every copy is in sync again. Nobody says goodbye to anybody: what a
# machine does that loses its power, and what an upgrade does that takes machines away.
#   killed.sh          KUBECTL, NAMESPACE and MEMBERS override the names; FERRISWHEEL and SANDBOX: whose machines they are
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-events}"
bin=/opt/kafka/bin

fault() { "${FERRISWHEEL:-ferriswheel}" sandbox fault --name "$SANDBOX" "$@"; }
restarts() { $kubectl get pod "$1" -o jsonpath='{.status.containerStatuses[0].restartCount}' 2>/dev/null; }
in_sync() {
  local behind
  behind=$($kubectl exec "$1" -- env KAFKA_HEAP_OPTS=-Xmx128m nice -n 19 $bin/kafka-topics.sh \
    --bootstrap-server localhost:9092 --describe --under-replicated-partitions) && [ -z "$behind" ]
}

for broker in ${MEMBERS:-kafka-0 kafka-1 kafka-2}; do
  node=$($kubectl get pod "$broker" -o jsonpath='{.spec.nodeName}')
  before=$(restarts "$broker")
  fault crash "$node"
  fault boot "$node"
  # Nobody has told the API yet that the container is gone: a wait for a ready pod would end at once.
  until now=$(restarts "$broker") && [ -n "$now" ] && [ "$now" != "$before" ]; do
    sleep 0.1
  done
  $kubectl wait --for=condition=ready pod "$broker" --timeout=180s
  until in_sync "$broker"; do
    sleep 1
  done
done
