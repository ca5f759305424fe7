#!/bin/sh
# Puts the example cluster into the cluster that kubectl points at, and waits until it is whole.
#
#   ./up.sh                     asynchronous replication, PostgreSQL 15
#   ./up.sh --synchronous       commits wait for one standby
#   ./up.sh --image postgres:18
#
# Passwords are generated here, once, and are only in the cluster's Secrets. Run again it changes nothing.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
image=postgres:15
synchronous=
while [ "$#" -gt 0 ]; do
    case "$1" in
        --synchronous) synchronous=yes ;;
        --image) image="${2:?--image needs a name}" && shift ;;
        *) echo "usage: $0 [--synchronous] [--image IMAGE]" >&2 && exit 2 ;;
    esac
    shift
done

db() { $kubectl --namespace db "$@"; }
password() { od -An -N 18 -tx1 /dev/urandom | tr -d ' \n'; }

$kubectl apply -f "$here/cluster/00-namespace.yaml"
missing=
for secret in pg-superuser pg-replication pg-application; do
    db get secret "$secret" >/dev/null 2>&1 || missing="$missing $secret"
done
if [ "$missing" = " pg-superuser pg-replication pg-application" ]; then
    superuser="$(password)" replication="$(password)" application="$(password)"
    # By a pipe and not by arguments, which every user of this machine could read while kubectl runs.
    db create -f - <<EOT
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-superuser }
    stringData: { username: postgres, password: $superuser }
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-replication }
    stringData: { username: replicator, password: $replication }
  - apiVersion: v1
    kind: Secret
    metadata: { name: pg-application }
    stringData: { username: app, password: $application }
EOT
elif [ -n "$missing" ]; then
    # New ones would not fit the passwords in the database.
    echo "some of the Secrets in namespace db are missing:$missing; restore them, or delete the namespace and its disks" >&2
    exit 1
fi

if [ -n "$synchronous" ]; then $kubectl apply -f "$here/synchronous.yaml"; fi
for file in "$here"/cluster/[12]*.yaml; do
    sed "s|image: postgres:15\$|image: $image|" "$file" | $kubectl apply -f -
done
# Not `rollout status`, which knows rolling updates only.
db wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/pg --timeout=300s

# PgBouncer gets the verifiers that the database has, and no password: it need not know one, and a login to a server
# then costs it no hashing of 4096 rounds, for which clients would wait at the end of a hand-over.
if ! db get secret pgbouncer-users >/dev/null 2>&1; then
    users="$(db exec pg-0 --container postgres -- psql -XAtqc "SELECT '        ' || to_json(rolname::text) || ' ' ||
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
$kubectl apply -f "$here/cluster/30-pgbouncer.yaml"
db rollout status deployment/pgbouncer --timeout 120s

# The first time nobody has moved the primary yet, so nobody has set its label.
if [ -z "$(db get pods --selector app=pg,role=primary --output name)" ]; then
    for pod in $(db get pods --selector app=pg --output name); do
        recovering="$(db exec "$pod" --container postgres -- psql -XAtqc 'SELECT pg_is_in_recovery()' postgres)"
        if [ "$recovering" = f ]; then db label "$pod" role=primary; fi
    done
fi
db get pods --output wide
