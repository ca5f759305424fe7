#!/bin/bash
# The Kafka script of a widely read how-to page on stateful upgrades, as a method of the benchmark.
#
# NOT a way to roll a cluster: it is here to be measured. The commands and their order are the page's. Adapted: the names of
# the brokers, the namespace, and the directory of Kafka's programs, which is on no PATH of the public image. Left as they
# are: nobody has written /tmp/reassignment.json, so that `--verify` ends with an error, and with one it would look at a
# reassignment and not at copies; the broker is asked to stop inside its pod, where the kubelet starts it again while the
# script goes on; `kubectl wait` ends at once when the new pod is not there yet, so that the next broker is stopped while
# this one starts.
#   page.sh            KUBECTL, NAMESPACE and MEMBERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-events}"
bin=/opt/kafka/bin

echo "=== Kafka Cluster Upgrade ==="

# Upgrade brokers one by one
for broker in ${MEMBERS:-kafka-0 kafka-1 kafka-2}; do
  echo "Upgrading broker: $broker"

  # Gracefully shutdown broker
  $kubectl exec "$broker" -- $bin/kafka-server-stop.sh

  # Wait for partition reassignment
  $kubectl exec kafka-0 -- $bin/kafka-reassign-partitions.sh \
    --bootstrap-server kafka-0:9092 \
    --verify \
    --reassignment-json-file /tmp/reassignment.json

  # Upgrade pod
  $kubectl delete pod "$broker"
  $kubectl wait --for=condition=ready pod "$broker" --timeout=180s

  echo "Broker $broker upgraded"
done
