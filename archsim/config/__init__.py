"""Configuration files: what users write, checked with file, line and column, and what follows."""

from archsim.config.chip import Chip, ChipConfig, chip_names, load_chip, read_chip
from archsim.config.schema import json_schema
from archsim.config.workload import WorkloadConfig, load_workload

__all__ = [
    "Chip", "ChipConfig", "WorkloadConfig", "chip_names", "json_schema", "load_chip", "load_workload",
    "read_chip",
]  # fmt: skip
