"""Normaliser in hardware: NORMALISE and WEIGH around a vector unit (contract: ``archsim.contracts.normaliser``)."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.wiring import Component, In, Member, Out

from archsim.contracts import vector
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Layout
from archsim.contracts.core import CoreParams
from archsim.contracts.normaliser import (
    CENTER,
    EXPONENTIAL,
    MAXIMUM,
    NORMALISE_FIELDS,
    RECIPROCAL,
    ROOT,
    SCALE,
    SQUARE,
    SUM,
    WEIGH_FIELDS,
    NormaliserParams,
)
from archsim.contracts.sequencer import EXTENDED, HEADER, WEIGH
from rtl.payload import elements, forward, forwarded, load_port, shape
from rtl.units.neuron import read_port, row_write_layout, saturated
from rtl.units.normaliser_walk import PhaseWalker, TokenWalker
from rtl.units.sequencer import Sequencer
from rtl.units.vector import VectorUnit

NORMALISE, WEIGHT = Layout.of("normalise_fields", NORMALISE_FIELDS), Layout.of("weigh_fields", WEIGH_FIELDS)
"""What the instructions take from a program row."""


def bank_ports(chip: ChipParams) -> dict[str, Member]:
    """What the engine reads and writes of each core, as a core has it."""
    neuron = CoreParams(chip).neuron
    return {
        "read_residual": Out(read_port(neuron.residual)), "read_psum": Out(read_port(neuron.psum)),
        "write_residual": load_port(row_write_layout(neuron.residual)).flip(),
        "write_psum": load_port(row_write_layout(neuron.psum)).flip(),
    }  # fmt: skip


class Normaliser(Component):
    """Walks the rows of a core's tokens, phase by phase. Port c of each array belongs to core c.

    Ports:

    * ``weighs``, and ``normalise`` or ``weigh``: fields of the instruction, constant from ``start``, its first cycle, to ``done``,
      its last.
    * ``read_residual``, ``read_psum`` (arrays): a row of a core's bank, answered a cycle later; ``write_residual``,
      ``write_psum`` (arrays): a row for it.
    * ``write_table``: an entry of the table.
    """

    def __init__(self, chip: ChipParams):
        self.chip, self.unit = chip, VectorUnit(NormaliserParams(chip).unit)
        super().__init__({
            "weighs": In(1), "normalise": In(shape(NORMALISE)), "weigh": In(shape(WEIGHT)), "start": In(1), "done": Out(1),
            **{name: port.array(chip.cores) for name, port in bank_ports(chip).items()},
            "write_table": self.unit.signature.members["weight"],
        })  # fmt: skip

    def elaborate(self, platform):
        """The way of a row: address, bank, vector unit, bank."""
        m = Module()
        self.phase, self.core = Signal(range(EXPONENTIAL + 1)), Signal.like(self.normalise.core)
        self.reading, self.stands, self.stands_last = Signal(), Signal(), Signal()
        self.begin, self.ended, self.taken, self.read = Signal(), Signal(), Signal(), Signal()
        self.scoring = Signal()  # the rows of the phase are scores
        m.submodules.unit = unit = self.unit
        m.submodules.tokens, m.submodules.rows = self.tokens, self.rows = TokenWalker(), PhaseWalker()
        bits, f = self.chip.membrane_bits, self.normalise
        m.d.comb += [
            self.core.eq(Mux(self.weighs, self.weigh.core, f.core)), unit.weight.valid.eq(self.write_table.valid),
            unit.weight.payload.eq(self.write_table.payload), unit.o.ready.eq(1),
            self.scoring.eq((self.phase == MAXIMUM) | (self.phase == EXPONENTIAL)),
        ]  # fmt: skip
        self._sequence(m)
        # cycle 1: the address of a row; the next one as soon as the row before is taken
        m.d.comb += self.read.eq(self.reading & (~self.stands | self.taken))
        m.d.sync += [self.stands.eq(self.read | (self.stands & ~self.taken)), self.done.eq(self.ended & ~self.begin)]
        with m.If(self.begin):
            m.d.sync += self.reading.eq(1)
        with m.Elif(self.read):
            m.d.sync += [self.reading.eq(~self.rows.last), self.stands_last.eq(self.rows.last)]
        # cycle 2: it stands, and goes into the vector unit, or is compared
        data = Signal(self.chip.neurons * bits)
        x = [data[bits * number : bits * (number + 1)].as_signed() for number in range(self.chip.neurons)]
        self._banks(m, data)
        arguments = self._scores(m, x)
        m.d.comb += self.taken.eq(self.stands & ((self.phase == MAXIMUM) | unit.i.ready))
        self._offer(m, x, arguments)
        return m

    def _sequence(self, m):
        """Phases and tokens."""
        unit, tokens, rows, f, g = self.unit, self.tokens, self.rows, self.normalise, self.weigh
        following, base = Signal.like(self.phase), Signal()
        m.d.comb += [
            self.ended.eq(Mux(self.phase == MAXIMUM, self.stands & self.stands_last, unit.o.valid & unit.o.payload.last)),
            tokens.advance.eq(self.ended & (self.phase == SCALE)), tokens.start.eq(self.start),
            self.begin.eq(self.start | (self.ended & ~(tokens.advance & tokens.last))),
        ]  # fmt: skip
        # NORMALISE: the numbers of its phases one behind the other; WEIGH: maximum, exponential, reciprocal, scale.
        with m.If(self.start | (self.phase == SCALE)):
            m.d.comb += following.eq(Mux(self.weighs, MAXIMUM, SUM))
        with m.Elif(self.phase == EXPONENTIAL):
            m.d.comb += following.eq(RECIPROCAL)
        with m.Else():
            m.d.comb += following.eq(self.phase + 1)
        with m.If(self.begin):
            m.d.sync += self.phase.eq(following)
        m.d.comb += [
            base.eq((following == MAXIMUM) | (following == EXPONENTIAL)),
            *(getattr(tokens, name).eq(Mux(self.weighs, g[name], f[name])) for name in ("base", "tokens", "token_rows")),
            tokens.score_base.eq(g.score_base), tokens.score_token.eq(g.score_token),
            tokens.steps.eq(Mux(self.weighs, 1, f.steps)), tokens.step_rows.eq(f.step_rows),
            rows.begin.eq(self.begin), rows.take.eq(self.read), rows.base.eq(Mux(base, tokens.score, tokens.first)),
            rows.words.eq(Mux(self.weighs, 1, f.words)), rows.word_rows.eq(f.word_rows), rows.blocks.eq(f.blocks),
            rows.last_blocks.eq(Mux(base, g.blocks, Mux(self.weighs, g.rows, f.last_blocks))),
        ]  # fmt: skip
        # Phases of one row that no bank gives.
        with m.If((following == ROOT) | (following == RECIPROCAL)):
            m.d.comb += [rows.words.eq(1), rows.last_blocks.eq(1)]

    def _banks(self, m, data):
        """Rows from the core's banks, and results back to the rows that they came from."""
        unit, given, sums, writes = self.unit, Signal(), Signal(), Signal()
        standing, held, before, row = (Signal.like(self.rows.row, name=name) for name in ("standing", "held", "before", "row"))
        result = Cat(elements(unit.o.payload, unit.params.o, "y"))
        with m.If(self.read):
            m.d.sync += standing.eq(self.rows.row)
        with m.If(self.taken):
            m.d.sync += [held.eq(standing), before.eq(held)]
        m.d.comb += [
            given.eq(self.read & (self.phase != ROOT) & (self.phase != RECIPROCAL)), sums.eq(self.weighs & ~self.scoring),
            writes.eq(unit.o.valid & ((self.phase == CENTER) | (self.phase == SCALE))),
            # The row after this one was accepted in the cycle before, if there is one.
            row.eq(Mux(unit.o.payload.last, held, before)),
        ]  # fmt: skip
        for core in range(self.chip.cores):
            mine = self.core == core
            residual = self.read_residual[core], self.write_residual[core], ~sums
            for read, write, chosen in (residual, (self.read_psum[core], self.write_psum[core], sums)):
                m.d.comb += [
                    read.en.eq(given & mine & chosen), read.row.eq(self.rows.row), write.valid.eq(writes & mine & chosen),
                    write.payload.row.eq(row), write.payload.data.eq(result),
                ]  # fmt: skip
            with m.If(mine):
                m.d.comb += data.eq(Mux(sums, self.read_psum[core].data, self.read_residual[core].data))

    def _scores(self, m, x):
        """The greatest score, and what the table is asked: scores less it, with the offset; the least without an expert."""
        bits, neurons, offset = self.chip.membrane_bits, self.chip.neurons, self.weigh.offset
        least = Const(-(1 << (bits - 1)), signed(bits))
        left, fresh, greatest = Signal.like(self.weigh.experts), Signal(), Signal(signed(bits))  # left: experts from this row on
        moved = Signal(signed(max(bits, len(offset) + 1) + 1))
        values = []
        for number, element in enumerate(x):
            value = Signal(signed(bits), name=f"score_{number}")
            m.d.comb += value.eq(Mux(left > number, element, least))
            values.append(value)
        highest = values
        while len(highest) > 1:
            pairs = [highest[place : place + 2] for place in range(0, len(highest), 2)]
            highest = [Mux(pair[0] > pair[-1], pair[0], pair[-1]) for pair in pairs]
        with m.If(self.begin):
            m.d.sync += [left.eq(self.weigh.experts), fresh.eq(1)]
        with m.Elif(self.taken & self.scoring):
            m.d.sync += [left.eq(left - neurons), fresh.eq(0)]
        with m.If(self.taken & (self.phase == MAXIMUM) & (fresh | (highest[0] > greatest))):
            m.d.sync += greatest.eq(highest[0])
        m.d.sync += moved.eq(greatest - offset)
        arguments = []
        for number, element in enumerate(x):
            argument = Signal(signed(bits), name=f"argument_{number}")
            m.d.comb += argument.eq(Mux(left > number, saturated(element - moved, bits), least))
            arguments.append(argument)
        return arguments

    def _offer(self, m, x, arguments):
        """The row that stands, with the operation of its phase, to the vector unit."""
        unit, f, g, first = self.unit, self.normalise, self.weigh, Signal()
        fields, flat = unit.params.i.fields, Signal()  # flat: the root was 0
        # Field by field, and the bias a constant: Icarus never runs a process that has nothing else to drive.
        row = {field.name: Signal(field.bits, name=f"row_{field.name}") for field in fields if field.name != "bias"}
        constant, operands = Signal(unit.params.operand_bits), row["operand"]
        with m.If(self.start):
            m.d.sync += flat.eq(0)
        with m.Elif(unit.o.valid & (self.phase == ROOT)):
            m.d.sync += flat.eq(elements(unit.o.payload, unit.params.o, "y")[0] == 0)
        with m.If(self.begin):
            m.d.sync += first.eq(1)
        with m.Elif(self.taken):
            m.d.sync += first.eq(0)
        m.d.comb += [
            unit.i.valid.eq(self.stands & (self.phase != MAXIMUM)),
            unit.i.payload.eq(Cat(row.get(field.name, Const(0, field.bits)) for field in fields)),
            row["x"].eq(Mux(self.scoring, Cat(arguments), Cat(x))), row["constant"].eq(constant.replicate(unit.params.elements)),
            row["digits"].eq(vector.ALL_DIGITS), row["first"].eq(first), row["last"].eq(self.stands_last),
        ]  # fmt: skip
        with m.Switch(self.phase):
            with m.Case(SUM):
                m.d.comb += [constant.eq(1), row["accumulate"].eq(1)]
            with m.Case(CENTER):
                m.d.comb += [constant.eq(f.elements), row["center"].eq(1), row["shift"].eq(f.center_shift)]
            with m.Case(SQUARE):
                m.d.comb += [operands.eq(vector.SQUARE), row["shift"].eq(f.square_shift), row["accumulate"].eq(1)]
            with m.Case(ROOT):
                m.d.comb += [row["op"].eq(vector.ROOT), row["accumulate"].eq(1)]
            with m.Case(RECIPROCAL):
                shift = Mux(self.weighs, g.reciprocal_shift, f.reciprocal_shift)
                m.d.comb += [row["op"].eq(vector.RECIPROCAL), row["shift"].eq(shift), row["keep"].eq(1)]
            with m.Case(SCALE):
                m.d.comb += [
                    operands.eq(Mux(flat, vector.CONSTANT, vector.SCALAR)), row["digits"].eq(Mux(self.weighs, g.digits, f.digits)),
                    row["shift"].eq(Mux(self.weighs, g.scale_shift, f.scale_shift)),
                ]  # fmt: skip
            with m.Case(EXPONENTIAL):
                m.d.comb += [row["op"].eq(vector.TABLE), row["shift"].eq(g.table_shift), row["accumulate"].eq(1)]


class NormaliserEngine(Component):
    """The normaliser with its queue.

    Ports: those of :class:`~rtl.units.sequencer.Sequencer` that are not the engine's (``program``, ``posted``, ``post``,
    ``ready``, ``go``, ``halted``), ``start`` and ``done`` of an instruction, the banks' and ``write_table`` of :class:`Normaliser`.
    """

    def __init__(self, chip: ChipParams):
        self.sequencer, self.unit = Sequencer.of(chip), Normaliser(chip)
        queue = ("program", "posted", "post", "ready", "go", "halted", "start")
        self.ports: dict[str, tuple[Component, str]] = {name: (self.sequencer, name) for name in queue}
        self.ports |= {name: (self.unit, name) for name in ("done", "write_table", *bank_ports(chip))}
        super().__init__(forwarded(self.ports))

    def elaborate(self, platform):
        """Fields of the instruction and its start to the unit."""
        m = Module()
        m.submodules.sequencer, m.submodules.unit = self.sequencer, self.unit
        forward(m, self, self.ports)
        for port, fields in ((self.unit.normalise, NORMALISE_FIELDS), (self.unit.weigh, WEIGH_FIELDS)):
            layout = Layout.of("instruction", HEADER + fields)
            instruction = Signal(shape(layout), name=f"instruction_{len(fields)}")
            m.d.comb += instruction.eq(self.sequencer.instruction[: layout.width])
            m.d.comb += [port[field.name].eq(instruction[field.name]) for field in fields]
        opcode = Cat(self.sequencer.instruction[: HEADER[0].width], self.sequencer.instruction[-EXTENDED[-1].width :])
        m.d.comb += [
            self.unit.weighs.eq(opcode == WEIGH), self.unit.start.eq(self.sequencer.start), self.sequencer.done.eq(self.unit.done),
        ]  # fmt: skip
        return m
