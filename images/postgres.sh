#!/bin/sh
# A database `carrel` of a user `carrel`, whose password is in CARREL_PASSWORD_FILE; made in PGDATA where there is none.
set -eu
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Aside and renamed: one that was begun and not finished is begun again.
  rm -rf "$PGDATA.new"
  initdb --pgdata "$PGDATA.new" --username carrel --pwfile "$CARREL_PASSWORD_FILE" --auth-host scram-sha-256 \
    --auth-local trust --encoding UTF8 --locale C.UTF-8
  echo "host all all all scram-sha-256" >> "$PGDATA.new/pg_hba.conf"
  echo "CREATE DATABASE carrel" | postgres --single -D "$PGDATA.new" -c unix_socket_directories=/tmp postgres
  mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
