"""What lets OpenRLHF train without an accelerator, in tests only."""
