"""What the services share while they run: how they listen."""
