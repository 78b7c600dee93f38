"""The spool: IMs on this front end's own disk until the broker takes them."""
