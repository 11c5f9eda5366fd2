"""Amaranth hardware, one file per unit, and the tool chain that builds, simulates and measures it."""
