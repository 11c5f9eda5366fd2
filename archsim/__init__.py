"""archsim: cycle-accurate simulator of a neuromorphic transformer chip.

``archsim.run(...)`` and ``archsim.load(...)`` are the functions behind the command line. They are imported when first used, so
that ``archsim.contracts`` can be imported (by the RTL, by the mapper) without Numba.
"""

from typing import Any

__all__ = ["load", "run"]


def __getattr__(name: str) -> Any:
    """The public functions, on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'archsim' has no attribute '{name}'")
    from archsim import simulate

    return getattr(simulate, name)
