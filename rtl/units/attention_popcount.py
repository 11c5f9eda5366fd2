"""AND-popcount engine of the attention unit in hardware: K^T V of M tokens, P channels of V a cycle (ATTEND_KV, ``popcount``)."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.layout import Field, Layout
from rtl.payload import elements, shape, stream_in
from rtl.units.attention_counts import event_layout, row_of
from rtl.units.attention_sums import heads_of, total
from rtl.units.attention_walks import CONFIG
from rtl.units.transposer import Transposer


def pair_layout(params: AttentionParams) -> Layout:
    """A word of K and one of V of a token, their block of count rows; the last token, the last of the instruction."""
    columns = params.chip.columns
    return Layout.of("kv_pair", [
        Field("k", columns), Field("v", columns), Field("block", params.cleared.address_bits), Field("last", 1),
        Field("final", 1),
    ])  # fmt: skip


class PopcountEngine(Component):
    """Takes the words of M tokens, or of the last ones, and then gives the count memory what each of its rows grows by.

    Ports:

    * ``i``: stream of :func:`pair_layout`; ready while words come in.
    * ``segment``: channels of a head within a word; constant.
    * ``valid``, ``event``: what is added to a row, every M / P cycles, always taken (as ``CountMemory`` has them).
    """

    def __init__(self, params: AttentionParams):
        self.params, self.event_layout = params, event_layout(params)
        super().__init__({
            "i": stream_in(pair_layout(params)), "segment": In(CONFIG.by_name["segment"].width), "valid": Out(1),
            "event": Out(shape(self.event_layout)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Transposer of K, registers of V, P popcounts, and the row that they fill."""
        m = Module()
        chip, pair = self.params.chip, self.i.payload
        m.submodules.transposer = turn = Transposer(self.params.transposer)
        m.d.comb += [
            turn.i.valid.eq(self.i.valid), self.i.ready.eq(turn.i.ready), turn.i.payload.bits.eq(pair.k),
            turn.i.payload.last.eq(pair.last),
        ]  # fmt: skip
        # cycle 0: a token's words move into the registers
        held = [Signal(chip.columns, name=f"v_{number}") for number in range(chip.columns)]
        block, last, final = Signal.like(pair.block), Signal(), Signal()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [block.eq(pair.block), last.eq(pair.last), final.eq(pair.final)]
            for number, word in enumerate(held):
                with m.If(turn.state.index == number):
                    m.d.sync += word.eq(pair.v)
        # cycle 1 and later: a transposed word of K meets those of V, P a cycle
        part, ends = Signal(range(max(2, chip.blocks))), Signal()
        m.d.comb += [ends.eq(part == chip.blocks - 1), turn.o.ready.eq(ends), self.valid.eq(turn.o.valid & ends)]
        with m.If(turn.o.valid):
            m.d.sync += part.eq(Mux(ends, 0, part + 1))
        numbers = self._numbers(m, turn.o.payload.bits, held, part)
        row = self._row(m, turn.o.valid, part, numbers)
        channel = Signal(chip.columns)
        used = turn.o.payload.bits.any()  # no addition for a channel without a spike
        m.d.comb += [
            channel.eq(Cat((turn.state.index == number) & used for number in range(chip.columns))),
            self.event.channel.eq(channel), self.event.block.eq(block),
            self.event.row.eq(row_of(block, turn.state.index, chip.columns)),
            self.event.last.eq(last & turn.o.payload.last), self.event.final.eq(final & turn.o.payload.last),
        ]  # fmt: skip
        head = heads_of(m, channel, self.segment)
        addends = elements(self.event, self.event_layout, "addends")
        m.d.comb += [addend.eq(Mux(head[number], row[number], 0)) for number, addend in enumerate(addends)]
        return m

    def _numbers(self, m, key, held, part):
        """Common bits of ``key`` and each of the P channels of V that are on."""
        chip, numbers = self.params.chip, []
        for neuron in range(chip.neurons):
            columns = [Cat(word[block * chip.neurons + neuron] for word in held) for block in range(chip.blocks)]
            both, number = (
                Signal(chip.columns, name=f"both_{neuron}"),
                Signal(range(chip.columns + 1), name=f"number_{neuron}"),
            )
            m.d.comb += [both.eq(key & Array(columns)[part]), number.eq(total(list(both)))]
            numbers.append(number)
        return numbers

    def _row(self, m, valid, part, numbers):
        """All M numbers of the row: the last P as they come, those before from registers."""
        chip, row = self.params.chip, []
        for block in range(chip.blocks - 1):
            kept = [Signal.like(number, name=f"kept_{block}_{index}") for index, number in enumerate(numbers)]
            with m.If(valid & (part == block)):
                m.d.sync += [keep.eq(number) for keep, number in zip(kept, numbers, strict=True)]
            row += kept
        return row + numbers
