"""Numba, set up for this package: a cache that never serves stale kernels, and bit operations on 64-bit words."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import njit as numba_njit
from numba import types
from numba.extending import intrinsic


def cache_base() -> Path:
    """Folder of everything that this package keeps between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archsim"


def cache_directory() -> Path:
    """Where compiled kernels are kept: a folder named by a hash of every source that a kernel may use.

    Numba's own cache looks only at the file of the function itself and returns stale code when an imported
    function changed, so the hash covers the contracts, the units, the stepped models and this file.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(
        path for folder in ("contracts", "units", "stepped") for path in (here / folder).rglob("*.py")
    ):
        digest.update(source.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return cache_base() / f"kernels-{digest.hexdigest()[:16]}"


numba.config.CACHE_DIR = str(cache_directory())


def is_cold() -> bool:
    """Whether no kernel has been compiled for the present sources yet."""
    return not any(cache_directory().rglob("*.nbi"))


def njit(function: Any) -> Any:
    """Compile ``function`` (a kernel, or a contract's own pure function) in nopython mode, cached on disk."""
    return numba_njit(cache=True)(function)


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
