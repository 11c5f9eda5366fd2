"""Shared by the system tests: the digits workload mapped for a chip, once per session."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from archsim import simulate

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"


@cache
def _mapped(chip: str) -> simulate.Workload:
    return simulate.load(WORKLOAD, chip)


@pytest.fixture(scope="session")
def mapped() -> Callable[[str], simulate.Workload]:
    """The digits workload mapped for a preset."""
    return _mapped


@pytest.fixture(scope="session")
def workload_file() -> Path:
    """The digits workload file."""
    return WORKLOAD
