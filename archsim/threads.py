"""Work that two threads share, and what their kernels tell each other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from archsim.vectors import LINE, pointer


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


INTEGER = ir.IntType(64)


def _progress(context: Any, builder: Any, kind: Any, array: Any, thread: Any) -> Any:
    return pointer(context, builder, kind, array, builder.mul(thread, INTEGER(LINE)))


@intrinsic
def progress_of(typing_context, progress, thread):  # type: ignore[no-untyped-def]
    """Tasks that a thread has reported in int64 [threads, 8], whose results can then be seen."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _progress(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(progress, types.int64), generate


@intrinsic
def report(typing_context, progress, thread, done):  # type: ignore[no-untyped-def]
    """Report that a thread has done so many tasks."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _progress(context, builder, signature.args[0], *arguments[:2])
        builder.store_atomic(arguments[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(progress, types.int64, types.int64), generate


@intrinsic
def yield_processor(typing_context):  # type: ignore[no-untyped-def]
    """Let another thread have the processor (POSIX ``sched_yield``)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate
