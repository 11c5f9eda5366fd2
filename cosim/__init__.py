"""Co-simulation of whole chips: the one package that sees the simulator and the hardware."""
