#!/bin/bash
# The interface of the public MongoDB image: options alone are the server's arguments; started as root, the server is given
# its data and goes on as its own user; the first start makes MONGO_INITDB_ROOT_USERNAME with MONGO_INITDB_ROOT_PASSWORD
# (each also as ..._FILE) and then asks everybody for a password.
set -Eeuo pipefail

if [ "${1:0:1}" = - ]; then
    set -- mongod "$@"
fi
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
    find /data/configdb /data/db \! -user mongodb -exec chown mongodb:mongodb '{}' +
    exec gosu mongodb "$0" "$@"
fi
if [ "$1" != mongod ]; then
    exec "$@"
fi

value() {
    local name="$1" file="${1}_FILE"
    if [ -n "${!file:-}" ]; then
        cat "${!file}"
    else
        printf '%s' "${!name:-}"
    fi
}
user="$(value MONGO_INITDB_ROOT_USERNAME)"
password="$(value MONGO_INITDB_ROOT_PASSWORD)"
path=/data/db
previous=
for word in "$@"; do
    case "$word" in --dbpath=*) path="${word#--dbpath=}" ;; esac
    [ "$previous" != --dbpath ] || path="$word"
    previous="$word"
done
# The server listens beyond the pod unless it is told not to.
case " $* " in
    *' --bind_ip'* | *' --config '* | *' -f '* | *' --bind_ip_all '*) ;;
    *) set -- "$@" --bind_ip_all ;;
esac
if [ -n "$user" ] && [ -n "$password" ]; then
    if [ ! -e "$path/WiredTiger" ]; then
        mongod --dbpath "$path" --bind_ip 127.0.0.1 --port 27017 --fork --logpath /proc/1/fd/1 --pidfilepath /tmp/init.pid
        MONGOSH_NEW_USER="$user" MONGOSH_NEW_PASSWORD="$password" mongosh --quiet --create-root
        mongod --dbpath "$path" --pidfilepath /tmp/init.pid --shutdown
    fi
    case " $* " in *' --auth '* | *' --keyFile'*) ;; *) set -- "$@" --auth ;; esac
fi
exec "$@"
