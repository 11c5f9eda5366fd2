"""Loops of the attention unit in hardware: nests of counters, with rows that move on by stored strides."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In

from archsim.contracts.attention import ATTEND_FIELDS, AttentionParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q
from archsim.contracts.spike_fetch import ADDRESS_BITS
from rtl.payload import shape, stream_out

CONFIG = Layout.of("attend", ATTEND_FIELDS)
"""What the attention unit takes from an instruction."""

_BITS = CONFIG.by_name

PLACE = Layout.of("place", [
    Field("q", ADDRESS_BITS), Field("k", ADDRESS_BITS), Field("v", ADDRESS_BITS), Field("lane", _BITS["lanes"].width),
    Field("block", _BITS["count_base"].width), Field("last", 1), Field("final", 1),
])  # fmt: skip
"""Words that meet: their rows, their lane, the block of the count memory; they end their group (of tokens), the instruction."""


def spikes_write_layout(params: AttentionParams) -> Layout:
    """Write port of the four banks of spikes: the bank, the row, and its words."""
    bank = params.bank
    return Layout.of("spikes_write", [
        Field("bank", 2), Field("row", bank.address_bits), Field("data", bank.granule_bits, count=bank.granules),
    ])  # fmt: skip


class Nest:
    """Loops inside each other, the outermost first, all registers of ``m``.

    Attributes:
        valid: the loops stand at a place; from the cycle after ``start`` to the last ``take``.
        advance: by loop, whether it steps in this cycle (all loops inside it begin anew).
        left: by loop, how many places of it remain after this one.
        ended: by loop, whether it and all loops inside it are at their last.

    Args:
        m: the module.
        name: prefix of the registers' names.
        sizes: loops and how often each runs, or a pair: what is left at its first place, and by how much that falls.
        start: the loops begin in the cycle after this one.
        take: they go on.
    """

    def __init__(self, m, name, sizes, start, take):
        self.m, self.name, self.start = m, name, start
        self.valid = Signal(name=f"{name}_valid")
        self.names, self.left, self.advance, self.ended, inner = list(sizes), {}, {}, {}, 1
        for loop in reversed(self.names):
            size = sizes[loop]
            first, fall = size if isinstance(size, tuple) else (size - 1, 1)
            left = Signal(len(first if isinstance(size, tuple) else size), name=f"{name}_{loop}_left")
            self.ended[loop] = Signal(name=f"{name}_{loop}_ended")
            self.advance[loop] = Signal(name=f"{name}_{loop}_advance")
            m.d.comb += [
                self.ended[loop].eq(inner & (left == 0)), self.advance[loop].eq(take & inner & (left != 0)),
            ]  # fmt: skip
            with m.If(start | (take & self.ended[loop])):  # at its end it begins anew
                m.d.sync += left.eq(first)
            with m.Elif(self.advance[loop]):
                m.d.sync += left.eq(left - fall)
            self.left[loop], inner = left, self.ended[loop]
        with m.If(start):
            m.d.sync += self.valid.eq(1)
        with m.Elif(take & inner):
            m.d.sync += self.valid.eq(0)

    def cycle(self, loop, size):
        """A counter that steps with ``loop``, modulo ``size``; returns it and whether its next step is to 0."""
        count = Signal(len(size), name=f"{self.name}_{loop}_cycle")
        wraps = Signal(name=f"{self.name}_{loop}_wraps")
        self.m.d.comb += wraps.eq(count == size - 1)
        take = self.advance[loop]
        outer = self.names[: self.names.index(loop)]
        with self.m.If(self.start):
            self.m.d.sync += count.eq(0)
        with self.m.Elif(take):
            self.m.d.sync += count.eq(Mux(wraps, 0, count + 1))
        for name in outer:
            with self.m.Elif(self.advance[name]):
                self.m.d.sync += count.eq(0)
        return count, wraps

    def rows(self, label, base, strides):
        """The row ``base + sum of strides``: each loop keeps the row at which the loops inside it begin.

        Args:
            label: name of the row.
            base: row of the first place; constant.
            strides: what a step of a loop adds (nothing where it is missing), or a function of the loop's row to the next.
        """
        m = self.m
        kept = {
            loop: Signal(ADDRESS_BITS, name=f"{self.name}_{label}_{loop}") for loop in self.names if loop in strides
        }
        before, after = base, {}
        for loop in self.names:
            before, stride = kept.get(loop, before), strides.get(loop, 0)
            after[loop] = stride(before) if callable(stride) else before + stride
        with m.If(self.start):
            m.d.sync += [row.eq(base) for row in kept.values()]
        for number, loop in enumerate(self.names):
            with m.Elif(self.advance[loop]):
                m.d.sync += [kept[name].eq(after[loop]) for name in self.names[number:] if name in kept]
        return before


class AttentionWalk(Component):
    """The words of an instruction that meet, in the contract's order, one place in every cycle in which ``ready`` is 1.

    * ATTEND_KV: step, word of V, word of K within the head, token;
    * the others: token of Q, output word, step, token of K (not ATTEND_Q), word within the head (not ATTEND_GATE).

    Ports: ``config`` and ``opcode``, constant from the start to the end; ``start``; ``o``, valid from the cycle after it.
    """

    def __init__(self):
        super().__init__({
            "config": In(shape(CONFIG)), "opcode": In(4), "start": In(1), "o": stream_out(PLACE),
        })  # fmt: skip

    def elaborate(self, platform):
        """Two nests, of which the opcode chooses one."""
        m = Module()
        kv, take = Signal(), Signal()
        m.d.comb += [kv.eq(self.opcode == ATTEND_KV), take.eq(self.o.valid & self.o.ready)]
        counted = self._counted(m, self.start & kv, take & kv)
        grouped = self._grouped(m, self.start & ~kv, take & ~kv)
        for name, value in counted.items():
            target = self.o.valid if name == "valid" else self.o.payload[name]
            m.d.comb += target.eq(Mux(kv, value, grouped[name]))
        return m

    def _counted(self, m, start, take):
        """ATTEND_KV."""
        f = self.config
        sizes = {"step": f.steps, "word": f.words, "number": f.head_words, "token": f.tokens}
        nest = Nest(m, "kv", sizes, start, take)
        lane, slice_ends = nest.cycle("step", f.lanes)
        _, head_ends = nest.cycle("word", f.head_words)
        step, head = Mux(slice_ends, f.map_words, 0), Mux(head_ends, f.head_words, 0)
        k = {"step": step, "word": head, "number": 1, "token": f.token_rows}
        v = {"step": step, "word": 1, "token": f.token_rows}
        block = {"step": f.count_step, "word": f.head_words, "number": 1}
        return {
            "valid": nest.valid, "q": 0, "k": nest.rows("k", (f.k_base + f.first_word)[:ADDRESS_BITS], k),
            "v": nest.rows("v", (f.v_base + f.first_word)[:ADDRESS_BITS], v), "lane": lane,
            "block": nest.rows("block", f.count_base, block), "last": nest.ended["token"], "final": nest.ended["step"],
        }  # fmt: skip

    def _grouped(self, m, start, take):
        """ATTEND_Q, ATTEND_SCORES, and the first phase of ATTEND_GATE, whose only token of Q is none."""
        f, gate = self.config, Signal()
        tokens, others, head_words = Signal.like(f.tile), Signal.like(f.tokens), Signal.like(f.head_words)
        m.d.comb += [
            gate.eq(self.opcode == ATTEND_GATE), tokens.eq(Mux(gate, 1, f.tile)),
            others.eq(Mux(self.opcode == ATTEND_Q, 1, f.tokens)), head_words.eq(Mux(gate, 1, f.head_words)),
        ]  # fmt: skip
        sizes = {"token": tokens, "word": f.words, "step": f.steps, "other": others, "number": head_words}
        nest = Nest(m, "group", sizes, start, take)
        lane, slice_ends = nest.cycle("step", f.lanes)
        _, head_ends = nest.cycle("word", head_words)
        step, head = Mux(slice_ends, f.map_words, 0), Mux(head_ends, head_words, 0)
        q = {"token": f.token_rows, "word": head, "step": step, "number": 1}
        k = {"word": head, "step": step, "other": f.token_rows, "number": 1}
        v = {"word": 1, "step": step, "other": f.token_rows}
        block = {"word": head_words, "step": f.count_step, "number": 1}
        return {
            "valid": nest.valid, "q": nest.rows("q", (f.q_base + f.first_word)[:ADDRESS_BITS], q),
            "k": nest.rows("k", (f.k_base + f.first_word)[:ADDRESS_BITS], k),
            "v": nest.rows("v", (f.v_base + f.first_word)[:ADDRESS_BITS], v), "lane": lane,
            "block": nest.rows("block", f.count_base, block), "last": nest.ended["other"], "final": nest.ended["token"],
        }  # fmt: skip
