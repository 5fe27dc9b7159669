"""veRL on a machine without an accelerator, for tests: its own registries, and a rollout server of a few lines."""
