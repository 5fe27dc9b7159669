"""The `mrt-reward` command, one file a verb."""
