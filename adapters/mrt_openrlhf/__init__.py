"""`python -m mrt_openrlhf`: dense progress rewards and the MRT advantage in OpenRLHF's own training run."""
