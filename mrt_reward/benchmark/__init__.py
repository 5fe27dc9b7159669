"""How fast a prover is here: prefixes per CPU-second, against one full forward and against plain ways."""
