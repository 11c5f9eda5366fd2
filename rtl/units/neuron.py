"""Neuron unit in hardware: P neurons a cycle in a pipeline of three stages (contract: ``archsim.contracts.neuron``)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts import core
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.neuron import GROUP_GAP, IF_HALF, LIF, NONE, NeuronParams
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import SynapseArrayParams
from rtl.payload import elements, load_port, shape, stream_in
from rtl.units.neuron_rows import RowWalker
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.sram import Sram

CONFIG = Layout.of("neuron_config", [
    field for field in core.SYNAPSE_FIELDS if field.name in {
        "planes", "slices", "steps", "neuron", "psum_in", "psum_out", "residual_in", "residual_out", "param_bank",
        "param_base", "psum_base", "psum_position", "psum_step", "residual_in_base", "residual_out_base",
        "residual_position", "residual_step", "reduce", "reduce_first", "reduce_base",
    }
])  # fmt: skip
"""What a neuron unit takes from an instruction, whatever it has."""


def config_layout(params: NeuronParams) -> Layout:
    """What this neuron unit takes: ``CONFIG``, and the mark of the maximum where it has the comparators."""
    if not params.maximum:
        return CONFIG
    mark = next(field for field in core.SYNAPSE_FIELDS if field.name == "maximum")
    return Layout.of("neuron_config", [*CONFIG.fields, mark])


def block_layout(params: NeuronParams) -> Layout:
    """Input payload: the synapse array's output, which depends on P and the width of a sum alone."""
    columns = params.neurons * params.blocks
    return SynapseArrayParams(1, columns, params.neurons, 2, params.membrane_bits, 2).o


def row_write_layout(bank: SramParams) -> Layout:
    """Write port of a single bank: row and content."""
    return Layout.of("row_write", [Field("row", bank.address_bits), Field("data", bank.row_bits)])


def read_port(bank: SramParams) -> Signature:
    """Read port of a bank as its user sees it: a read presented in cycle t is answered in t + 1."""
    return Signature({"en": Out(1), "row": Out(bank.address_bits), "data": In(bank.row_bits)})


def saturated(value, bits):
    """``value`` (signed) at the nearest of the ``bits``-bit two's-complement integers."""
    top, low = Const((1 << (bits - 1)) - 1, signed(bits)), Const(-(1 << (bits - 1)), signed(bits))
    return Mux(value > top, top, Mux(value < low, low, value[:bits].as_signed()))


def shifted(total, bias, shift):
    """``total + bias`` shifted: right if positive, by 5 bits of two's complement.

    One barrel serves both directions: a left shift by 16, the greatest, and then a right shift by ``shift + 16``.
    """
    value = Cat(Const(0, 16), total + bias).as_signed()
    amount = shift.as_unsigned() ^ 16
    return value >> amount


class NeuronUnit(Component):
    """Partial sums, bias, shift, residual, leak, threshold and reset of P columns a cycle.

    Ports:

    * ``config``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle.
    * ``i``: blocks of the synapse array; ``o``: granules of spikes, three cycles later; never stalls.
    * ``write_param``, ``write_residual``, ``write_psum``, ``write_reduce``: a row for a memory (always ready).
    * ``read_residual``, ``read_psum``, ``read_reduce``: a row of a memory. Both directions are for whoever owns it between
      instructions.
    * ``state``: ``params.state``, straight from the registers.
    """

    def __init__(self, params: NeuronParams):
        self.params = params
        bank = params.param_bank
        super().__init__({
            "config": In(shape(config_layout(params))), "start": In(1), "i": stream_in(block_layout(params)),
            "o": Out(stream.Signature(shape(params.o), always_ready=True)),
            "write_param": load_port(bank_write_layout(bank.address_bits, Field("data", bank.row_bits))),
            "write_residual": load_port(row_write_layout(params.residual)),
            "write_psum": load_port(row_write_layout(params.psum)),
            "write_reduce": load_port(row_write_layout(params.reduce)),
            "read_residual": In(read_port(params.residual)), "read_psum": In(read_port(params.psum)),
            "read_reduce": In(read_port(params.reduce)),
            "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The three stages and the memories that they read and write."""
        m = Module()
        params, config = self.params, self.config
        meta = Layout.of("stage", [
            Field("block", 7), Field("step", 8), Field("last", 1), Field("first_time", 1), Field("last_time", 1),
            Field("first_position", 1),
            Field("residual", ADDRESS_BITS), Field("psum", ADDRESS_BITS),
        ])  # fmt: skip
        stages = [Signal(shape(meta), name=f"stage{number}") for number in range(3)]
        valid = [Signal(name=f"valid{number}") for number in range(3)]
        # cycle 0: the block is taken; psum, residual and parameters are read
        self._accept(m, valid[0], stages[0])
        param_row = Signal(shape(params.param))
        m.d.comb += param_row.eq(self._params(m, valid[0] & ~config.psum_out))
        sums = Signal(params.neurons * params.membrane_bits)
        for before in range(2):
            m.d.sync += valid[before + 1].eq(valid[before])
            with m.If(valid[before]):
                m.d.sync += stages[before + 1].eq(stages[before])
        with m.If(valid[0]):
            m.d.sync += sums.eq(Cat(elements(self.i.payload, block_layout(params), "sums")))
        # cycle 1: membrane input; the membranes of an earlier slice are read
        y, threshold = Signal(sums.shape()), Signal(sums.shape())
        enable = valid[2] & config.psum_out
        psum = self._bank(m, "psum", valid[0] & config.psum_in, stages[0].psum, enable, stages[2].psum, y)
        enable = valid[2] & config.residual_out & ~config.psum_out
        residual = self._bank(
            m, "residual", valid[0] & config.residual_in, (config.residual_in_base + stages[0].residual)[:ADDRESS_BITS],
            enable, (config.residual_out_base + stages[2].residual)[:ADDRESS_BITS], y,
        )  # fmt: skip
        with m.If(valid[1]):
            m.d.sync += threshold.eq(Cat(elements(param_row, params.param, "threshold")))
            m.d.sync += y.eq(self._inputs(param_row, sums, psum, residual))
        # cycle 2: y is stored; potential, comparison and reset; sums over time. Membranes and sums are stored in cycle 3
        kept_block, last_step = Signal(7), stages[2].step == config.steps - 1
        with m.If(valid[2]):
            m.d.sync += kept_block.eq(stages[2].block)
        self._neurons(m, valid, stages, y, threshold, kept_block, last_step)
        self._reduce(m, valid, stages, y, kept_block, last_step)
        return m

    def _accept(self, m, valid, stage):
        """Take blocks, GROUP_GAP apart from group to group; count slices and rows."""
        config, block = self.config, self.i.payload
        gap, slice_number = Signal(range(GROUP_GAP)), Signal(8)
        last_step, last_slice, started = Signal(), Signal(), Signal()
        residual, psum = RowWalker(), RowWalker()
        m.submodules += [residual, psum]
        m.d.comb += [
            self.i.ready.eq(gap == 0), valid.eq(self.i.valid & self.i.ready),
            last_step.eq(block.step == config.steps - 1),
            last_slice.eq(config.planes | (slice_number == config.slices - 1)),
            stage.block.eq(block.block), stage.step.eq(block.step), stage.last.eq(block.last),
            stage.first_time.eq((slice_number == 0) & (block.step == 0)), stage.last_time.eq(last_slice & last_step),
            stage.first_position.eq(~started), stage.residual.eq(residual.row), stage.psum.eq(psum.row),
            psum.base.eq(config.psum_base),
            residual.position_stride.eq(config.residual_position), residual.step_stride.eq(config.residual_step),
            psum.position_stride.eq(config.psum_position), psum.step_stride.eq(config.psum_step),
        ]  # fmt: skip
        for walker in (residual, psum):
            m.d.comb += [
                walker.start.eq(self.start), walker.take.eq(valid), walker.first_block.eq(block.block == 0),
                walker.last_step.eq(last_step), walker.last.eq(block.last), walker.last_slice.eq(last_slice),
            ]  # fmt: skip
        with m.If(gap != 0):
            m.d.sync += gap.eq(gap - 1)
        with m.If(valid & block.last):
            m.d.sync += [gap.eq(GROUP_GAP - 1), slice_number.eq(Mux(last_slice, 0, slice_number + 1))]
            m.d.sync += started.eq(started | last_slice)
        with m.If(self.start):
            m.d.sync += started.eq(0)

    def _params(self, m, enable):
        """The two parameter banks; the row of the block taken in the cycle before."""
        bits = self.params.param_bank.address_bits
        row = (self.config.param_base + self.i.payload.block)[:bits]
        rows, write = [], self.write_param
        for number in range(2):
            m.submodules[f"param{number}"] = bank = Sram(self.params.param_bank)
            m.d.comb += [
                bank.read.en.eq(enable & (self.config.param_bank == number)), bank.read.addr.eq(row),
                bank.write.en.eq(write.valid & (write.payload.bank == number)),
                bank.write.addr.eq(write.payload.row), bank.write.data.eq(write.payload.data),
            ]  # fmt: skip
            rows.append(bank.read.data)
        return Mux(self.config.param_bank, rows[1], rows[0])

    def _bank(self, m, name, read, read_row, write, write_row, data):
        """A memory that the unit and its owner between instructions share; the row read in the cycle before."""
        params = getattr(self.params, name)
        reader, writer = getattr(self, f"read_{name}"), getattr(self, f"write_{name}")
        m.submodules[name] = bank = Sram(params)
        m.d.comb += [
            bank.read.en.eq(read | reader.en), reader.data.eq(bank.read.data),
            bank.read.addr.eq(Mux(read, read_row[: params.address_bits], reader.row)),
            bank.write.en.eq(write | writer.valid),
            bank.write.addr.eq(Mux(write, write_row[: params.address_bits], writer.payload.row)),
            bank.write.data.eq(Mux(write, data, writer.payload.data)),
        ]  # fmt: skip
        return bank.read.data

    def _inputs(self, param_row, sums, psum, residual):
        """Membrane inputs of P neurons, or the bare sums where only they are stored."""
        config, bits = self.config, self.params.membrane_bits
        biases, shifts = (elements(param_row, self.params.param, name) for name in ("bias", "shift"))
        values = []
        for number, (bias, shift) in enumerate(zip(biases, shifts, strict=True)):
            part = slice(number * bits, (number + 1) * bits)
            total = sums[part].as_signed() + Mux(config.psum_in, psum[part], 0).as_signed()
            stream_value = Mux(config.residual_in, residual[part], 0).as_signed()
            value = shifted(total, bias, shift)
            y = (value + stream_value)[:bits].as_signed()
            if self.params.maximum:
                alone = value[:bits].as_signed()
                greater = Mux(alone > stream_value, alone, stream_value)
                y = Mux(config.maximum & config.residual_in, greater, y)[:bits].as_signed()
            values.append(Mux(config.psum_out, total[:bits], y)[:bits])
        return Cat(values)

    def _neurons(self, m, valid, stages, y, threshold, kept_block, last_step):
        """Neurons: membranes, their memory between the slices of a position, and the granule."""
        config, bits, stage = self.config, self.params.membrane_bits, stages[2]
        m.submodules.v = memory = Sram(self.params.v)
        v, keep, fired = Signal(y.shape()), Signal(), []
        sliced = (config.neuron != NONE) & ~config.planes
        m.d.comb += [
            memory.read.en.eq(valid[1] & sliced & (stages[1].step == 0) & ~stages[1].first_time),
            memory.read.addr.eq(stages[1].block), memory.write.en.eq(keep), memory.write.addr.eq(kept_block),
            memory.write.data.eq(v), self.state.eq(v),
        ]  # fmt: skip
        kept = Mux(stage.step == 0, memory.read.data, v)
        for number in range(self.params.neurons):
            part = slice(number * bits, (number + 1) * bits)
            spike = self._neuron(m, stage.first_time, kept[part], y[part], threshold[part], v[part], valid[2])
            fired.append(spike)
        # cycle 2, at its end: membranes and granule. v waits for the last step of its group
        m.d.sync += [keep.eq(valid[2] & sliced & last_step & ~stage.last_time), self.o.valid.eq(valid[2])]
        with m.If(valid[2]):
            m.d.sync += [
                self.o.payload.spikes.eq(Cat(fired)), self.o.payload.block.eq(stage.block),
                self.o.payload.step.eq(stage.step), self.o.payload.last.eq(stage.last),
            ]  # fmt: skip

    def _reduce(self, m, valid, stages, y, kept_block, last_step):
        """Sums of the membrane inputs over positions and time, in the reduction bank between groups."""
        config, bits, stage = self.config, self.params.membrane_bits, stages[2]
        running, keep = Signal(y.shape(), name="sum_over_time"), Signal(name="keep_sum")
        used = config.reduce & ~config.psum_out
        clear = [(config.reduce_first & at.first_position & at.first_time) for at in stages]
        row, kept_row = ((config.reduce_base + block)[:ADDRESS_BITS] for block in (stages[1].block, kept_block))
        read = valid[1] & used & (stages[1].step == 0) & ~clear[1]
        kept = self._bank(m, "reduce", read, row, keep, kept_row, running)
        before = Mux(stage.step == 0, Mux(clear[2], 0, kept), running)
        m.d.sync += keep.eq(valid[2] & used & last_step)
        with m.If(valid[2] & used):
            for number in range(self.params.neurons):
                part = slice(number * bits, (number + 1) * bits)
                m.d.sync += running[part].eq(before[part] + y[part])

    def _neuron(self, m, first, kept, y, threshold, v, enable):
        """One neuron: its membrane ``v`` moves on where ``enable`` is 1; returns its spike."""
        kind, bits = self.config.neuron, self.params.membrane_bits
        limit = threshold.as_signed()
        start = Mux(kind == IF_HALF, limit >> 1, 0)
        total, h = Signal(signed(bits + 1)), Signal(signed(bits))
        fires = Signal()
        m.d.comb += [
            total.eq(Mux(first, start, kept.as_signed()) + y.as_signed()),
            h.eq(Mux(kind == LIF, total >> 1, saturated(total, bits))),
            fires.eq((kind != NONE) & ~self.config.psum_out & (h >= limit)),
        ]
        after = Mux(fires, Mux(kind == LIF, 0, saturated(h - limit, bits)), h)
        with m.If(enable):
            m.d.sync += v.eq(after)
        return fires
