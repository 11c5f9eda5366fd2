"""Cycle-accurate neuromorphic chip simulator.

No code here: the hardware imports archsim.contracts, and must not load Numba by it.
"""
