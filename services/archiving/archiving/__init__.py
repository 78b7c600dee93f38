"""The archiving service: reads the queue lcslog, commits to the database lcslog, then acknowledges."""
