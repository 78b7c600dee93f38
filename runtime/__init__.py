"""Code that services share at run time: how they listen."""
