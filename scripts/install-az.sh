#!/bin/sh
# Installs the real Azure CLI into a virtual environment of its own and prints the path of `az`.
#
# The contract test of the Azure emulator drives this very program. It lives in the cache, outside
# the checkout: about 600 MB, installed once. A half-finished installation is never taken for a
# whole one: the mark is written when `az version` has answered.
set -eu

# The version that the emulator's contract was checked with; another may be asked for.
version="${FERRISWHEEL_AZ_VERSION:-2.91.0}"
cache="${FERRISWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ferriswheel}"
python="${PYTHON:-python3}"
venv="$cache/az"
az="$venv/bin/az"
mark="$venv/installed-$version"

if [ -x "$az" ] && [ -e "$mark" ]; then
    echo "$az"
    exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "python3 with its venv module is missing; run: apt-get install -y python3 python3-venv" >&2
    exit 1
fi

mkdir -p "$cache"
# A second caller waits for the first instead of installing beside it.
exec 9>"$cache/az.lock"
flock 9
if [ -x "$az" ] && [ -e "$mark" ]; then
    echo "$az"
    exit 0
fi

echo "installing azure-cli $version into $venv (once, a few minutes)" >&2
rm -rf "$venv"
"$python" -m venv "$venv" >&2
if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "azure-cli==$version" >&2; then
    rm -rf "$venv"
    echo "failed to install the Azure CLI; make a Python package index reachable and run: sh scripts/install-az.sh" >&2
    exit 1
fi
AZURE_CONFIG_DIR="$venv/config" AZURE_CORE_COLLECT_TELEMETRY=false "$az" version >/dev/null
touch "$mark"
echo "$az"
