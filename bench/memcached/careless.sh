#!/bin/bash
# The careless way, as a method of the benchmark: every member's pod is deleted without a grace period, nobody waits.
#   careless.sh        KUBECTL, NAMESPACE and MEMBERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-pages}"
members="${MEMBERS:-memcached-0 memcached-1 memcached-2}"

for member in $members; do
  $kubectl delete pod "$member" --grace-period=0 --force
done
# For the round's time alone.
for member in $members; do
  until $kubectl wait --for=condition=ready pod "$member" --timeout=120s 2>/dev/null; do
    sleep 0.1
  done
done
