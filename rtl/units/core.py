"""Core in hardware: an instruction queue and the pipeline that it drives (contract: ``archsim.contracts.core``).

Queue, spike fetch, event encoder, synapse array, neuron unit, spike writer. Not implemented yet: PLANES, gangs, and the pool.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, connect, flipped

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Layout
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.sequencer import CORE0, HEADER, SYNAPSE
from archsim.contracts.spike_fetch import SpikeFetchParams
from archsim.contracts.spike_writer import SpikeWriterParams
from archsim.contracts.synapse_array import SynapseArrayParams
from rtl.payload import shape
from rtl.units import neuron as neuron_unit
from rtl.units import spike_writer
from rtl.units.event_encoder import EventEncoder
from rtl.units.neuron import NeuronUnit
from rtl.units.sequencer import Sequencer
from rtl.units.spike_fetch import TILE, SpikeFetch
from rtl.units.spike_writer import SpikeWriter
from rtl.units.synapse_array import SynapseArray

INSTRUCTION = Layout.of("synapse_instruction", HEADER + SYNAPSE_FIELDS)
"""Bits of a SYNAPSE in the queue."""


class Core(Component):
    """One core with its queue.

    Ports:

    * ``program``, ``write_spikes``, ``write_weight``, ``write_param``, ``write_residual``, ``write_psum``,
      ``write_reduce``: a row for a memory (always ready), from whoever owns the memory; ``write_out`` is for observers only.
    * ``read_out``, ``read_residual``, ``read_psum``, ``read_reduce``: a row of a memory, answered a cycle later, likewise.
    * ``posted``, ``post``, ``ready``, ``go``, ``halted``: as in :class:`~rtl.units.sequencer.Sequencer`.
    * ``start``, ``done``: an instruction starts (ends) in this cycle.
    """

    def __init__(self, chip: ChipParams):
        self.chip = chip
        engines = CORE0 + chip.cores
        array = SynapseArrayParams(
            chip.lanes, chip.columns, chip.neurons, chip.weight_bits, chip.membrane_bits, chip.weight_rows
        )
        neuron = NeuronParams(
            chip.neurons, chip.blocks, chip.membrane_bits, chip.param_rows, chip.residual_rows, chip.psum_rows,
            chip.reduce_rows,
        )  # fmt: skip
        self.sequencer = Sequencer(chip.queue_rows, engines)
        self.fetch = SpikeFetch(SpikeFetchParams(chip.lanes, chip.columns, chip.spike_in_rows, array.row_bits))
        self.encoder = EventEncoder(EventEncoderParams(chip.lanes, chip.columns, array.row_bits))
        self.array = SynapseArray(array)
        self.neuron = NeuronUnit(neuron)
        self.writer = SpikeWriter(
            SpikeWriterParams(chip.lanes, chip.neurons, chip.blocks, chip.spike_out_rows), neuron.o
        )
        # The ports that are the units' own, by their names here.
        self.ports: dict[str, tuple[Component, str]] = {
            "program": (self.sequencer, "program"), "posted": (self.sequencer, "posted"),
            "post": (self.sequencer, "post"), "ready": (self.sequencer, "ready"), "go": (self.sequencer, "go"),
            "halted": (self.sequencer, "halted"), "start": (self.sequencer, "start"),
            "write_spikes": (self.fetch, "write"), "write_weight": (self.array, "weight"),
            "write_param": (self.neuron, "write_param"), "write_residual": (self.neuron, "write_residual"),
            "write_psum": (self.neuron, "write_psum"), "read_residual": (self.neuron, "read_residual"),
            "read_psum": (self.neuron, "read_psum"), "write_reduce": (self.neuron, "write_reduce"),
            "read_reduce": (self.neuron, "read_reduce"), "write_out": (self.writer, "write"),
            "read_out": (self.writer, "read"), "done": (self.writer, "done"),
        }  # fmt: skip
        super().__init__({name: unit.signature.members[port] for name, (unit, port) in self.ports.items()})

    def elaborate(self, platform):
        """The units in the order of the pipeline, their ports, and the instruction's fields to each of them."""
        m = Module()
        for name in ("sequencer", "fetch", "encoder", "array", "neuron", "writer"):
            m.submodules[name] = getattr(self, name)
        for name, (unit, port) in self.ports.items():
            mine, its = getattr(self, name), getattr(unit, port)
            member = self.signature.members[name]
            if not member.is_port:
                connect(m, flipped(mine), its)
            elif member.flow is In:
                m.d.comb += its.eq(mine)
            else:
                m.d.comb += mine.eq(its)
        self._instruct(m)
        self._join(m)
        return m

    def _instruct(self, m):
        """Fields of the instruction and its start to the units."""
        sequencer, fetch, neuron, writer = self.sequencer, self.fetch, self.neuron, self.writer
        fields, mine = Signal(shape(INSTRUCTION)), Signal()
        m.d.comb += [
            fields.eq(sequencer.instruction[: INSTRUCTION.width]), mine.eq(fields.opcode == SYNAPSE),
            fetch.setup.eq(sequencer.setup & mine), sequencer.done.eq(writer.done),
            self.array.config.bank.eq(fields.weight_bank), self.array.config.blocks.eq(fields.blocks),
            self.array.config.steps.eq(fields.steps), self.array.config.replay.eq(fields.replay),
        ]  # fmt: skip
        for unit in (fetch, neuron, writer):
            m.d.comb += unit.start.eq(sequencer.start & mine)
        for view, layout in (
            (fetch.tile, TILE),
            (neuron.config, neuron_unit.CONFIG),
            (writer.config, spike_writer.CONFIG),
        ):
            m.d.comb += [view[field.name].eq(fields[field.name]) for field in layout.fields]

    def _join(self, m):
        """The pipeline from the fetch to the writer."""
        connect(m, self.fetch.o, self.encoder.i)
        connect(m, self.encoder.o, self.array.i)
        connect(m, self.array.o, self.neuron.i)
        connect(m, self.neuron.o, self.writer.i)
