#!/bin/sh
# Puts the example cluster into the cluster that kubectl points at, and waits until it is whole.
#
#   ./up.sh                       Patroni 4.1
#   ./up.sh --image patroni:3.0
#
# Passwords are generated here, once, and are only in the cluster's Secrets. Run again it changes nothing.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
image=patroni:4.1
while [ "$#" -gt 0 ]; do
    case "$1" in
        --image) image="${2:?--image needs a name}" && shift ;;
        *) echo "usage: $0 [--image IMAGE]" >&2 && exit 2 ;;
    esac
    shift
done

db() { $kubectl --namespace db "$@"; }
password() { od -An -N 18 -tx1 /dev/urandom | tr -d ' \n'; }

$kubectl get namespace db >/dev/null 2>&1 || $kubectl create namespace db
missing=
for secret in pg-superuser pg-replication pg-application; do
    db get secret "$secret" >/dev/null 2>&1 || missing="$missing $secret"
done
if [ "$missing" = " pg-superuser pg-replication pg-application" ]; then
    # By a pipe and not by arguments, which every user of this machine could read while kubectl runs.
    db create -f - <<EOT
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-superuser }
    stringData: { username: postgres, password: "$(password)" }
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-replication }
    stringData: { username: replicator, password: "$(password)" }
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-application }
    stringData: { username: app, password: "$(password)" }
EOT
elif [ -n "$missing" ]; then
    # New ones would not fit the passwords in the database.
    echo "some of the Secrets in namespace db are missing:$missing; restore them, or delete the namespace and its disks" >&2
    exit 1
fi
# The label that Patroni 3 writes is another one.
case "$image" in
    *:3*) role=master ;;
    *) role=primary ;;
esac
sed "s|image: patroni:4.1\$|image: $image|; s|role: primary|role: $role|" "$here/cluster/10-patroni.yaml" | $kubectl apply -f -
db wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/pg --timeout=300s
leader="$(db get pods --selector "app=pg,role=$role" --output jsonpath='{.items[0].metadata.name}')"

# PgBouncer gets the verifiers that the database has, and no password.
if ! db get secret pgbouncer-users >/dev/null 2>&1; then
    users="$(db exec "$leader" --container postgres -- psql -XAtqc "SELECT '        ' || to_json(rolname::text) || ' ' ||
        to_json(rolpassword) FROM pg_authid WHERE rolname IN ('postgres', 'app')" postgres)"
    db create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: pgbouncer-users }
stringData:
  userlist.txt: |
$users
EOT
fi
# The pooler of examples/postgres, aimed at whom Patroni has made the primary.
if ! db get deployment pgbouncer >/dev/null 2>&1; then
    sed "s|host=pg-0\\.pg\\.db|host=$leader.pg.db|" "$here/../postgres/cluster/30-pgbouncer.yaml" | $kubectl apply -f -
fi
db rollout status deployment/pgbouncer --timeout 120s
db exec "$leader" --container postgres -- patronictl -c /etc/patroni/patroni.yml list
