"""Bytes and characters of single tokens, for the prover's tokenizer and for a trainer's."""
