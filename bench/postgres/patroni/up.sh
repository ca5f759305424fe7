#!/bin/sh
# up.sh NAMESPACE IMAGE [haproxy]: a Patroni cluster of three members, and waits until it is whole.
# IMAGE is patroni:3.0 (Debian) or patroni:4.1 (PyPI). KUBECTL names another kubectl.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
namespace="${1:?namespace}" image="${2:?image}" routing="${3:-}"
password() { od -An -N 18 -tx1 /dev/urandom | tr -d ' \n'; }
ns() { $kubectl --namespace "$namespace" "$@"; }

$kubectl get namespace "$namespace" >/dev/null 2>&1 || $kubectl create namespace "$namespace"
if ! ns get secret patroni >/dev/null 2>&1; then
    ns create -f - <<EOT
apiVersion: v1
kind: Secret
metadata: { name: patroni }
stringData:
  username: app
  superuser: $(password)
  replication: $(password)
  application: $(password)
EOT
fi
sed "s|image: IMAGE\$|image: $image|; s|NAMESPACE|$namespace|g" "$here/patroni.yaml" | ns apply -f -
ns wait --for=jsonpath='{.status.readyReplicas}'=3 statefulset/pg --timeout=300s
if [ "$routing" = haproxy ]; then
    sed "s|NAMESPACE|$namespace|g" "$here/haproxy.yaml" | ns apply -f -
    ns rollout status deployment/haproxy --timeout 60s
fi
ns exec pg-0 -- patronictl -c /etc/patroni/patroni.yml list
