"""Core in hardware: an instruction queue and the pipeline that it drives (contract: ``archsim.contracts.core``).

Queue, spike fetch, event encoder, synapse array, neuron unit, spike writer; beside them the reader of PLANES, whose granules
the spike writer stores. Cores run as a gang when :class:`~rtl.units.core_gangs.Gangs` stands between them.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature, connect

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Layout
from archsim.contracts.core import PLANES_FIELDS, SYNAPSE_FIELDS, CoreParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.sequencer import HEADER, PLANES, SYNAPSE
from rtl.payload import forward, forwarded, shape
from rtl.units import neuron as neuron_unit
from rtl.units import spike_writer
from rtl.units.event_encoder import EventEncoder
from rtl.units.neuron import NeuronUnit
from rtl.units.sequencer import Sequencer
from rtl.units.spike_fetch import TILE, SpikeFetch
from rtl.units.spike_writer import SpikeWriter
from rtl.units.synapse_array import SynapseArray


def instruction_layout(chip: ChipParams) -> Layout:
    """Bits of a SYNAPSE in the queue that the chip's units read: without ``maximum`` where none takes it."""
    unread = () if chip.residual_maximum else ("maximum",)
    return Layout.of("synapse_instruction", HEADER + tuple(field for field in SYNAPSE_FIELDS if field.name not in unread))


PLANES_INSTRUCTION = Layout.of("planes_instruction", HEADER + PLANES_FIELDS)
"""Bits of a PLANES in the queue."""


def event_signature(sizes: CoreParams) -> Signature:
    """An event that a core offers, without back-pressure."""
    return Signature({"valid": Out(1), "payload": Out(shape(sizes.array.i))})


def plane_bit(total, right_shift, plane, sign_plane):
    """Bit ``plane`` of ``total`` shifted to the right and saturated to ``sign_plane`` + 1 bits, two's complement."""
    sign = total[-1]
    beyond = (total ^ sign.replicate(len(total))) >> (sign_plane + right_shift)
    inside = (total.as_signed() >> (plane + right_shift))[0]
    return Mux(beyond.any(), sign ^ (plane != sign_plane), inside)


class PlaneReader(Component):
    """PLANES up to the spike writer: reads the rows of the reduction bank once for each plane and offers their bits.

    Ports:

    * ``fields``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle.
    * ``read``: the reduction bank; ``o``: granules of spikes of lane 0; the planes are positions of one step.
    """

    def __init__(self, params: NeuronParams):
        self.params = params
        super().__init__({
            "fields": In(shape(PLANES_INSTRUCTION)), "start": In(1), "read": Out(neuron_unit.read_port(params.reduce)),
            "o": Out(stream.Signature(shape(params.o), always_ready=True)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Read, select, write: the writer takes a granule two cycles after its row was read."""
        m = Module()
        fields, bits = self.fields, self.params.membrane_bits
        running, answered, block, plane = Signal(), Signal(), Signal(7), Signal(6)
        last_block, sign_plane = Signal(), Signal(6)
        m.d.comb += [last_block.eq(block == fields.blocks - 1), sign_plane.eq(fields.planes - 1)]
        # cycle 0 (the start): the counters are set
        with m.If(self.start):
            m.d.sync += [running.eq(1), block.eq(0), plane.eq(sign_plane)]
        # cycle 1: a row is read
        m.d.comb += [
            self.read.en.eq(running),
            self.read.row.eq((fields.reduce_base + block)[: self.params.reduce.address_bits]),
        ]
        with m.If(running):
            m.d.sync += block.eq(Mux(last_block, 0, block + 1))
            with m.If(last_block):
                m.d.sync += [plane.eq(plane - 1), running.eq(plane != 0)]
        # cycle 2: the row stands; its bits are selected
        held_block, held_plane, held_last = Signal(7), Signal(6), Signal()
        m.d.sync += [answered.eq(running), held_block.eq(block), held_plane.eq(plane), held_last.eq(last_block)]
        totals = [self.read.data[first : first + bits] for first in range(0, self.params.reduce.row_bits, bits)]
        m.d.sync += [
            self.o.valid.eq(answered), self.o.payload.block.eq(held_block), self.o.payload.last.eq(held_last),
            self.o.payload.spikes.eq(
                Cat(plane_bit(total, fields.right_shift, held_plane, sign_plane) for total in totals)
            ),
        ]  # fmt: skip
        # cycle 3: the granule is offered
        return m


class Core(Component):
    """One core with its queue.

    Ports:

    * ``program``, ``write_spikes``, ``write_weight``, ``write_param``, ``write_residual``, ``write_psum``,
      ``write_reduce``: a row for a memory (always ready), from whoever owns the memory; ``write_out`` is for observers only.
    * ``copy_spikes``, ``route_spikes``, ``copy_out``, ``route_out``: as ``write_spikes`` and ``read_out``, which are DMA's, for the
      multicast and the expert engine: the two banks of each have owners of their own, who come in the same cycle.
    * ``read_out``, ``read_residual``, ``read_psum``, ``read_reduce``: a row of a memory, answered a cycle later, likewise.
    * ``posted``, ``post``, ``ready``, ``go``, ``halted``: as in :class:`~rtl.units.sequencer.Sequencer`.
    * ``start``, ``done``: an instruction starts (ends) in this cycle.
    * ``gang``: cores that run the instruction that stands, a bit each; 0 if it is not for a gang.
    * ``follow``: another core leads that gang; the fetch rests, and ``events`` feed the array in place of the own encoder's.
      Constant from the set-up of the instruction to its end, as ``gang`` is.
    * ``lead``, ``events``: the event that the own encoder (the leader's) offers. They have no ``ready``: the arrays of a gang
      are in the same state from start to end, so all take an event in the cycle in which the leader does.
    """

    def __init__(self, chip: ChipParams):
        self.chip = chip
        sizes = CoreParams(chip)
        self.sequencer = Sequencer.of(chip)
        self.fetch = SpikeFetch(sizes.fetch)
        self.encoder = EventEncoder(sizes.encoder)
        self.array = SynapseArray(sizes.array)
        self.neuron = NeuronUnit(sizes.neuron)
        self.planes = PlaneReader(sizes.neuron)
        self.writer = SpikeWriter(sizes.writer, sizes.neuron.o)
        # The ports that are the units' own, by their names here.
        self.ports: dict[str, tuple[Component, str]] = {
            "program": (self.sequencer, "program"), "posted": (self.sequencer, "posted"),
            "post": (self.sequencer, "post"), "ready": (self.sequencer, "ready"), "go": (self.sequencer, "go"),
            "halted": (self.sequencer, "halted"), "start": (self.sequencer, "start"),
            "write_spikes": (self.fetch, "write"), "copy_spikes": (self.fetch, "copy"), "route_spikes": (self.fetch, "route"),
            "copy_out": (self.writer, "copy"), "route_out": (self.writer, "route"), "write_weight": (self.array, "weight"),
            "write_param": (self.neuron, "write_param"), "write_residual": (self.neuron, "write_residual"),
            "write_psum": (self.neuron, "write_psum"), "read_residual": (self.neuron, "read_residual"),
            "read_psum": (self.neuron, "read_psum"), "write_reduce": (self.neuron, "write_reduce"),
            "read_reduce": (self.neuron, "read_reduce"), "write_out": (self.writer, "write"),
            "read_out": (self.writer, "read"), "done": (self.writer, "done"),
        }  # fmt: skip
        event = event_signature(sizes)
        super().__init__({
            **forwarded(self.ports), "gang": Out(chip.cores), "follow": In(1), "lead": Out(event), "events": In(event),
        })  # fmt: skip

    def elaborate(self, platform):
        """The units in the order of the pipeline, their ports, and the instruction's fields to each of them."""
        m = Module()
        for name in ("sequencer", "fetch", "encoder", "array", "neuron", "planes", "writer"):
            m.submodules[name] = getattr(self, name)
        forward(m, self, self.ports)
        self._instruct(m)
        self._join(m)
        return m

    def _instruct(self, m):
        """Fields of the instruction and its start to the units."""
        sequencer, fetch, neuron, planes, writer = self.sequencer, self.fetch, self.neuron, self.planes, self.writer
        instruction = instruction_layout(self.chip)
        fields, synapse = Signal(shape(instruction)), Signal()
        m.d.comb += [
            fields.eq(sequencer.instruction[: instruction.width]), synapse.eq(fields.opcode == SYNAPSE),
            planes.fields.eq(sequencer.instruction[: PLANES_INSTRUCTION.width]),
            planes.start.eq(sequencer.start & (fields.opcode == PLANES)), writer.start.eq(sequencer.start),
            self.gang.eq(Mux(synapse, fields.gang, 0)[: self.chip.cores]),
            fetch.setup.eq(sequencer.setup & synapse & ~self.follow), sequencer.done.eq(writer.done),
            self.array.config.bank.eq(fields.weight_bank), self.array.config.blocks.eq(fields.blocks),
            self.array.config.steps.eq(fields.steps), self.array.config.replay.eq(fields.replay),
        ]  # fmt: skip
        m.d.comb += [
            neuron.start.eq(sequencer.start & synapse), fetch.start.eq(sequencer.start & synapse & ~self.follow)
        ]  # fmt: skip
        for view, layout in (
            (fetch.tile, TILE),
            (neuron.config, neuron_unit.config_layout(neuron.params)),
            (writer.config, spike_writer.CONFIG),
        ):
            m.d.comb += [view[field.name].eq(fields[field.name]) for field in layout.fields]
        self._planes(m, synapse)

    def _planes(self, m, synapse):
        """PLANES has the reduction bank, and the writer, to which its planes are positions in a column."""
        planes, writer = self.planes, self.writer
        one = ("spike_out", "slices", "steps", "lanes", "out_width", "out_position")
        m.d.comb += planes.read.data.eq(self.neuron.read_reduce.data)
        with m.If(planes.read.en):
            m.d.comb += [self.neuron.read_reduce.en.eq(1), self.neuron.read_reduce.row.eq(planes.read.row)]
        with m.If(~synapse):
            m.d.comb += [
                writer.config.eq(0), *(writer.config[name].eq(1) for name in one),
                writer.config.out_height.eq(planes.fields.planes), writer.config.out_bank.eq(planes.fields.out_bank),
                writer.config.out_base.eq(planes.fields.out_base),
            ]  # fmt: skip

    def _join(self, m):
        """The pipeline from the fetch to the writer."""
        connect(m, self.fetch.o, self.encoder.i)
        self._encode(m, self.encoder.o)
        connect(m, self.array.o, self.neuron.i)
        self._write(m, self.neuron.o)

    def _encode(self, m, own):
        """Events to the array: ``own``, or those of the gang's leader."""
        target, led, running = self.array.i, self.events, Signal()
        # Before the start the leader may be in another instruction.
        m.d.sync += running.eq((running | self.sequencer.start) & ~self.sequencer.done)
        m.d.comb += [
            self.lead.valid.eq(own.valid), self.lead.payload.eq(own.payload), own.ready.eq(target.ready),
            target.valid.eq(Mux(self.follow, led.valid & running, own.valid)),
            target.payload.eq(Mux(self.follow, led.payload.as_value(), own.payload.as_value())),
        ]  # fmt: skip

    def _write(self, m, granules):
        """The writer's granules: those of PLANES, or ``granules``; never both at once."""
        planes, target = self.planes.o, self.writer.i
        m.d.comb += [
            target.valid.eq(granules.valid | planes.valid),
            target.payload.eq(Mux(planes.valid, planes.payload.as_value(), granules.payload.as_value())),
        ]
