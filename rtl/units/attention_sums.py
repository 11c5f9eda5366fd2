"""Sums of the attention unit in hardware: AND-popcount, adders, neurons. The adders and the neuron unit are those of a core.

They differ in where the addends come from, and in the memories: the neurons' parameters are fields of the instruction.
"""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import Component, In, Member, Out

from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import ENTRY_BITS
from rtl.payload import shape, stream_in, stream_out
from rtl.units.attention_walks import CONFIG
from rtl.units.neuron import CONFIG as NEURON_CONFIG
from rtl.units.neuron import NeuronUnit, block_layout
from rtl.units.synapse_array import SynapseArray


def addend_bits(params: AttentionParams) -> int:
    """Bits of an addend, unsigned: a count, an AND-popcount of a word, or an entry of a softmax."""
    entry = ENTRY_BITS if params.chip.softmax_tokens else 0
    return max(params.chip.count_bits, params.chip.columns.bit_length(), entry)


def segments(columns: int) -> list[int]:
    """What a head's channels within a word can be: the divisors of M."""
    return [size for size in range(1, columns + 1) if columns % size == 0]


def by_segment(m, name, segment, values):
    """For each of M channels the value of its head, from ``values``: by channels of a head, those of all heads of a word."""
    columns = len(values[1])
    chosen = [0] * columns
    for size, heads in values.items():
        used = Signal(name=f"{name}_of_{size}")
        m.d.comb += used.eq(segment == size)
        chosen = [Mux(used, heads[column // size], old) for column, old in enumerate(chosen)]
    return chosen


def heads_of(m, channel, segment):
    """Mask of the channels of the head that the one channel set in ``channel`` belongs to."""
    columns, values = len(channel), {}
    for size in segments(columns):
        values[size] = Signal(columns // size, name=f"head_of_{size}")
        m.d.comb += values[size].eq(Cat(channel[first : first + size].any() for first in range(0, columns, size)))
    return Cat(by_segment(m, "head", segment, values))


def scores(m, word, segment):
    """For each channel the number of bits set in its head's part of ``word``; trees of adders, one inside the other."""
    values = {1: list(word)}
    for size in segments(len(word))[1:]:
        part = max(divisor for divisor in values if size % divisor == 0)
        each, step = values[part], size // part
        values[size] = [Signal(size.bit_length(), name=f"score_{size}_{first}") for first in range(0, len(word), size)]
        for number, score in enumerate(values[size]):
            m.d.comb += score.eq(total(each[number * step : (number + 1) * step]))
    return by_segment(m, "score", segment, values)


def total(values):
    """Sum as a balanced tree."""
    if len(values) == 1:
        return values[0]
    return total(values[: len(values) // 2]) + total(values[len(values) // 2 :])


class SumArray(SynapseArray):
    """A synapse array of one lane whose addends, unsigned, come from outside, in the cycle after the acceptance of their event.

    ``more``: further ports.
    """

    def __init__(self, params: AttentionParams, more: Mapping[str, Member] | None = None):
        self.params = params.array
        Component.__init__(self, {
            "i": stream_in(self.params.i), "o": stream_out(self.params.o), "config": In(shape(self.params.config)),
            "addends": In(ArrayLayout(addend_bits(params), self.params.columns)), "state": Out(shape(self.params.state)),
            **(more or {}),
        })  # fmt: skip

    def _weights(self, m, accept):
        """The addends instead of weight banks."""
        return [Cat(self.addends[column], Const(0, 1)).as_signed() for column in range(self.params.columns)]


class SumNeurons(NeuronUnit):
    """A neuron unit without partial sums, bias, residual and reduction; a group is one time step of its position."""

    def __init__(self, params: AttentionParams):
        self.params = params.neuron
        Component.__init__(self, {
            "attend": In(shape(CONFIG)), "start": In(1), "i": stream_in(block_layout(self.params)),
            "o": Out(stream.Signature(shape(self.params.o), always_ready=True)), "state": Out(shape(self.params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The stages of the neuron unit, configured by the fields of the attention unit."""
        attend = self.attend
        chosen = {"neuron": attend.neuron, "slices": attend.steps, "steps": Const(1, 8)}
        bits = [chosen.get(field.name, Const(0, field.width)) for field in NEURON_CONFIG.fields]
        self.config = shape(NEURON_CONFIG)(Cat(bits))
        return super().elaborate(platform)

    def _params(self, m, enable):
        """One threshold and one shift for all neurons, no bias."""
        count, bits = self.params.neurons, self.params.membrane_bits
        threshold, shift = self.attend.threshold[:bits], self.attend.shift.as_unsigned()
        return Cat(Const(0, count * bits), threshold.replicate(count), shift.replicate(count))

    def _bank(self, m, name, read, read_row, write, write_row, data):
        """No memory: 0."""
        return Const(0, self.params.neurons * self.params.membrane_bits)

    def _reduce(self, m, valid, stages, y, kept_block, last_step):
        """No reduction."""
