"""LCS Archive beside other ways to archive IMs, all in one run on one machine."""
