"""Stands for flash-attn, which OpenRLHF imports and does not use without packing."""
