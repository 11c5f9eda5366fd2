"""Writer of the attention unit in hardware: granules into the output banks, and the second phase of ATTEND_GATE."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.layout import Field
from archsim.contracts.spike_fetch import ADDRESS_BITS
from archsim.contracts.spike_writer import BANKS
from rtl.payload import load_port, shape
from rtl.units.attention_walks import CONFIG, Nest
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.spike_writer import granule_write
from rtl.units.sram import Sram


class AttentionWriter(Component):
    """Stores granules, applies the gate to Q, and knows when the instruction has ended.

    Ports:

    * ``config``: fields of the instruction, constant from its start to its end; ``start`` is its first cycle; ``gate``: the
      granules are gate words, and Q AND gate follows.
    * ``i``: granules (always taken); ``done``: 1 in the cycle in which the instruction ends.
    * ``first_block`` (with a softmax): added to the granules' blocks, for a head behind others.
    * ``query``: ``en``, ``row`` of the bank of Q in use, answered a cycle later.
    * ``read``: ``bank``, ``row``, presented with ``en`` in cycle t and answered in t + 1, while no instruction runs.
    * ``write``: a whole row for a bank, likewise; only observers need it.
    """

    def __init__(self, params: AttentionParams):
        self.params, bank = params, params.out.bank
        more = {"first_block": In(range(params.chip.blocks + 1))} if params.chip.softmax_tokens else {}
        super().__init__({
            **more,
            "config": In(shape(CONFIG)), "start": In(1), "gate": In(1), "done": Out(1),
            "i": In(stream.Signature(shape(params.neuron.o), always_ready=True)),
            "query": Out(Signature({"en": Out(1), "row": Out(ADDRESS_BITS), "data": In(bank.row_bits)})),
            "read": In(Signature({
                "en": Out(1), "bank": Out(1), "row": Out(bank.address_bits), "data": In(bank.row_bits),
            })),
            "write": load_port(bank_write_layout(bank.address_bits, Field("data", bank.row_bits))),
        })  # fmt: skip

    def elaborate(self, platform):
        """Granules in one stage; rows of the second phase in four."""
        m = Module()
        origin = Signal(ADDRESS_BITS)
        m.d.comb += origin.eq(self.config.out_base + self.config.first_word)
        stored, row, lane = Signal(), Signal(ADDRESS_BITS), Signal(len(self.config.lanes))
        ended = self._granules(m, origin, row, lane)
        gated, gated_row, result, gate_row, find = (
            Signal(), Signal(ADDRESS_BITS), Signal(self.params.out.bank.row_bits), Signal(ADDRESS_BITS), Signal(),
        )  # fmt: skip
        words = self._banks(m, (stored, row, lane), (gated, gated_row, result), (find, gate_row))
        m.d.comb += stored.eq(self.i.valid)
        last = self._gate(m, origin, ended & self.gate, words, gated, gated_row, result, find, gate_row)
        m.d.sync += self.done.eq((ended & ~self.gate) | last)
        return m

    def _granules(self, m, origin, row, lane):
        """Row and lane of the granule; returns whether it is the last one."""
        f, take = self.config, Signal()
        m.d.comb += take.eq(self.i.valid & self.i.payload.last)
        tokens = Mux(self.gate, 1, f.tile)
        nest = Nest(m, "out", {"token": tokens, "word": f.words, "step": f.steps}, self.start, take)
        count, slice_ends = nest.cycle("step", f.lanes)
        strides = {"token": f.out_token_rows, "word": 1, "step": Mux(slice_ends, f.out_words, 0)}
        m.d.comb += [row.eq(nest.rows("row", origin, strides)), lane.eq(count)]
        return take & nest.ended["token"]

    def _gate(self, m, origin, begin, words, gated, gated_row, result, find, gate_row):
        """Q AND gate, a row a cycle, the first token last; returns whether the last row is written."""
        f, take = self.config, Signal()
        sizes = {"token": f.tile, "slice": ((f.steps - f.lanes)[:8], f.lanes), "word": f.words}
        nest = Nest(m, "apply", sizes, begin, take)
        m.d.comb += take.eq(nest.valid)
        first, second = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        m.d.comb += [first.eq(f.q_base + f.first_word), second.eq(first + f.token_rows)]
        single = f.tile == 1

        def tokens(start, stride):
            """The row of the next token: the first one comes last."""
            return lambda row: Mux(nest.left["token"] == 1, start, row + stride)

        query = nest.rows("q", Mux(single, first, second), {
            "token": tokens(first, f.token_rows), "slice": f.map_words, "word": 1,
        })  # fmt: skip
        target = nest.rows("target", Mux(single, origin, (origin + f.out_token_rows)[:ADDRESS_BITS]), {
            "token": tokens(origin, f.out_token_rows), "slice": f.out_words, "word": 1,
        })  # fmt: skip
        gate = nest.rows("gate", origin, {"slice": f.out_words, "word": 1})
        # cycle 0: the row of Q is read
        m.d.comb += [self.query.en.eq(nest.valid), self.query.row.eq(query)]
        # cycle 1: so is its gate, while Q moves to a register; cycle 2: AND; cycle 3: written
        held, last, valid = Signal.like(result), Signal(3), Signal(2)
        target1, target2 = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        m.d.sync += [
            valid.eq(Cat(nest.valid, valid[0])), last.eq(Cat(nest.valid & nest.ended["token"], last[:2])),
            target1.eq(target), target2.eq(target1), gated_row.eq(target2), gate_row.eq(gate), gated.eq(valid[1]),
            held.eq(self.query.data), result.eq(held & words),
        ]  # fmt: skip
        m.d.comb += find.eq(valid[0])
        return last[2]

    def _placed(self, m):
        """The granule that comes, with its place in the row for a block."""
        if not self.params.chip.softmax_tokens:
            return self.i.payload
        placed = Signal(shape(self.params.neuron.o))
        m.d.comb += [placed.eq(self.i.payload), placed.block.eq(self.i.payload.block + self.first_block)]
        return placed

    def _banks(self, m, granule, gated, find):
        """The two banks; returns the row that the instruction reads."""
        params, bits = self.params.out, self.params.out.bank.address_bits
        (stored, row, lane), (whole, whole_row, result), (reads, gate_row) = granule, gated, find
        mask, data = granule_write(params, lane, self._placed(m))
        load, rows, read_bank = self.write.payload, [], Signal()
        every = (1 << params.bank.granules) - 1
        for number in range(BANKS):
            m.submodules[f"bank{number}"] = bank = Sram(params.bank)
            mine, loaded = self.config.out_bank == number, self.write.valid & (load.bank == number)
            m.d.comb += [
                bank.write.en.eq(
                    Mux(stored, Mux(mine, mask, 0), Mux((whole & mine) | (~whole & loaded), every, 0))
                ),
                bank.write.addr.eq(Mux(stored, row[:bits], Mux(whole, whole_row[:bits], load.row))),
                bank.write.data.eq(Mux(stored, data, Mux(whole, result, load.data))),
                bank.read.en.eq((reads & mine) | (self.read.en & (self.read.bank == number))),
                bank.read.addr.eq(Mux(reads, gate_row[:bits], self.read.row)),
            ]  # fmt: skip
            rows.append(bank.read.data)
        with m.If(self.read.en):
            m.d.sync += read_bank.eq(self.read.bank)
        m.d.comb += self.read.data.eq(Mux(read_bank, rows[1], rows[0]))
        return Mux(self.config.out_bank, rows[1], rows[0])
