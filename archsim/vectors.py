"""Operations of kernels that the compiler does not find by itself: words of bytes, weight rows added in registers, two threads."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 64
"""Columns of the widest array; :func:`add_rows` is made for it."""

BLOCK = 255
"""Rows that a sum of 16 bits certainly holds: 255 x -128 is above -2**15."""

_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any = None) -> Any:
    """Address of element ``index`` of a contiguous array."""
    data = context.make_array(kind)(context, builder, array).data
    return data if index is None else builder.gep(data, [index])


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of a scalar in every place."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, vector.count), None))


@intrinsic
def load_word(typing_context, data, byte):  # type: ignore[no-untyped-def]
    """Eight bytes of a uint8 array from ``byte`` on as a uint64, the lowest first; they must exist."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _pointer(context, builder, signature.args[0], *arguments)
        word = builder.load(builder.bitcast(place, _I64.as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@intrinsic
def store_word(typing_context, data, byte, word):  # type: ignore[no-untyped-def]
    """The inverse of :func:`load_word`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(place, _I64.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


@intrinsic
def at_least(typing_context, values, bounds):  # type: ignore[no-untyped-def]
    """Bit i of the result: whether element i of an int32 array is at least that of another; both have WIDTH elements or more."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector, loaded = ir.VectorType(_I32, WIDTH), []
        for kind, array in zip(signature.args, arguments, strict=True):
            part = builder.load(builder.bitcast(_pointer(context, builder, kind, array), vector.as_pointer()))
            part.align = 4
            loaded.append(part)
        return builder.bitcast(builder.icmp_signed(">=", *loaded), _I64)

    return types.uint64(values, bounds), generate


BYTE, HALF = 8, 16
"""Bits whose places are listed at once, by the table and by AVX-512."""

ROOM = HALF
"""Elements that :func:`list_bits` may write behind the end of its list."""

_PLACES = [[place for place in range(BYTE) if byte >> place & 1] for byte in range(1 << BYTE)]


def _list_parts(context: Any, builder: Any, signature: Any, arguments: Any, size: int, listed: Callable[[Any], Any]) -> Any:
    """Store ``listed(part)``, ``size`` elements of which the first ones count, for every part of a word; returns the end."""
    _, end, bits, row = arguments
    vector = ir.VectorType(_I32, size)
    for shift in range(0, 64, size):
        part = builder.and_(builder.lshr(bits, _I64(shift)), _I64((1 << size) - 1))
        first = builder.add(builder.trunc(row, _I32), _I32(shift))
        before = builder.ctpop(builder.and_(bits, _I64((1 << shift) - 1)))
        place = _pointer(context, builder, signature.args[0], arguments[0], builder.add(end, before))
        found = builder.add(listed(part), _splat(builder, first, vector))
        builder.store(found, builder.bitcast(place, vector.as_pointer())).align = 4
    return builder.add(end, builder.ctpop(bits))


@intrinsic
def list_by_table(typing_context, rows, end, bits, row):  # type: ignore[no-untyped-def]
    """:func:`list_bits` for every processor: a table has the places of the bits of every byte."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        places = ir.VectorType(_I32, BYTE)
        entries = [ir.Constant(places, entry + [0] * (BYTE - len(entry))) for entry in _PLACES]
        table = cgutils.global_constant(builder.module, "places_of_bits", ir.Constant(ir.ArrayType(places, 1 << BYTE), entries))

        def listed(byte: Any) -> Any:
            return builder.load(builder.gep(table, [_I64(0), byte]))

        return _list_parts(context, builder, signature, arguments, BYTE, listed)

    return types.int64(rows, types.int64, types.uint64, types.int64), generate


@intrinsic
def list_by_compression(typing_context, rows, end, bits, row):  # type: ignore[no-untyped-def]
    """:func:`list_bits` for processors with AVX-512: half of the time of the table, and no data in the cache."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        places, flags = ir.VectorType(_I32, HALF), ir.VectorType(ir.IntType(1), HALF)
        kind = ir.FunctionType(places, [places, places, flags])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v16i32")
        every, none = ir.Constant(places, list(range(HALF))), ir.Constant(places, None)

        def listed(half: Any) -> Any:
            return builder.call(compress, [every, none, builder.bitcast(builder.trunc(half, ir.IntType(HALF)), flags)])

        return _list_parts(context, builder, signature, arguments, HALF, listed)

    return types.int64(rows, types.int64, types.uint64, types.int64), generate


list_bits = list_by_compression if get_host_cpu_features().get("avx512f") else list_by_table
"""Write ``row`` + i for each set bit i of a uint64 to the int32 array ``rows`` from ``end`` on; returns the end.

No branch depends on the bits. Up to ROOM elements behind the end are overwritten.
"""


@intrinsic
def add_rows(typing_context, rows, first, last, weight, sums, sign, fresh):  # type: ignore[no-untyped-def]
    """Add ``sign`` (1 or -1) times the rows ``rows[first:last]``, at most BLOCK, of int8 [:, 64] to int32 [64].

    The 64 sums stay in registers, 16 bits each. ``fresh``: they begin at 0, whatever is there.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        narrow, short, wide = (ir.VectorType(ir.IntType(bits), WIDTH) for bits in (8, 16, 32))
        number, kinds = arguments[0], signature.args
        matrix = _pointer(context, builder, kinds[3], arguments[3])
        total = cgutils.alloca_once_value(builder, ir.Constant(short, None))
        with cgutils.for_range_slice(builder, arguments[1], arguments[2], _I64(1), inc=True) as (index, _):
            number = builder.load(_pointer(context, builder, kinds[0], arguments[0], index))
            byte = builder.mul(builder.sext(number, _I64), _I64(WIDTH))
            row = builder.load(builder.bitcast(builder.gep(matrix, [byte]), narrow.as_pointer()))
            row.align = 1
            builder.store(builder.add(builder.load(total), builder.sext(row, short)), total)
        place = builder.bitcast(_pointer(context, builder, kinds[4], arguments[4]), wide.as_pointer())
        before = builder.load(place)
        before.align = 4
        before = builder.select(arguments[6], ir.Constant(wide, None), before)
        added = builder.sext(builder.load(total), wide)
        added = builder.select(builder.icmp_signed("<", arguments[5], _I64(0)), builder.neg(added), added)
        builder.store(builder.add(before, added), place).align = 4
        return context.get_dummy_value()

    return types.void(rows, types.int64, types.int64, weight, sums, types.int64, types.boolean), generate


LINE = 8
"""Words of a line of the cache: what two threads write lies so far apart."""


def _progress(context: Any, builder: Any, kind: Any, array: Any, thread: Any) -> Any:
    return _pointer(context, builder, kind, array, builder.mul(thread, _I64(LINE)))


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
