"""A training loop to copy: scripts, and no part of the installed package."""
