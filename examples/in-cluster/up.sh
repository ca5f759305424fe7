#!/bin/sh
# Hands a plan to the cluster and starts its Job.
#
#   ./up.sh plan.json azure.env            Azure
#   ./up.sh plan.json azure.env ca.crt     a private cloud, or a sandbox
#
# azure.env has AZURE_TENANT_ID and AZURE_CLIENT_ID, one a line. The same plan again goes on with its run; another plan
# takes the place of a Job that has ended. KUBECTL names another kubectl, with options if need be.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
kubectl="${KUBECTL:-kubectl}"
plan="${1:?usage: $0 PLAN AZURE_ENV [CA]}"
azure="${2:?usage: $0 PLAN AZURE_ENV [CA]}"
ca="${3:-}"

db() { $kubectl --namespace db "$@"; }
# Made or replaced by one and the same command.
config() { db create configmap "$@" --dry-run=client --output yaml | db apply -f -; }

if [ -n "$(db get job/ferriswheel --ignore-not-found --output name)" ]; then
    if [ "$(db get job/ferriswheel --output jsonpath='{.status.active}')" ]; then
        echo "a run is under way; follow it: kubectl -n db exec job/ferriswheel -- ferriswheel status" >&2
        exit 1
    fi
    db delete job/ferriswheel --wait
fi
# A name of its own for each plan: a node may mount a ConfigMap as it was before it was replaced.
db delete configmap --selector ferriswheel.dev/config=plan --ignore-not-found
name="ferriswheel-plan-$(sha256sum "$plan" | cut -c 1-10)"
config "$name" --from-file=plan.json="$plan"
db label --overwrite "configmap/$name" ferriswheel.dev/config=plan
config ferriswheel-azure --from-env-file="$azure"
if [ -n "$ca" ]; then config ferriswheel-azure-ca --from-file=ca.crt="$ca"; fi
$kubectl apply -f "$here/rbac.yaml"
sed "s/name: ferriswheel-plan }/name: $name }/" "$here/job.yaml" | $kubectl apply -f -
