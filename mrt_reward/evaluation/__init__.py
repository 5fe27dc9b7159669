"""Budgets, regret and datasets from scored traces."""
