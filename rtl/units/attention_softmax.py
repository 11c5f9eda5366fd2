"""Softmax of the attention unit in hardware: ATTEND_SOFTMAX (contract: ``archsim.contracts.attention_softmax``).

Three parts beside those of the other ATTEND instructions: the scores before the adders, the total beside them, the divider behind.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import ENTRY_BITS, PAIR_FIELDS, QUOTIENT_BITS, SoftmaxParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.masker import DEGREE, begin
from archsim.contracts.spike_fetch import ADDRESS_BITS
from rtl.payload import elements, load_port, shape, stream_in, stream_out
from rtl.units.attention_sums import SumArray, total
from rtl.units.attention_walks import CONFIG, Nest
from rtl.units.masker import sequence
from rtl.units.neuron import block_layout, read_port, row_write_layout, saturated
from rtl.units.sram import Sram

PAIRS = Layout.of("softmax", PAIR_FIELDS)
"""What ATTEND_SOFTMAX takes from an instruction besides the fields of the others."""


def words_layout(params: AttentionParams) -> Layout:
    """The words of Q, K and V of a pair of tokens, and whether it is the last of its group."""
    columns = params.chip.columns
    return Layout.of("words", [Field("q", columns), Field("k", columns), Field("v", columns), Field("last", 1)])


class Scores(Component):
    """Counts, neurons, mask and entries: from pairs of words to addends.

    Ports:

    * ``attend``, ``pairs``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle.
    * ``i``: stream of :func:`words_layout`.
    * ``o``: stream of ends of groups, an addition each; from the cycle after its acceptance to that of the next ``addends`` has the
      entry for each channel of the head in which V has a spike (the head's first channel first), ``entry`` the entry itself.
    * ``first_block``: block of P channels in which the head begins.
    * ``write_table``: a row of the table (always ready), from whoever owns it between instructions.
    * ``read_scores``: a row of the score memory, answered a cycle later; for observers, while no instruction runs.
    """

    def __init__(self, params: AttentionParams):
        self.chip, self.sizes = params.chip, SoftmaxParams(params.chip)
        super().__init__({
            "attend": In(shape(CONFIG)), "pairs": In(shape(PAIRS)), "start": In(1), "i": stream_in(words_layout(params)),
            "o": stream_out(Layout.of("addition", [Field("last", 1)])),
            "addends": Out(ArrayLayout(ENTRY_BITS, self.chip.columns)), "entry": Out(ENTRY_BITS),
            "first_block": Out(range(self.chip.blocks + 1)),
            "write_table": load_port(row_write_layout(self.sizes.table)), "read_scores": In(read_port(self.sizes.scores)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Three stages; a stage moves when the next is free or moves."""
        m = Module()
        chip = self.chip
        met, counted, move, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(counted & self.o.ready), move.eq(met & (~counted | taken)), self.i.ready.eq(~met | move),
            self.o.valid.eq(counted),
        ]  # fmt: skip
        # cycle 2 of the instruction: the words stand; at its end the AND of Q and K, and V, within the head
        both, values, last = Signal(chip.columns), Signal(chip.columns), Signal()
        head, accept = self._head(m), self.i.valid & self.i.ready
        m.d.sync += met.eq(accept | (met & ~move))
        with m.If(accept):
            m.d.sync += [
                both.eq(head(self.i.payload.q & self.i.payload.k)), values.eq(head(self.i.payload.v)),
                last.eq(self.i.payload.last),
            ]  # fmt: skip
        # cycle 3: their number, shifted; membrane and entries are read
        nest = Nest(m, "pair", {
            "token": self.attend.tile, "step": self.attend.steps, "other": self.attend.tokens,
        }, self.start, move)  # fmt: skip
        key = nest.rows("key", Const(0, ADDRESS_BITS), {"other": 1})
        fresh, key1, fresh1, values1 = Signal(), Signal.like(key), Signal(), Signal(chip.columns)
        count = Signal(chip.columns.bit_length() + (1 << len(self.pairs.score_shift)) - 1)
        m.d.comb += fresh.eq(nest.left["step"] == self.attend.steps - 1)
        m.d.sync += counted.eq(move | (counted & ~taken))
        with m.If(move):
            m.d.sync += [
                count.eq(total(list(both)) << self.pairs.score_shift), key1.eq(key), fresh1.eq(fresh), values1.eq(values),
                self.o.payload.last.eq(last),
            ]  # fmt: skip
        entries = self._table(m, move, nest)
        # cycle 4: neuron, mask, choice of the entry
        fires, after = self._neuron(m, count, fresh1, self._scores(m, move & ~fresh, key, taken, key1))
        chosen = Signal(ENTRY_BITS)
        kept = self._kept(m, taken)
        m.d.comb += [self.membrane.eq(after), chosen.eq(Mux(fires & kept, entries.high, entries.low))]
        with m.If(taken):
            m.d.sync += self.entry.eq(chosen)
            m.d.sync += [self.addends[column].eq(Mux(values1[column], chosen, 0)) for column in range(chip.columns)]
        return m

    def _head(self, m):
        """A function from a word to the channels of the head, its first channel in bit 0, 0 behind its last."""
        chip, width = self.chip, self.chip.neurons
        at = Signal(chip.blocks)
        m.d.comb += at.eq(Cat(self.pairs.channel == width * block for block in range(chip.blocks)))
        for block in range(chip.blocks):
            with m.If(at[block]):
                m.d.comb += self.first_block.eq(block)

        def of(word):
            parts = []
            for place in range(chip.blocks):
                part = Const(0, width)
                for block in range(chip.blocks - place):
                    first = (block + place) * width
                    part = part | Mux(at[block], word[first : first + width], 0)
                parts.append(Mux(place < self.attend.blocks, part, 0)[:width])
            return Cat(parts)

        return of

    def _table(self, m, move, nest):
        """The table; its entries for the pair that moved in the cycle before."""
        bank, write = self.sizes.table, self.write_table
        row = nest.rows("table", self.pairs.table_base, {"token": self.attend.tokens, "other": 1})
        m.submodules.table = table = Sram(bank)
        m.d.comb += [
            table.read.en.eq(move), table.read.addr.eq(row[: bank.address_bits]), table.write.en.eq(write.valid),
            table.write.addr.eq(write.payload.row), table.write.data.eq(write.payload.data),
        ]  # fmt: skip
        return shape(self.sizes.row)(table.read.data)

    def _scores(self, m, read, key, taken, key1):
        """The score memory, which takes ``self.membrane`` a cycle after ``taken``; the membrane of the pair that moved."""
        bank = self.sizes.scores
        self.membrane, held, write, row = Signal(bank.row_bits), Signal(bank.row_bits), Signal(), Signal(bank.address_bits)
        m.submodules.scores = scores = Sram(bank)
        m.d.sync += write.eq(taken)
        with m.If(taken):
            m.d.sync += [held.eq(self.membrane), row.eq(key1)]
        m.d.comb += [
            scores.read.en.eq(read | self.read_scores.en),
            scores.read.addr.eq(Mux(read, key[: bank.address_bits], self.read_scores.row)),
            self.read_scores.data.eq(scores.read.data), scores.write.en.eq(write), scores.write.addr.eq(row),
            scores.write.data.eq(held),
        ]  # fmt: skip
        return scores.read.data

    def _neuron(self, m, count, fresh, stored):
        """The score's neuron: whether it fires, and its membrane afterwards."""
        bits = self.chip.membrane_bits
        limit, h, fires = self.pairs.score_threshold[:bits].as_signed(), Signal(signed(bits)), Signal()
        v = Mux(fresh, limit >> 1, stored.as_signed())
        m.d.comb += [h.eq(saturated(v + Cat(count, Const(0, 1)).as_signed(), bits)), fires.eq(h >= limit)]
        return fires, Mux(fires, saturated(h - limit, bits), h)

    def _kept(self, m, taken):
        """Whether the mask keeps the spike of the present pair: a byte of the masker's sequence each."""
        register = Signal(DEGREE)
        bits = sequence(m, register, ENTRY_BITS + DEGREE)
        with m.If(self.start):
            m.d.sync += register.eq(begin(self.pairs.seed))
        with m.Elif(taken):
            m.d.sync += register.eq(Cat(bits[8:]))
        return register[:8] < self.pairs.keep


class SoftmaxArray(SumArray):
    """The adders with one more, for the total of a group's entries, which is handed over with the sums.

    Ports besides: ``entry``, as the addends; ``total``: of the group whose blocks are offered.
    """

    def __init__(self, params: AttentionParams):
        self.total_bits = SoftmaxParams(params.chip).total_bits
        super().__init__(params, {"entry": In(ENTRY_BITS), "total": Out(self.total_bits)})

    def _adders(self, m, event, weights, add, handover, complete):
        """The total is cleared, or begun anew, as the sums are."""
        self._running = Signal(self.total_bits, name="running_total")
        with m.If(add & event.mask[0]):
            m.d.sync += self._running.eq(Mux(complete, 0, self._running) + self.entry)
        with m.Elif(handover):
            m.d.sync += self._running.eq(0)
        return super()._adders(m, event, weights, add, handover, complete)

    def _blocks(self, m, sums, handover, taken, end):
        with m.If(handover):
            m.d.sync += self.total.eq(self._running)
        super()._blocks(m, sums, handover, taken, end)


class Divider(Component):
    """Blocks of P sums by their total: restoring division, a bit of ``fraction`` + 1 a cycle.

    Ports: ``fraction``, constant; ``total``, of the block that is offered; ``i``, ``o``: streams of the array's blocks, ``o`` with
    quotients for sums. The next block is accepted from the cycle on in which the one before is taken.
    """

    def __init__(self, params: AttentionParams):
        self.params, self.layout = params, block_layout(params.neuron)
        self.bits = SoftmaxParams(params.chip).total_bits
        super().__init__({
            "fraction": In(PAIRS.by_name["fraction"].width), "total": In(self.bits), "i": stream_in(self.layout),
            "o": stream_out(self.layout),
        })  # fmt: skip

    def elaborate(self, platform):
        """A counter, and P remainders and quotients."""
        m = Module()
        works, offers, first, left = Signal(), Signal(), Signal(), Signal.like(self.fraction)
        divisor, some, accept = Signal(self.bits), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~works & (~offers | self.o.ready)), accept.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(offers),
        ]  # fmt: skip
        # cycle 0: a block is accepted; cycle 1 and later: a bit each; then the quotients are offered
        with m.If(accept):
            m.d.sync += [
                works.eq(1), offers.eq(0), first.eq(1), left.eq(self.fraction), divisor.eq(self.total),
                some.eq(self.total != 0),
            ]  # fmt: skip
            m.d.sync += [self.o.payload[name].eq(self.i.payload[name]) for name in ("block", "step", "last")]
        with m.Elif(works):
            m.d.sync += [first.eq(0), left.eq(left - 1), works.eq(left != 0), offers.eq(left == 0)]
        with m.Elif(self.o.ready):
            m.d.sync += offers.eq(0)
        bits = min(QUOTIENT_BITS, self.params.chip.membrane_bits - 1)
        sums, results = (elements(port.payload, self.layout, "sums") for port in (self.i, self.o))
        for number, (value, result) in enumerate(zip(sums, results, strict=True)):
            remainder, quotient = (Signal(self.bits, name=f"remainder_{number}"), Signal(bits, name=f"quotient_{number}"))
            doubled, rest = Signal(self.bits + 1, name=f"doubled_{number}"), Signal(signed(self.bits + 2), name=f"rest_{number}")
            m.d.comb += [doubled.eq(Mux(first, remainder, remainder << 1)), rest.eq(doubled - divisor), result.eq(quotient)]
            digit = ~rest[-1] & some
            with m.If(accept):
                m.d.sync += [remainder.eq(value[: self.bits]), quotient.eq(0)]
            with m.Elif(works):
                m.d.sync += [remainder.eq(Mux(digit, rest, doubled)), quotient.eq(Cat(digit, quotient))]
        return m
