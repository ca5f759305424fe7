#!/usr/bin/env bash
# A spec of the example with the identifiers of a sandbox.
# Usage: spec-for-sandbox.sh sandbox.json [upgrade.yaml or hand-over.yaml [postgres, redis, ...]]
set -euo pipefail
here=$(dirname "$0")
python3 - "$1" "$here/../examples/${3:-postgres}/${2:-upgrade.yaml}" <<'PY'
import json, sys
arm = json.load(open(sys.argv[1]))["arm"]
text = open(sys.argv[2]).read()
text = text.replace("00000000-0000-0000-0000-000000000000", arm["subscription_id"])
text = text.replace("production-rg", arm["resource_group"]).replace("name: aks-prod\n", f'name: {arm["cluster"]}\n')
sys.stdout.write(text)
PY
