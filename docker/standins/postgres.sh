#!/bin/sh
# Stand-in for the start of postgres: an empty data directory becomes a cluster with POSTGRES_USER,
# POSTGRES_PASSWORD and POSTGRES_DB, then the command runs as postgres. Not for production.
set -eu
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
install -d -o postgres -m 700 "$PGDATA"
install -d -o postgres /var/run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?set it in docker/.env}"
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    chown postgres /tmp/password
    as_postgres initdb -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 \
        --auth-local=trust -E UTF8 >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    as_postgres pg_ctl -s -o "-c listen_addresses=''" -w start
    as_postgres createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    as_postgres pg_ctl -s -m fast -w stop
fi
exec setpriv --reuid postgres --regid postgres --clear-groups "$@"
