"""Tables and views as they are migrated, one file a schema of the database."""
