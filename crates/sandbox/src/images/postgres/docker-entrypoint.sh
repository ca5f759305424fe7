#!/usr/bin/env bash
# Makes a data directory out of the environment when there is none, then becomes the server.
#
# The variables, the directory /docker-entrypoint-initdb.d and the order of things are those of the public image, so
# that manifests and scripts written for it work here:
#   POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS (each also as *_FILE),
#   POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD, PGDATA.
set -Eeuo pipefail

sockets=/var/run/postgresql
# Clients that were not built by Debian look in /tmp.
socket_directories=$sockets,/tmp
scripts=/docker-entrypoint-initdb.d

log() { printf '%s [entrypoint]: %s\n' "$(date -u '+%Y-%m-%d %H:%M:%S.%3N UTC')" "$*" >&2; }

die() {
    log "ERROR: $*"
    exit 1
}

# from_file NAME DEFAULT: gives NAME the contents of the file that NAME_FILE names, else its default.
from_file() {
    local name=$1 default=$2 file_variable="$1_FILE"
    local value=${!name:-} file=${!file_variable:-}
    [[ -z $value || -z $file ]] || die "both $name and $file_variable are set: they exclude each other"
    [[ -z $file ]] || value=$(<"$file")
    export "$name=${value:-$default}"
    unset "$file_variable"
}

# The server is asked to run, and not only to tell about itself.
runs_server() {
    [[ ${1:-} == postgres ]] || return 1
    local argument
    for argument in "$@"; do
        case $argument in
            '-?' | --help | --describe-config | -V | --version) return 1 ;;
        esac
    done
}

directories() {
    mkdir -p "$PGDATA"
    # A volume's root may refuse both, and then the server says so better.
    chmod 00700 "$PGDATA" 2>/dev/null || true
    mkdir -p "$sockets" 2>/dev/null || true
    chmod 03775 "$sockets" 2>/dev/null || true
    local wal=${POSTGRES_INITDB_WALDIR:-}
    if [[ -n $wal ]]; then
        mkdir -p "$wal"
        chmod 00700 "$wal" 2>/dev/null || true
    fi
    if ((EUID == 0)); then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find "$sockets" \! -user postgres -exec chown postgres '{}' + 2>/dev/null || true
        if [[ -n $wal ]]; then find "$wal" \! -user postgres -exec chown postgres '{}' +; fi
    fi
}

# An empty password is refused unless the settings say that none is wanted; a server that trusts everybody says so.
check_password() {
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        die "the database is not initialised and no password for its superuser is given: set POSTGRES_PASSWORD" \
            "or POSTGRES_PASSWORD_FILE (or POSTGRES_HOST_AUTH_METHOD=trust, which lets everybody in)"
    fi
    if [[ $POSTGRES_HOST_AUTH_METHOD == trust ]]; then
        log "WARNING: POSTGRES_HOST_AUTH_METHOD=trust lets anybody who reaches this server in, as any user"
    fi
}

initialise() {
    local wal=()
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then wal=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
    # The arguments are one variable with a shell's quoting.
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") "${wal[@]}" '"$POSTGRES_INITDB_ARGS"' "$@"'
    {
        printf "\n# A container's server is reached over the network, and its clients look for its socket here.\n"
        printf "listen_addresses = '*'\nunix_socket_directories = '%s'\n" "$socket_directories"
    } >>"$PGDATA/postgresql.conf"
    printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
}

# What the scripts of initdb.d call, by the names that they know.
docker_process_sql() {
    local query=(psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$POSTGRES_USER")
    if [[ -n $POSTGRES_DB ]]; then query+=(--dbname "$POSTGRES_DB"); fi
    PGHOST=$sockets PGHOSTADDR='' "${query[@]}" "$@"
}

create_database() {
    [[ $POSTGRES_DB != postgres ]] || return 0
    local found
    found=$(POSTGRES_DB=postgres docker_process_sql --tuples-only --no-align --set db="$POSTGRES_DB" \
        <<<"SELECT 1 FROM pg_database WHERE datname = :'db';")
    if [[ -z $found ]]; then
        POSTGRES_DB=postgres docker_process_sql --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
}

run_scripts() {
    local file
    for file in "$@"; do
        case $file in
            *.sh)
                if [[ -x $file ]]; then
                    log "running $file"
                    "$file"
                else
                    log "sourcing $file"
                    # Written for a shell that forgives an unset variable.
                    set +u
                    # shellcheck disable=SC1090
                    . "$file"
                    set -u
                fi
                ;;
            *.sql) log "running $file" && docker_process_sql --file "$file" ;;
            *.sql.gz) log "running $file" && gunzip --stdout "$file" | docker_process_sql ;;
            *.sql.xz) log "running $file" && xzcat "$file" | docker_process_sql ;;
            *.sql.zst) log "running $file" && zstd --decompress --stdout "$file" | docker_process_sql ;;
            *) log "ignoring $file" ;;
        esac
    done
}

# On the socket only, so that nobody takes the half-made database for a ready one.
temporary_server() {
    if [[ ${1:-} == postgres ]]; then shift; fi
    set -- "$@" -c listen_addresses='' -c unix_socket_directories="$socket_directories" -p "${PGPORT:-5432}"
    NOTIFY_SOCKET='' pg_ctl --pgdata "$PGDATA" --options "$(printf '%q ' "$@")" --wait start
}

main() {
    case ${1:-} in -*) set -- postgres "$@" ;; esac

    if runs_server "$@"; then
        directories
        if ((EUID == 0)); then
            exec gosu postgres "${BASH_SOURCE[0]}" "$@"
        fi
        if [[ -s $PGDATA/PG_VERSION ]]; then
            log "$PGDATA has a database already: nothing to initialise"
        else
            from_file POSTGRES_PASSWORD ''
            from_file POSTGRES_USER postgres
            from_file POSTGRES_DB "$POSTGRES_USER"
            from_file POSTGRES_INITDB_ARGS ''
            : "${POSTGRES_HOST_AUTH_METHOD:=}"
            check_password
            : "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
            initialise
            export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
            temporary_server "$@"
            create_database
            local found=()
            if [[ -d $scripts ]]; then mapfile -d '' -t found < <(find -L "$scripts" -maxdepth 1 -type f ! -name '.*' -print0 | LC_ALL=C sort -z); fi
            run_scripts "${found[@]}"
            pg_ctl --pgdata "$PGDATA" --mode fast --wait stop
            unset PGPASSWORD
            log "initialised; starting the server"
        fi
    fi
    exec "$@"
}

# Sourced by scripts that want a function of it.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then main "$@"; fi
