"""Spike writer in hardware: granules into two output banks (contract: ``archsim.contracts.spike_writer``).

Not implemented yet: the pool (``pool``); an instruction that asks for it stores every position.
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
        "out_base", "out_position", "out_slice",
    }
])  # fmt: skip
"""What the spike writer takes from an instruction."""


class SpikeWriter(Component):
    """Stores granules and knows when the instruction has ended.

    Ports:

    * ``config``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle.
    * ``i``: granules (always taken); ``done``: 1 in the cycle in which the instruction ends.
    * ``read``: ``bank``, ``row``, presented with ``en`` in cycle t and answered in t + 1, while no instruction runs.
    * ``write``: a whole row for a bank, likewise; only observers need it.
    """

    def __init__(self, params: SpikeWriterParams, granule: Layout):
        self.params = params
        bank = params.bank
        super().__init__({
            "config": In(shape(CONFIG)), "start": In(1), "done": Out(1),
            "i": In(stream.Signature(shape(granule), always_ready=True)),
            "read": In(Signature({
                "en": Out(1), "bank": Out(1), "row": Out(bank.address_bits), "data": In(bank.row_bits),
            })),
            "write": load_port(bank_write_layout(bank.address_bits, Field("data", bank.row_bits))),
        })  # fmt: skip

    def elaborate(self, platform):
        """One stage: a granule is written in the cycle in which it is taken."""
        m = Module()
        granule, group_end, last_slice = self.i.payload, Signal(), Signal()
        m.d.comb += group_end.eq(self.i.valid & granule.last)
        instruction_end = self._positions(m, group_end, last_slice)
        row, lane = self._rows(m, group_end, last_slice)
        # cycle 0: the granule is written
        self._banks(m, row, lane)
        # cycle 1: the instruction is done
        m.d.sync += self.done.eq(instruction_end)
        return m

    def _positions(self, m, group_end, last_slice):
        """Count slices and positions; returns whether the granule is the instruction's last."""
        config = self.config
        slice_number, x, y = Signal(8), Signal(11), Signal(11)
        last_x, last_y = Signal(), Signal()
        m.d.comb += [
            last_slice.eq(config.planes | (slice_number == config.slices - 1)),
            last_x.eq(x == config.out_width - 1), last_y.eq(y == config.out_height - 1),
        ]  # fmt: skip
        with m.If(group_end):
            m.d.sync += slice_number.eq(Mux(last_slice, 0, slice_number + 1))
            with m.If(last_slice):
                m.d.sync += x.eq(Mux(last_x, 0, x + 1))
                with m.If(last_x):
                    m.d.sync += y.eq(Mux(last_y, 0, y + 1))
        return group_end & last_slice & last_x & last_y

    def _rows(self, m, group_end, last_slice):
        """Row and lane of the granule. Steps go along the lanes of a row, and on in the next slice where they outnumber them."""
        config, granule = self.config, self.i.payload
        position, base, row = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        next_position, next_row, next_base = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        lane = Signal(5)
        m.d.comb += [
            next_position.eq(position + config.out_position), next_row.eq(row + config.out_slice),
            next_base.eq(Mux(last_slice, next_position, next_row)),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [position.eq(config.out_base), base.eq(config.out_base), row.eq(config.out_base), lane.eq(0)]
        with m.Elif(group_end):
            m.d.sync += [base.eq(next_base), row.eq(next_base), lane.eq(0)]
            with m.If(last_slice):
                m.d.sync += position.eq(next_position)
        with m.Elif(self.i.valid):
            m.d.sync += lane.eq(lane + 1)
            with m.If(granule.step == config.steps - 1):
                m.d.sync += [row.eq(base), lane.eq(0)]
            with m.Elif(lane == config.lanes - 1):
                m.d.sync += [row.eq(next_row), lane.eq(0)]
        return row, lane

    def _banks(self, m, row, lane):
        """The two banks; a granule goes to its lane and block of the row, the first one and an observer's row to all of them."""
        params, granule, bits = self.params, self.i.payload, self.params.bank.address_bits
        mask = Cat(
            (lane == number) & (granule.block == block)
            for number in range(params.lanes) for block in range(params.blocks)
        )  # fmt: skip
        # The first granule of a row clears the others.
        first, read_bank, rows = (lane == 0) & (granule.block == 0), Signal(), []
        others, ones = Mux(first, 0, granule.spikes), (1 << params.bank.granules) - 1
        data = Cat(granule.spikes, (others for _ in range(1, params.bank.granules)))
        for number in range(BANKS):
            m.submodules[f"bank{number}"] = bank = Sram(params.bank)
            store = self.i.valid & self.config.spike_out & ~self.config.psum_out & (self.config.out_bank == number)
            whole = self.write.valid & (self.write.payload.bank == number)
            m.d.comb += [
                bank.write.en.eq(Mux(store, Mux(first, ones, mask), whole.replicate(params.bank.granules))),
                bank.write.addr.eq(Mux(store, row[:bits], self.write.payload.row)),
                bank.write.data.eq(Mux(store, data, self.write.payload.data)),
                bank.read.en.eq(self.read.en & (self.read.bank == number)), bank.read.addr.eq(self.read.row),
            ]  # fmt: skip
            rows.append(bank.read.data)
        with m.If(self.read.en):
            m.d.sync += read_bank.eq(self.read.bank)
        m.d.comb += self.read.data.eq(Mux(read_bank, rows[1], rows[0]))
