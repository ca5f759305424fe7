#!/bin/sh
# switchover.sh NAMESPACE [CANDIDATE]: Patroni's own planned switchover through its REST API; returns when Patroni says
# that it is over. Without a candidate Patroni chooses. KUBECTL names another kubectl.
set -eu
kubectl="${KUBECTL:-kubectl}"
namespace="${1:?namespace}" candidate="${2:-}"
$kubectl --namespace "$namespace" exec pg-0 -- python3 -c '
import json, sys, urllib.request
def call(host, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(f"http://{host}/{path}", data, 60) as answer:
        return answer.read().decode()
members = json.loads(call("127.0.0.1:8008", "cluster"))["members"]
leader = next(m for m in members if m["role"] in ("leader", "master", "primary"))
order = {"leader": leader["name"]}
if len(sys.argv) > 1 and sys.argv[1]:
    order["candidate"] = sys.argv[1]
host = leader["api_url"].split("/")[2]
print(leader["name"], call(host, "switchover", order))
' "$candidate"
