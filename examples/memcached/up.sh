#!/bin/sh
# Puts the example cache into the cluster that kubectl points at, and waits until its members are there.
#
#   ./up.sh
#
# Run again it changes nothing. KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
pages() { $kubectl --namespace pages "$@"; }

$kubectl apply -f "$here/cluster/00-namespace.yaml"
$kubectl apply -f "$here/cluster/20-memcached.yaml"
pages wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/memcached --timeout=300s
pages get pods --output wide
