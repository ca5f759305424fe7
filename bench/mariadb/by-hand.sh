#!/bin/bash
# A planned switchover by hand, as a method of the benchmark: close the primary, wait for its last position on a replica,
# promote it, move the Service's label, let the others follow. One kubectl a step, as somebody with a runbook does it.
#   by-hand.sh         KUBECTL, NAMESPACE, LEADERS (the primary) and FOLLOWERS (the replicas) override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-store}"
old="${LEADERS:-mariadb-0}" followers="${FOLLOWERS:-mariadb-1 mariadb-2}"
new="${followers%% *}"

# sql POD: runs the statements on standard input as root, inside the pod: passwords are in no argument.
sql() {
  # shellcheck disable=SC2016 # the container's shell reads the password
  $kubectl exec -i "$1" --container mariadb -- sh -c \
    'MYSQL_PWD="$(cat /etc/mariadb-secrets/password)" exec mariadb --user=root --skip-column-names --batch'
}
secret() { $kubectl get secret mariadb-replication --output "jsonpath={.data.$1}" | base64 -d; }

user=$(secret username) password=$(secret password)
source="MASTER_HOST = '$new.mariadb.${NAMESPACE:-store}.svc.cluster.local', MASTER_PORT = 3306, MASTER_USER = '$user',
  MASTER_PASSWORD = '$password', MASTER_CONNECT_RETRY = 1"

position=$(sql "$old" <<< 'SET GLOBAL read_only = 1; SELECT @@gtid_binlog_pos;')
[ "$(sql "$new" <<< "SELECT MASTER_GTID_WAIT('$position', 30);")" = 0 ] || {
  sql "$old" <<< 'SET GLOBAL read_only = 0;'
  exit 1
}
sql "$new" <<< 'STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL read_only = 0;'
$kubectl label pod "$new" --overwrite role=primary
$kubectl label pod "$old" --overwrite role=replica
# Clients that are still connected would be refused for ever.
sql "$old" <<< "SELECT CONCAT('KILL CONNECTION ', id, ';') FROM information_schema.processlist WHERE user = 'app';" | sql "$old"
sql "$old" <<< "SET GLOBAL gtid_slave_pos = '$position'; CHANGE MASTER TO $source, MASTER_USE_GTID = slave_pos; START SLAVE;"
for other in $followers; do
  [ "$other" = "$new" ] ||
    sql "$other" <<< "STOP SLAVE; CHANGE MASTER TO $source, MASTER_USE_GTID = slave_pos; START SLAVE;"
done
