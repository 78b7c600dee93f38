"""Names of people and conversations: all that one goes by, and which look alike."""
