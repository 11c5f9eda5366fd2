"""Spike writer in hardware: granules, or the OR of 3x3 windows of them, into two output banks.

Contract: ``archsim.contracts.spike_writer``.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts import core
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.contracts.spike_writer import BANKS, SpikeWriterParams
from rtl.payload import load_port, shape
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.sram import Sram

CONFIG = Layout.of("writer_config", [
    field for field in core.SYNAPSE_FIELDS if field.name in {
        "planes", "slices", "steps", "lanes", "out_height", "out_width", "psum_out", "spike_out", "out_bank",
        "out_base", "out_position", "out_slice", "pool", "pool_first_odd", "pool_left_odd",
    }
])  # fmt: skip
"""What the spike writer takes from an instruction."""

READERS = "read", "copy", "route"
"""Ports that read a bank: of DMA, of the multicast, of the expert engine."""

MARKS = (
    Field("position_end", 1),  # the last granule of its position
    Field("row_end", 1),  # the last one of a row of positions
    Field("tile_end", 1),  # the last one of the instruction
    Field("first_column", 1),
    Field("odd_column", 1),
    Field("ends_column", 1),  # a window ends with this column
    Field("first_row", 1),
    Field("odd_row", 1),
    Field("ends_row", 1),  # windows of this tile end with this row
)
"""What accompanies a granule: its place in the tile."""


def granule_write(params: SpikeWriterParams, lane, granule):
    """Write mask and row for a granule: it goes to its lane and block, and the first one of a row clears the others."""
    mask = Cat(
        (lane == number) & (granule.block == block)
        for number in range(params.lanes) for block in range(params.blocks)
    )  # fmt: skip
    first = (lane == 0) & (granule.block == 0)
    others = (Mux(first, 0, granule.spikes) for _ in range(1, params.bank.granules))
    return mask | first.replicate(params.bank.granules), Cat(granule.spikes, others)


class OrPool(Component):
    """OR of the 3x3 windows (stride 2, padding 1) of a tile's granules.

    An odd column, or row, ends one window and begins the next; so does the last one. Two memories hold what the windows have so
    far: the ORs over columns, for the granules of one position, and the ORs over columns and rows, for those of a pooled row. A
    memory is read in one cycle and written in the next; a granule comes back to its row after ``GROUP_GAP`` cycles at the earliest.

    Ports: ``valid``, ``i``, a granule and its marks; ``o_valid``, ``o``, the same granule two cycles later with the spikes of the
    windows that end with it; ``complete``: there are such windows.
    """

    def __init__(self, params: SpikeWriterParams, granule: Layout):
        self.params = params
        self.layout = Layout.of("placed_granule", (*granule.fields, *MARKS))
        super().__init__({
            "valid": In(1), "i": In(shape(self.layout)), "o_valid": Out(1), "complete": Out(1),
            "o": Out(shape(self.layout)),
        })  # fmt: skip

    def elaborate(self, platform):
        """A stage for the columns and one for the rows, their memories read one cycle ahead."""
        m = Module()
        m.submodules.columns = columns = Sram(self.params.columns)
        m.submodules.lines = lines = Sram(self.params.lines)
        granules = [self.i, *(Signal(shape(self.layout), name=f"granule{number}") for number in (1, 2))]
        valid = [self.valid, Signal(name="valid1"), Signal(name="valid2")]
        for before in range(2):
            m.d.sync += valid[before + 1].eq(valid[before])
            with m.If(valid[before]):
                m.d.sync += granules[before + 1].eq(granules[before])
        # cycle 0: the OR over the columns so far is read
        entry, written = self._count(m, valid[0], granules[0].position_end, 1, self.params.columns, "entry")
        m.d.comb += [columns.read.en.eq(valid[0] & ~granules[0].first_column), columns.read.addr.eq(entry)]
        # cycle 1: it is added and stored; the line is read
        one = granules[1]
        across = one.spikes | Mux(one.first_column, 0, columns.read.data)
        m.d.comb += [
            columns.write.en.eq(valid[1]), columns.write.addr.eq(written),
            columns.write.data.eq(Mux(one.odd_column, one.spikes, across)),
        ]  # fmt: skip
        line, stored = self._count(m, valid[1], one.row_end, one.ends_column, self.params.lines, "line")
        m.d.comb += [lines.read.en.eq(valid[1] & one.ends_column & ~one.first_row), lines.read.addr.eq(line)]
        with m.If(valid[1]):
            m.d.sync += granules[2].spikes.eq(across)
        # cycle 2: the same for the rows; the pooled granule is offered
        two = granules[2]
        whole = two.spikes | Mux(two.first_row, 0, lines.read.data)
        m.d.comb += [
            lines.write.en.eq(valid[2] & two.ends_column), lines.write.addr.eq(stored),
            lines.write.data.eq(Mux(two.odd_row, two.spikes, whole)), self.o.eq(two), self.o.spikes.eq(whole),
            self.o_valid.eq(valid[2]), self.complete.eq(two.ends_column & two.ends_row),
        ]  # fmt: skip
        return m

    def _count(self, m, valid, clear, step, bank, name):
        """Row of a memory for the granule, counted in the order of the granules, and the row of the granule before."""
        row, before = Signal(bank.address_bits, name=name), Signal(bank.address_bits, name=f"{name}_before")
        with m.If(valid):
            m.d.sync += [row.eq(Mux(clear, 0, row + step)), before.eq(row)]
        return row, before


class SpikeWriter(Component):
    """Stores granules and knows when the instruction has ended.

    Ports:

    * ``config``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle.
    * ``i``: granules (always taken); ``done``: 1 in the cycle in which the instruction ends.
    * ``read``, ``copy``, ``route``: ``bank``, ``row``, presented with ``en`` in cycle t and answered in t + 1, of a bank that no
      instruction here writes; ``copy`` and ``route`` keep the bank until the answer. Each has another user, and two may read in a
      cycle, since the banks have owners of their own.
    * ``write``: a whole row for a bank, likewise; only observers need it.
    """

    def __init__(self, params: SpikeWriterParams, granule: Layout):
        self.params, self.granule = params, granule
        bank = params.bank
        super().__init__({
            "config": In(shape(CONFIG)), "start": In(1), "done": Out(1),
            "i": In(stream.Signature(shape(granule), always_ready=True)),
            **dict.fromkeys(READERS, In(Signature({
                "en": Out(1), "bank": Out(1), "row": Out(bank.address_bits), "data": In(bank.row_bits),
            }))),
            "write": load_port(bank_write_layout(bank.address_bits, Field("data", bank.row_bits))),
        })  # fmt: skip

    def elaborate(self, platform):
        """Without the pool one stage, in which a granule is written as it is taken; with it, two stages more."""
        m = Module()
        m.submodules.pool = pool = OrPool(self.params, self.granule)
        placed, written = Signal(shape(pool.layout)), Signal(shape(pool.layout))
        valid, store, pooled = Signal(), Signal(), self.config.pool
        # cycle 0: the granule's place is known
        self._place(m, placed)
        m.d.comb += [
            pool.valid.eq(self.i.valid & pooled), pool.i.eq(placed),
            written.eq(Mux(pooled, pool.o.as_value(), placed.as_value())),
            valid.eq(Mux(pooled, pool.o_valid, self.i.valid)), store.eq(valid & (pool.complete | ~pooled)),
        ]  # fmt: skip
        # cycle 0 (with the pool 2): it is written
        row, lane = self._rows(m, written, store)
        self._banks(m, written, store, row, lane)
        # cycle 1 (3): the instruction is done
        m.d.sync += self.done.eq(valid & written.tile_end)
        return m

    def _place(self, m, placed):
        """Count slices and positions; mark the granule with its place."""
        config, granule = self.config, self.i.payload
        slice_number, x, y = Signal(8), Signal(11), Signal(11)
        last_slice, last_x, last_y = Signal(), Signal(), Signal()
        odd_row, odd_column = Signal(), Signal()
        m.d.comb += [
            last_slice.eq(config.planes | (slice_number == config.slices - 1)),
            last_x.eq(x == config.out_width - 1), last_y.eq(y == config.out_height - 1),
            odd_row.eq(y[0] ^ config.pool_first_odd), odd_column.eq(x[0] ^ config.pool_left_odd),
            *(placed[field.name].eq(granule[field.name]) for field in self.granule.fields),
            placed.position_end.eq(granule.last & last_slice), placed.row_end.eq(placed.position_end & last_x),
            placed.tile_end.eq(placed.row_end & last_y),
            placed.first_column.eq(x == 0), placed.odd_column.eq(odd_column),
            placed.first_row.eq(y == 0), placed.odd_row.eq(odd_row),
            # An odd first row or column only adds to the windows that the tile before has ended.
            placed.ends_row.eq(Mux(odd_row, y != 0, last_y)), placed.ends_column.eq(Mux(odd_column, x != 0, last_x)),
        ]  # fmt: skip
        with m.If(self.i.valid & granule.last):
            m.d.sync += slice_number.eq(Mux(last_slice, 0, slice_number + 1))
            with m.If(last_slice):
                m.d.sync += x.eq(Mux(last_x, 0, x + 1))
                with m.If(last_x):
                    m.d.sync += y.eq(Mux(last_y, 0, y + 1))

    def _rows(self, m, granule, store):
        """Row and lane of the granule. Steps go along the lanes of a row, and on in the next slice where they outnumber them."""
        config = self.config
        position, base, row = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        next_position, next_row, next_base = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        lane = Signal(5)
        m.d.comb += [
            next_position.eq(position + config.out_position), next_row.eq(row + config.out_slice),
            next_base.eq(Mux(granule.position_end, next_position, next_row)),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [position.eq(config.out_base), base.eq(config.out_base), row.eq(config.out_base), lane.eq(0)]
        with m.Elif(store & granule.last):
            m.d.sync += [base.eq(next_base), row.eq(next_base), lane.eq(0)]
            with m.If(granule.position_end):
                m.d.sync += position.eq(next_position)
        with m.Elif(store):
            m.d.sync += lane.eq(lane + 1)
            with m.If(granule.step == config.steps - 1):
                m.d.sync += [row.eq(base), lane.eq(0)]
            with m.Elif(lane == config.lanes - 1):
                m.d.sync += [row.eq(next_row), lane.eq(0)]
        return row, lane

    def _banks(self, m, granule, store, row, lane):
        """The two banks; a granule goes to its lane and block of the row, the first one and an observer's row to all of them."""
        params, bits = self.params, self.params.bank.address_bits
        mask, data = granule_write(params, lane, granule)
        read_bank, rows = Signal(), []
        for number in range(BANKS):
            m.submodules[f"bank{number}"] = bank = Sram(params.bank)
            mine = store & self.config.spike_out & ~self.config.psum_out & (self.config.out_bank == number)
            whole = self.write.valid & (self.write.payload.bank == number)
            m.d.comb += [
                bank.write.en.eq(Mux(mine, mask, whole.replicate(params.bank.granules))),
                bank.write.addr.eq(Mux(mine, row[:bits], self.write.payload.row)),
                bank.write.data.eq(Mux(mine, data, self.write.payload.data)),
                bank.read.addr.eq(self.read.row),
            ]  # fmt: skip
            for name in READERS:
                port = getattr(self, name)
                with m.If(port.en & (port.bank == number)):
                    m.d.comb += [bank.read.en.eq(1), bank.read.addr.eq(port.row)]
            rows.append(bank.read.data)
        with m.If(self.read.en):
            m.d.sync += read_bank.eq(self.read.bank)
        m.d.comb += self.read.data.eq(Mux(read_bank, rows[1], rows[0]))
        m.d.comb += [port.data.eq(Mux(port.bank, rows[1], rows[0])) for port in (self.copy, self.route)]
