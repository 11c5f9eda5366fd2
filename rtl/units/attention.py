"""Attention unit in hardware (contract: ``archsim.contracts.attention``); ATTEND_SOFTMAX, if the chip has it, adds its own parts.

The words that meet are walked and read for all four alike. Then there are three ways: words of K or Q go through a FIFO and
the event encoder to the count memory and, for Q, on to the adders; pairs of words go through registers to the adders, or
(ATTEND_KV with ``popcount``) M at a time through the AND-popcount engine to the count memory.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, connect

from archsim.contracts.attention import ATTEND_FIELDS, AttentionParams
from archsim.contracts.attention_softmax import PAIR_FIELDS
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.event_encoder import ADD
from archsim.contracts.multicast import Q0, Q1, K, V
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_SOFTMAX, HEADER
from archsim.contracts.spike_fetch import FIFO_DEPTH
from rtl.fifo import Fifo
from rtl.payload import elements, forward, forwarded, load_port, shape
from rtl.units.attention_counts import CountMemory, row_of
from rtl.units.attention_popcount import PopcountEngine
from rtl.units.attention_softmax import PAIRS, Divider, Scores, SoftmaxArray
from rtl.units.attention_sums import SumArray, SumNeurons, addend_bits, heads_of, scores
from rtl.units.attention_walks import CONFIG, PLACE, AttentionWalk, spikes_write_layout
from rtl.units.attention_writer import AttentionWriter
from rtl.units.event_encoder import EventEncoder
from rtl.units.sequencer import Sequencer
from rtl.units.sram import Sram

SOFTMAX_PORTS = ("write_table", "read_scores")
"""Ports of the softmax's memories."""


def instruction(chip: ChipParams) -> Layout:
    """Bits of an ATTEND instruction in the queue, as far as the chip has their fields."""
    return Layout.of("attend_instruction", HEADER + ATTEND_FIELDS + (PAIR_FIELDS if chip.softmax_tokens else ()))


class Attention(Component):
    """The attention unit.

    Ports:

    * ``config``, ``opcode``: the instruction, constant from its start to its end; ``start``, ``done``: it starts (ends) in
      this cycle.
    * ``write_spikes``: a row for a bank of Q0, Q1, K, V (always ready), from whoever owns the bank.
    * ``read_out``: a row of an output bank, answered a cycle later, likewise.
    * ``write_out``, ``write_counts``, ``read_counts``: for observers only.
    * With a softmax: ``pairs``, the fields of ATTEND_SOFTMAX alone; ``write_table``: a row of its table (always ready), likewise;
      ``read_scores``: for observers only.
    """

    def __init__(self, chip: ChipParams):
        self.params = params = AttentionParams(chip)
        self._load = spikes_write_layout(params)
        self.counts, self.writer = CountMemory(params), AttentionWriter(params)
        self.softmax = Scores(params) if chip.softmax_tokens else None
        self.ports: dict[str, tuple[Component, str]] = {
            "write_counts": (self.counts, "write"), "read_counts": (self.counts, "observe"),
            "write_out": (self.writer, "write"), "read_out": (self.writer, "read"),
        }  # fmt: skip
        pairs = {"pairs": In(shape(PAIRS))} if self.softmax else {}
        self.ports |= {name: (self.softmax, name) for name in SOFTMAX_PORTS if self.softmax}
        super().__init__({
            "config": In(shape(CONFIG)), "opcode": In(4), "start": In(1), "done": Out(1),
            "write_spikes": load_port(self._load), **forwarded(self.ports), **pairs,
        })  # fmt: skip

    def elaborate(self, platform):
        """Walk, banks, the two ways, adders, neurons, writer."""
        m = Module()
        params, config = self.params, self.config
        forward(m, self, self.ports)
        m.submodules.counts, m.submodules.writer = self.counts, self.writer
        m.submodules.walk = walk = AttentionWalk()
        m.submodules.array = array = SoftmaxArray(params) if self.softmax else SumArray(params)
        m.submodules.neuron = neuron = SumNeurons(params)
        self.kv, self.q, self.scores, self.gate = (Signal(name=name) for name in ("kv", "q", "scores", "gate"))
        encoded, popcount = Signal(), Signal()
        m.d.comb += [
            popcount.eq(self.kv & config.popcount), encoded.eq((self.kv & ~config.popcount) | self.q),
            self.kv.eq(self.opcode == ATTEND_KV), self.q.eq(self.opcode == ATTEND_Q),
            self.scores.eq(self.opcode == ATTEND_SCORES), self.gate.eq(self.opcode == ATTEND_GATE),
            walk.config.eq(config), walk.opcode.eq(self.opcode), walk.start.eq(self.start),
            neuron.attend.eq(config), neuron.start.eq(self.start),
            self.writer.config.eq(config), self.writer.start.eq(self.start & ~self.kv), self.writer.gate.eq(self.gate),
            array.config.blocks.eq(config.blocks), array.config.steps.eq(1),
            self.done.eq(self.counts.done | self.writer.done),
        ]  # fmt: skip
        # cycle 1: the words' rows are read
        issue, flying, place = Signal(), Signal(), Signal(shape(PLACE))
        words = self._banks(m, issue, walk.o.payload, place.lane)
        m.d.comb += issue.eq(walk.o.valid & walk.o.ready)
        with m.If(issue):
            m.d.sync += place.eq(walk.o.payload)
        # cycle 2: the words stand
        room, events = self._events(m, flying & encoded, place, words, array)
        left, pairs = self._pairs(m, flying, place, words, array)
        multiplied, leave = self._multiply(m, flying & popcount, popcount, place, words), Signal()
        m.d.comb += [
            leave.eq(left | multiplied), walk.o.ready.eq(Mux(encoded, room, ~flying | leave)),
            self.counts.find.en.eq(issue & self.q), self.counts.find.block.eq(walk.o.payload.block),
        ]  # fmt: skip
        m.d.sync += flying.eq(issue | (flying & ~encoded & ~leave))
        # cycle 3 or later: they are added
        for column in range(params.chip.columns):
            m.d.comb += array.addends[column].eq(Mux(self.q, events[column], pairs[column]))
        if self.softmax:
            self._divide(m, flying, leave, place, words, array, neuron)
        else:
            connect(m, array.o, neuron.i)
        self._write(m, neuron)
        return m

    def _write(self, m, neuron):
        """Granules to the writer."""
        connect(m, neuron.o, self.writer.i)

    def _divide(self, m, flying, leave, place, words, array, neuron):
        """ATTEND_SOFTMAX: scores before the adders, the divider behind them, and the head's place in the row."""
        chosen, scores, source = self.opcode == ATTEND_SOFTMAX, self.softmax, array.o
        m.submodules.softmax, m.submodules.divider = scores, (divider := Divider(self.params))
        m.d.comb += [
            scores.attend.eq(self.config), scores.pairs.eq(self.pairs), scores.start.eq(self.start & chosen),
            scores.i.valid.eq(flying & chosen), scores.i.payload.last.eq(place.last), scores.o.ready.eq(array.i.ready),
            *(scores.i.payload[name].eq(word) for name, word in zip("qkv", words, strict=True)),
            array.entry.eq(scores.entry), divider.total.eq(array.total), divider.fraction.eq(self.pairs.fraction),
            divider.i.payload.eq(source.payload), divider.i.valid.eq(source.valid & chosen),
            divider.o.ready.eq(neuron.i.ready), neuron.i.valid.eq(Mux(chosen, divider.o.valid, source.valid)),
            Cat(neuron.i.payload).eq(Mux(chosen, Cat(divider.o.payload), Cat(source.payload))),
            source.ready.eq(Mux(chosen, divider.i.ready, neuron.i.ready)),
        ]  # fmt: skip
        with m.If(chosen):
            m.d.comb += [
                array.i.valid.eq(scores.o.valid), array.i.payload.mask.eq(1), array.i.payload.last.eq(scores.o.payload.last),
                *(addend.eq(value) for addend, value in zip(array.addends, scores.addends, strict=True)),
                self.writer.first_block.eq(scores.first_block), leave.eq(flying & scores.i.ready),
            ]  # fmt: skip

    def _banks(self, m, issue, place, lane):
        """The four banks; returns the words of Q, K and V whose rows were read in the cycle before, at ``lane``."""
        bank, query, load = self.params.bank, self.writer.query, self.write_spikes
        paired, queried = issue & (self.scores | self.gate), issue & (self.q | self.scores)
        if self.softmax:
            met = issue & (self.opcode == ATTEND_SOFTMAX)
            paired, queried = paired | met, queried | met
        enable = {
            "q": queried | query.en, "k": (issue & self.kv) | paired,
            "v": (issue & self.kv) | paired,
        }  # fmt: skip
        row = {"q": Mux(query.en, query.row, place.q), "k": place.k, "v": place.v}
        answers = {}
        for number, name, used in (
            (Q0, "q", ~self.config.q_bank), (Q1, "q", self.config.q_bank), (K, "k", 1), (V, "v", 1),
        ):  # fmt: skip
            m.submodules[f"bank{number}"] = memory = Sram(bank)
            selected = load.valid & (load.payload.bank == number)
            m.d.comb += [
                memory.read.en.eq(enable[name] & used), memory.read.addr.eq(row[name][: bank.address_bits]),
                memory.write.en.eq(selected.replicate(bank.granules)), memory.write.addr.eq(load.payload.row),
                memory.write.data.eq(Cat(elements(load.payload, self._load, "data"))),
            ]  # fmt: skip
            answers[number] = memory.read.data
        q = Mux(self.config.q_bank, answers[Q1], answers[Q0])
        m.d.comb += query.data.eq(q)
        words = []
        for name, answer in (("q", q), ("k", answers[K]), ("v", answers[V])):
            word = Signal(bank.granule_bits, name=f"{name}_word")
            lanes = [answer[first : first + bank.granule_bits] for first in range(0, bank.row_bits, bank.granule_bits)]
            m.d.comb += word.eq(Array(lanes)[lane])
            words.append(word)
        return words

    def _events(self, m, push, place, words, array):
        """K and Q: FIFO, encoder, and an event a cycle for the count memory; returns room in the FIFO, and the count rows."""
        params, counts, columns = self.params, self.counts, self.params.chip.columns
        q, k, v = words
        entry = Layout.of("counted_word", [
            Field("word", columns), Field("beside", columns), Field("block", params.cleared.address_bits),
            Field("last", 1), Field("final", 1),
        ])  # fmt: skip
        m.submodules.fifo = fifo = Fifo(entry, FIFO_DEPTH)
        m.submodules.encoder = encoder = EventEncoder(params.encoder)
        m.d.comb += [
            fifo.push.eq(push), fifo.pushed.word.eq(Mux(self.kv, k, q)),
            # A word of V, or which rows of the block hold counts.
            fifo.pushed.beside.eq(Mux(self.kv, v, counts.find.filled)), fifo.pushed.block.eq(place.block),
            fifo.pushed.last.eq(place.last), fifo.pushed.final.eq(place.final),
        ]  # fmt: skip
        # cycle 3: the word moves into the encoder
        held = Signal(shape(entry))
        m.d.comb += [
            encoder.i.valid.eq(fifo.o.valid), fifo.o.ready.eq(encoder.i.ready),
            encoder.i.payload.spikes.eq(fifo.o.payload.word), encoder.i.payload.last.eq(fifo.o.payload.last),
            encoder.i.payload.row.eq(row_of(fifo.o.payload.block, 0, columns)),
        ]  # fmt: skip
        with m.If(fifo.o.valid & fifo.o.ready):
            m.d.sync += held.eq(fifo.o.payload)
        # cycle 4: its first event reads the count memory
        event, channel, filled = encoder.o.payload, Signal(columns), Signal()
        remaining = encoder.state.remaining
        m.d.comb += [
            channel.eq(remaining & -remaining), filled.eq((channel & held.beside).any()),
            encoder.o.ready.eq(Mux(self.kv, 1, array.i.ready)),
            counts.valid.eq(self.kv & encoder.o.valid), counts.event.channel.eq(channel),
            counts.event.block.eq(held.block), counts.event.row.eq(event.row), counts.event.last.eq(event.last),
            counts.event.final.eq(event.last & held.final),
            counts.read.en.eq(self.q & encoder.o.valid & array.i.ready & filled), counts.read.row.eq(event.row),
        ]  # fmt: skip
        spikes = held.beside & heads_of(m, channel, self.config.segment)
        m.d.comb += [addend.eq(spikes[number]) for number, addend in enumerate(counts.event.addends)]
        with m.If(self.q):
            m.d.comb += [
                array.i.valid.eq(encoder.o.valid), array.i.payload.mask.eq(filled), array.i.payload.last.eq(event.last),
            ]  # fmt: skip
        bits = params.chip.count_bits
        rows = [counts.read.data[number * bits : (number + 1) * bits] for number in range(columns)]
        m.d.comb += [array.i.payload.op.eq(ADD), array.i.payload.row.eq(event.row)]
        return fifo.level + push < FIFO_DEPTH, rows

    def _multiply(self, m, valid, chosen, place, words):
        """K and V: M tokens at a time to the AND-popcount engine; returns whether the words that stand move on."""
        m.submodules.popcount = engine = PopcountEngine(self.params)
        _, k, v = words
        m.d.comb += [
            engine.segment.eq(self.config.segment), engine.i.valid.eq(valid), engine.i.payload.k.eq(k),
            engine.i.payload.v.eq(v), engine.i.payload.block.eq(place.block), engine.i.payload.last.eq(place.last),
            engine.i.payload.final.eq(place.final),
        ]  # fmt: skip
        with m.If(chosen):
            m.d.comb += [self.counts.valid.eq(engine.valid), self.counts.event.eq(engine.event)]
        return valid & engine.i.ready

    def _pairs(self, m, flying, place, words, array):
        """Pairs of words; returns whether the words that stand move on, and the addends of the pair before."""
        columns = self.params.chip.columns
        q, k, v = words
        # cycle 3 of ATTEND_SCORES: the words in a register
        full, both, values, last = Signal(), Signal(columns), Signal(columns), Signal()
        taken = Signal()
        leave = flying & Mux(self.scores, ~full | taken, taken)
        m.d.comb += taken.eq(array.i.valid & array.i.ready)
        with m.If(self.scores & leave):
            m.d.sync += [full.eq(1), both.eq(q & k), values.eq(v), last.eq(place.last)]
        with m.Elif(taken):
            m.d.sync += full.eq(0)
        with m.If(self.scores | self.gate):
            m.d.comb += [
                array.i.valid.eq(Mux(self.scores, full, flying)), array.i.payload.mask.eq(1),
                array.i.payload.last.eq(Mux(self.scores, last, place.last)),
            ]  # fmt: skip
        # at the end of that cycle (of cycle 2 of ATTEND_GATE) the addends stand
        counts, meets = scores(m, both, self.config.segment), k & v
        addends = [Signal(addend_bits(self.params), name=f"addend_{column}") for column in range(columns)]
        with m.If(taken):
            m.d.sync += [
                addend.eq(Mux(self.scores, Mux(values[column], counts[column], 0), meets[column]))
                for column, addend in enumerate(addends)
            ]  # fmt: skip
        return leave, addends


class AttentionEngine(Component):
    """The attention unit with its queue.

    Ports: those of :class:`~rtl.units.sequencer.Sequencer` that are not the engine's (``program``, ``posted``, ``post``,
    ``ready``, ``go``, ``halted``), ``start`` and ``done`` of an instruction, and the memories' of :class:`Attention`.
    """

    def __init__(self, chip: ChipParams, unit: type[Attention] = Attention):
        self.chip, self.sequencer = chip, Sequencer.of(chip)
        self.unit = unit(chip)
        names = ("program", "posted", "post", "ready", "go", "halted", "start")
        memories = ["write_spikes", "write_out", "read_out", "write_counts", "read_counts", "done"]
        memories += SOFTMAX_PORTS if self.unit.softmax else ()
        self.ports: dict[str, tuple[Component, str]] = {
            **{name: (self.sequencer, name) for name in names}, **{name: (self.unit, name) for name in memories},
        }  # fmt: skip
        super().__init__(forwarded(self.ports))

    def elaborate(self, platform):
        """Fields of the instruction and its start to the unit."""
        m = Module()
        m.submodules.sequencer, m.submodules.unit = self.sequencer, self.unit
        forward(m, self, self.ports)
        fields = Signal(shape(layout := instruction(self.chip)))
        m.d.comb += [
            fields.eq(self.sequencer.instruction[: layout.width]), self.unit.opcode.eq(fields.opcode),
            *(self.unit.config[field.name].eq(fields[field.name]) for field in ATTEND_FIELDS),
            self.unit.start.eq(self.sequencer.start), self.sequencer.done.eq(self.unit.done),
        ]  # fmt: skip
        if self.unit.softmax:
            m.d.comb += [self.unit.pairs[field.name].eq(fields[field.name]) for field in PAIR_FIELDS]
        return m
