"""How fast a prover is here: prefixes per CPU-second, against a bound and against plain ways."""
