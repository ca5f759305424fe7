#!/bin/sh
# Installs what only the benchmark needs: the peers that Ferriswheel is measured against.
#
# Debian's Patroni 3.0 and HAProxy, Patroni 4.1 in the cache (install-patroni.sh), and bc, which a script of the
# benchmark calls. Nothing is started: Debian's packages come without a configuration to start from.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"

# Patroni speaks to etcd and to PostgreSQL through two packages that it only recommends.
packages="patroni python3-etcd python3-psycopg2 haproxy bc python3-pip"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing$missing" >&2
    if [ "$(id -u)" != 0 ]; then
        echo "run as root: apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    # Servers run in the sandbox only: Debian must not start one of its own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
"$here/install-patroni.sh" >/dev/null
