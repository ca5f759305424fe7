#!/usr/bin/env bash
# Fuzzes every target for so many seconds (600 unless told), from the tests' fixtures. Needs a nightly compiler and a C++
# compiler; what it finds is left in fuzz/found. Ends with 1 when something was found.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-600}"
root="${CARGO_TARGET_DIR:-../target}/fuzz"
export CARGO_TARGET_DIR="$root"
# As cargo-fuzz sets them: the coverage that libFuzzer steers by.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cforce-frame-pointers -Ccodegen-units=1"
${CARGO:-cargo} +nightly build --quiet --release --target x86_64-unknown-linux-gnu
[ "$seconds" = 0 ] && exit 0
mkdir -p found
analysis=../crates/analysis/tests
declare -A seeds=([manifests]="$analysis/resilience $analysis/diagnosis" [runbooks]="$analysis/fixtures/lint" [errors]="$analysis/diagnosis")
failed=0
for target in manifests runbooks errors; do
  corpus="$root/corpus/$target"
  mkdir -p "$corpus"
  find ${seeds[$target]} -type f -size -64k | while read -r file; do cp "$file" "$corpus/$(sha1sum < "$file" | cut -c1-40)"; done
  # 2 GiB and 10 s an input: more of either is a finding.
  "$root/x86_64-unknown-linux-gnu/release/$target" "$corpus" -max_total_time="$seconds" -max_len=65536 -timeout=10 \
    -rss_limit_mb=2048 -artifact_prefix="found/$target-" -print_final_stats=1 2> "$root/$target.log" || failed=1
  tail -n 8 "$root/$target.log"
done
exit "$failed"
