"""How the services are put together: the local stack, the broker, the database, containers."""
