"""The report of a run, read from its directory."""
