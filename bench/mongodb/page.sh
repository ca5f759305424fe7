#!/bin/bash
# The MongoDB script of a widely read how-to page on stateful upgrades, as a method of the benchmark.
#
# NOT a way to roll a set: it is here to be measured. The commands and their order are the page's. Adapted: the names of the
# members (the page takes roles from ordinals; here they are the primary and the secondaries of now, so that it begins in its
# favour) and their addresses in the configuration, the namespace, the password, which the page's servers do not have, and the
# name of the shell: `mongo` is not in images of 6.0 and later, `mongosh` is. Left as they are: each secondary is removed from
# the set and added again, so that two members are left of which both must vote; `kubectl wait` ends at once when the new pod
# is not there yet; nobody looks at who is elected; `sleep 20` in place of a look.
#   page.sh            KUBECTL, NAMESPACE, LEADERS and FOLLOWERS override the names
kubectl="${KUBECTL:-kubectl} --namespace ${NAMESPACE:-shop}"
primary="${LEADERS:-mongo-0}" secondaries="${FOLLOWERS:-mongo-1 mongo-2}"
domain="mongo.${NAMESPACE:-shop}.svc.cluster.local"
secret() { $kubectl get secret mongo-admin --output "jsonpath={.data.$1}" | base64 -d; }
user=$(secret username) password=$(secret password)

# mongo POD SCRIPT: the shell inside the pod; the password is in no argument outside it.
mongo() {
  # shellcheck disable=SC2016 # the container's shell reads the password
  printf '%s\n' "$user" "$password" | $kubectl exec -i "$1" --container mongo -- sh -c \
    'read -r MONGOSH_USER; read -r MONGOSH_PASSWORD; export MONGOSH_USER MONGOSH_PASSWORD
     exec mongosh --quiet --norc -u "$MONGOSH_USER" -p "$MONGOSH_PASSWORD" --eval "$1"' sh "$2"
}

echo "=== MongoDB Replica Set Upgrade ==="

# Check replica set status
mongo "$primary" "rs.status()"

# Upgrade secondary members first
for secondary in $secondaries; do
  echo "Upgrading secondary: $secondary"

  # Remove from replica set temporarily
  mongo "$primary" "rs.remove('$secondary.$domain:27017')"

  # Upgrade pod
  $kubectl delete pod "$secondary"
  $kubectl wait --for=condition=ready pod "$secondary" --timeout=180s

  # Re-add to replica set
  mongo "$primary" "rs.add('$secondary.$domain:27017')"

  # Wait for sync
  while ! mongo "$primary" "rs.status().members.find(m => m.name.includes('$secondary')).state" | grep -q "2"; do
    echo "Waiting for $secondary to sync..."
    sleep 10
  done

  echo "Secondary $secondary upgraded"
done

# Step down primary and upgrade
echo "Stepping down primary: $primary"
mongo "$primary" "rs.stepDown(60)"

# Wait for new primary election
sleep 20

# Upgrade former primary
$kubectl delete pod "$primary"
$kubectl wait --for=condition=ready pod "$primary" --timeout=180s

echo "MongoDB replica set upgrade completed"
