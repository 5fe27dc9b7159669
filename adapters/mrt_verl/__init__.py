"""`reward.type=mrt` for veRL: dense progress rewards and the MRT advantage in a stock training run."""
