"""Cycle-stepped models: registers, FIFOs and handshakes clock by clock, for tests; slow, and without any timing law.

They share the arithmetic of the contracts (``step`` and its like) with the simulator, and nothing that says how long a thing takes.
Within a cycle every model works from its output back to its input: a register is read before it is overwritten, and ``ready``
reaches the producer in the same cycle, as in hardware.
"""
