#!/usr/bin/env bash
# The identity by which a pod of a sandbox reaches its Azure emulator, as examples/in-cluster/up.sh wants it.
# Usage: azure-for-sandbox.sh sandbox.json > azure.env
set -euo pipefail
python3 - "$1" <<'PY'
import json, sys
arm = json.load(open(sys.argv[1]))["arm"]
print(f'AZURE_TENANT_ID={arm["tenant_id"]}')
print(f'AZURE_CLIENT_ID={arm["client_id"]}')
print(f'AZURE_AUTHORITY_HOST={arm["endpoint_in_cluster"]}')
print(f'FERRISWHEEL_ARM_ENDPOINT={arm["endpoint_in_cluster"]}')
print("FERRISWHEEL_ARM_CA=/etc/azure-ca/ca.crt")
PY
