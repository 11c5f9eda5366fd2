"""Work that two threads share."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Run one or two calls at the same time, the first on this thread; raises what they raise."""
    first, *rest = calls
    if not rest:  # a pool costs 20 us
        first()
        return
    with ThreadPoolExecutor(1) as pool:
        others = [pool.submit(call) for call in rest]
        first()
        for other in others:
            other.result()


def halves(array: NDArray[Any], least: int) -> list[slice]:
    """The whole of an array, or its two halves if it has ``least`` elements."""
    half = len(array) // 2
    return [slice(half), slice(half, None)] if len(array) >= least else [slice(None)]
