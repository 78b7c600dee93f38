"""Code that services share at run time: settings, logs, problems, tokens, the broker's address, listening."""
