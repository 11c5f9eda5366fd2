"""Numba, set up for this package: a cache that never serves stale kernels, and bit operations on 64-bit words."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit as numba_njit
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from archsim.contracts.common.layout import Field


def cache_base() -> Path:
    """Folder of everything that this package keeps between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archsim"


KERNELS = (
    "contracts", "units", "stepped", "elementwise.py", "execute.py", "handshake.py", "jit.py", "results.py", "threads.py",
    "timing.py", "vectors.py",
)  # fmt: skip
"""Folders and modules whose code is compiled into kernels."""


def cache_directory() -> Path:
    """Where compiled kernels are kept: a folder named by a hash of every source that a kernel may use.

    Numba's own cache looks only at the file of the function itself and returns stale code when an imported
    function changed, so the hash covers all of KERNELS.
    """
    digest = hashlib.sha256()
    for place in (Path(__file__).parent / name for name in KERNELS):
        for source in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(source.read_bytes())
    return cache_base() / f"kernels-{digest.hexdigest()[:16]}"


numba.config.CACHE_DIR = str(cache_directory())


def is_cold() -> bool:
    """Whether no kernel has been compiled for the present sources yet."""
    return not any(cache_directory().rglob("*.nbi"))


def njit(function: Any) -> Any:
    """Compile ``function`` (a kernel, or a contract's own pure function) in nopython mode, cached on disk.

    It runs without the interpreter's lock, so that two threads can run it.
    """
    return numba_njit(cache=True, nogil=True)(function)


def kernel(function: Any) -> Any:
    """As :func:`njit`, for functions that make no arrays: they count no references, which costs more than short loops do.

    They become part of the kernel that calls them: a call would pass every field of every array on the stack.
    """
    return numba_njit(cache=True, nogil=True, _nrt=False, forceinline=True)(function)


def table(fields: Iterable[Field], count: int) -> NDArray[np.void]:
    """``count`` instructions, all 0: kernels take an entry ``f`` and read ``f.name``, int64."""
    return np.zeros(count, np.dtype([(field.name, np.int64) for field in fields]))


def entry(fields: Iterable[Field], values: Mapping[str, int]) -> np.void:
    """One instruction for a kernel; what ``values`` lacks is 0."""
    fields = tuple(fields)
    result = table(fields, 1)
    for field in fields:
        result[field.name] = values.get(field.name, 0)
    only: np.void = result[0]
    return only


@intrinsic
def popcount(typing_context, word):  # type: ignore[no-untyped-def]
    """Set bits of a uint64, as int64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_bit(typing_context, word):  # type: ignore[no-untyped-def]
    """Index of the lowest set bit of a uint64 that is not 0, as int64."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@kernel
def copy(target, source):
    """Copy as many elements as ``target`` has."""
    for number in range(len(target)):
        target[number] = source[number]
