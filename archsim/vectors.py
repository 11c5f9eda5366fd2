"""Operations of kernels that the compiler does not find by itself: words of bytes, weight rows added in registers."""

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

WIDTH = 64
"""Columns of the widest array; :func:`add_rows` is made for it."""

BLOCK = 255
"""Rows that a sum of 16 bits certainly holds: 255 x -128 is above -2**15."""

LINE = 8
"""Words of a line of the cache: what two threads write lies so far apart."""


def aligned(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros that begins with a line of the cache, as numpy's own do not: a vector of 64 bytes then touches one line."""
    kind, line = np.dtype(dtype), 8 * LINE
    size = int(np.prod(shape)) * kind.itemsize
    data = np.zeros(size + line, np.uint8)
    first = -data.ctypes.data % line
    return data[first : first + size].view(kind).reshape(shape)


_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any = None) -> Any:
    """Address of element ``index`` of a contiguous array."""
    data = context.make_array(kind)(context, builder, array).data
    return data if index is None else builder.gep(data, [index])


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of a scalar in every place."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _I32(0))
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, vector.count), None))


@intrinsic
def load_word(typing_context, data, byte):  # type: ignore[no-untyped-def]
    """Eight bytes of a uint8 array from ``byte`` on as a uint64, the lowest first; they must exist."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = pointer(context, builder, signature.args[0], *arguments)
        word = builder.load(builder.bitcast(place, _I64.as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@intrinsic
def store_word(typing_context, data, byte, word):  # type: ignore[no-untyped-def]
    """The inverse of :func:`load_word`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(place, _I64.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), generate


PACKED, PART = 24, 16
"""Bits of an integer and number of them that :func:`unpack` and :func:`pack` move at once: membranes of the large presets."""

_BYTES, _LOW = PART * PACKED // 8, 4 - PACKED // 8  # of a packed part; of an int32 that it lacks


@intrinsic
def unpack(typing_context, data, byte, target):  # type: ignore[no-untyped-def]
    """PART two's-complement integers of PACKED bits, from byte ``byte`` of a uint8 array on, into the first of an int32 array."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        packed, wide = ir.VectorType(_I8, _BYTES), ir.VectorType(_I32, PART)
        part = builder.load(builder.bitcast(pointer(context, builder, signature.args[0], *arguments[:2]), packed.as_pointer()))
        part.align = 1
        # Into the upper bytes, so that a shift to the right brings the sign down.
        places = [_BYTES if number < _LOW else PACKED // 8 * one + number - _LOW for one in range(PART) for number in range(4)]
        mask = ir.Constant(ir.VectorType(_I32, 4 * PART), places)
        upper = builder.bitcast(builder.shuffle_vector(part, ir.Constant(packed, None), mask), wide)
        values = builder.ashr(upper, ir.Constant(wide, [8 * _LOW] * PART))
        place = pointer(context, builder, signature.args[2], arguments[2])
        builder.store(values, builder.bitcast(place, wide.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(data, types.int64, target), generate


@intrinsic
def pack(typing_context, data, byte, values):  # type: ignore[no-untyped-def]
    """The inverse of :func:`unpack`."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        packed, wide = ir.VectorType(_I8, _BYTES), ir.VectorType(_I32, PART)
        place = pointer(context, builder, signature.args[2], arguments[2])
        part = builder.load(builder.bitcast(place, wide.as_pointer()))
        part.align = 4
        octets = builder.bitcast(part, ir.VectorType(_I8, 4 * PART))
        mask = ir.Constant(ir.VectorType(_I32, _BYTES), [4 * one + number for one in range(PART) for number in range(PACKED // 8)])
        target = builder.bitcast(pointer(context, builder, signature.args[0], *arguments[:2]), packed.as_pointer())
        builder.store(builder.shuffle_vector(octets, octets, mask), target).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, values), generate


@intrinsic
def add_bits(typing_context, values, word):  # type: ignore[no-untyped-def]
    """Add 1 to element i of an int32 array where bit i of a uint64 is set; it has WIDTH elements or more."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector, flags = ir.VectorType(_I32, WIDTH), ir.VectorType(ir.IntType(1), WIDTH)
        place = builder.bitcast(pointer(context, builder, signature.args[0], arguments[0]), vector.as_pointer())
        before = builder.load(place)
        before.align = 4
        added = builder.add(before, builder.zext(builder.bitcast(arguments[1], flags), vector))
        builder.store(added, place).align = 4
        return context.get_dummy_value()

    return types.void(values, types.uint64), generate


@intrinsic
def at_least(typing_context, values, bounds):  # type: ignore[no-untyped-def]
    """Bit i of the result: whether element i of an int32 array is at least that of another; both have WIDTH elements or more."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector, loaded = ir.VectorType(_I32, WIDTH), []
        for kind, array in zip(signature.args, arguments, strict=True):
            part = builder.load(builder.bitcast(pointer(context, builder, kind, array), vector.as_pointer()))
            part.align = 4
            loaded.append(part)
        return builder.bitcast(builder.icmp_signed(">=", *loaded), _I64)

    return types.uint64(values, bounds), generate


BYTE = 8
"""Bits whose places the table has at once."""

HALF = WIDTH // 2
"""Places of a word that few words have more of: a line of the cache in a list."""

ROOM = WIDTH
"""Elements that :func:`list_bits` may write behind the end of its list."""

ROW = np.uint16
"""Of a list: rows of a weight bank, of which there are 2^14 at most."""

_PLACES = [[place for place in range(BYTE) if byte >> place & 1] for byte in range(1 << BYTE)]


@intrinsic
def list_by_table(typing_context, rows, end, bits, row):  # type: ignore[no-untyped-def]
    """:func:`list_bits` for every processor: a table has the places of the bits of every byte."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, end, bits, row = arguments
        places = ir.VectorType(_I16, BYTE)
        entries = [ir.Constant(places, entry + [0] * (BYTE - len(entry))) for entry in _PLACES]
        table = cgutils.global_constant(builder.module, "places_of_bits", ir.Constant(ir.ArrayType(places, 1 << BYTE), entries))
        for shift in range(0, WIDTH, BYTE):
            byte = builder.and_(builder.lshr(bits, _I64(shift)), _I64((1 << BYTE) - 1))
            first = builder.add(builder.trunc(row, _I16), _I16(shift))
            before = builder.ctpop(builder.and_(bits, _I64((1 << shift) - 1)))
            place = pointer(context, builder, signature.args[0], arguments[0], builder.add(end, before))
            found = builder.add(builder.load(builder.gep(table, [_I64(0), byte])), splat(builder, first, places))
            builder.store(found, builder.bitcast(place, places.as_pointer())).align = 2
        return builder.add(end, builder.ctpop(bits))

    return types.int64(rows, types.int64, types.uint64, types.int64), generate


@intrinsic
def list_by_compression(typing_context, rows, end, bits, row):  # type: ignore[no-untyped-def]
    """:func:`list_bits` for processors with AVX-512 and VBMI2: places made dense in a register, no data in the cache."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, end, bits, row = arguments
        places, flags, part = ir.VectorType(_I8, WIDTH), ir.VectorType(ir.IntType(1), WIDTH), ir.VectorType(_I16, HALF)
        kind = ir.FunctionType(places, [places, places, flags])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.compress.v64i8")
        every, none = ir.Constant(places, list(range(WIDTH))), ir.Constant(places, None)
        dense = builder.call(compress, [every, none, builder.bitcast(bits, flags)])
        place = pointer(context, builder, signature.args[0], arguments[0], end)
        first, count = splat(builder, builder.trunc(row, _I16), part), builder.ctpop(bits)

        def write(start: int) -> None:
            taken = ir.Constant(ir.VectorType(_I32, HALF), list(range(start, start + HALF)))
            found = builder.add(builder.zext(builder.shuffle_vector(dense, none, taken), part), first)
            builder.store(found, builder.bitcast(builder.gep(place, [_I64(start)]), part.as_pointer())).align = 2

        write(0)
        with builder.if_then(builder.icmp_unsigned(">", count, _I64(HALF)), likely=False):
            write(HALF)
        return builder.add(end, count)

    return types.int64(rows, types.int64, types.uint64, types.int64), generate


list_bits = list_by_compression if get_host_cpu_features().get("avx512vbmi2") else list_by_table
"""Write ``row`` + i for each set bit i of a uint64 to the list ``rows`` (ROW) from ``end`` on; returns the end.

No branch depends on the bits. Up to ROOM elements behind the end are overwritten.
"""


@intrinsic
def add_rows(typing_context, rows, first, last, weight, sums, sign, fresh):  # type: ignore[no-untyped-def]
    """Add ``sign`` (1 or -1) times the rows ``rows[first:last]`` (ROW), at most BLOCK, of int8 [:, 64] to int32 [64].

    The 64 sums stay in registers, 16 bits each. ``fresh``: they begin at 0, whatever is there.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        narrow, short, wide = (ir.VectorType(ir.IntType(bits), WIDTH) for bits in (8, 16, 32))
        number, kinds = arguments[0], signature.args
        matrix = pointer(context, builder, kinds[3], arguments[3])
        total = cgutils.alloca_once_value(builder, ir.Constant(short, None))
        with cgutils.for_range_slice(builder, arguments[1], arguments[2], _I64(1), inc=True) as (index, _):
            number = builder.load(pointer(context, builder, kinds[0], arguments[0], index))
            byte = builder.mul(builder.zext(number, _I64), _I64(WIDTH))
            row = builder.load(builder.bitcast(builder.gep(matrix, [byte]), narrow.as_pointer()))
            row.align = 1
            builder.store(builder.add(builder.load(total), builder.sext(row, short)), total)
        place = builder.bitcast(pointer(context, builder, kinds[4], arguments[4]), wide.as_pointer())
        before = builder.load(place)
        before.align = 4
        before = builder.select(arguments[6], ir.Constant(wide, None), before)
        added = builder.sext(builder.load(total), wide)
        added = builder.select(builder.icmp_signed("<", arguments[5], _I64(0)), builder.neg(added), added)
        builder.store(builder.add(before, added), place).align = 4
        return context.get_dummy_value()

    return types.void(rows, types.int64, types.int64, weight, sums, types.int64, types.boolean), generate



@intrinsic
def add_counts(typing_context, rows, end, counts, sums):  # type: ignore[no-untyped-def]
    """Add the rows ``rows[:end]`` (ROW) of int32 [:, 64] to int32 [64], which stay in registers."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        wide, kinds = ir.VectorType(_I32, WIDTH), signature.args
        matrix = pointer(context, builder, kinds[2], arguments[2])
        place = builder.bitcast(pointer(context, builder, kinds[3], arguments[3]), wide.as_pointer())
        before = builder.load(place)
        before.align = 4
        total = cgutils.alloca_once_value(builder, before)
        with cgutils.for_range(builder, arguments[1]) as loop:
            number = builder.load(pointer(context, builder, kinds[0], arguments[0], loop.index))
            first = builder.mul(builder.zext(number, _I64), _I64(WIDTH))
            row = builder.load(builder.bitcast(builder.gep(matrix, [first]), wide.as_pointer()))
            row.align = 4
            builder.store(builder.add(builder.load(total), row), total)
        builder.store(builder.load(total), place).align = 4
        return context.get_dummy_value()

    return types.void(rows, types.int64, counts, sums), generate


@intrinsic
def fetch_early(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the lines of the cache that hold element ``index`` of an array of one axis, before it is needed."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind, octet = signature.args[0], _I8.as_pointer()
        place = builder.bitcast(pointer(context, builder, kind, *arguments), octet)
        prefetch = ir.FunctionType(ir.VoidType(), [octet, _I32, _I32, _I32])
        call = cgutils.get_or_insert_function(builder.module, prefetch, "llvm.prefetch.p0i8")
        for byte in range(0, context.get_abi_sizeof(context.get_data_type(kind.dtype)), 8 * LINE):
            builder.call(call, [builder.gep(place, [_I64(byte)]), *map(_I32, (0, 3, 1))])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
