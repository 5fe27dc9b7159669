"""The mathematics of MRT: numpy only, no I/O."""
