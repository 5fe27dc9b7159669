"""MRT for TRL: a `GRPOTrainer` whose advantages carry dense progress rewards."""

from mrt_trl.trainer import MRTGRPOTrainer

__all__ = ["MRTGRPOTrainer"]
