"""Call detail records: a worker of their own, beside that of IMs."""
