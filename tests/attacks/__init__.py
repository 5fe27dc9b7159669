"""What a policy earns that games its prover instead of reasoning, measured on the bundled models."""
