"""Spike fetch in hardware: window walker, two input banks and a FIFO (contract: ``archsim.contracts.spike_fetch``).

The walker is a chain of three stages, each of which can advance in every cycle, so that a word leaves in every cycle
even where every window is a single word:

* output rows: the input coordinate and the bank row of the window origins, stride by stride;
* windows: the same along the row, with the vertical padding already skipped;
* words: slice, kernel row, kernel column and channel word, with the horizontal padding skipped.

The first two run ahead as soon as the instruction stands, before its start; they touch no bank.
"""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import Component, In, connect, flipped

from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.spike_fetch import ADDRESS_BITS, BANKS, FIFO_DEPTH, TILE_FIELDS, SpikeFetchParams
from rtl.fifo import Fifo
from rtl.payload import load_port, shape, stream_out
from rtl.units.sram import Sram

TILE = Layout.of("tile", TILE_FIELDS)
"""What the fetch takes from an instruction."""

COORDINATE = signed(16)
"""Input coordinates of window origins: at most 2047 + 7 * 2047 in size."""


WRITERS = "write", "copy", "route"
"""Ports that write a bank: of DMA, of the multicast, of the expert engine."""


def bank_write_layout(row_bits: int, data: Field) -> Layout:
    """Write port of a pair of banks: the bank, the row, and its content."""
    return Layout.of("bank_write", [Field("bank", 1), Field("row", row_bits), data])


def scaled(value, count):
    """``count`` times ``value`` as shifted additions, modulo the width of ``value``."""
    width, total = len(value), 0
    for bit in range(min(len(count), width)):
        total = (total + Mux(count[bit], (value << bit)[:width], 0))[:width]
    return total


def clipped(m, origin, kernel, size, name):
    """First tap of a window inside 0..size-1, the number of its taps there less one, and whether there is none."""
    first, taps = Signal(12, name=f"{name}_first"), Signal(signed(18), name=f"{name}_taps")
    room = size - origin
    m.d.comb += [
        first.eq(Mux(origin < 0, -origin, 0)),
        taps.eq(Mux(room < kernel, room, kernel) - first),
    ]
    return first, (taps - 1)[: len(kernel)], taps <= 0


class WindowWalker(Component):
    """Addresses of the words of a tile, in the contract's order, one in every cycle in which ``ready`` is 1.

    Ports:

    * ``tile``: fields of the instruction, constant from ``setup`` to its end.
    * ``setup``: the fields stand for the first time; two cycles or more before ``start``.
    * ``start``: first cycle of the instruction; its first word is valid in the next.
    * ``o``: bank row, weight row, whether the word is empty (no bank row), shift, subtract, last.
    """

    def __init__(self, params: SpikeFetchParams):
        self.params = params
        self.layout = Layout.of("fetched_word", [
            Field("address", ADDRESS_BITS), Field("row", params.row_bits), Field("empty", 1),
            Field("shift", 1), Field("subtract", 1), Field("last", 1),
        ])  # fmt: skip
        super().__init__({
            "tile": In(shape(TILE)), "setup": In(1), "start": In(1), "o": stream_out(self.layout),
        })  # fmt: skip

    def elaborate(self, platform):
        """The three stages, last one last."""
        m = Module()
        rows = self._rows(m)
        windows = self._windows(m, rows)
        self._words(m, windows)
        return m

    def _rows(self, m):
        """Output rows: ``valid``, ``y``, ``origin`` of the next one; ``take`` moves on."""
        tile = self.tile
        rows = {
            "valid": Signal(name="row_valid"), "y": Signal(COORDINATE, name="row_y"), "take": Signal(name="row_take"),
            "origin": Signal(ADDRESS_BITS, name="row_origin"),
        }  # fmt: skip
        left, step = Signal(11, name="row_left"), Signal(ADDRESS_BITS, name="row_step")
        # cycle 0: the instruction stands
        with m.If(self.setup):
            m.d.sync += [
                rows["valid"].eq(1), rows["y"].eq(tile.in_y), rows["origin"].eq(tile.in_origin),
                left.eq(tile.out_height - 1), step.eq(scaled(tile.y_stride, tile.stride)),
            ]  # fmt: skip
        with m.Elif(rows["take"]):
            m.d.sync += [
                rows["valid"].eq(left != 0), rows["y"].eq(rows["y"] + tile.stride),
                rows["origin"].eq(rows["origin"] + step), left.eq(left - 1),
            ]  # fmt: skip
        return rows

    def _windows(self, m, rows):
        """Windows of a row: ``valid``; ``take`` moves on; the rest describes the window as the walker starts it."""
        tile, width = self.tile, self.params.row_bits
        valid, take, x = Signal(name="window_valid"), Signal(name="window_take"), Signal(COORDINATE, name="window_x")
        origin, left = Signal(ADDRESS_BITS, name="window_origin"), Signal(11, name="window_left")
        step, kernel_row = Signal(ADDRESS_BITS, name="window_step"), Signal(width, name="kernel_row")
        top, dy_left, off_map = Signal(4, name="window_top"), Signal(4, name="window_dy_left"), Signal(name="off_map")
        # cycle 0: the instruction stands
        with m.If(self.setup):
            m.d.sync += [
                step.eq(scaled(tile.x_stride, tile.stride)),
                kernel_row.eq(scaled(tile.tap_rows, tile.kernel_width)),
            ]
        # cycle 1: the vertical padding is skipped; a window with a valid tap skips less than its 15 kernel rows
        row_top, row_dy_left, row_off_map = clipped(m, rows["y"], tile.kernel_height, tile.in_height, "y")
        m.d.comb += rows["take"].eq(rows["valid"] & (~valid | (take & (left == 0))))
        with m.If(rows["take"]):
            m.d.sync += [
                valid.eq(1), x.eq(tile.in_x), left.eq(tile.out_width - 1), top.eq(row_top), dy_left.eq(row_dy_left),
                origin.eq(rows["origin"] + scaled(tile.y_stride, row_top[:4])), off_map.eq(row_off_map),
            ]  # fmt: skip
        with m.Elif(take):
            m.d.sync += [valid.eq(left != 0), x.eq(x + tile.stride), origin.eq(origin + step), left.eq(left - 1)]
        # cycle 2: so is the horizontal padding (of at most 510 kernel columns)
        first, dx_left, outside = clipped(m, x, tile.kernel_width, tile.in_width, "x")
        return {
            "valid": valid, "take": take, "kernel_row": kernel_row, "dy_left": dy_left, "dx_left": dx_left,
            "empty": off_map | outside, "address": origin + scaled(tile.x_stride, first[:9]),
            "row": (tile.weight_base + scaled(kernel_row, top) + scaled(tile.tap_rows, first[:9]))[:width],
        }  # fmt: skip

    def _words(self, m, window):
        """Words of a window: ``o``. Each loop keeps the address at which it began, so that none is ever multiplied."""
        tile, o = self.tile, self.o
        loops = ("slice", "tap_row", "tap", "word")
        address = {loop: Signal(ADDRESS_BITS, name=f"{loop}_address") for loop in loops}
        row = {loop: Signal(self.params.row_bits, name=f"{loop}_row") for loop in loops}
        left = {
            "slice": Signal(8, name="slice_left"), "tap_row": Signal(4, name="tap_row_left"),
            "tap": Signal(9, name="tap_left"), "word": Signal(10, name="word_left"),
        }  # fmt: skip
        dy_left, dx_left, empty = Signal(4), Signal(9), Signal()
        first_slice, first_word = Signal(), Signal()

        def begin(loop, new_address, new_row):
            """Statements: ``loop`` and all inside it go on at these rows."""
            restart = {"tap_row": dy_left, "tap": dx_left, "word": tile.words - 1}
            inner = loops[loops.index(loop) :]
            return [
                *(address[name].eq(new_address) for name in inner), *(row[name].eq(new_row) for name in inner),
                *(left[name].eq(restart[name]) for name in inner[1:]), left[loop].eq(left[loop] - 1),
            ]  # fmt: skip

        issue, word_end, tap_end, slice_end, window_end = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            issue.eq(o.valid & o.ready),
            word_end.eq((left["word"] == 0) | empty),
            tap_end.eq(word_end & ((left["tap"] == 0) | empty)),
            slice_end.eq(tap_end & ((left["tap_row"] == 0) | empty)),
            window_end.eq(slice_end & (left["slice"] == 0)),
            window["take"].eq(window["valid"] & (self.start | (issue & window_end))),
            o.payload.address.eq(address["word"]), o.payload.row.eq(Mux(empty, 0, row["word"])),
            o.payload.empty.eq(empty), o.payload.shift.eq(tile.planes & ~first_slice & first_word),
            o.payload.subtract.eq(tile.planes & tile.signed & first_slice),
            o.payload.last.eq(slice_end & (~tile.planes | (left["slice"] == 0))),
        ]  # fmt: skip
        # cycle 3: the word's address is offered
        with m.If(window["take"]):
            m.d.sync += [
                o.valid.eq(1), empty.eq(window["empty"]), first_slice.eq(1), first_word.eq(1),
                *begin("slice", window["address"], window["row"]), left["slice"].eq(tile.slices - 1),
                dy_left.eq(window["dy_left"]), left["tap_row"].eq(window["dy_left"]),
                dx_left.eq(window["dx_left"]), left["tap"].eq(window["dx_left"]),
            ]  # fmt: skip
        with m.Elif(issue):
            m.d.sync += first_word.eq(slice_end)
            with m.If(window_end):
                m.d.sync += o.valid.eq(0)
            with m.Elif(slice_end):
                m.d.sync += first_slice.eq(0)
                m.d.sync += begin("slice", address["slice"] + tile.slice_stride, row["slice"])
            with m.Elif(tap_end):
                m.d.sync += begin("tap_row", address["tap_row"] + tile.y_stride, row["tap_row"] + window["kernel_row"])
            with m.Elif(word_end):
                m.d.sync += begin("tap", address["tap"] + tile.x_stride, row["tap"] + tile.tap_rows)
            with m.Else():
                m.d.sync += begin("word", address["word"] + 1, row["word"] + self.params.word_bits)


class SpikeFetch(Component):
    """Walks the windows of a tile over one of two banks and offers their words to the encoder.

    Ports: ``tile``, ``setup`` and ``start`` as in :class:`WindowWalker`; ``o``, the words; ``write``, ``copy`` and ``route``, a
    row for a bank (always ready). Each has another user, and two may write in a cycle, since the banks have owners of their own.
    """

    def __init__(self, params: SpikeFetchParams):
        self.params = params
        data = Field("data", params.word_bits, count=params.lanes)
        super().__init__({
            "tile": In(shape(TILE)), "setup": In(1), "start": In(1), "o": stream_out(params.o),
            **{name: load_port(bank_write_layout(params.bank.address_bits, data)) for name in WRITERS},
        })  # fmt: skip

    def elaborate(self, platform):
        """Address, read, FIFO: a word whose address is offered in cycle t leaves in t + 2 at the earliest."""
        m = Module()
        m.submodules.walker = walker = WindowWalker(self.params)
        m.d.comb += [walker.tile.eq(self.tile), walker.setup.eq(self.setup), walker.start.eq(self.start)]
        m.submodules.fifo = fifo = Fifo(self.params.o, FIFO_DEPTH)
        pending, word = Signal(), Signal(shape(walker.layout))
        # cycle 0: the address is issued if the FIFO has room for the word and the one before
        issue = Signal()
        m.d.comb += [
            walker.o.ready.eq(fifo.level + pending < FIFO_DEPTH),
            issue.eq(walker.o.valid & walker.o.ready),
        ]
        m.d.sync += pending.eq(issue)
        with m.If(issue):
            m.d.sync += word.eq(walker.o.payload)
        spikes = self._banks(m, issue & ~walker.o.payload.empty, walker.o.payload.address)
        # cycle 1: the row stands
        m.d.comb += [
            fifo.push.eq(pending),
            fifo.pushed.spikes.eq(Mux(word.empty, 0, spikes)),
            *(fifo.pushed[name].eq(word[name]) for name in ("row", "shift", "subtract", "last")),
        ]
        # cycle 2: it waits in the FIFO
        connect(m, fifo.o, flipped(self.o))
        return m

    def _banks(self, m, enable, address):
        """The two banks; the row read in the cycle before from that of the instruction."""
        rows = []
        bits = self.params.bank.address_bits
        for number in range(BANKS):
            m.submodules[f"bank{number}"] = bank = Sram(self.params.bank)
            m.d.comb += [bank.read.en.eq(enable & (self.tile.in_bank == number)), bank.read.addr.eq(address[:bits])]
            m.d.comb += [bank.write.addr.eq(self.write.payload.row), bank.write.data.eq(self.write.payload.data)]
            for name in WRITERS:
                port = getattr(self, name)
                with m.If(port.valid & (port.payload.bank == number)):
                    m.d.comb += [
                        bank.write.en.eq(Const(1).replicate(self.params.bank.granules)),
                        bank.write.addr.eq(port.payload.row), bank.write.data.eq(port.payload.data),
                    ]  # fmt: skip
            rows.append(bank.read.data)
        return Mux(self.tile.in_bank, rows[1], rows[0])
