#!/usr/bin/env bash
# Carries a database through an AKS node upgrade in a sandbox of its own: PostgreSQL, or another one by DATABASE=redis or
# DATABASE=mongodb, DATABASE=mariadb, DATABASE=memcached or DATABASE=kafka.
# Ends with the certificate, a JSON summary and an HTML report in target/demo/.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
ferriswheel="$target/debug/ferriswheel"
out=target/demo
database=${DATABASE:-postgres}
# One machine for each member.
case $database in
  postgres) members="three PostgreSQL members in three zones, two PgBouncers in front" nodes=3 ;;
  redis) members="six Redis servers in three zones, three shards of two" nodes=6 ;;
  mongodb) members="three MongoDB members in three zones" nodes=3 ;;
  mariadb) members="three MariaDB members in three zones" nodes=3 ;;
  memcached) members="three Memcached servers in three zones" nodes=3 ;;
  kafka) members="three Kafka brokers in three zones, a topic of six partitions" nodes=3 ;;
  *) echo "demo: no example of $database; try DATABASE=postgres, redis, mongodb, mariadb, memcached or kafka" >&2; exit 2 ;;
esac
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
pools=()
if [ "$nodes" != 3 ]; then
  pools=(--pool name=syspool,mode=System,count=2,zones=1+2+3
    --pool "name=dbpool,mode=User,count=$nodes,version=1.35.4,zones=1+2+3,label=workload:database,taint=workload:database:NoSchedule")
fi
"$ferriswheel" sandbox up --name "$name" "${pools[@]}"

say "the example: $members"
KUBECTL="$ferriswheel sandbox kubectl --name $name --" "./examples/$database/up.sh"
./scripts/spec-for-sandbox.sh "$state/sandboxes/$name/sandbox.json" upgrade.yaml "$database" > "$state/upgrade.yaml"

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
cache = c.get("cache")
rows = [("verdict", c.get("verdict"))]
if cache:
    # A cache promises nothing about what it holds.
    lowest = cache.get("lowest") or {}
    rows += [("requests answered", c.get("acked")), ("errors", c.get("errors")),
             ("hit-rate", f'{cache["hit_rate"]} %'),
             ("  of the worst second", f'{lowest.get("hit_rate")} % (bound {cache["bound"]} %)'),
             ("loads in a second", f'{cache["most_loads_a_second"]} at most'),
             ("old values", cache["wrong_values"]),
             ("longest gap", f'{c.get("longest_ack_gap_ms")} ms without an answer')]
else:
    rows += [("acknowledged writes", c.get("acked")),
             ("acked_lost", c.get("acked_lost")), ("errors", c.get("errors")),
             ("longest_ack_gap_ms", c.get("longest_ack_gap_ms"))]
rows += [
        ("nodes upgraded", s["nodes_upgraded"]), ("nodes left behind", s["nodes_left_behind"]),
        ("primary moves", s["primary_moves"]), ("fewest members", s["min_members"]),
        ("run", f'{s["run_s"]:.1f} s')]
rows += [(f'  shard {shard["name"]}', f'longest_ack_gap_ms {shard["longest_ack_gap_ms"]}, acked_lost {shard["acked_lost"]}')
         for shard in c.get("shards", [])]
for name, value in rows:
    print(f"  {name:<22} {value}")
for reason in c.get("reasons", []):
    print("  reason:", reason)
PY
printf '\nreport: %s\n' "$(realpath "$out/report.html")"
exit "$code"
