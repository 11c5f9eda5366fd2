"""From a trained network to a program: import, quantise, partition, place, schedule."""
