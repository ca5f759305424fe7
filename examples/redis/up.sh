#!/bin/sh
# Puts the example cluster into the cluster that kubectl points at, forms it, and waits until it is whole.
#
#   ./up.sh                     Redis 7.0
#   ./up.sh --image valkey:9
#
# The password is generated here, once, and is only in the cluster's Secret. Run again it changes nothing: members that
# know each other are left as they are.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
image=redis:7.0
while [ "$#" -gt 0 ]; do
    case "$1" in
        --image) image="${2:?--image needs a name}" && shift ;;
        *) echo "usage: $0 [--image IMAGE]" >&2 && exit 2 ;;
    esac
    shift
done

cache() { $kubectl --namespace cache "$@"; }
fail() { echo "$*" >&2 && exit 1; }

$kubectl apply -f "$here/cluster/00-namespace.yaml"
if ! cache get secret redis-auth >/dev/null 2>&1; then
    password="$(od -An -N 18 -tx1 /dev/urandom | tr -d ' \n')"
    # By a pipe and not by arguments, which every user of this machine could read while kubectl runs.
    cache create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: redis-auth }
stringData:
  password: $password
  auth.conf: |
    requirepass $password
    masterauth $password
EOT
fi
for file in "$here"/cluster/[12]*.yaml; do
    sed "s|image: redis:7.0\$|image: $image|" "$file" | $kubectl apply -f -
done
cache wait --for=jsonpath='{.status.readyReplicas}'=6 statefulset/redis --timeout=300s

# redis POD COMMAND...: the server's answer; an error of the server is one of this script.
redis() {
    pod=$1
    shift
    # The password is read inside the container and is in no argument.
    cache exec "$pod" --container redis -- sh -c \
        'REDISCLI_AUTH="$(cat /etc/redis-secrets/password)" exec redis-cli --no-auth-warning -e -h 127.0.0.1 "$@"' sh "$@"
}
field() { tr -d '\r' | sed -n "s/^$1://p"; }
# until_all WHAT FIELD VALUE: every member says so of the cluster.
until_all() {
    tries=0
    for pod in $members; do
        until [ "$(redis "$pod" CLUSTER INFO | field "$2")" = "$3" ]; do
            tries=$((tries + 1))
            [ "$tries" -lt 300 ] || fail "gave up waiting until $1 ($pod)"
            sleep 0.2
        done
    done
}

members="$(cache get pods --selector app=redis --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}')"
known="$(redis redis-0 CLUSTER INFO | field cluster_known_nodes)"
if [ "$known" = 1 ]; then
    # A member that has slots or keys belongs to a cluster already, or did.
    for pod in $members; do
        [ "$(redis "$pod" CLUSTER INFO | field cluster_slots_assigned)" = 0 ] &&
            [ "$(redis "$pod" DBSIZE)" = 0 ] || fail "$pod is not empty; nothing was changed"
    done
    # Two members of each zone: the first is a primary, the second a replica of the next zone's primary.
    list="$(for pod in $members; do
        node="$(cache get pod "$pod" --output 'jsonpath={.spec.nodeName}')"
        zone="$($kubectl get node "$node" --output 'jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}')"
        echo "$zone $pod"
    done | sort)"
    primaries="$(echo "$list" | awk 'NR % 2 == 1 { print $2 }')"
    # shellcheck disable=SC2086 # one word a member
    set -- $(echo "$list" | awk 'NR % 2 == 0 { print $2 }')
    first=0 epoch=1
    for primary in $primaries; do
        last=$((epoch == 3 ? 16383 : epoch * 5461 - 1))
        redis "$primary" CLUSTER ADDSLOTSRANGE "$first" "$last"
        redis "$primary" CLUSTER SET-CONFIG-EPOCH "$epoch"
        first=$((last + 1)) epoch=$((epoch + 1))
    done
    for pod in $members; do
        [ "$pod" = redis-0 ] ||
            redis redis-0 CLUSTER MEET "$(cache get pod "$pod" --output 'jsonpath={.status.podIP}')" 6379
    done
    until_all "everybody knows everybody" cluster_known_nodes 6
    until_all "every slot is served" cluster_slots_ok 16384
    # The replica of zone n belongs to the primary of zone n + 1.
    rest="$(echo "$primaries" | tail -n +2) $(echo "$primaries" | head -n 1)"
    for primary in $rest; do
        redis "$1" CLUSTER REPLICATE "$(redis "$primary" CLUSTER MYID)"
        shift
    done
fi
until_all "the cluster is whole" cluster_state ok
# Every member knows three replicas, and has what it follows or is followed itself.
is_settled() {
    [ "$(redis "$1" CLUSTER NODES | grep -c 'slave')" = 3 ] &&
        redis "$1" INFO replication | grep -q 'connected_slaves:1\|master_link_status:up'
}
tries=0
for pod in $members; do
    until is_settled "$pod"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "gave up waiting until every replica follows ($pod)"
        sleep 0.2
    done
done
cache wait --for=jsonpath='{.status.readyReplicas}'=6 statefulset/redis --timeout=300s
cache get pods --output wide
redis redis-0 CLUSTER NODES | awk '{ print $2, $3, $9 }'
