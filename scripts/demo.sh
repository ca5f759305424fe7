#!/usr/bin/env bash
# Carries a PostgreSQL cluster through an AKS node upgrade in a sandbox of its own.
# Ends with the certificate, a JSON summary and an HTML report in target/demo/.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
ferriswheel="$target/debug/ferriswheel"
out=target/demo
name="demo-$$"
state=$(mktemp -d)
export FERRISWHEEL_STATE="$state" FERRISWHEEL_RUNS="$state/runs"

say() { printf '\n== %s\n' "$*" >&2; }
finish() {
  "$ferriswheel" sandbox down --name "$name" >/dev/null 2>&1 || true
  rm -rf "$state"
}
trap finish EXIT
trap 'exit 130' INT TERM

rm -rf "$out"
mkdir -p "$out"

say "a practice AKS: control plane 1.36, a system pool, and a database pool one minor behind"
"$ferriswheel" sandbox up --name "$name"

say "the example: three PostgreSQL members in three zones, two PgBouncers in front"
KUBECTL="$ferriswheel sandbox kubectl --name $name --" ./examples/postgres/up.sh
./scripts/spec-for-sandbox.sh "$state/sandboxes/$name/sandbox.json" > "$state/upgrade.yaml"

say "the plan"
"$ferriswheel" plan "$state/upgrade.yaml" --sandbox "$name" --out "$out/plan.json"

say "the run"
code=0
"$ferriswheel" apply "$out/plan.json" --sandbox "$name" --yes || code=$?
"$ferriswheel" report --out "$out/report.html" >/dev/null
run=$(ls -d "$FERRISWHEEL_RUNS"/*/ | head -n 1)
cp "$run/summary.json" "$out/summary.json"
for file in "$run"/certificate-*.json; do [ -e "$file" ] && cp "$file" "$out/certificate.json"; done
for file in "$run"/timeline-*.json "$run"/window-*.json; do [ -e "$file" ] && cp "$file" "$out/"; done
"$ferriswheel" journal > "$out/journal.txt"

say "the certificate"
python3 - "$out/summary.json" <<'PY'
import json, sys
s = json.load(open(sys.argv[1]))
c = s["certificate"] or {}
rows = [("verdict", c.get("verdict")), ("acknowledged writes", c.get("acked")),
        ("acked_lost", c.get("acked_lost")), ("errors", c.get("errors")),
        ("longest_ack_gap_ms", c.get("longest_ack_gap_ms")),
        ("nodes upgraded", s["nodes_upgraded"]), ("nodes left behind", s["nodes_left_behind"]),
        ("primary moves", s["primary_moves"]), ("fewest members", s["min_members"]),
        ("run", f'{s["run_s"]:.1f} s')]
for name, value in rows:
    print(f"  {name:<22} {value}")
for reason in c.get("reasons", []):
    print("  reason:", reason)
PY
printf '\nreport: %s\n' "$(realpath "$out/report.html")"
exit "$code"
