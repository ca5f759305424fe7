#!/bin/sh
# The interface of the public Memcached image: options alone are the server's arguments.
set -eu
case "${1:-}" in
    -*) set -- memcached "$@" ;;
esac
exec "$@"
