#!/bin/sh
# Prints one number from the database named by PGHOST and friends.
exec psql --no-psqlrc --tuples-only --command 'select count(*) from pg_stat_activity'
