"""Arithmetic of a contract on all columns at once: its function, called with operands that write LLVM's instructions.

Numba computes with int32 in 64 bits, in twice the registers that membranes of at most 24 bits need. So the function that stands in
the contract is called once, when a kernel is compiled, and what it does with its operands becomes the kernel's code.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from archsim.contracts import neuron
from archsim.vectors import WIDTH, pointer, splat

ELEMENT = ir.IntType(32)
VECTOR = ir.VectorType(ELEMENT, WIDTH)


class Fork(Exception):
    """A branch depends on a comparison that comes out differently from column to column; ``flags`` are its outcomes."""

    def __init__(self, flags: Any) -> None:
        super().__init__()
        self.flags = flags


class Flags:
    """Outcomes of a comparison. Whoever asks for their truth gets the next of the trace's ``answers``, or a :class:`Fork`."""

    def __init__(self, trace: "Trace", value: Any) -> None:
        self.trace, self.value = trace, value

    def __bool__(self) -> bool:
        if not self.trace.answers:
            raise Fork(self.value)
        return self.trace.answers.pop(0)


class Numbers:
    """32-bit integers, one a column."""

    def __init__(self, trace: "Trace", value: Any) -> None:
        self.trace, self.value = trace, value

    def __add__(self, other: "Numbers | int") -> "Numbers":
        return self.trace.made("add", self, other)

    def __sub__(self, other: "Numbers | int") -> "Numbers":
        return self.trace.made("sub", self, other)

    def __neg__(self) -> "Numbers":
        return self.trace.made("sub", 0, self)

    def __rmul__(self, other: int) -> "Numbers":
        return self.trace.made("mul", other, self)

    def __and__(self, other: "Numbers | int") -> "Numbers":
        return self.trace.made("and_", self, other)

    def __lshift__(self, other: "Numbers | int") -> "Numbers":
        return self.trace.made("shl", self, other)

    def __rlshift__(self, other: int) -> "Numbers":
        return self.trace.made("shl", other, self)

    def __rshift__(self, other: "Numbers | int") -> "Numbers":
        return self.trace.made("ashr", self, other)

    def __lt__(self, other: "Numbers | int") -> Flags:
        return self.trace.compared("<", self, other)

    def __ge__(self, other: "Numbers | int") -> Flags:
        return self.trace.compared(">=", self, other)


class Trace:
    """A call of a function with vectors: where its instructions go, and the outcomes of the comparisons that it asks for."""

    def __init__(self, builder: Any, answers: Sequence[bool] = ()) -> None:
        self.builder, self.answers = builder, list(answers)

    def vector(self, operand: Numbers | Flags | int) -> Any:
        """An operand or a result as LLVM's vector."""
        return ir.Constant(VECTOR, [operand] * WIDTH) if isinstance(operand, int) else operand.value

    def made(self, operation: str, first: Numbers | int, second: Numbers | int) -> Numbers:
        """What an operation makes of two operands."""
        return Numbers(self, getattr(self.builder, operation)(self.vector(first), self.vector(second)))

    def compared(self, operator: str, first: Numbers | int, second: Numbers | int) -> Flags:
        """How they compare."""
        return Flags(self, self.builder.icmp_signed(operator, self.vector(first), self.vector(second)))


def traced(builder: Any, function: Callable[..., Any], operands: Sequence[Any], answers: Sequence[bool] = ()) -> list[Any]:
    """Vectors of what ``function`` returns for vectors; both sides of a branch are computed, and each column takes its own."""
    trace = Trace(builder, answers)
    try:
        results = function(*(Numbers(trace, operand) for operand in operands))
    except Fork as fork:
        sides = (traced(builder, function, operands, [*answers, answer]) for answer in (True, False))
        return [builder.select(fork.flags, *pair) for pair in zip(*sides, strict=True)]
    return [trace.vector(result) for result in (results if isinstance(results, tuple) else (results,))]


def _generated(function: Callable[..., Any], written: int) -> Callable[..., Any]:
    """Code of an intrinsic that takes arrays int32 [WIDTH at least] and one integer.

    What ``function`` returns goes to the first ``written`` arrays, and Flags behind that become the intrinsic's value.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        *arrays, last = arguments
        places = [
            builder.bitcast(pointer(context, builder, kind, array), VECTOR.as_pointer())
            for kind, array in zip(signature.args, arrays, strict=False)
        ]
        operands = []
        for place in places[written:]:
            operands.append(builder.load(place))
            operands[-1].align = 4
        operands.append(splat(builder, builder.trunc(last, ELEMENT), VECTOR))
        results = traced(builder, function, operands)
        for place, result in zip(places[:written], results, strict=False):
            builder.store(result, place).align = 4
        return builder.bitcast(results[-1], ir.IntType(WIDTH)) if len(results) > written else context.get_dummy_value()

    return generate


def _step(v: Any, y: Any, threshold: Any, bits: Any) -> tuple[Any, Any, Any]:
    h = neuron.potential(v, y, neuron.LIF, bits)
    return neuron.reset(h, threshold, neuron.LIF, bits), h, h >= threshold


def _plain_step(v: Any, total: Any, bias: Any, threshold: Any, bits: Any) -> tuple[Any, Any]:
    v, _, fired = _step(v, neuron.membrane_input(total, 0, bias, 0, 0, bits), threshold, bits)
    return v, fired


@intrinsic
def form_inputs(typing_context, y, sums, psum, bias, shift, residual, bits):  # type: ignore[no-untyped-def]
    """Membrane inputs of WIDTH columns into ``y``; arrays int32."""
    return types.void(y, sums, psum, bias, shift, residual, types.int64), _generated(neuron.membrane_input, 1)


@intrinsic
def lif_step(typing_context, new, h, v, y, threshold, bits):  # type: ignore[no-untyped-def]
    """A time step of WIDTH LIF neurons: membranes into ``new``, which may be ``v``, potentials into ``h``; arrays int32.

    Returns the spikes as a uint64, neuron p in bit p.
    """
    return types.uint64(new, h, v, y, threshold, types.int64), _generated(_step, 2)


@intrinsic
def plain_lif_step(typing_context, new, v, sums, bias, threshold, bits):  # type: ignore[no-untyped-def]
    """:func:`lif_step` of neurons whose inputs are sums and bias, and whose potentials nobody asks for."""
    return types.uint64(new, v, sums, bias, threshold, types.int64), _generated(_plain_step, 1)
