"""Names of people and conversations: all names of each, and names that look alike."""
