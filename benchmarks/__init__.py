"""Benchmarks: paired measurements of this package beside PyTorch and the generated Verilog. ``make bench`` runs them."""
