#!/bin/sh
# Installs Patroni 4.1 with its etcd client and its PostgreSQL driver into the cache and prints the directory.
#
# Only the benchmark needs it: Patroni is a peer there. Installed as a directory of modules and not as a virtual
# environment, whose launchers would name paths that a container does not have. The interpreter is Debian's.
set -eu

# The version that the benchmark was written for.
version="${FERRISWHEEL_PATRONI_VERSION:-4.1.5}"
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
python="${PYTHON:-/usr/bin/python3}"
target="$cache/patroni/4.1"

if [ -f "$target/patroni/__main__.py" ]; then
    echo "$target"
    exit 0
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "pip is missing for $python; run: apt-get install -y python3 python3-pip" >&2
    exit 1
fi

mkdir -p "$cache/patroni"
# A second caller waits for the first instead of installing beside it.
exec 9>"$cache/patroni/4.1.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if [ -f "$target/patroni/__main__.py" ]; then
    echo "$target"
    exit 0
fi

echo "installing patroni $version into $target (once)" >&2
work="$(mktemp -d "$cache/patroni/.4.1.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
export PIP_ROOT_USER_ACTION=ignore
if ! "$python" -m pip install --quiet --disable-pip-version-check --no-compile --target "$work/4.1" \
    "patroni[etcd3]==$version" psycopg2-binary >&2; then
    echo "failed to install Patroni; run: $python -m pip install --target DIR 'patroni[etcd3]==$version' psycopg2-binary (a package index must be reachable)" >&2
    exit 1
fi
chmod -R a+rX "$work/4.1"
mv -T "$work/4.1" "$target"
echo "$target"
