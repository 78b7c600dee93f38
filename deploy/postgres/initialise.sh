#!/bin/sh
# Run once by the container's entrypoint, on an empty server: the roles, then the database.
psql --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres \
    --file=/run/secrets/roles.sql --file=/etc/lcs/database.sql
