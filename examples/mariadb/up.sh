#!/bin/sh
# Puts the example set into the cluster that kubectl points at, lets the members follow one primary, and waits until they do.
#
#   ./up.sh
#
# Passwords are generated here, once, and are only in the cluster's Secrets. Run again it changes nothing: a set that has a
# primary with replicas is left as it is.
# KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
store() { $kubectl --namespace store "$@"; }
fail() { echo "$*" >&2 && exit 1; }
random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

$kubectl apply -f "$here/cluster/00-namespace.yaml"
for user in root admin replication app; do
    # By a pipe and not by arguments, which every user of this machine could read while kubectl runs.
    if ! store get secret "mariadb-$user" >/dev/null 2>&1; then
        store create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: mariadb-$user }
stringData: { username: $user, password: "$(random)" }
EOT
    fi
done
$kubectl apply -f "$here/cluster/10-config.yaml" -f "$here/cluster/20-mariadb.yaml"

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
# sql POD: runs the statements on standard input as root, inside the pod: passwords are in no argument.
sql() {
    store exec -i "$1" --container mariadb -- sh -c \
        'MYSQL_PWD="$(cat /etc/mariadb-secrets/password)" exec mariadb --user=root --skip-column-names --batch'
}
secret() { store get secret "mariadb-$1" --output "jsonpath={.data.$2}" | base64 -d; }
answers() { echo 'DO 1;' | sql "$1"; }

for pod in mariadb-0 mariadb-1 mariadb-2; do
    until_ok "$pod answers" answers "$pod"
done
copies() { echo 'SHOW ALL SLAVES STATUS;' | sql "$1" | grep -q .; }
# Whoever copies is a part of a set that stands already.
standing=
for pod in mariadb-0 mariadb-1 mariadb-2; do
    if copies "$pod"; then standing=yes; fi
done
if [ -z "$standing" ]; then
    sql mariadb-0 <<EOT
SET GLOBAL read_only = 0;
CREATE USER IF NOT EXISTS '$(secret replication username)'@'%' IDENTIFIED BY '$(secret replication password)';
GRANT REPLICATION SLAVE ON *.* TO '$(secret replication username)'@'%';
CREATE USER IF NOT EXISTS '$(secret admin username)'@'%' IDENTIFIED BY '$(secret admin password)';
GRANT BINLOG MONITOR, CONNECTION ADMIN, PROCESS, READ_ONLY ADMIN, RELOAD, REPLICATION SLAVE ADMIN, SLAVE MONITOR
    ON *.* TO '$(secret admin username)'@'%';
GRANT SELECT ON mysql.* TO '$(secret admin username)'@'%';
CREATE DATABASE IF NOT EXISTS store;
CREATE USER IF NOT EXISTS '$(secret app username)'@'%' IDENTIFIED BY '$(secret app password)';
GRANT ALL ON store.* TO '$(secret app username)'@'%';
EOT
    for pod in mariadb-1 mariadb-2; do
        sql "$pod" <<EOT
SET GLOBAL read_only = 1;
CHANGE MASTER TO MASTER_HOST = 'mariadb-0.mariadb.store.svc.cluster.local', MASTER_PORT = 3306,
    MASTER_USER = '$(secret replication username)', MASTER_PASSWORD = '$(secret replication password)',
    MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1;
START SLAVE;
EOT
    done
    store label pod mariadb-0 --overwrite role=primary
fi
# Every member takes writes or copies with both threads.
whole() {
    for pod in mariadb-0 mariadb-1 mariadb-2; do
        case "$(echo 'SELECT @@read_only;' | sql "$pod")" in
            0) ;;
            *) store exec "$pod" --container mariadb -- sh -c \
                'MYSQL_PWD="$(cat /etc/mariadb-secrets/password)" mariadb --user=root --execute "SHOW SLAVE STATUS\G"' |
                grep -c 'Running: Yes' | grep -q 2 || return 1 ;;
        esac
    done
}
until_ok "every replica copies" whole
store wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/mariadb --timeout=300s
store get pods --output wide --label-columns role
