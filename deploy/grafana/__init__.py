"""Grafana's dashboards, one for each audience; ``make dashboards`` writes their files."""
