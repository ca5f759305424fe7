#!/bin/sh
# Puts the example cluster into the Kubernetes cluster that kubectl points at, makes the topic `orders`, and waits until every
# copy of every partition is in sync.
#
#   ./up.sh
#
# Who the cluster is (its id, and the ids of its first disks) is generated here, once. Run again it changes nothing: a topic
# that is there is left as it is.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
events() { $kubectl --namespace events "$@"; }
fail() { echo "$*" >&2 && exit 1; }
# Sixteen bytes as Kafka writes them. One that begins with a hyphen would pass for an option.
random() {
    id=-
    while [ "${id#-}" != "$id" ]; do
        id="$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')"
    done
    echo "$id"
}

$kubectl apply -f "$here/cluster/00-namespace.yaml"
if ! events get configmap kafka-identity >/dev/null 2>&1; then
    events create configmap kafka-identity "--from-literal=cluster=$(random)" \
        "--from-literal=directory-0=$(random)" "--from-literal=directory-1=$(random)" \
        "--from-literal=directory-2=$(random)" --from-literal=first=yes
fi
$kubectl apply -f "$here/cluster/10-config.yaml" -f "$here/cluster/20-kafka.yaml"

tries=0
# until_ok WHAT COMMAND...: repeats until it succeeds.
until_ok() {
    what="$1"
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "gave up waiting until $what"
        sleep 0.5
    done
}
# kafka PROGRAM ARGUMENTS...: runs one of Kafka's programs in the first pod. A heap of its own: the broker's is not its measure.
kafka() {
    program="$1"
    shift
    events exec kafka-0 --container kafka -- env KAFKA_HEAP_OPTS=-Xmx128m "/opt/kafka/bin/$program.sh" "$@"
}
ready() { [ "$(events get statefulset kafka --output 'jsonpath={.status.readyReplicas}')" = 3 ]; }
until_ok "three brokers listen" ready
together() { [ "$(kafka kafka-cluster list-endpoints --bootstrap-server localhost:9092 | grep -c 'kafka-[0-2]')" = 3 ]; }
until_ok "the brokers know each other" together
# From now on a disk that is empty is one that was lost.
events patch configmap kafka-identity --patch '{"data":{"first":"no"}}'
topics() { kafka kafka-topics --bootstrap-server localhost:9092 "$@"; }
topics --create --if-not-exists --topic orders --partitions 6 --replication-factor 3
in_sync() { [ -z "$(topics --describe --under-replicated-partitions)" ]; }
until_ok "every copy is in sync" in_sync
topics --describe --topic orders
events get pods --output wide
