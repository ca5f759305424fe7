#!/bin/sh
# Puts the example replica set into the cluster that kubectl points at, initiates it, and waits until it is whole.
#
#   ./up.sh
#
# Key file and passwords are generated here, once, and are only in the cluster's Secrets. Run again it changes nothing: a
# set that was initiated is left as it is.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
shop() { $kubectl --namespace shop "$@"; }
fail() { echo "$*" >&2 && exit 1; }
random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

$kubectl apply -f "$here/cluster/00-namespace.yaml"
# By a pipe and not by arguments, which every user of this machine could read while kubectl runs.
if ! shop get secret mongo-keyfile >/dev/null 2>&1; then
    shop create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: mongo-keyfile }
stringData: { keyfile: "$(random)$(random)" }
EOT
fi
for user in admin app; do
    if ! shop get secret "mongo-$user" >/dev/null 2>&1; then
        shop create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: mongo-$user }
stringData: { username: $user, password: "$(random)" }
EOT
    fi
done
$kubectl apply -f "$here/cluster/20-mongodb.yaml"

tries=0
# every WHAT COMMAND...: repeats until it succeeds.
until_ok() {
    what="$1"
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "gave up waiting until $what"
        sleep 0.5
    done
}
# mongosh POD, with the script on standard input: passwords are in no argument. The script is read inside the container.
mongosh() {
    shop exec -i "$1" --container mongo -- sh -c 'mongosh --quiet --norc --eval "$(cat)"'
}
secret() { shop get secret "mongo-$1" --output "jsonpath={.data.$2}" | base64 -d; }

answers() { echo 'db.version()' | mongosh "$1"; }
for pod in mongo-0 mongo-1 mongo-2; do
    until_ok "$pod answers" answers "$pod"
done
host() { echo "mongo-$1.mongo.shop.svc.cluster.local:27017"; }
in_set() { echo 'EJSON.stringify(db.hello())' | mongosh mongo-0 | grep -q '"setName"'; }
if ! in_set; then
    mongosh mongo-0 <<EOT
rs.initiate({ _id: 'rs0', members: [
  { _id: 0, host: '$(host 0)' }, { _id: 1, host: '$(host 1)' }, { _id: 2, host: '$(host 2)' } ] })
EOT
    leads() { echo 'db.hello().isWritablePrimary' | mongosh mongo-0 | grep -q true; }
    until_ok "mongo-0 leads" leads
    # As long as there is no user, the first one is made from inside the pod; it then makes the other.
    mongosh mongo-0 <<EOT
db.getSiblingDB('admin').runCommand({ createUser: '$(secret admin username)', pwd: '$(secret admin password)', roles: ['root'] })
EOT
    admin() {
        shop exec -i mongo-0 --container mongo -- sh -c \
            'read -r MONGOSH_USER; read -r MONGOSH_PASSWORD; export MONGOSH_USER MONGOSH_PASSWORD
             exec mongosh --quiet --norc -u "$MONGOSH_USER" -p "$MONGOSH_PASSWORD" --authenticationDatabase admin --eval "$(cat)"'
    }
    { secret admin username && echo && secret admin password && echo && cat <<EOT; } | admin
db.getSiblingDB('admin').runCommand({ createUser: '$(secret app username)', pwd: '$(secret app password)', roles: [{ role: 'readWrite', db: 'shop' }] })
EOT
fi
whole() {
    for pod in mongo-0 mongo-1 mongo-2; do
        echo 'EJSON.stringify(db.hello())' | mongosh "$pod" | grep -Eq '"(isWritablePrimary|secondary)": ?true' || return 1
    done
}
until_ok "every member is a primary or a secondary" whole
shop wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/mongo --timeout=300s
shop get pods --output wide
