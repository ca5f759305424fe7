#!/bin/sh
# The interface of the public Redis and Valkey images: options alone, or a configuration file, are the server's
# arguments; started as root, the server is given its data and goes on as its own user.
set -eu

name="${SERVER_NAME:-redis}"
if [ "$#" -eq 0 ]; then
    set -- "$name-server"
fi
case "$1" in
    -* | *.conf) set -- "$name-server" "$@" ;;
esac
if [ "$1" = "$name-server" ]; then
    if [ "$(id -u)" = 0 ]; then
        find . \! -user "$name" -exec chown "$name:$name" '{}' +
        exec gosu "$name" "$0" "$@"
    fi
    # Others have no business with the data, unless the pod said so.
    if [ "$(umask)" = 0022 ]; then
        umask 0077
    fi
fi
exec "$@"
