#!/bin/bash
# The careless way, as a method of the benchmark: the primary's pod is deleted without a grace period, and leads again when
# it is back. The set makes it anew as a replica by label; nobody but whoever hands over moves the Service's label.
#   careless.sh        KUBECTL, NAMESPACE and LEADERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-store}"
primary="${LEADERS:-mariadb-0}"

before=$($kubectl get pod "$primary" -o jsonpath='{.metadata.uid}')
$kubectl delete pod "$primary" --grace-period=0 --force
# A wait for a pod that is not there would end at once.
until uid=$($kubectl get pod "$primary" -o jsonpath='{.metadata.uid}' 2>/dev/null) && [ "$uid" != "$before" ]; do
  sleep 0.1
done
$kubectl label pod "$primary" --overwrite role=primary
$kubectl wait --for=condition=ready pod "$primary" --timeout=120s
