"""Dense progress rewards for reasoning RL (MRT, arXiv 2503.07572)."""

__version__ = "0.1.0"
