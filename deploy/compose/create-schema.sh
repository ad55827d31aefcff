#!/bin/sh
# Makes Temporal's two databases and their tables, or brings them up to the version of these tools. Again and again does no harm.
set -eu

for database in temporal temporal_visibility; do
  schema=${database#temporal_}
  tool="temporal-sql-tool --plugin postgres12 --endpoint $SQL_HOST --port 5432 --user $SQL_USER --database $database"
  $tool create-database
  $tool setup-schema --version 0.0
  $tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$schema/versioned"
done
