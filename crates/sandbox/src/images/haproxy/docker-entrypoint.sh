#!/bin/sh
# Runs haproxy in the foreground as a master with workers, whatever way its options were given.
set -eu
case "${1:-}" in -*) set -- haproxy "$@" ;; esac
if [ "${1:-}" = haproxy ]; then
    shift
    set -- haproxy -W -db "$@"
fi
exec "$@"
