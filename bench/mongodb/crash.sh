#!/bin/bash
# No way to do anything, but what an upgrade without a hand-over risks, as a method of the benchmark: the primary's server
# ends without a word, as it does when its machine is taken away or its memory is used up.
#   crash.sh           KUBECTL, NAMESPACE and LEADERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-shop}"
primary="${LEADERS:-mongo-0}"

restarts() { $kubectl get pod "$primary" -o jsonpath='{.status.containerStatuses[0].restartCount}'; }
before=$(restarts)
# Process 1 of a container does not hear KILL from inside; ABRT ends it at once too.
$kubectl exec "$primary" --container mongo -- sh -c 'kill -ABRT 1'
until [ "$(restarts)" != "$before" ]; do sleep 0.1; done
$kubectl wait --for=condition=ready pod "$primary" --timeout=120s
