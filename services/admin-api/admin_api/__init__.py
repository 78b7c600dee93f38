"""The admin API: policy, completeness, and reading the archive."""
