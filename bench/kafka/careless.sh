#!/bin/bash
# The careless way, as a method of the benchmark: each broker's pod is deleted without a grace period, and the next one when
# its successor is ready. A kubelet still asks the broker to stop and gives it a second.
#   careless.sh        KUBECTL, NAMESPACE and MEMBERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-events}"

for broker in ${MEMBERS:-kafka-0 kafka-1 kafka-2}; do
  before=$($kubectl get pod "$broker" -o jsonpath='{.metadata.uid}')
  $kubectl delete pod "$broker" --grace-period=0 --force
  # The set makes it anew; a wait for a pod that is not there would end at once.
  until uid=$($kubectl get pod "$broker" -o jsonpath='{.metadata.uid}' 2>/dev/null) && [ "$uid" != "$before" ]; do
    sleep 0.1
  done
  $kubectl wait --for=condition=ready pod "$broker" --timeout=180s
done
