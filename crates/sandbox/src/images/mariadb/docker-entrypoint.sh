#!/bin/bash
# The interface of the public MariaDB image: options alone are the server's arguments; started as root, the server is given
# its data and goes on as its own user; the first start makes the database out of the environment:
#   MARIADB_ROOT_PASSWORD, MARIADB_ROOT_HOST, MARIADB_DATABASE, MARIADB_USER, MARIADB_PASSWORD (each also as ..._FILE and
#   with MYSQL_ in front), MARIADB_ALLOW_EMPTY_ROOT_PASSWORD, and /docker-entrypoint-initdb.d/*.sh, *.sql.
set -Eeuo pipefail

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock

log() { printf '%s [entrypoint]: %s\n' "$(date -u '+%Y-%m-%d %H:%M:%S.%3N UTC')" "$*" >&2; }
die() {
    log "ERROR: $*"
    exit 1
}

if [ "${1:0:1}" = - ]; then
    set -- mariadbd "$@"
fi
case "$1" in
    mariadbd | mysqld) ;;
    *) exec "$@" ;;
esac
if [ "$(id -u)" = 0 ]; then
    find "$data" \! -user mysql -exec chown mysql:mysql '{}' +
    exec gosu mysql "$0" "$@"
fi

value() {
    local name file variable
    for name in "MARIADB_$1" "MYSQL_$1"; do
        file="${name}_FILE"
        variable="${!name:-}"
        if [ -n "${!file:-}" ]; then
            [ -z "$variable" ] || die "both $name and $file are set: they exclude each other"
            cat "${!file}"
            return
        fi
        if [ -n "$variable" ]; then
            printf '%s' "$variable"
            return
        fi
    done
}
# A text as a literal.
literal() {
    local text=${1//\\/\\\\}
    printf "'%s'" "${text//\'/\'\'}"
}
client() { mariadb --no-defaults --protocol=socket --socket="$socket" --user=root "$@"; }

initialise() {
    local password host database user
    password="$(value ROOT_PASSWORD)"
    host="$(value ROOT_HOST)"
    database="$(value DATABASE)"
    user="$(value USER)"
    if [ -z "$password" ] && [ -z "$(value ALLOW_EMPTY_ROOT_PASSWORD)" ]; then
        die "the database is not initialised and no password for root is given: set MARIADB_ROOT_PASSWORD or" \
            "MARIADB_ROOT_PASSWORD_FILE (or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1)"
    fi
    log "making the database"
    mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db >/dev/null
    "$@" --skip-networking --socket="$socket" &
    local server=$! try
    for ((try = 0; try < 600; try++)); do
        if client --execute 'DO 1' 2>/dev/null; then break; fi
        kill -0 "$server" 2>/dev/null || die "the server ended while its database was made"
        sleep 0.1
    done
    {
        # Not in the binary log: what members begin with is no transaction of any of them.
        echo "SET SESSION sql_log_bin = 0;"
        echo "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host NOT IN ('localhost'));"
        echo "FLUSH PRIVILEGES;"
        echo "CREATE USER 'root'@$(literal "${host:-%}") IDENTIFIED BY $(literal "$password");"
        echo "GRANT ALL ON *.* TO 'root'@$(literal "${host:-%}") WITH GRANT OPTION;"
        echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(literal "$password");"
        if [ -n "$database" ]; then echo "CREATE DATABASE IF NOT EXISTS \`$database\`;"; fi
        if [ -n "$user" ]; then
            echo "CREATE USER $(literal "$user")@'%' IDENTIFIED BY $(literal "$(value PASSWORD)");"
            if [ -n "$database" ]; then echo "GRANT ALL ON \`${database//_/\\_}\`.* TO $(literal "$user")@'%';"; fi
        fi
    } | client
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) . "$file" ;;
            *.sql) MYSQL_PWD="$password" client ${database:+--database="$database"} <"$file" ;;
        esac
    done
    kill "$server"
    wait "$server" || die "the server did not stop after its database was made"
    log "made the database"
}

case " $* " in
    *' --help '* | *' --version '* | *' -V '*) ;;
    *) if [ ! -d "$data/mysql" ]; then initialise "$@"; fi ;;
esac
exec "$@"
