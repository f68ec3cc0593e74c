# The same contract as the official entrypoint, for a container that does not start as root: an empty volume gets a
# cluster, whose superuser has POSTGRES_PASSWORD, and the scripts in /docker-entrypoint-initdb.d; then PostgreSQL runs.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?}"
    chmod 700 "$PGDATA"
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "-c listen_addresses=''" >/dev/null
    # shellcheck disable=SC1090  # the image's users bring them
    for script in /docker-entrypoint-initdb.d/*.sh; do [ ! -e "$script" ] || . "$script"; done
    pg_ctl -w -m fast stop >/dev/null
fi
exec "$@" -c "listen_addresses=*"
