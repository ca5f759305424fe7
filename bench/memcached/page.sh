#!/bin/bash
# What a widely read how-to page on stateful upgrades tells users of Memcached, as a method of the benchmark.
#
# NOT a way to roll a cache: it is here to be measured. The page sends them to its Rolling Replace, the script for Redis, and
# calls that "zero downtime". As written it cannot run at all: `redis-cli cluster nodes`, `forget`, `meet` and `failover` have
# no meaning for a Memcached server, nor is the program in its image. Repaired, so that it does what its text says ("Drain and
# upgrade node", one after the other): what is left are the lines that are about pods, and a pod is waited for until it is
# there. As on the page: Ready is all that is looked at, so that the next member goes while the last one is still empty.
#   page.sh            KUBECTL, NAMESPACE and MEMBERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-pages}"

echo "=== Rolling Upgrade ==="
echo "(the lines for Redis are left out: a cache has no cluster, no replicas and no failover)"

for member in ${MEMBERS:-memcached-0 memcached-1 memcached-2}; do
  echo "Upgrading: $member"

  # Drain and upgrade node
  before=$($kubectl get pod "$member" -o jsonpath='{.metadata.uid}')
  $kubectl delete pod "$member"
  until uid=$($kubectl get pod "$member" -o jsonpath='{.metadata.uid}' 2>/dev/null) && [ "$uid" != "$before" ]; do
    sleep 0.1
  done
  $kubectl wait --for=condition=ready pod "$member" --timeout=120s

  echo "$member upgraded and rejoined"
done

echo "Upgrade completed"
