"""Engines behind the `Prover` seam."""
